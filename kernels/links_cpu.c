//go:build cgo

// links: the gated mixture of log-softmaxes of a transition head, and its gradient by the scores.
//
// Fused: scale, mask, log-softmax of each head (in place over the products q.k), gate and log-sum-exp over the heads; backward
// shares and the softmaxes' gradients. Shapes: scores [H,rows,S-from] of rows from state `from` on; a state's own column is
// where the links begin. Bytes: H*4 read and written a link from cache, 4 written. FLOPs: about 25*H a link, backward 45*H.
// Source: arXiv 2205.07459, 2501.13397. Oracle: links_ref.go.
#ifndef KERNEL
#define FAMILY "links_cpu.c"
#include "alignment.h"
#include "levels.h"

LEAF(links_forward,
	(int level, float *links, float *lse, float *scores, const float *gate, const int32_t *groups, int from, int rows, int S,
		int H, float scale),
	(links, lse, scores, gate, groups, from, rows, S, H, scale))
LEAF(links_backward,
	(int level, float *scores, float *dgate, const float *dlinks, const float *links, const float *lse, const float *gate,
		int from, int rows, int S, int H, int head, float scale),
	(scores, dgate, dlinks, links, lse, gate, from, rows, S, H, head, scale))

#else

#include "vec.h"
#include "log_vec.h"

static void KERNEL(links_forward)(float *links, float *lse, float *scores, const float *gate, const int32_t *groups, int from,
	int rows, int S, int H, float scale)
{
	int width = S - from;
	for (int r = 0; r < rows; r++) {
		int u = from + r;
		size_t n = (size_t)(S - u - 1), plane = (size_t)rows * width;
		const float *g = gate + (size_t)r * H;
		float *out = links + (size_t)r * S, gates = KERNEL(log_sum)(g, (size_t)H), *first = scores + (size_t)r * width + r + 1;
		for (int v = 0; v <= u; v++)
			out[v] = -INFINITY;
		for (int c = 0; c < H; c++) {
			float *s = first + c * plane;
			SIMD
			for (size_t j = 0; j < n; j++)
				s[j] *= scale;
			if (groups)
				for (size_t j = 0; j < n; j++)
					s[j] = groups[u + 1 + j] > groups[u] ? s[j] : -INFINITY;
			float all = KERNEL(log_sum)(s, n), shift = all == -INFINITY ? 0 : (g[c] - gates) - all;
			if (lse)
				lse[(size_t)r * H + c] = all;
			SIMD
			for (size_t j = 0; j < n; j++)
				s[j] += shift;
		}
		for (size_t j = 0; j < n; j += LANES) {
			vec most = KERNEL(splat)(-INFINITY), sum = {0};
			for (int c = 0; c < H; c++)
				most = KERNEL(greater)(KERNEL(take)(first + c * plane + j, n - j, -INFINITY), most);
			vec base = KERNEL(finite_base)(most);
			for (int c = 0; c < H; c++)
				sum += KERNEL(exp_v)(KERNEL(take)(first + c * plane + j, n - j, -INFINITY) - base);
			KERNEL(give)(out + u + 1 + j, base + KERNEL(log_v)(sum), n - j);
		}
	}
}

// links_backward turns the products q.k of one head into the gradient by them, and writes the sum of the links' gradients
// that the head has to dgate[r*H + head].
static void KERNEL(links_backward)(float *scores, float *dgate, const float *dlinks, const float *links, const float *lse,
	const float *gate, int from, int rows, int S, int H, int head, float scale)
{
	int width = S - from;
	vec none = KERNEL(splat)(-INFINITY), zero = {0};
	for (int r = 0; r < rows; r++) {
		int u = from + r;
		size_t n = (size_t)(S - u - 1);
		float *s = scores + (size_t)r * width, all = lse[(size_t)r * H + head];
		const float *e = links + (size_t)r * S + u + 1, *d = dlinks + (size_t)r * S + u + 1, *g = gate + (size_t)r * H;
		float share = g[head] - KERNEL(log_sum)(g, (size_t)H), base = all == -INFINITY ? 0 : all;
		for (int j = 0; j <= r; j++)
			s[j] = 0;
		s += r + 1;
		double sum = 0;
		for (size_t j = 0; j < n; j += LANES) {
			vec to = KERNEL(take)(e + j, n - j, -INFINITY), in = KERNEL(take)(d + j, n - j, 0);
			vec l = scale * KERNEL(take)(s + j, n - j, 0) - base;
			l = KERNEL(select)(to == none, none, l);
			KERNEL(give)(s + j, l, n - j);
			sum += KERNEL(total)(KERNEL(select)(to == none, zero, in * KERNEL(exp_v)(share + l - KERNEL(finite_base)(to))));
		}
		dgate[(size_t)r * H + head] = (float)sum;
		float whole = (float)sum;
		for (size_t j = 0; j < n; j += LANES) {
			vec to = KERNEL(take)(e + j, n - j, -INFINITY), in = KERNEL(take)(d + j, n - j, 0), l = KERNEL(take)(s + j, n - j, -INFINITY);
			vec own = KERNEL(select)(to == none, zero, in * KERNEL(exp_v)(share + l - KERNEL(finite_base)(to)));
			KERNEL(give)(s + j, scale * (own - whole * KERNEL(exp_v)(l)), n - j);
		}
	}
}

#undef vec
#undef ivec

#endif
