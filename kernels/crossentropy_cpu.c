//go:build cgo

// cross-entropy: row-weighted loss with its gradient in place of the logits; label smoothing, z-loss, focal, DFT.
//
// Fused: maximum and its place and the sum of logits (first pass), exponentials in place and their sum (second), gradient
// (third); a row of up to 250,000 logits stays in L2, so memory sees one read and one write.
// Shapes: [rows,V]. Bytes: 8V a row (4V without gradient). FLOPs: about 20V. Scalars of a row are float64.
// Source: with e_j = exp(z_j - max), S their sum: lse = max + log S and dz_j = a e_j/S - b [j = y] - c, where a, b and c
// depend on the row alone. The largest term is kept out of the sum, so that a small loss keeps its relative precision.
// Oracle: cross_entropy_ref.go.
#ifndef KERNEL
#define FAMILY "crossentropy_cpu.c"
#include "leaf.h"
#include "levels.h"

LEAF(cross_entropy,
	(int level, float *logits, const int32_t *targets, const float *weights, float *nll, float *loss, float *hit, int lo,
		int hi, int V, const loss_options *o),
	(logits, targets, weights, nll, loss, hit, lo, hi, V, o))

#else

#include "vec.h"

// place_of returns the first place of a number in z, or n-1.
INLINE int KERNEL(place_of)(const float *z, int n, float number)
{
	int i = 0;
	for (; i + LANES <= n; i += LANES) {
		ivec same = KERNEL(load)(z + i) == KERNEL(splat)(number);
		int any = 0;
		for (int l = 0; l < LANES; l++)
			any |= same[l];
		if (any)
			break;
	}
	while (i < n - 1 && z[i] != number)
		i++;
	return i;
}

static void KERNEL(cross_entropy)(float *logits, const int32_t *targets, const float *weights, float *nll, float *loss,
	float *hit, int lo, int hi, int V, const loss_options *o)
{
	for (int r = lo; r < hi; r++) {
		float *z = logits + (size_t)r * V;
		int y = targets[r];
		double w = weights ? weights[r] : 1.0;
		if (y < 0) { // no target
			if (nll)
				nll[r] = 0;
			if (loss)
				loss[r] = 0;
			if (hit)
				hit[r] = 0;
			if (o->grad)
				memset(z, 0, (size_t)V * sizeof *z);
			continue;
		}
		float most = KERNEL(greatest_of)(z, (size_t)V), target = z[y], total = 0;
		int first = KERNEL(place_of)(z, V, most);
		if (o->smoothing != 0) {
			SUM(total)
			for (int j = 0; j < V; j++)
				total += z[j];
		}
		float largest = z[first];
		z[first] = -INFINITY;
		float rest = KERNEL(exp_all)(z, z, (size_t)V, most);
		z[first] = largest - most == 0 ? 1.0f : NAN;
		if (z[first] != z[first])
			rest = NAN;

		double tail = log1p((double)rest), lse = (double)most + tail, l = (double)most - (double)target + tail;
		double base = l, pull = 1, hold = 1, shift = 0; // dz = pull*p - hold*[target] - shift
		if (o->smoothing != 0) {
			double eps = o->smoothing;
			base = (1 - eps) * l + eps * (lse - (double)total / V);
			hold = 1 - eps;
			shift = eps / V;
		} else if (o->focal != 0) {
			double g = o->focal, miss = -expm1(-l), p = exp(-l);
			base = pow(miss, g) * l;
			pull = pow(miss, g);
			if (miss > 0 && p > 0)
				pull += g * pow(miss, g - 1) * p * l;
			hold = pull;
		} else if (o->dft) {
			pull = hold = exp(-l);
			base = l == INFINITY ? 0 : pull * l;
		}
		double z2 = 0;
		if (o->zloss != 0) {
			base += o->zloss * lse * lse;
			z2 = 2 * o->zloss * lse;
		}
		if (nll)
			nll[r] = (float)l;
		if (hit)
			hit[r] = first == y ? 1.0f : 0.0f;
		if (loss)
			loss[r] = w == 0 ? 0.0f : (float)(w * base);
		if (!o->grad)
			continue;
		if (w == 0) {
			memset(z, 0, (size_t)V * sizeof *z);
			continue;
		}
		double f = o->scale * w, sum = 1.0 + (double)rest;
		double at = z2 * exp(-l) - shift; // at the target: pull*p - hold as pull*(p - 1) + (pull - hold)
		at += pull * expm1(-l) + (pull - hold);
		float scale = (float)(f * (pull + z2) / sum), minus = (float)(f * shift);
		SIMD
		for (int j = 0; j < V; j++)
			z[j] = z[j] * scale - minus;
		z[y] = (float)(f * at);
	}
}

#undef vec
#undef ivec

#endif
