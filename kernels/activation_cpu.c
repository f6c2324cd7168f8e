//go:build cgo

// activation: y = act(x), its gradient, the gated pairs of SwiGLU and GEGLU, and the epilogue of Linear.
//
// Fused: bias, the kept pre-activation and the activation in one pass over a block of rows that the product has just
// left in cache; act and its derivative share one exponential.
// Shapes: vectors of n; Gated two of [rows,F], ld apart -> [rows,F]; the epilogue [rows,columns] with row stride ld.
// Bytes: forward 8 an element (12 with pre), backward 12; gated 12 and 20 a pair. FLOPs: about 25 (SiLU, tanh) and 35
// (erf) an element, so that AVX-512 is near the bandwidth of one core and the baseline is bound by arithmetic.
// Source: GELU arXiv 1606.08415, GLU variants arXiv 2002.05202; the functions are in vec.h.
// Oracle: activation_ref.go.
#ifndef KERNEL
#define FAMILY "activation_cpu.c"
#include "leaf.h"
#include "levels.h"

LEAF(act_forward, (int level, float *y, const float *x, size_t n, int act), (y, x, n, act))
LEAF(act_backward, (int level, float *dx, const float *dy, const float *x, size_t n, int act), (dx, dy, x, n, act))
LEAF(bias_act, (int level, float *y, float *pre, const float *bias, size_t ld, int rows, int columns, int act),
	(y, pre, bias, ld, rows, columns, act))
LEAF(gated_forward, (int level, float *y, const float *gate, const float *up, size_t ld, int rows, int F, int act),
	(y, gate, up, ld, rows, F, act))
LEAF(gated_backward, (int level, float *dgate, float *dup, const float *dy, const float *gate, const float *up, size_t ld,
	int rows, int F, int act), (dgate, dup, dy, gate, up, ld, rows, F, act))

#else

#include "vec.h"

static void KERNEL(act_forward)(float *y, const float *x, size_t n, int act)
{
	FOR_ACT(act, {
		size_t i = 0;
		for (; i + LANES <= n; i += LANES)
			KERNEL(store)(y + i, KERNEL(act_v)(KERNEL(load)(x + i), A));
		if (i < n)
			KERNEL(store_part)(y + i, KERNEL(act_v)(KERNEL(load_part)(x + i, n - i, 0), A), n - i);
	})
}

static void KERNEL(act_backward)(float *dx, const float *dy, const float *x, size_t n, int act)
{
	FOR_ACT(act, {
		size_t i = 0;
		vec value;
		for (; i + LANES <= n; i += LANES)
			KERNEL(store)(dx + i, KERNEL(load)(dy + i) * KERNEL(slope_v)(KERNEL(load)(x + i), A, &value));
		if (i < n) {
			vec slope = KERNEL(slope_v)(KERNEL(load_part)(x + i, n - i, 0), A, &value);
			KERNEL(store_part)(dx + i, KERNEL(load_part)(dy + i, n - i, 0) * slope, n - i);
		}
	})
}

static void KERNEL(bias_act)(float *y, float *pre, const float *bias, size_t ld, int rows, int columns, int act)
{
	FOR_ACT(act, {
		for (int r = 0; r < rows; r++, y += ld, pre = pre ? pre + ld : pre) {
			int j = 0;
			for (; j + LANES <= columns; j += LANES) {
				vec v = KERNEL(load)(y + j);
				if (bias)
					v += KERNEL(load)(bias + j);
				if (pre)
					KERNEL(store)(pre + j, v);
				KERNEL(store)(y + j, KERNEL(act_v)(v, A));
			}
			if (j < columns) {
				size_t rest = (size_t)(columns - j);
				vec v = KERNEL(load_part)(y + j, rest, 0);
				if (bias)
					v += KERNEL(load_part)(bias + j, rest, 0);
				if (pre)
					KERNEL(store_part)(pre + j, v, rest);
				KERNEL(store_part)(y + j, KERNEL(act_v)(v, A), rest);
			}
		}
	})
}

static void KERNEL(gated_forward)(float *y, const float *gate, const float *up, size_t ld, int rows, int F, int act)
{
	FOR_ACT(act, {
		for (int r = 0; r < rows; r++, y += F, gate += ld, up += ld) {
			int j = 0;
			for (; j + LANES <= F; j += LANES)
				KERNEL(store)(y + j, KERNEL(act_v)(KERNEL(load)(gate + j), A) * KERNEL(load)(up + j));
			if (j < F) {
				size_t rest = (size_t)(F - j);
				vec v = KERNEL(act_v)(KERNEL(load_part)(gate + j, rest, 0), A) * KERNEL(load_part)(up + j, rest, 0);
				KERNEL(store_part)(y + j, v, rest);
			}
		}
	})
}

static void KERNEL(gated_backward)(float *dgate, float *dup, const float *dy, const float *gate, const float *up, size_t ld,
	int rows, int F, int act)
{
	FOR_ACT(act, {
		for (int r = 0; r < rows; r++, dy += F, gate += ld, up += ld, dgate += ld, dup += ld) {
			vec value, slope, g;
			int j = 0;
			for (; j + LANES <= F; j += LANES) {
				slope = KERNEL(slope_v)(KERNEL(load)(gate + j), A, &value);
				g = KERNEL(load)(dy + j);
				KERNEL(store)(dgate + j, g * KERNEL(load)(up + j) * slope);
				KERNEL(store)(dup + j, g * value);
			}
			if (j < F) {
				size_t rest = (size_t)(F - j);
				slope = KERNEL(slope_v)(KERNEL(load_part)(gate + j, rest, 0), A, &value);
				g = KERNEL(load_part)(dy + j, rest, 0);
				KERNEL(store_part)(dgate + j, g * KERNEL(load_part)(up + j, rest, 0) * slope, rest);
				KERNEL(store_part)(dup + j, g * value, rest);
			}
		}
	})
}

#undef vec
#undef ivec

#endif
