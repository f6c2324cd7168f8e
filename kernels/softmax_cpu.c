//go:build cgo

// masked softmax: probabilities of rows of scores over the kept entries, and their gradient.
//
// Fused: maximum, exponentials, sum and division, a row at a time in cache. Shapes: [rows,C] with a mask of the same shape.
// Bytes an element: forward 8 (9 with a mask), backward 12. FLOPs: about 20 forward, 4 backward.
// Oracle: masked_softmax_ref.go.
#ifndef KERNEL
#define FAMILY "softmax_cpu.c"
#include "leaf.h"
#include "levels.h"

LEAF(masked_softmax, (int level, float *p, float *lse, const float *scores, const uint8_t *mask, int lo, int hi, int C),
	(p, lse, scores, mask, lo, hi, C))
LEAF(masked_softmax_backward, (int level, float *dscores, const float *dp, const float *p, int lo, int hi, int C),
	(dscores, dp, p, lo, hi, C))

#else

#include "vec.h"

static void KERNEL(masked_softmax)(float *p, float *lse, const float *scores, const uint8_t *mask, int lo, int hi, int C)
{
	for (int r = lo; r < hi; r++) {
		const float *in = scores + (size_t)r * C;
		float *out = p + (size_t)r * C;
		if (mask) {
			const uint8_t *keep = mask + (size_t)r * C;
			SIMD
			for (int j = 0; j < C; j++)
				out[j] = keep[j] ? in[j] : -INFINITY;
			in = out;
		}
		float most = KERNEL(greatest_of)(in, (size_t)C);
		float base = most == -INFINITY ? 0.0f : most; // nothing kept: all exponentials are 0, not NaN
		float sum = KERNEL(exp_all)(out, in, (size_t)C, base);
		float scale = sum == 0 ? 0.0f : 1.0f / sum;
		SIMD
		for (int j = 0; j < C; j++)
			out[j] *= scale;
		lse[r] = sum == 0 ? -INFINITY : base + logf(sum);
	}
}

static void KERNEL(masked_softmax_backward)(float *dscores, const float *dp, const float *p, int lo, int hi, int C)
{
	for (int r = lo; r < hi; r++) {
		const float *g = dp + (size_t)r * C, *q = p + (size_t)r * C;
		float *out = dscores + (size_t)r * C, dot = 0;
		SUM(dot)
		for (int j = 0; j < C; j++)
			dot += g[j] * q[j];
		SIMD
		for (int j = 0; j < C; j++)
			out[j] = q[j] * (g[j] - dot);
	}
}

#undef vec
#undef ivec

#endif
