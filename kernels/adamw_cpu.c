//go:build cgo

// adamw: the whole update of one parameter tensor in one pass.
//
// Fused: scaling and clipping of the gradient, both moments, bias correction, decoupled decay, the parameter and its copy.
// Shapes: vectors of n. Bytes: 28 an element (32 with the copy). FLOPs: about 15 an element, one square root and two
// divisions. Bound by memory. Source: arXiv 1711.05101. Oracle: adamw_ref.go.
#ifndef KERNEL
#define FAMILY "adamw_cpu.c"
#include "leaf.h"
#include "levels.h"

LEAF(adamw_update,
	(int level, float *p, const float *g, float *m, float *v, float *copy, size_t n, const adamw_step *o),
	(p, g, m, v, copy, n, o))

#else

#include "vec.h"

// adamw_vector updates one vector of elements and returns the parameters.
INLINE vec KERNEL(adamw_vector)(vec p, vec g, vec *m, vec *v, const adamw_step *o)
{
	g = g * o->scale;
	*m = *m * o->b1 + g * o->one_minus_b1;
	*v = *v * o->b2 + g * g * o->one_minus_b2;
	vec move = *m * o->correction1 / (KERNEL(root)(*v * o->correction2) + o->eps);
	return p - (p * o->decay + move) * o->lr;
}

static void KERNEL(adamw_update)(float *p, const float *g, float *m, float *v, float *copy, size_t n,
	const adamw_step *step)
{
	adamw_step o = *step;
	size_t i = 0;
	for (; i + LANES <= n; i += LANES) {
		vec first = KERNEL(load)(m + i), second = KERNEL(load)(v + i);
		KERNEL(store)(p + i, KERNEL(adamw_vector)(KERNEL(load)(p + i), KERNEL(load)(g + i), &first, &second, &o));
		KERNEL(store)(m + i, first);
		KERNEL(store)(v + i, second);
	}
	if (i < n) {
		size_t rest = n - i;
		vec first = KERNEL(load_part)(m + i, rest, 0), second = KERNEL(load_part)(v + i, rest, 0);
		vec value = KERNEL(load_part)(p + i, rest, 0), grad = KERNEL(load_part)(g + i, rest, 0);
		KERNEL(store_part)(p + i, KERNEL(adamw_vector)(value, grad, &first, &second, &o), rest);
		KERNEL(store_part)(m + i, first, rest);
		KERNEL(store_part)(v + i, second, rest);
	}
	if (copy)
		memcpy(copy, p, n * sizeof *p);
}

#undef vec
#undef ivec

#endif
