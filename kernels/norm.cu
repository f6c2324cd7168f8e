// norm: LayerNorm and RMSNorm fused with the residual addition and dropout before them, and their gradient.
//
// Fused: sum = x + dropout(delta), rounded to bfloat16 as it is stored; statistics of what was stored, by two passes over
// registers; y = (sum - mean) rstd gain + bias. Backward: gradient of the sum, written or added to the residual's, and the
// gradients of gain and bias. These are summed by each block over its rows, then over the blocks (reduce_columns), both in
// a fixed order. Shapes: n rows of C, bfloat16; statistics and partial sums float32.
// Bytes a row: forward 4C (x, y) to 8C (x, delta, sum, y), backward 6C to 8C. FLOPs: about 8C and 14C; with dropout ten
// rounds of Philox for eight elements.
// Source: arXiv 1607.06450, 1910.07467. Oracle: norm_ref.go.
#include "eight.cuh"
#include "philox.cuh"

namespace norm {

enum { LAYER = 1 };
enum { VECTOR = 1, GAIN32 = 2, BIAS32 = 4, ADD = 8 };

// forward: a row is done by blockDim.x threads; blocks of one warp a row hold blockDim.y rows.
template <int HOLD>
CUK void forward(bf16 *y, bf16 *sum, const bf16 *x, const bf16 *delta, const void *gain, const void *bias, float *mean,
	float *rstd, int n, int C, int kind, float eps, int flags, const Dropout &drop)
{
	Smem sm;
	float *scratch = sm.take<float>(32);
	int row = blockIdx.x * blockDim.y + threadIdx.y;
	if (row >= n)
		return; // a whole warp, or nobody: with more warps a row, a block is a row
	bool vector = flags & VECTOR;
	long at = (long)row * C;
	const bf16 *in = delta ? sum : x;
	Eight held[HOLD > 0 ? HOLD : 1];
	int count = eights(C);

	float s = 0;
	chunks<HOLD>(count, [&](int k, int c) {
		int left = C - 8 * c;
		Eight e = load8(x + at + 8 * c, left, vector);
		if (delta) {
			Eight d = load8(delta + at + 8 * c, left, vector);
			if (drop.threshold) {
				uint4 words = drop_block(drop, c, row);
				UNROLL
				for (int i = 0; i < 8; i++)
					d.v[i] = drop_lane(words, i) >= drop.threshold ? d.v[i] * drop.scale : 0;
			}
			add8(e, d);
			round8(e);
			store8(sum + at + 8 * c, e, left, vector);
		}
		UNROLL
		for (int i = 0; i < 8; i++)
			s += e.v[i];
		if (HOLD > 0)
			held[HOLD > 0 ? k : 0] = e;
	});
	if (!y)
		return;
	float m = kind == LAYER ? row_sum(s, scratch) / (float)C : 0, squares = 0;
	chunks<HOLD>(count, [&](int k, int c) {
		int left = C - 8 * c;
		Eight e = HOLD > 0 ? held[HOLD > 0 ? k : 0] : load8(in + at + 8 * c, left, vector);
		UNROLL
		for (int i = 0; i < 8; i++) {
			float d = e.v[i] - m;
			squares += i < left ? d * d : 0;
		}
	});
	float r = 1 / fsqrt(row_sum(squares, scratch) / (float)C + eps);
	if (threadIdx.x == 0) {
		if (mean && kind == LAYER)
			mean[row] = m;
		if (rstd)
			rstd[row] = r;
	}
	chunks<HOLD>(count, [&](int k, int c) {
		int left = C - 8 * c;
		Eight e = HOLD > 0 ? held[HOLD > 0 ? k : 0] : load8(in + at + 8 * c, left, vector);
		UNROLL
		for (int i = 0; i < 8; i++)
			e.v[i] = (e.v[i] - m) * r;
		if (gain) {
			Eight g = load8(gain, 8 * c, flags & GAIN32, left, vector);
			UNROLL
			for (int i = 0; i < 8; i++)
				e.v[i] *= g.v[i];
		}
		if (bias)
			add8(e, load8(bias, 8 * c, flags & BIAS32, left, vector));
		store8(y + at + 8 * c, e, left, vector);
	});
}

// backward: a block takes every gridDim.x-th row and leaves its sums for gain and bias in row blockIdx.x of dgain and
// dbias, [gridDim.x, 8*eights(C)] float32; either may be null.
template <int HOLD>
CUK void backward(bf16 *dsum, float *dgain, float *dbias, const bf16 *dy, const bf16 *sum, const void *gain, const float *mean,
	const float *rstd, int n, int C, int flags)
{
	Smem sm;
	float *scratch = sm.take<float>(128);
	bool vector = flags & VECTOR;
	int count = eights(C), warps = blockDim.x / 32, parity = 0;
	Eight held[HOLD > 0 ? HOLD : 1], scaled[HOLD > 0 ? HOLD : 1], gains[HOLD > 0 ? HOLD : 1], biases[HOLD > 0 ? HOLD : 1];
	UNROLL
	for (int k = 0; k < (HOLD > 0 ? HOLD : 1); k++)
		UNROLL
		for (int i = 0; i < 8; i++)
			gains[k].v[i] = biases[k].v[i] = 0;
	dgain += dgain ? (long)blockIdx.x * count * 8 : 0;
	dbias += dbias ? (long)blockIdx.x * count * 8 : 0;

	for (int row = blockIdx.x; row < n; row += gridDim.x, parity ^= 1) {
		long at = (long)row * C;
		float m = mean ? mean[row] : 0, r = rstd[row], sumG = 0, sumGN = 0;
		// load reads the normalised row and dy times gain.
		auto load = [&](int c, Eight &norm, Eight &g, Eight &d) {
			int left = C - 8 * c;
			norm = load8(sum + at + 8 * c, left, vector);
			d = g = load8(dy + at + 8 * c, left, vector);
			UNROLL
			for (int i = 0; i < 8; i++)
				norm.v[i] = (norm.v[i] - m) * r;
			if (gain) {
				Eight f = load8(gain, 8 * c, flags & GAIN32, left, vector);
				UNROLL
				for (int i = 0; i < 8; i++)
					g.v[i] *= f.v[i];
			}
		};
		chunks<HOLD>(count, [&](int k, int c) {
			Eight norm, g, d;
			load(c, norm, g, d);
			Eight dn;
			UNROLL
			for (int i = 0; i < 8; i++) { // beyond the row d and g are zeros
				sumG += g.v[i];
				sumGN += g.v[i] * norm.v[i];
				dn.v[i] = d.v[i] * norm.v[i];
			}
			if (HOLD > 0) {
				k = HOLD > 0 ? k : 0;
				held[k] = norm, scaled[k] = g;
				add8(gains[k], dn);
				add8(biases[k], d);
				return;
			}
			if (row != (int)blockIdx.x) {
				if (dgain)
					add8(dn, load8(dgain + 8 * c, 8, true));
				if (dbias)
					add8(d, load8(dbias + 8 * c, 8, true));
			}
			if (dgain)
				store8(dgain + 8 * c, dn, 8, true);
			if (dbias)
				store8(dbias + 8 * c, d, 8, true);
		});
		sumG = wsum(sumG), sumGN = wsum(sumGN);
		if (warps > 1) { // a barrier a row: the rows take turns with two halves of the scratch
			float *mine = scratch + 64 * parity;
			if (threadIdx.x % 32 == 0)
				mine[threadIdx.x / 32] = sumG, mine[32 + threadIdx.x / 32] = sumGN;
			__syncthreads();
			sumG = sumGN = 0;
			for (int w = 0; w < warps; w++)
				sumG += mine[w], sumGN += mine[32 + w];
		}
		float meanG = mean ? sumG / (float)C : 0, meanGN = sumGN / (float)C;
		chunks<HOLD>(count, [&](int k, int c) {
			int left = C - 8 * c;
			Eight norm, g, d;
			if (HOLD > 0)
				norm = held[HOLD > 0 ? k : 0], g = scaled[HOLD > 0 ? k : 0];
			else
				load(c, norm, g, d);
			UNROLL
			for (int i = 0; i < 8; i++)
				g.v[i] = r * (g.v[i] - meanG - norm.v[i] * meanGN);
			if (flags & ADD)
				add8(g, load8(dsum + at + 8 * c, left, vector));
			store8(dsum + at + 8 * c, g, left, vector);
		});
	}
	if (HOLD > 0)
		chunks<HOLD>(count, [&](int k, int c) {
			k = HOLD > 0 ? k : 0;
			if (dgain)
				store8(dgain + 8 * c, gains[k], 8, true);
			if (dbias)
				store8(dbias + 8 * c, biases[k], 8, true);
		});
}

} // namespace norm

#define FORWARD_PARAMETERS                                                                                             \
	bf16 *y, bf16 *sum, const bf16 *x, const bf16 *delta, const void *gain, const void *bias, float *mean, float *rstd, \
		int n, int C, int kind, float eps, int flags, Dropout drop
#define BACKWARD_PARAMETERS                                                                                       \
	bf16 *dsum, float *dgain, float *dbias, const bf16 *dy, const bf16 *sum, const void *gain, const float *mean, \
		const float *rstd, int n, int C, int flags

extern "C" __global__ void __launch_bounds__(1024) norm_forward(FORWARD_PARAMETERS)
{
	norm::forward<4>(y, sum, x, delta, gain, bias, mean, rstd, n, C, kind, eps, flags, drop);
}
EMU_KERNEL(norm_forward)

extern "C" __global__ void __launch_bounds__(1024) norm_forward_wide(FORWARD_PARAMETERS)
{
	norm::forward<0>(y, sum, x, delta, gain, bias, mean, rstd, n, C, kind, eps, flags, drop);
}
EMU_KERNEL(norm_forward_wide)

extern "C" __global__ void __launch_bounds__(512) norm_backward(BACKWARD_PARAMETERS)
{
	norm::backward<2>(dsum, dgain, dbias, dy, sum, gain, mean, rstd, n, C, flags);
}
EMU_KERNEL(norm_backward)

extern "C" __global__ void __launch_bounds__(512) norm_backward_wide(BACKWARD_PARAMETERS)
{
	norm::backward<0>(dsum, dgain, dbias, dy, sum, gain, mean, rstd, n, C, flags);
}
EMU_KERNEL(norm_backward_wide)
