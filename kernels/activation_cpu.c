//go:build cgo

// activation: y = act(x), its gradient, the gated pairs of SwiGLU and GEGLU, and the epilogue of Linear.
//
// Fused: bias, the kept pre-activation and the activation in one pass over a block of rows that the product has just
// left in cache; act and its derivative share one exponential.
// Shapes: vectors of n; Gated [rows,2F] -> [rows,F]; the epilogue [rows,columns] with row stride ld.
// Bytes: forward 8 an element (12 with pre), backward 12; gated 12 and 20 a pair. FLOPs: about 25 (SiLU, tanh) and 35
// (erf) an element, so that AVX-512 is near the bandwidth of one core and the baseline is bound by arithmetic.
// Source: GELU arXiv 1606.08415, GLU variants arXiv 2002.05202; the functions are in cpu.h.
// Oracle: activation_ref.go.
#ifndef KERNEL
#define FAMILY "activation_cpu.c"
#include "leaf.h"
#include "levels.h"

LEAF(act_forward, (int level, float *y, const float *x, size_t n, int act), (y, x, n, act))
LEAF(act_backward, (int level, float *dx, const float *dy, const float *x, size_t n, int act), (dx, dy, x, n, act))
LEAF(bias_act, (int level, float *y, float *pre, const float *bias, size_t ld, int rows, int columns, int act),
	(y, pre, bias, ld, rows, columns, act))
LEAF(gated_forward, (int level, float *y, const float *x, int rows, int F, int act), (y, x, rows, F, act))
LEAF(gated_backward, (int level, float *dx, const float *dy, const float *x, int rows, int F, int act),
	(dx, dy, x, rows, F, act))

#else

static void KERNEL(act_forward)(float *y, const float *x, size_t n, int act)
{
	FOR_ACT(act, {
		SIMD
		for (size_t i = 0; i < n; i++)
			y[i] = act_f(x[i], A);
	})
}

static void KERNEL(act_backward)(float *dx, const float *dy, const float *x, size_t n, int act)
{
	FOR_ACT(act, {
		SIMD
		for (size_t i = 0; i < n; i++)
			dx[i] = dy[i] * act_derivative_f(x[i], A);
	})
}

static void KERNEL(bias_act)(float *y, float *pre, const float *bias, size_t ld, int rows, int columns, int act)
{
	for (int r = 0; r < rows; r++, y += ld, pre = pre ? pre + ld : pre) {
		if (bias) {
			SIMD
			for (int j = 0; j < columns; j++)
				y[j] += bias[j];
		}
		if (pre)
			memcpy(pre, y, (size_t)columns * sizeof *y);
		if (act != ACT_NONE)
			KERNEL(act_forward)(y, y, (size_t)columns, act);
	}
}

static void KERNEL(gated_forward)(float *y, const float *x, int rows, int F, int act)
{
	FOR_ACT(act, {
		for (int r = 0; r < rows; r++, y += F, x += 2 * (size_t)F) {
			const float *up = x + F;
			SIMD
			for (int j = 0; j < F; j++)
				y[j] = act_f(x[j], A) * up[j];
		}
	})
}

static void KERNEL(gated_backward)(float *dx, const float *dy, const float *x, int rows, int F, int act)
{
	FOR_ACT(act, {
		for (int r = 0; r < rows; r++, dy += F, x += 2 * (size_t)F, dx += 2 * (size_t)F) {
			const float *up = x + F;
			float *dup = dx + F;
			SIMD
			for (int j = 0; j < F; j++) {
				float g = dy[j];
				float u = up[j];
				float v = x[j];
				dx[j] = g * u * act_derivative_f(v, A);
				dup[j] = g * act_f(v, A);
			}
		}
	})
}

#endif
