// masked_softmax: the softmax of each row over the entries that a mask keeps, with its log-sum-exp, and its gradient.
//
// A row of up to 32768 entries is read once and kept in registers by a warp or a block; a wider one is read again from
// cache. Masked entries are exactly 0, and so is all of a row that keeps nothing. Bytes an entry: 4 and 1 for the mask,
// backward 6. FLOPs: an exponential and about 5; backward 4. Oracle: masked_softmax_ref.go.
#include "eight.cuh"

namespace masked_softmax {

enum { VECTOR = 1, MASK_VECTOR = 2 };

template <int HOLD>
CUK void forward(bf16 *p, float *lse, const bf16 *scores, const unsigned char *mask, int R, int C, int flags)
{
	Smem sm;
	float *scratch = sm.take<float>(32);
	int row = blockIdx.x * blockDim.y + threadIdx.y;
	if (row >= R)
		return; // a whole warp, or nobody
	bool vector = flags & VECTOR;
	long at = (long)row * C;
	int count = eights(C);
	Eight held[HOLD > 0 ? HOLD : 1];
	auto load = [&](int c) {
		int left = C - 8 * c;
		Eight e = load8(scores + at + 8 * c, left, vector);
		if (mask && flags & MASK_VECTOR && left >= 8) {
			uint2 m = *(const uint2 *)(mask + at + 8 * c);
			UNROLL
			for (int i = 0; i < 8; i++)
				e.v[i] = (i < 4 ? m.x : m.y) >> (8 * (i % 4)) & 255 ? e.v[i] : -INFINITY;
			return e;
		}
		UNROLL
		for (int i = 0; i < 8; i++)
			e.v[i] = i < left && (!mask || mask[at + 8 * c + i]) ? e.v[i] : -INFINITY;
		return e;
	};

	float top = -INFINITY;
	chunks<HOLD>(count, [&](int k, int c) {
		Eight e = load(c);
		UNROLL
		for (int i = 0; i < 8; i++)
			top = fmax2(top, e.v[i]);
		if (HOLD > 0)
			held[HOLD > 0 ? k : 0] = e;
	});
	top = row_max(top, scratch);
	float sum = 0;
	// A NaN is not the largest, but makes the sum NaN.
	auto exponential = [&](float s) { return s == -INFINITY ? 0 : fexp(s - top); };
	chunks<HOLD>(count, [&](int k, int c) {
		Eight e = HOLD > 0 ? held[HOLD > 0 ? k : 0] : load(c);
		UNROLL
		for (int i = 0; i < 8; i++)
			sum += e.v[i] = exponential(e.v[i]);
		if (HOLD > 0)
			held[HOLD > 0 ? k : 0] = e;
	});
	sum = row_sum(sum, scratch);
	float inverse = sum == 0 ? 0 : 1 / sum;
	if (threadIdx.x == 0)
		lse[row] = sum == 0 ? -INFINITY : top + flog(sum);
	chunks<HOLD>(count, [&](int k, int c) {
		Eight e = HOLD > 0 ? held[HOLD > 0 ? k : 0] : load(c);
		UNROLL
		for (int i = 0; i < 8; i++)
			e.v[i] = (HOLD > 0 ? e.v[i] : exponential(e.v[i])) * inverse;
		store8(p + at + 8 * c, e, C - 8 * c, vector);
	});
}

template <int HOLD> CUK void backward(bf16 *dscores, const bf16 *dp, const bf16 *p, int R, int C, int vector)
{
	Smem sm;
	float *scratch = sm.take<float>(32);
	int row = blockIdx.x * blockDim.y + threadIdx.y;
	if (row >= R)
		return;
	long at = (long)row * C;
	int count = eights(C);
	Eight held[HOLD > 0 ? HOLD : 1], grads[HOLD > 0 ? HOLD : 1];
	float dot = 0;
	chunks<HOLD>(count, [&](int k, int c) {
		int left = C - 8 * c;
		Eight e = load8(p + at + 8 * c, left, vector), d = load8(dp + at + 8 * c, left, vector);
		UNROLL
		for (int i = 0; i < 8; i++)
			dot += e.v[i] * d.v[i];
		if (HOLD > 0)
			held[HOLD > 0 ? k : 0] = e, grads[HOLD > 0 ? k : 0] = d;
	});
	dot = row_sum(dot, scratch);
	chunks<HOLD>(count, [&](int k, int c) {
		int left = C - 8 * c;
		Eight e = HOLD > 0 ? held[HOLD > 0 ? k : 0] : load8(p + at + 8 * c, left, vector);
		Eight d = HOLD > 0 ? grads[HOLD > 0 ? k : 0] : load8(dp + at + 8 * c, left, vector);
		UNROLL
		for (int i = 0; i < 8; i++)
			d.v[i] = e.v[i] * (d.v[i] - dot);
		store8(dscores + at + 8 * c, d, left, vector);
	});
}

} // namespace masked_softmax

#define FORWARD_PARAMETERS bf16 *p, float *lse, const bf16 *scores, const unsigned char *mask, int R, int C, int flags
#define BACKWARD_PARAMETERS bf16 *dscores, const bf16 *dp, const bf16 *p, int R, int C, int vector

extern "C" __global__ void __launch_bounds__(1024) masked_softmax_forward(FORWARD_PARAMETERS)
{
	masked_softmax::forward<4>(p, lse, scores, mask, R, C, flags);
}
EMU_KERNEL(masked_softmax_forward)

extern "C" __global__ void __launch_bounds__(1024, 1) masked_softmax_forward_wide(FORWARD_PARAMETERS)
{
	masked_softmax::forward<0>(p, lse, scores, mask, R, C, flags);
}
EMU_KERNEL(masked_softmax_forward_wide)

extern "C" __global__ void __launch_bounds__(1024) masked_softmax_backward(BACKWARD_PARAMETERS)
{
	masked_softmax::backward<2>(dscores, dp, p, R, C, vector);
}
EMU_KERNEL(masked_softmax_backward)

extern "C" __global__ void __launch_bounds__(1024) masked_softmax_backward_wide(BACKWARD_PARAMETERS)
{
	masked_softmax::backward<0>(dscores, dp, p, R, C, vector);
}
EMU_KERNEL(masked_softmax_backward_wide)
#undef FORWARD_PARAMETERS
#undef BACKWARD_PARAMETERS
