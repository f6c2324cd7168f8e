//go:build cgo

// reference KL: rows pulled to a frozen model's distribution, with their gradient in place of the logits.
//
// Fused: the largest logits of both rows (first pass), exponentials and their sums, which hold log-sum-exps without the
// target, loss and divergence (second), gradient (third); both rows of up to 120,000 logits stay in L2, so memory sees one
// read of each and one write. The target is a scalar of its own beside the two ranges around it.
// Shapes: [rows,V]. Bytes: 12V a row (8V without gradient). FLOPs: about 70V. Scalars of a row are float64; sums are float32
// within SPAN elements. Smoothing of every entry, as published, is a slow loop for comparisons.
// Source: arXiv 2406.13660. Oracle: reference_kl_ref.go.
#ifndef KERNEL
#define FAMILY "reference_kl_cpu.c"
#include "reference_kl.h"

enum { SPAN = 2048 };

// With m, n the largest of z and ref: sums of e^(z-m), e^(ref-n), and of one of them times (m-z) and times the difference of
// the two exponents.
typedef struct {
	double p, q, fall, gap;
} pull_sums;

// A pull_row is what loss and gradient of a row need of the sums. Without suffix p is the trained model, q the reference.
typedef struct {
	double m, n;             // bases of exponentials
	double p_others, p_all;  // log-sum-exps
	double q_others, q_all;
} pull_row;

static inline double add_logs(double a, double b)
{
	double most = a > b ? a : b, least = a > b ? b : a;
	return most == -INFINITY ? most : most + log1p(exp(least - most));
}

#include "levels.h"

LEAF(reference_kl,
	(int level, float *logits, const float *reference, const int32_t *targets, const float *weights, float *nll, float *loss,
		float *kl, int lo, int hi, int V, const pull_options *o),
	(logits, reference, targets, weights, nll, loss, kl, lo, hi, V, o))

#else

#include "vec.h"

// pull_add adds a range to the sums. pull is a constant.
INLINE void KERNEL(pull_add)(pull_sums *s, const float *z, const float *ref, size_t count, float m, float n, int pull)
{
	for (size_t at = 0; at < count; at += SPAN) {
		size_t end = count - at < SPAN ? count : at + SPAN;
		vec p = {0}, q = {0}, fall = {0}, gap = {0};
		for (size_t i = at; i < end; i += LANES) {
			size_t left = end - i;
			vec x = (left < LANES ? KERNEL(load_part)(z + i, left, -INFINITY) : KERNEL(load)(z + i)) - m;
			vec none = {0};
			if (pull == LIKELIHOOD) {
				p += KERNEL(exp_v)(x);
				continue;
			}
			vec y = (left < LANES ? KERNEL(load_part)(ref + i, left, -INFINITY) : KERNEL(load)(ref + i)) - n;
			vec ex = KERNEL(exp_v)(x), ey = KERNEL(exp_v)(y);
			p += ex;
			q += ey;
			if (pull == FORWARD_KL) {
				fall += KERNEL(select)(ey == none, none, ey * -x);
				gap += KERNEL(select)(ey == none, none, ey * (y - x));
			} else {
				gap += KERNEL(select)(ex == none, none, ex * (x - y));
			}
		}
		s->p += KERNEL(total)(p);
		s->q += KERNEL(total)(q);
		s->fall += KERNEL(total)(fall);
		s->gap += KERNEL(total)(gap);
	}
}

// pull_gradient writes a e^(z-m) + b e^(ref-n), or a e^(z-m) (z - ref + b) of REVERSE_KL. pull is a constant.
INLINE void KERNEL(pull_gradient)(float *z, const float *ref, size_t count, float m, float n, float a, float b, int pull)
{
	for (size_t i = 0; i < count; i += LANES) {
		size_t left = count - i;
		vec x = left < LANES ? KERNEL(load_part)(z + i, left, 0) : KERNEL(load)(z + i), y = {0}, none = {0};
		if (pull != LIKELIHOOD)
			y = left < LANES ? KERNEL(load_part)(ref + i, left, 0) : KERNEL(load)(ref + i);
		vec p = a * KERNEL(exp_v)(x - m), g = p;
		if (pull == FORWARD_KL)
			g = p + b * KERNEL(exp_v)(y - n);
		else if (pull == REVERSE_KL)
			g = KERNEL(select)(p == none, none, p * (x - y + b));
		if (left < LANES)
			KERNEL(store_part)(z + i, g, left);
		else
			KERNEL(store)(z + i, g);
	}
}

// Both for the two ranges beside the target, with pull made a constant.
static void KERNEL(pull_measure)(pull_row *r, pull_sums *s, const float *z, const float *ref, int y, int V, int pull)
{
	float a = KERNEL(greatest_of)(z, (size_t)y), b = KERNEL(greatest_of)(z + y + 1, (size_t)(V - y - 1));
	float m = a > b ? a : b, n = -INFINITY;
	m = m == -INFINITY ? 0 : m;
	if (pull <= REVERSE_KL) {
		a = KERNEL(greatest_of)(ref, (size_t)y), b = KERNEL(greatest_of)(ref + y + 1, (size_t)(V - y - 1));
		n = a > b ? a : b;
		n = n == -INFINITY ? 0 : n;
	}
	pull_sums sums = {0};
	for (int part = 0; part < 2; part++) {
		size_t at = part ? (size_t)y + 1 : 0, count = part ? (size_t)(V - y - 1) : (size_t)y;
		switch (pull) {
		case FORWARD_KL: KERNEL(pull_add)(&sums, z + at, ref + at, count, m, n, FORWARD_KL); break;
		case REVERSE_KL: KERNEL(pull_add)(&sums, z + at, ref + at, count, m, n, REVERSE_KL); break;
		default: KERNEL(pull_add)(&sums, z + at, z + at, count, m, n, LIKELIHOOD); break;
		}
	}
	*s = sums;
	r->m = m, r->n = n;
	r->p_others = m + log(sums.p);
	r->p_all = add_logs(r->p_others, z[y]);
	if (pull <= REVERSE_KL) {
		r->q_others = n + log(sums.q);
		r->q_all = add_logs(r->q_others, ref[y]);
	}
}

static void KERNEL(pull_write)(float *z, const float *ref, int y, int V, const pull_row *r, double a, double b, double own, int pull)
{
	for (int part = 0; part < 2; part++) {
		size_t at = part ? (size_t)y + 1 : 0, count = part ? (size_t)(V - y - 1) : (size_t)y;
		switch (pull) {
		case FORWARD_KL: KERNEL(pull_gradient)(z + at, ref + at, count, (float)r->m, (float)r->n, (float)a, (float)b, FORWARD_KL); break;
		case REVERSE_KL: KERNEL(pull_gradient)(z + at, ref + at, count, (float)r->m, 0, (float)a, (float)b, REVERSE_KL); break;
		default: KERNEL(pull_gradient)(z + at, z + at, count, (float)r->m, 0, (float)a, 0, LIKELIHOOD); break;
		}
	}
	z[y] = (float)own;
}

// pull_smoothed is a row whose target distribution has eps added to every entry; q_lse is -Inf for a target distribution of y
// alone.
static double KERNEL(pull_smoothed)(float *z, const float *ref, int y, int V, int unwanted, double p_all, double q_lse, double c,
	int reverse, double *kl, const pull_options *o)
{
	double value = 0, divergence = 0, spread = log1p(V * o->eps);
	for (int pass = 0; pass <= o->grad; pass++)
		for (int j = 0; j < V; j++) {
			double q = q_lse == -INFINITY ? j == y : unwanted && j == y ? 0 : exp(ref[j] - q_lse);
			double logp = z[j] - p_all, p = exp(logp), logq = log(q + o->eps) - spread;
			q = exp(logq);
			if (pass)
				z[j] = (float)(c * (!reverse ? p - q : p == 0 ? 0 : p * (logp - logq - divergence)));
			else if (reverse)
				divergence += p == 0 ? 0 : p * (logp - logq);
			else
				value -= q * logp, divergence += q * (logq - logp);
		}
	*kl = divergence;
	return reverse ? divergence : value;
}

static void KERNEL(reference_kl)(float *logits, const float *reference, const int32_t *targets, const float *weights, float *nll,
	float *loss, float *kl, int lo, int hi, int V, const pull_options *o)
{
	for (int row = lo; row < hi; row++) {
		float *z = logits + (size_t)row * V;
		const float *ref = reference ? reference + (size_t)row * V : NULL;
		int y = targets[row];
		double w = weights ? weights[row] : 1.0, value = 0, divergence = 0, lost = 0;
		if (y < 0 || w == 0) {
			if (o->grad)
				memset(z, 0, (size_t)V * sizeof *z);
			goto done;
		}
		int unwanted = w < 0, pull = unwanted ? o->unwanted : o->kept;
		w = fabs(w);
		double c = o->scale * w, zy = z[y], a = 0, b = 0, own = 0;
		pull_row r;
		pull_sums s;
		KERNEL(pull_measure)(&r, &s, z, ref, y, V, pull);
		// p_y and 1 - p_y, from the distance of the target's logit to the log-sum-exp of the others
		double over = zy - r.p_others, hit = exp(zy - r.p_all), miss = exp(r.p_others - r.p_all);
		lost = over > 0 ? log1p(exp(-over)) : r.p_all - zy;
		double p_scale = exp(r.m - r.p_all);
		if (o->per_entry && pull <= LIKELIHOOD) {
			double base = pull == LIKELIHOOD ? -INFINITY : unwanted ? r.q_others : r.q_all;
			value = w * KERNEL(pull_smoothed)(z, ref, y, V, unwanted, r.p_all, base, c, pull == REVERSE_KL, &divergence, o);
			if (pull == LIKELIHOOD)
				divergence = 0;
			goto done;
		}
		switch (pull) {
		case FORWARD_KL: {
			double q_lse = unwanted ? r.q_others : r.q_all, q_hit = unwanted ? 0 : exp(ref[y] - r.q_all), q_miss = exp(r.q_others - q_lse);
			// The others' mean under q of lse - z, and of log q - log p.
			double fall = s.fall / s.q + (r.p_all - r.m), gap = s.gap / s.q + (r.n - r.m) + (r.p_all - q_lse);
			value = q_miss * fall, divergence = q_miss * gap;
			if (q_hit > 0) {
				value += q_hit * lost;
				divergence += q_hit * ((ref[y] - r.q_all) + lost);
			}
			value *= w;
			a = c * p_scale, b = -c * exp(r.n - q_lse), own = c * (hit - q_hit);
			break;
		}
		case REVERSE_KL: {
			double shift = unwanted ? r.q_others - log1p(-o->eps) : r.q_all; // log q = ref - shift, but for an unwanted y
			double at_y = -lost - (unwanted ? log(o->eps) : ref[y] - r.q_all);
			double gap = s.gap / s.p + (r.m - r.n) + (shift - r.p_all);
			divergence = miss * gap + (hit > 0 ? hit * at_y : 0);
			value = w * divergence;
			a = c * p_scale, b = shift - r.p_all - divergence, own = hit > 0 ? c * hit * (at_y - divergence) : 0;
			break;
		}
		case UNLIKELIHOOD:
			value = over > 0 ? over + log1p(exp(-over)) : log1p(exp(over));
			a = -c * hit * exp(r.m - r.p_others), own = c * hit;
			if (o->clip && value > -log(1e-7))
				value = -log(1e-7), a = own = 0;
			value *= w;
			break;
		default: {
			double sign = unwanted ? -1 : 1;
			value = sign * lost, a = sign * c * p_scale, own = -sign * c * miss;
			if (-lost < o->floor && unwanted != o->floor_kept && o->unwanted == LIKELIHOOD)
				value = -sign * o->floor, a = own = 0;
			value *= w;
		}
		}
		if (o->grad && a == 0 && own == 0)
			memset(z, 0, (size_t)V * sizeof *z);
		else if (o->grad)
			KERNEL(pull_write)(z, ref, y, V, &r, a, b, own, pull);
	done:
		if (nll)
			nll[row] = (float)lost;
		if (loss)
			loss[row] = (float)value;
		if (kl)
			kl[row] = (float)divergence;
	}
}

#undef vec
#undef ivec

#endif
