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

static void KERNEL(adamw_update)(float *p, const float *g, float *m, float *v, float *copy, size_t n,
	const adamw_step *step)
{
	adamw_step o = *step;
	SIMD
	for (size_t i = 0; i < n; i++) {
		float grad = g[i] * o.scale;
		float first = o.b1 * m[i] + o.one_minus_b1 * grad;
		float second = o.b2 * v[i] + o.one_minus_b2 * grad * grad;
		float move = first * o.correction1 / (sqrtf(second * o.correction2) + o.eps);
		m[i] = first;
		v[i] = second;
		p[i] = p[i] - o.lr * (move + o.decay * p[i]);
	}
	if (copy)
		memcpy(copy, p, n * sizeof *p);
}

#endif
