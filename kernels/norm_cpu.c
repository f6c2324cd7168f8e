//go:build cgo

// norm: LayerNorm and RMSNorm fused with the residual addition and dropout before them, and their gradient.
//
// Fused: sum = x + dropout(delta), statistics, y = (sum - mean) rstd gain + bias, a row at a time while it is in L1;
// backward: gradient of the sum (written or added to the residual's) and partial sums for gain and bias in one pass.
// Shapes: rows of C. Bytes a row: forward 4C to 16C (x, delta, sum, y), backward 12C to 16C. FLOPs: about 8C and 12C;
// with dropout 10 rounds of Philox for 8 elements.
// Source: arXiv 1607.06450, 1910.07467; variance by two passes over the cached row (no cancellation).
// Oracle: norm_ref.go.
#ifndef KERNEL
#define FAMILY "norm_cpu.c"
#include "leaf.h"
#include "levels.h"

LEAF(add_norm,
	(int level, float *y, float *sum, const float *x, const float *delta, const float *gain, const float *bias,
		float *mean, float *rstd, int lo, int hi, int C, int kind, float eps, const dropout *d),
	(y, sum, x, delta, gain, bias, mean, rstd, lo, hi, C, kind, eps, d))
LEAF(norm_backward,
	(int level, float *dsum, float *dgain, float *dbias, const float *dy, const float *sum, const float *gain,
		const float *mean, const float *rstd, int lo, int hi, int C, int kind, int add),
	(dsum, dgain, dbias, dy, sum, gain, mean, rstd, lo, hi, C, kind, add))

#else

#include "vec.h"
#include "philox.h"



static void KERNEL(add_dropped)(float *sum, const float *x, const float *delta, int C, uint32_t token, const dropout *d)
{
	uint32_t words[DROP_WORDS];
	int32_t threshold = (int32_t)d->threshold;
	float scale = d->scale;
	for (int c = 0; c < C; c += DROP_COLUMNS) {
		int n = C - c < DROP_COLUMNS ? C - c : DROP_COLUMNS;
		const lane *lanes = KERNEL(drop_lanes)(words, c, n, token, d);
		int j = 0;
		for (; j + LANES <= n; j += LANES) {
			vec v = KERNEL(kept)(lanes + j, threshold, KERNEL(load)(delta + c + j) * scale);
			KERNEL(store)(sum + c + j, KERNEL(load)(x + c + j) + v);
		}
		if (j < n) {
			size_t rest = (size_t)(n - j);
			vec v = KERNEL(kept)(lanes + j, threshold, KERNEL(load_part)(delta + c + j, rest, 0) * scale);
			KERNEL(store_part)(sum + c + j, KERNEL(load_part)(x + c + j, rest, 0) + v, rest);
		}
	}
}

static void KERNEL(add_norm)(float *y, float *sum, const float *x, const float *delta, const float *gain,
	const float *bias, float *mean, float *rstd, int lo, int hi, int C, int kind, float eps, const dropout *d)
{
	for (int r = lo; r < hi; r++) {
		const float *in = x + (size_t)r * C;
		if (delta) {
			float *s = sum + (size_t)r * C;
			const float *add = delta + (size_t)r * C;
			if (d->threshold) {
				KERNEL(add_dropped)(s, in, add, C, (uint32_t)r, d);
			} else {
				SIMD
				for (int j = 0; j < C; j++)
					s[j] = in[j] + add[j];
			}
			in = s;
		}
		if (!y)
			continue;
		float mu = 0, square = 0;
		if (kind == LAYER_NORM) {
			SUM(mu)
			for (int j = 0; j < C; j++)
				mu += in[j];
			mu /= (float)C;
		}
		SUM(square)
		for (int j = 0; j < C; j++)
			square += (in[j] - mu) * (in[j] - mu);
		float rs = 1.0f / sqrtf(square / (float)C + eps);
		float *out = y + (size_t)r * C;
		if (gain && bias) {
			SIMD
			for (int j = 0; j < C; j++)
				out[j] = (in[j] - mu) * rs * gain[j] + bias[j];
		} else {
			SIMD
			for (int j = 0; j < C; j++)
				out[j] = (in[j] - mu) * rs * (gain ? gain[j] : 1.0f) + (bias ? bias[j] : 0.0f);
		}
		if (mean)
			mean[r] = mu;
		if (rstd)
			rstd[r] = rs;
	}
}

static void KERNEL(norm_backward)(float *dsum, float *dgain, float *dbias, const float *dy, const float *sum,
	const float *gain, const float *mean, const float *rstd, int lo, int hi, int C, int kind, int add)
{
	for (int r = lo; r < hi; r++) {
		const float *g = dy + (size_t)r * C, *x = sum + (size_t)r * C;
		float *out = dsum + (size_t)r * C;
		float mu = kind == LAYER_NORM ? mean[r] : 0.0f, rs = rstd[r];
		float a = 0, b = 0; // sums of g*gain and of g*gain*normalised
		if (gain) {
			SUM(a, b)
			for (int j = 0; j < C; j++) {
				float t = g[j] * gain[j];
				a += t;
				b += t * ((x[j] - mu) * rs);
			}
		} else {
			SUM(a, b)
			for (int j = 0; j < C; j++) {
				a += g[j];
				b += g[j] * ((x[j] - mu) * rs);
			}
		}
		if (dgain) {
			SIMD
			for (int j = 0; j < C; j++)
				dgain[j] += g[j] * ((x[j] - mu) * rs);
		}
		if (dbias) {
			SIMD
			for (int j = 0; j < C; j++)
				dbias[j] += g[j];
		}
		a = kind == LAYER_NORM ? a / (float)C : 0.0f;
		b /= (float)C;
		if (gain && add) {
			SIMD
			for (int j = 0; j < C; j++)
				out[j] += rs * (g[j] * gain[j] - a - (x[j] - mu) * rs * b);
		} else if (gain) {
			SIMD
			for (int j = 0; j < C; j++)
				out[j] = rs * (g[j] * gain[j] - a - (x[j] - mu) * rs * b);
		} else {
			SIMD
			for (int j = 0; j < C; j++)
				out[j] = (add ? out[j] : 0.0f) + rs * (g[j] - a - (x[j] - mu) * rs * b);
		}
	}
}

#undef vec
#undef ivec

#endif
