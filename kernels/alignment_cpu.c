//go:build cgo

// alignment: log-probabilities of emissions gathered from logits, the sum over paths of a lattice with its gradients, and the
// gradient of the emissions over the logits.
//
// Fused: log-sum-exp and gather in one read of the logits (4V bytes a state), scatter and softmax in one read and write (8V).
// The dynamic program has the forward pass by vectors of states (columns of the links), the backward pass by rows of the
// links, and the links' gradient as a sum over targets in registers: about M S^2/2 exponentials each, less what no path
// reaches: state u can emit target i only when i <= u <= S-M+i. Its matrices, [M,S] and [S,S], stay in cache.
// Each row of alpha and beta is relative to its largest number; the sums of these are float64.
// Source: DA-Transformer, arXiv 2205.07459; ExLM, arXiv 2501.13397. Oracle: alignment_ref.go.
#ifndef KERNEL
#define FAMILY "alignment_cpu.c"
#include "alignment.h"

// align_work returns the scratch floats of align_dag: shifts of both programs in float64, then their matrices.
size_t align_work(int M, int S) { return 4 * (size_t)M + 16 + 2 * (size_t)M * S; }

#include "levels.h"

LEAF(emissions, (int level, float *match, float *lse, const float *logits, const int32_t *targets, const emission_rows *r, int V),
	(match, lse, logits, targets, r, V))
LEAF(emissions_backward,
	(int level, float *logits, const float *dmatch, const float *lse, const int32_t *targets, const emission_rows *r, int V),
	(logits, dmatch, lse, targets, r, V))
LEAF(align_dag,
	(int level, double *logp, float *dmatch, float *dlinks, const float *match, const float *links, int M, int S, double scale,
		int grad, float *work),
	(logp, dmatch, dlinks, match, links, M, S, scale, grad, work))

#else

#include "vec.h"
#include "log_vec.h"

static void KERNEL(emissions)(float *match, float *lse, const float *logits, const int32_t *targets, const emission_rows *r, int V)
{
	for (int row = r->lo; row < r->hi; row++) {
		const float *z = logits + (size_t)row * V;
		float all = KERNEL(log_sum)(z, (size_t)V), *to = match + (row - r->start);
		lse[row] = all;
		for (int i = 0; i < r->E; i++)
			to[(size_t)i * r->S] = z[i < r->M ? targets[i] : r->blank] - all;
	}
}

static void KERNEL(emissions_backward)(float *logits, const float *dmatch, const float *lse, const int32_t *targets,
	const emission_rows *r, int V)
{
	for (int row = r->lo; row < r->hi; row++) {
		float *z = logits + (size_t)row * V;
		const float *d = dmatch + (row - r->start);
		double sum = 0;
		int counts = 0;
		for (int i = 0; i < r->E; i++) {
			counts |= d[(size_t)i * r->S] != 0;
			sum += d[(size_t)i * r->S];
		}
		if (!counts) {
			memset(z, 0, (size_t)V * sizeof *z);
			continue;
		}
		float scale = (float)-sum, base = lse[row];
		for (size_t j = 0; j < (size_t)V; j += LANES)
			KERNEL(give)(z + j, scale * KERNEL(exp_v)(KERNEL(take)(z + j, V - j, 0) - base), V - j);
		for (int i = 0; i < r->E; i++)
			z[i < r->M ? targets[i] : r->blank] += d[(size_t)i * r->S];
	}
}

// settle takes the largest number off a row and returns it; -Inf where there is none.
static double KERNEL(settle)(float *row, int S)
{
	float most = KERNEL(greatest_of)(row, (size_t)S);
	if (most == -INFINITY) {
		for (int u = 0; u < S; u++)
			if (row[u] != row[u])
				return NAN;
		return most;
	}
	SIMD
	for (int u = 0; u < S; u++)
		row[u] -= most;
	return most;
}

static void KERNEL(fill)(float *x, size_t n, float value)
{
	for (size_t i = 0; i < n; i++)
		x[i] = value;
}

// align_forward does one target: alpha from the one before it.
static void KERNEL(align_forward)(float *alpha, const float *before, const float *match, const float *links, int i, int M, int S)
{
	int end = S - M + i + 1; // of the states that can emit i
	for (int u = i; u < end; u += LANES) {
		size_t left = (size_t)(S - u), kept = (size_t)(end - u);
		int last = u + LANES < end ? u + LANES : end; // states before the last of the vector's
		vec most = KERNEL(splat)(-INFINITY), sum = {0};
		for (int v = i - 1; v < last - 1; v++)
			most = KERNEL(greater)(before[v] + KERNEL(take)(links + (size_t)v * S + u, left, -INFINITY), most);
		vec base = KERNEL(finite_base)(most);
		for (int v = i - 1; v < last - 1; v++)
			sum += KERNEL(exp_v)(before[v] + KERNEL(take)(links + (size_t)v * S + u, left, -INFINITY) - base);
		vec value = KERNEL(take)(match + u, left, -INFINITY) + (base + KERNEL(log_v)(sum));
		KERNEL(give)(alpha + u, value, kept);
	}
}

// align_backward does one target: beta from the one after it.
static void KERNEL(align_backward)(float *beta, const float *after, const float *match, const float *links, int i, int M, int S)
{
	int end = S - M + i + 1;
	for (int u = i; u < end; u++) {
		const float *row = links + (size_t)u * S + u + 1, *next = after + u + 1;
		size_t n = (size_t)(end - u); // up to the last state that can emit i+1
		vec most = KERNEL(splat)(-INFINITY), sum = {0};
		for (size_t w = 0; w < n; w += LANES)
			most = KERNEL(greater)(KERNEL(take)(row + w, n - w, -INFINITY) + KERNEL(take)(next + w, n - w, -INFINITY), most);
		float top = KERNEL(greatest)(most), base = top == -INFINITY ? 0 : top;
		for (size_t w = 0; w < n; w += LANES)
			sum += KERNEL(exp_v)(KERNEL(take)(row + w, n - w, -INFINITY) + KERNEL(take)(next + w, n - w, -INFINITY) - base);
		beta[u] = match[u] + (base + logf(KERNEL(total)(sum)));
	}
}

static void KERNEL(align_dag)(double *logp, float *dmatch, float *dlinks, const float *match, const float *links, int M, int S,
	double scale, int grad, float *work)
{
	double *c = (double *)work, *d = c + M;
	float *alpha = work + ((4 * (size_t)M + 15) & ~(size_t)15), *beta = alpha + (size_t)M * S;
	size_t n = (size_t)M * S;
	double Z = -INFINITY;
	if (M <= S) {
		KERNEL(fill)(alpha, n, -INFINITY);
		if (S > 0)
			alpha[0] = match[0];
		for (int i = 0; i < M; i++) {
			float *row = alpha + (size_t)i * S;
			if (i > 0)
				KERNEL(align_forward)(row, row - S, match + (size_t)i * S, links, i, M, S);
			double most = KERNEL(settle)(row, S);
			c[i] = (i > 0 ? c[i - 1] : 0) + most;
			Z = c[i];
			if (!(fabs(most) < INFINITY))
				break;
		}
		if (fabs(Z) < INFINITY)
			Z += alpha[n - 1];
	}
	*logp = Z;
	if (!grad)
		return;
	if (!(fabs(Z) < INFINITY)) {
		float value = Z != Z ? NAN : 0;
		KERNEL(fill)(dmatch, n, value);
		KERNEL(fill)(dlinks, (size_t)S * S, value);
		return;
	}
	KERNEL(fill)(beta, n, -INFINITY);
	beta[n - 1] = match[n - 1];
	for (int i = M - 1; i >= 0; i--) {
		float *row = beta + (size_t)i * S;
		if (i < M - 1)
			KERNEL(align_backward)(row, row + S, match + (size_t)i * S, links, i, M, S);
		d[i] = (i < M - 1 ? d[i + 1] : 0) + KERNEL(settle)(row, S);
	}
	float f = (float)scale;
	vec none = KERNEL(splat)(-INFINITY);
	for (int i = 0; i < M; i++) {
		float shift = (float)(c[i] + d[i] - Z);
		for (int u = 0; u < S; u += LANES) {
			size_t at = (size_t)i * S + u, left = (size_t)(S - u);
			vec m = KERNEL(take)(match + at, left, -INFINITY);
			vec p = KERNEL(exp_v)(KERNEL(take)(alpha + at, left, -INFINITY) + KERNEL(take)(beta + at, left, -INFINITY) - m + shift);
			KERNEL(give)(dmatch + at, KERNEL(select)(m == none, (vec){0}, f * p), left);
		}
	}
	for (int v = 0; v < S; v++) {
		float *out = dlinks + (size_t)v * S;
		int first = v > S - M ? v - (S - M) : 0, end = v + 1 < M - 1 ? v + 1 : M - 1; // targets that v can emit, but the last
		KERNEL(fill)(out, (size_t)v + 1, 0);
		for (int u = v + 1; u < S; u += LANES) {
			size_t left = (size_t)(S - u);
			vec e = KERNEL(take)(links + (size_t)v * S + u, left, -INFINITY), sum = {0};
			for (int i = first; i < end; i++) {
				float a = alpha[(size_t)i * S + v];
				if (a != -INFINITY)
					sum += KERNEL(exp_v)(a + e + KERNEL(take)(beta + (size_t)(i + 1) * S + u, left, -INFINITY) + (float)(c[i] + d[i + 1] - Z));
			}
			KERNEL(give)(out + u, f * sum, left);
		}
	}
}

#undef vec
#undef ivec

#endif
