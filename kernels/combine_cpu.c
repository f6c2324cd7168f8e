//go:build cgo

// combine: linear combinations of vectors, momentum, LAMB's direction, rows times numbers.
//
// Fused: combine divides and copies; momentum scales the gradient and makes Nesterov's direction; lamb_direction scales,
// updates both moments, corrects their bias and adds the decay. Shapes: vectors of n; scale_rows [rows,C].
// Bytes an element: combine 8 to 16, momentum 20, lamb_direction 28, scale_rows 8. FLOPs: 3, 5, 15, 1. Bound by memory.
// Sources: combine.go, reweigh.go. Oracles: combine_ref.go, reweigh_ref.go.
#ifndef KERNEL
#define FAMILY "combine_cpu.c"
#include "combine.h"
#include "levels.h"

LEAF(combine, (int level, float *dst, const float *x, const float *y, float *copy, size_t n, float a, float b),
	(dst, x, y, copy, n, a, b))
LEAF(momentum, (int level, float *m, float *u, const float *g, size_t n, float scale, float beta, int nesterov),
	(m, u, g, n, scale, beta, nesterov))
LEAF(lamb_direction,
	(int level, float *u, const float *p, const float *g, float *m, float *v, size_t n, const adamw_step *o),
	(u, p, g, m, v, n, o))
LEAF(scale_rows, (int level, float *x, const float *scales, int rows, int C), (x, scales, rows, C))

#else

#include "vec.h"

static void KERNEL(combine)(float *dst, const float *x, const float *y, float *copy, size_t n, float a, float b)
{
	if (y) {
		SIMD
		for (size_t i = 0; i < n; i++)
			dst[i] = a * x[i] + b * y[i];
	} else {
		SIMD
		for (size_t i = 0; i < n; i++)
			dst[i] = a * x[i];
	}
	if (copy)
		memcpy(copy, dst, n * sizeof *dst);
}

static void KERNEL(momentum)(float *m, float *u, const float *g, size_t n, float scale, float beta, int nesterov)
{
	if (nesterov) {
		SIMD
		for (size_t i = 0; i < n; i++) {
			float grad = g[i] * scale;
			m[i] = beta * m[i] + grad;
			u[i] = grad + beta * m[i];
		}
	} else {
		SIMD
		for (size_t i = 0; i < n; i++) {
			m[i] = beta * m[i] + g[i] * scale;
			u[i] = m[i];
		}
	}
}

// lamb_vector updates the moments of one vector of elements and returns the direction.
INLINE vec KERNEL(lamb_vector)(vec p, vec g, vec *m, vec *v, const adamw_step *o)
{
	g = g * o->scale;
	*m = *m * o->b1 + g * o->one_minus_b1;
	*v = *v * o->b2 + g * g * o->one_minus_b2;
	return *m * o->correction1 / (KERNEL(root)(*v * o->correction2) + o->eps) + p * o->decay;
}

static void KERNEL(lamb_direction)(float *u, const float *p, const float *g, float *m, float *v, size_t n,
	const adamw_step *step)
{
	adamw_step o = *step;
	size_t i = 0;
	for (; i + LANES <= n; i += LANES) {
		vec first = KERNEL(load)(m + i), second = KERNEL(load)(v + i);
		KERNEL(store)(u + i, KERNEL(lamb_vector)(KERNEL(load)(p + i), KERNEL(load)(g + i), &first, &second, &o));
		KERNEL(store)(m + i, first);
		KERNEL(store)(v + i, second);
	}
	if (i < n) {
		size_t rest = n - i;
		vec first = KERNEL(load_part)(m + i, rest, 0), second = KERNEL(load_part)(v + i, rest, 0);
		vec value = KERNEL(load_part)(p + i, rest, 0), grad = KERNEL(load_part)(g + i, rest, 0);
		KERNEL(store_part)(u + i, KERNEL(lamb_vector)(value, grad, &first, &second, &o), rest);
		KERNEL(store_part)(m + i, first, rest);
		KERNEL(store_part)(v + i, second, rest);
	}
}

static void KERNEL(scale_rows)(float *x, const float *scales, int rows, int C)
{
	for (int r = 0; r < rows; r++) {
		float *row = x + (size_t)r * C, s = scales[r];
		if (s == 0) {
			memset(row, 0, (size_t)C * sizeof *row);
			continue;
		}
		SIMD
		for (int j = 0; j < C; j++)
			row[j] *= s;
	}
}

#undef vec
#undef ivec

#endif
