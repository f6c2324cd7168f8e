//go:build cgo

// attention: scaled dot-product attention inside segments, forward and backward, never N x N in memory.
//
// Fused: scores, mask, softmax, dropout and the sum over values, a tile of 64 queries by 64 keys at a time; backward
// recomputes the probabilities from the kept log-sum-exp and writes the gradients of q, k and v. Tiles that the mask
// hides entirely are skipped.
// Shapes: QKV [rows,(H+2K)D], Out [rows,HD], LSE [H,rows]. An item is a segment, a key/value head with its H/K query
// heads, and a range: of queries forward; of keys backward, where it owns dK and dV of the range and adds one partial
// sum to dQ. Items depend on the segments alone and partial sums are added in their order.
// FLOPs a pair of query and key: 4D forward, 10D backward, an exponential each, a Philox block for 8 with dropout.
// Bytes: QKV and Out once, K and V once more for every 256 queries.
// Source: FlashAttention-2, arXiv 2307.08691. Oracle: attention_ref.go.
#ifndef KERNEL
#define FAMILY "attention_cpu.c"
#include "leaf.h"

enum { TILE = 64, LANE_BLOCKS = TILE / 8 + 1 };

static int least(int a, int b) { return a < b ? a : b; }
static int most(int a, int b) { return a > b ? a : b; }

// padded is a row of D with whole vectors at every level.
static int padded(int D) { return (D + 15) / 16 * 16; }

// visible sets [*a, *b) to the keys that query i of the item's segment sees.
static void visible(const attention_item *t, int i, int *a, int *b)
{
	*a = t->start;
	*b = t->end;
	if (t->window) {
		*a = most(*a, i - t->window);
		*b = (int64_t)i + t->window + 1 < *b ? i + t->window + 1 : *b;
	}
	if (t->causal)
		*b = least(*b, i + 1);
}

// The scratch memory of an item.
typedef struct {
	float *keysT, *valuesT, *keys, *values, *q, *o, *s, *dp, *dk, *dv, *dq;
	uint32_t *words, *c0, *c1;
} scratch;

static int whole_tiles(int length) { return (length + TILE - 1) / TILE * TILE; }

size_t attention_work(int length, int H, int K, int D)
{
	size_t L = (size_t)whole_tiles(length), P = (size_t)padded(D);
	return L * P * (2 + (size_t)(H / K)) + TILE * P * 6 + TILE * TILE * 2 + (TILE * LANE_BLOCKS + PHILOX_SLACK) * 6 + 64;
}

static scratch carve(float *work, int length, int D)
{
	size_t L = (size_t)whole_tiles(length), P = (size_t)padded(D), T = TILE * P;
	scratch w;
	w.keysT = work, work += L * P;
	w.values = work, work += L * P;
	w.valuesT = work, work += T;
	w.keys = work, work += T;
	w.q = work, work += T;
	w.o = work, work += T;
	w.dk = work, work += T;
	w.dv = work, work += T;
	w.s = work, work += TILE * TILE;
	w.dp = work, work += TILE * TILE;
	w.words = (uint32_t *)work, work += 4 * (TILE * LANE_BLOCKS + PHILOX_SLACK);
	w.c0 = (uint32_t *)work, work += TILE * LANE_BLOCKS + PHILOX_SLACK;
	w.c1 = (uint32_t *)work, work += TILE * LANE_BLOCKS + PHILOX_SLACK;
	w.dq = work;
	return w;
}

#include "levels.h"

LEAF(attention_forward,
	(int level, float *out, float *lse, const float *qkv, const attention_item *items, int n, const attention_shape *s,
		float *work),
	(out, lse, qkv, items, n, s, work))
LEAF(attention_delta,
	(int level, float *delta, const float *dout, const float *out, int lo, int hi, const attention_shape *s),
	(delta, dout, out, lo, hi, s))
LEAF(attention_backward,
	(int level, float *dqkv, float *parts, const float *dout, const float *lse, const float *delta, const float *qkv,
		const attention_item *items, int n, const attention_shape *s, float *work),
	(dqkv, parts, dout, lse, delta, qkv, items, n, s, work))
LEAF(attention_combine,
	(int level, float *dqkv, const float *parts, const attention_item *items, int n, const attention_shape *s),
	(dqkv, parts, items, n, s))

#else

#include "vec.h"
#include "micro.h"
#include "philox.h"

// transpose writes n <= TILE rows of width D as columns: to[d*TILE + j] = from[j*ld + d], with zeros up to n rounded up
// to whole vectors.
static void KERNEL(transpose)(float *to, const float *from, size_t ld, int n, int D)
{
	int j = 0, whole = (n + LANES - 1) / LANES * LANES;
	for (; j + LANES <= n; j += LANES) {
		int d = 0;
		for (; d + LANES <= D; d += LANES)
			KERNEL(transpose_square)(to + (size_t)d * TILE + j, TILE, from + j * ld + d, ld);
		for (; d < D; d++)
			for (int l = 0; l < LANES; l++)
				to[(size_t)d * TILE + j + l] = from[(j + l) * ld + d];
	}
	for (; j < whole; j++)
		for (int d = 0; d < D; d++)
			to[(size_t)d * TILE + j] = j < n ? from[j * ld + d] : 0.0f;
}

// rows copies n rows of width D times f into rows of width P, zero-padded.
static void KERNEL(rows)(float *to, const float *from, size_t ld, int n, int D, int P, float f)
{
	for (int i = 0; i < n; i++) {
		SIMD
		for (int d = 0; d < D; d++)
			to[(size_t)i * P + d] = from[i * ld + d] * f;
		for (int d = D; d < P; d++)
			to[(size_t)i * P + d] = 0;
	}
}

// tile_lanes computes the dropout lanes of queries [i0, i0+m) and keys [j0, j0+n) of head h, and returns the first
// query's; stride receives the lanes from one query to the next.
static const lane *KERNEL(tile_lanes)(scratch *w, const attention_shape *s, int h, int i0, int m, int j0, int n,
	int *stride)
{
	int first = j0 / 8, blocks = (j0 + n - 1) / 8 - first + 1, at = 0;
	for (int i = 0; i < m; i++)
		for (int b = 0; b < blocks; b++, at++) {
			w->c0[at] = (uint32_t)(first + b) | (uint32_t)h << 20;
			w->c1[at] = (uint32_t)(i0 + i);
		}
	KERNEL(philox_words)(w->words, at, w->c0, w->c1, &s->drop);
	*stride = blocks * 8;
	return (const lane *)w->words + j0 % 8;
}

// softmax_step folds row p of n scores (whole vectors, hidden ones -Inf) into the running maximum and sum, turns them into
// exponentials and returns what the sum over values so far must be multiplied by.
INLINE float KERNEL(softmax_step)(float *p, int n, float *maximum, float *sum)
{
	float top = KERNEL(greatest_of)(p, (size_t)n);
	top = top > *maximum ? top : *maximum;
	float base = top == -INFINITY ? 0.0f : top, total = KERNEL(exp_all)(p, p, (size_t)n, base);
	float keep = top == *maximum ? 1.0f : KERNEL(exp_v)(KERNEL(splat)(*maximum - base))[0];
	*maximum = top;
	*sum = *sum * keep + total;
	return keep;
}

static void KERNEL(forward_tile)(float *out, float *lse, const float *qkv, const attention_item *t,
	const attention_shape *s, scratch *w, const float *values, size_t ldv, int h, int i0, int i1)
{
	int D = s->D, P = padded(D), m = i1 - i0, a0, a1, b0, b1;
	size_t ld = (size_t)(s->H + 2 * s->K) * D;
	float top[TILE], sum[TILE];
	int32_t threshold = (int32_t)s->drop.threshold;
	visible(t, i0, &a0, &b0);
	visible(t, i1 - 1, &a1, &b1);
	KERNEL(rows)(w->q, qkv + i0 * ld + (size_t)h * D, ld, m, D, P, s->scale);
	memset(w->o, 0, (size_t)m * P * sizeof(float));
	for (int i = 0; i < m; i++)
		top[i] = -INFINITY, sum[i] = 0;
	for (int j0 = t->start + (a0 - t->start) / TILE * TILE; j0 < b1; j0 += TILE) {
		int j1 = least(j0 + TILE, b1), n = (j1 - j0 + LANES - 1) / LANES * LANES, stride = 0;
		const lane *lanes = NULL;
		KERNEL(product)(w->s, TILE, w->q, (size_t)P, 1, w->keysT + (size_t)(j0 - t->start) * P, TILE, m, n, D, 0);
		if (threshold)
			lanes = KERNEL(tile_lanes)(w, s, h, i0, m, j0, j1 - j0, &stride);
		int hidden = a1 > j0 || b0 < j1 || j1 - j0 < n;
		for (int i = 0; i < m; i++) {
			float *p = w->s + i * TILE;
			if (hidden) {
				int a, b;
				visible(t, i0 + i, &a, &b);
				for (int j = 0; j < n; j++)
					p[j] = j0 + j >= a && j0 + j < b ? p[j] : -INFINITY;
			}
			float keep = KERNEL(softmax_step)(p, n, &top[i], &sum[i]);
			if (keep != 1.0f) {
				float *o = w->o + (size_t)i * P;
				SIMD
				for (int d = 0; d < P; d++)
					o[d] *= keep;
			}
			if (lanes) {
				const lane *l = lanes + (size_t)i * stride;
				for (int j = 0; j < n; j += LANES)
					KERNEL(store)(p + j, KERNEL(kept)(l + j, threshold, KERNEL(load)(p + j) * s->drop.scale));
			}
		}
		KERNEL(product)(w->o, (size_t)P, w->s, TILE, 1, values + (size_t)(j0 - t->start) * ldv, ldv, m, P, j1 - j0, 1);
	}
	for (int i = 0; i < m; i++) {
		float f = sum[i] == 0 ? 0.0f : 1.0f / sum[i], *o = out + ((size_t)(i0 + i) * s->H + h) * D;
		for (int d = 0; d < D; d++)
			o[d] = w->o[(size_t)i * P + d] * f;
		if (lse)
			lse[(size_t)h * s->rows + i0 + i] = sum[i] == 0 ? -INFINITY : top[i] + logf(sum[i]);
	}
}

static void KERNEL(attention_forward)(float *out, float *lse, const float *qkv, const attention_item *items, int n,
	const attention_shape *s, float *work)
{
	int D = s->D, P = padded(D), group = s->H / s->K;
	size_t ld = (size_t)(s->H + 2 * s->K) * D;
	for (const attention_item *t = items; t < items + n; t++) {
		scratch w = carve(work, t->end - t->start, D);
		const float *k = qkv + t->start * ld + (size_t)(s->H + t->head) * D, *v = k + (size_t)s->K * D;
		int a0, b0, a1, b1;
		visible(t, t->lo, &a0, &b0);
		visible(t, t->hi - 1, &a1, &b1);
		int from = (a0 - t->start) / TILE * TILE, to = b1 - t->start;
		for (int j = from; j < to; j += TILE)
			KERNEL(transpose)(w.keysT + (size_t)j * P, k + j * ld, ld, least(TILE, t->end - t->start - j), D);
		const float *values = v;
		size_t ldv = ld;
		if (P != D) {
			KERNEL(rows)(w.values + (size_t)from * P, v + from * ld, ld, to - from, D, P, 1.0f);
			values = w.values;
			ldv = (size_t)P;
		}
		for (int g = 0; g < group; g++)
			for (int i = t->lo; i < t->hi; i += TILE)
				KERNEL(forward_tile)(out, lse, qkv, t, s, &w, values, ldv, t->head * group + g, i, least(i + TILE, t->hi));
	}
}

// attention_delta writes the sum of dOut*Out over each head of each row, which is what the softmax's gradient subtracts.
static void KERNEL(attention_delta)(float *delta, const float *dout, const float *out, int lo, int hi,
	const attention_shape *s)
{
	for (int i = lo; i < hi; i++)
		for (int h = 0; h < s->H; h++) {
			const float *a = dout + ((size_t)i * s->H + h) * s->D, *b = out + ((size_t)i * s->H + h) * s->D;
			float dot = 0;
			SUM(dot)
			for (int d = 0; d < s->D; d++)
				dot += a[d] * b[d];
			delta[(size_t)h * s->rows + i] = dot;
		}
}

// backward_tile adds what queries [i0,i1) of head h give to dK and dV of the keys [j0,j1) and to their own dQ.
static void KERNEL(backward_tile)(float *dq, const float *dout, const float *lse, const float *delta, const float *qkv,
	const attention_item *t, const attention_shape *s, scratch *w, int h, int i0, int i1, int j0, int j1)
{
	int D = s->D, P = padded(D), m = i1 - i0, keys = j1 - j0, n = (keys + LANES - 1) / LANES * LANES, stride = 0;
	size_t ld = (size_t)(s->H + 2 * s->K) * D;
	int a0, b0, a1, b1;
	visible(t, i0, &a0, &b0);
	visible(t, i1 - 1, &a1, &b1);
	int hidden = a1 > j0 || b0 < j1 || keys < n;
	KERNEL(rows)(w->q, qkv + i0 * ld + (size_t)h * D, ld, m, D, P, 1.0f);
	KERNEL(rows)(w->o, dout + ((size_t)i0 * s->H + h) * D, (size_t)s->H * D, m, D, P, 1.0f);
	KERNEL(product)(w->s, TILE, w->q, (size_t)P, 1, w->keysT, TILE, m, n, D, 0);
	KERNEL(product)(w->dp, TILE, w->o, (size_t)P, 1, w->valuesT, TILE, m, n, D, 0);
	const lane *lanes = NULL;
	int32_t threshold = (int32_t)s->drop.threshold;
	if (threshold)
		lanes = KERNEL(tile_lanes)(w, s, h, i0, m, j0, keys, &stride);
	for (int i = 0; i < m; i++) {
		float *p = w->s + i * TILE, *g = w->dp + i * TILE;
		float l = lse[(size_t)h * s->rows + i0 + i], sub = delta[(size_t)h * s->rows + i0 + i];
		if (l == -INFINITY) { // the query saw nothing
			memset(p, 0, (size_t)n * sizeof *p);
			memset(g, 0, (size_t)n * sizeof *g);
			continue;
		}
		for (int j = 0; j < n; j += LANES)
			KERNEL(store)(p + j, KERNEL(exp_v)(KERNEL(load)(p + j) * s->scale - l));
		if (hidden) {
			int a, b;
			visible(t, i0 + i, &a, &b);
			for (int j = 0; j < n; j++)
				p[j] = j0 + j >= a && j0 + j < b ? p[j] : 0.0f;
		}
		if (lanes) {
			const lane *l = lanes + (size_t)i * stride;
			for (int j = 0; j < n; j += LANES) {
				vec q = KERNEL(load)(p + j), scale = KERNEL(splat)(s->drop.scale);
				vec dropped = KERNEL(kept)(l + j, threshold, KERNEL(load)(g + j) * scale);
				KERNEL(store)(p + j, KERNEL(kept)(l + j, threshold, q * scale));
				KERNEL(store)(g + j, q * (dropped - sub) * s->scale);
			}
		} else {
			for (int j = 0; j < n; j += LANES)
				KERNEL(store)(g + j, KERNEL(load)(p + j) * (KERNEL(load)(g + j) - sub) * s->scale);
		}
	}
	KERNEL(product)(w->dv, (size_t)P, w->s, 1, TILE, w->o, (size_t)P, keys, P, m, 1);
	KERNEL(product)(w->dk, (size_t)P, w->dp, 1, TILE, w->q, (size_t)P, keys, P, m, 1);
	KERNEL(product)(dq, (size_t)P, w->dp, TILE, 1, w->keys, (size_t)P, m, P, keys, 1);
}

static void KERNEL(attention_backward)(float *dqkv, float *parts, const float *dout, const float *lse,
	const float *delta, const float *qkv, const attention_item *items, int n, const attention_shape *s, float *work)
{
	int D = s->D, P = padded(D), group = s->H / s->K;
	size_t ld = (size_t)(s->H + 2 * s->K) * D;
	for (const attention_item *t = items; t < items + n; t++) {
		int length = t->end - t->start;
		scratch w = carve(work, length, D);
		size_t kAt = (size_t)(s->H + t->head) * D, vAt = kAt + (size_t)s->K * D;
		memset(w.dq, 0, (size_t)group * length * P * sizeof(float));
		for (int j0 = t->lo; j0 < t->hi; j0 += TILE) {
			int j1 = least(j0 + TILE, t->hi), keys = j1 - j0;
			KERNEL(transpose)(w.keysT, qkv + j0 * ld + kAt, ld, keys, D);
			KERNEL(transpose)(w.valuesT, qkv + j0 * ld + vAt, ld, keys, D);
			KERNEL(rows)(w.keys, qkv + j0 * ld + kAt, ld, keys, D, P, 1.0f);
			memset(w.dk, 0, (size_t)keys * P * sizeof(float));
			memset(w.dv, 0, (size_t)keys * P * sizeof(float));
			for (int g = 0; g < group; g++)
				for (int i0 = t->start; i0 < t->end; i0 += TILE) {
					int i1 = least(i0 + TILE, t->end), a0, b0, a1, b1;
					visible(t, i0, &a0, &b0);
					visible(t, i1 - 1, &a1, &b1);
					if (a0 >= j1 || b1 <= j0)
						continue;
					KERNEL(backward_tile)(w.dq + ((size_t)g * length + (i0 - t->start)) * P, dout, lse, delta, qkv, t, s, &w,
						t->head * group + g, i0, i1, j0, j1);
				}
			for (int j = 0; j < keys; j++) {
				memcpy(dqkv + (j0 + j) * ld + kAt, w.dk + (size_t)j * P, (size_t)D * sizeof(float));
				memcpy(dqkv + (j0 + j) * ld + vAt, w.dv + (size_t)j * P, (size_t)D * sizeof(float));
			}
		}
		for (int g = 0; g < group; g++)
			for (int i = 0; i < length; i++) {
				float *to = t->part < 0 ? dqkv + (t->start + i) * ld + (size_t)(t->head * group + g) * D
										: parts + t->part + ((size_t)g * length + i) * D;
				memcpy(to, w.dq + ((size_t)g * length + i) * P, (size_t)D * sizeof(float));
			}
	}
}

// attention_combine adds the n partial sums of dQ of one segment and key/value head.
static void KERNEL(attention_combine)(float *dqkv, const float *parts, const attention_item *items, int n,
	const attention_shape *s)
{
	int D = s->D, group = s->H / s->K, length = items->end - items->start;
	size_t ld = (size_t)(s->H + 2 * s->K) * D;
	for (int g = 0; g < group; g++)
		for (int i = 0; i < length; i++) {
			float *to = dqkv + (items->start + i) * ld + (size_t)(items->head * group + g) * D;
			size_t at = ((size_t)g * length + i) * D;
			memcpy(to, parts + items->part + at, (size_t)D * sizeof(float));
			for (const attention_item *t = items + 1; t < items + n; t++) {
				const float *p = parts + t->part + at;
				SIMD
				for (int d = 0; d < D; d++)
					to[d] += p[d];
			}
		}
}

#undef MICRO_ROWS
#undef MICRO_VECTORS
#undef MICRO_COLUMNS
#undef vec
#undef ivec

#endif
