// weighted_sum: y = sum of w_j x_j over vectors that lie stride elements apart, and its gradients.
//
// Backward a block has a run of elements of all vectors, so that it finds dy in its cache for all but the first; it leaves one
// partial inner product a vector, which reduce_columns adds up in order.
// Bytes: each vector once forward (2 an element), read twice and written once backward (6). FLOPs: two and four an element.
// Source: arXiv 2402.02622. Oracle: weighted_sum_ref.go.
#include "eight.cuh"

extern "C" __global__ void __launch_bounds__(256)
	weighted_sum_forward(bf16 *y, const bf16 *x, const float *weights, long long n, long long stride, int count, int vector)
{
	long long at = 8 * ((long long)blockIdx.x * 256 + threadIdx.x);
	if (at >= n)
		return;
	int left = n - at < 8 ? (int)(n - at) : 8;
	Eight sum = {};
	for (int j = 0; j < count; j++) {
		Eight e = load8(x + j * stride + at, left, vector);
		float w = weights[j];
		UNROLL
		for (int i = 0; i < 8; i++)
			sum.v[i] += w * e.v[i];
	}
	store8(y + at, sum, left, vector);
}
EMU_KERNEL(weighted_sum_forward)

// parts[blockIdx.x*count + j] gets the inner product of dy and x_j over the run elements of the block; absent: it is not
// computed, and x not read.
extern "C" __global__ void __launch_bounds__(256) weighted_sum_backward(bf16 *dx, float *parts, const bf16 *dy, const bf16 *x,
	const float *weights, long long n, long long stride, int count, int run, int vector)
{
	Smem sm;
	float *scratch = sm.take<float>(32);
	long long first = (long long)blockIdx.x * run, end = n - first < run ? n : first + run;
	for (int j = 0; j < count; j++) {
		float w = weights[j], dot = 0;
		for (long long at = first + 8 * threadIdx.x; at < end; at += 8 * 256) {
			int left = end - at < 8 ? (int)(end - at) : 8;
			Eight d = load8(dy + at, left, vector), sum = load8(dx + j * stride + at, left, vector);
			UNROLL
			for (int i = 0; i < 8; i++)
				sum.v[i] += w * d.v[i];
			store8(dx + j * stride + at, sum, left, vector);
			if (parts) {
				Eight e = load8(x + j * stride + at, left, vector);
				UNROLL
				for (int i = 0; i < 8; i++)
					dot += d.v[i] * e.v[i];
			}
		}
		if (parts) {
			dot = bsum(dot, scratch);
			if (threadIdx.x == 0)
				parts[(long long)blockIdx.x * count + j] = dot;
		}
	}
}
EMU_KERNEL(weighted_sum_backward)
