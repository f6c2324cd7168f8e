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

// shown returns x where keep is not 0, else -Inf.
INLINE vec KERNEL(shown)(const float *x, const uint8_t *keep)
{
	const vec none = KERNEL(splat)(-INFINITY);
#if defined(__x86_64__) && LANES == 16
	__m128i k = _mm_loadu_si128((const __m128i *)keep);
	return (vec)_mm512_mask_loadu_ps((__m512)none, _mm_test_epi8_mask(k, k), x);
#elif defined(__x86_64__) && LANES == 8
	__m256i k = _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)keep));
	return (vec)_mm256_blendv_ps(_mm256_loadu_ps(x), (__m256)none, (__m256)_mm256_cmpeq_epi32(k, _mm256_setzero_si256()));
#else
	ivec k = {keep[0], keep[1], keep[2], keep[3]};
	return KERNEL(select)(k != 0, KERNEL(load)(x), none);
#endif
}

// hide writes x where keep is not 0, else -Inf, and returns the largest of these numbers, skipping NaN.
INLINE float KERNEL(hide)(float *y, const float *x, const uint8_t *keep, size_t n)
{
	vec top[2] = {KERNEL(splat)(-INFINITY), KERNEL(splat)(-INFINITY)};
	size_t i = 0;
	for (; i + 2 * LANES <= n; i += 2 * LANES)
		for (int u = 0; u < 2; u++) {
			vec v = KERNEL(shown)(x + i + u * LANES, keep + i + u * LANES);
			KERNEL(store)(y + i + u * LANES, v);
			top[u] = KERNEL(greater)(v, top[u]);
		}
	float most = KERNEL(greatest)(KERNEL(greater)(top[0], top[1]));
	for (; i < n; i++) {
		y[i] = keep[i] ? x[i] : -INFINITY;
		most = y[i] > most ? y[i] : most;
	}
	return most;
}

static void KERNEL(masked_softmax)(float *p, float *lse, const float *scores, const uint8_t *mask, int lo, int hi, int C)
{
	for (int r = lo; r < hi; r++) {
		const float *in = scores + (size_t)r * C;
		float *out = p + (size_t)r * C, most;
		if (r + 1 < hi) { // arithmetic and memory would take turns otherwise
			fetch(in + C, (size_t)C * sizeof *in, 0);
			fetch(out + C, (size_t)C * sizeof *out, 1);
		}
		if (mask) {
			most = KERNEL(hide)(out, in, mask + (size_t)r * C, (size_t)C);
			in = out;
		} else {
			most = KERNEL(greatest_of)(in, (size_t)C);
		}
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
