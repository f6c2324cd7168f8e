//go:build cgo

// dropout: y = x * mask / (1-p); the mask is computed, never stored, so the gradient is the same kernel.
//
// Shapes: [rows,C]. Bytes: 8 an element. Integer operations: 10 rounds of Philox4x32 for every 8 elements.
// Source: Srivastava et al., JMLR 15 (2014); counters as Drop in backend.go says.
// Oracle: dropout_ref.go.
#ifndef KERNEL
#define FAMILY "dropout_cpu.c"
#include "leaf.h"
#include "levels.h"

LEAF(dropout_rows, (int level, float *y, const float *x, int lo, int hi, int C, const dropout *d), (y, x, lo, hi, C, d))

#else

#include "vec.h"
#include "philox.h"

static void KERNEL(dropout_rows)(float *y, const float *x, int lo, int hi, int C, const dropout *d)
{
	uint32_t words[DROP_WORDS];
	int32_t threshold = (int32_t)d->threshold;
	float scale = d->scale;
	for (int r = lo; r < hi; r++)
		for (int c = 0; c < C; c += DROP_COLUMNS) {
			int n = smaller(C - c, DROP_COLUMNS);
			const float *in = x + (size_t)r * C + c;
			float *out = y + (size_t)r * C + c;
			if (r + 1 < hi || c + n < C) { // the next columns come while the numbers of these are made
				int next = c + n < C ? smaller(C - c - n, DROP_COLUMNS) : smaller(C, DROP_COLUMNS);
				fetch(in + n, (size_t)next * sizeof *in, 0);
				fetch(out + n, (size_t)next * sizeof *out, 1);
			}
			const lane *lanes = KERNEL(drop_lanes)(words, c, n, (uint32_t)r, d);
			int j = 0;
			for (; j + LANES <= n; j += LANES)
				KERNEL(store)(out + j, KERNEL(kept)(lanes + j, threshold, KERNEL(load)(in + j) * scale));
			if (j < n) {
				vec v = KERNEL(load_part)(in + j, (size_t)(n - j), 0) * scale;
				KERNEL(store_part)(out + j, KERNEL(kept)(lanes + j, threshold, v), (size_t)(n - j));
			}
		}
}

#undef vec
#undef ivec

#endif
