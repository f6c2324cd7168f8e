//go:build cgo

// embedding: sums of table rows, the scatter that is its gradient, and the rotation of rotary positions.
//
// Shapes: out [rows,C], tables [.,C]; scatter works on columns [from,to) of all rows, so that workers never share an
// element and every element is summed in the order of the rows. Rope turns heads of width D in place.
// Bytes: embed 4C read a table and 4C written a row; scatter 12C a row; rope 8D a head. FLOPs: 1 an element and table; 6 a
// pair for rope. All are bound by memory.
// Source: RoFormer, arXiv 2104.09864; two axes, arXiv 2501.13397.
// Oracles: embedding_ref.go, rope_ref.go, rows_ref.go.
#ifndef KERNEL
#define FAMILY "embedding_cpu.c"
#include "leaf.h"
#include "levels.h"

LEAF(embed_rows,
	(int level, float *out, const float *tokens, const float *positions, const float *types, const int32_t *ids,
		const int32_t *pos, int lo, int hi, int C),
	(out, tokens, positions, types, ids, pos, lo, hi, C))
LEAF(scatter_columns,
	(int level, float *dst, const float *src, const int32_t *index, int stride, int rows, int C, int from, int to),
	(dst, src, index, stride, rows, C, from, to))
LEAF(rope_rows,
	(int level, float *x, const int32_t *pos, const float *table, int lo, int hi, size_t ld, int heads, int D, int axes,
		int inverse),
	(x, pos, table, lo, hi, ld, heads, D, axes, inverse))

#else

static void KERNEL(embed_rows)(float *out, const float *tokens, const float *positions, const float *types,
	const int32_t *ids, const int32_t *pos, int lo, int hi, int C)
{
	for (int r = lo; r < hi; r++) {
		float *o = out + (size_t)r * C;
		const float *t = tokens + (size_t)ids[r] * C;
		if (positions && !types) {
			const float *p = positions + (size_t)pos[2 * (size_t)r] * C;
			SIMD
			for (int j = 0; j < C; j++)
				o[j] = t[j] + p[j];
			continue;
		}
		memcpy(o, t, (size_t)C * sizeof *o);
		if (positions) {
			const float *p = positions + (size_t)pos[2 * (size_t)r] * C;
			SIMD
			for (int j = 0; j < C; j++)
				o[j] += p[j];
		}
		if (types) {
			SIMD
			for (int j = 0; j < C; j++)
				o[j] += types[j];
		}
	}
}

// scatter_columns adds src[r] to dst[index[r*stride]], or to dst[0] without an index.
static void KERNEL(scatter_columns)(float *dst, const float *src, const int32_t *index, int stride, int rows, int C,
	int from, int to)
{
	for (int r = 0; r < rows; r++) {
		float *d = dst + (index ? (size_t)index[(size_t)r * stride] * C : 0);
		const float *s = src + (size_t)r * C;
		SIMD
		for (int j = from; j < to; j++)
			d[j] += s[j];
	}
}

static void KERNEL(rope_rows)(float *x, const int32_t *pos, const float *table, int lo, int hi, size_t ld, int heads,
	int D, int axes, int inverse)
{
	int width = D / axes, half = width / 2;
	float sign = inverse ? -1.0f : 1.0f;
	for (int r = lo; r < hi; r++)
		for (int axis = 0; axis < axes; axis++) {
			const float *turn = table + (size_t)pos[2 * (size_t)r + axis] * width;
			for (int h = 0; h < heads; h++) {
				float *a = x + r * ld + (size_t)h * D + axis * width, *b = a + half;
				SIMD
				for (int j = 0; j < half; j++) {
					float c = turn[2 * j], s = sign * turn[2 * j + 1], u = a[j], v = b[j];
					a[j] = u * c - v * s;
					b[j] = v * c + u * s;
				}
			}
		}
}

#endif
