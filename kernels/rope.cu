// rope: rotary positions on one or two axes, in place over the heads of packed rows; the gradient is the inverse rotation.
//
// Shapes: n rows, ld elements apart, of heads*D; each head has axes parts of w = D/axes, whose pairs (j, j+w/2) turn by
// pos[row][axis] times theta_j, read from the table [positions, w/2, 2] of cosines and sines. A warp has a row; a lane turns
// eight pairs at a time. Bytes: 4 an element and the table's rows, which stay in cache. FLOPs: 3 an element.
// Source: arXiv 2104.09864, 2501.13397. Oracle: rope_ref.go.
#include "eight.cuh"

extern "C" __global__ void __launch_bounds__(256)
	rope_apply(bf16 *x, const int *pos, const float *table, int n, int ld, int heads, int D, int axes, float sign, int vector)
{
	int row = blockIdx.x * blockDim.y + threadIdx.y;
	if (row >= n)
		return;
	int half = D / axes / 2, steps = eights(half), items = heads * axes * steps;
	for (int item = threadIdx.x; item < items; item += 32) {
		int part = item / steps, j = 8 * (item - part * steps), left = half - j;
		bf16 *u = x + (long)row * ld + 2 * part * half + j, *v = u + half;
		const float *turn = table + ((long)pos[2 * row + part % axes] * half + j) * 2;
		Eight a = load8(u, left, vector), b = load8(v, left, vector);
		UNROLL
		for (int i = 0; i < 8; i++)
			if (i < left) {
				float c = turn[2 * i], s = sign * turn[2 * i + 1], p = a.v[i];
				a.v[i] = p * c - b.v[i] * s;
				b.v[i] = p * s + b.v[i] * c;
			}
		store8(u, a, left, vector);
		store8(v, b, left, vector);
	}
}
EMU_KERNEL(rope_apply)
