//go:build cgo

// gemm: the built-in matrix product, C[M,N] (+)= op(A)[M,K] op(B)[K,N], for machines without a BLAS.
//
// Blocked for the caches: a block of op(B) [KC,NC] and one of op(A) [MC,KC] are packed into panels that the micro-kernel of
// micro.h reads in order; the A block stays in L2, a panel of B in L1.
// FLOPs: 2MNK. Bytes moved from memory: about 4MK*N/NC + 4NK + 8MN*K/KC.
// Source: Goto and van de Geijn, "Anatomy of high-performance matrix multiplication" (2008); BLIS (2015).
// Oracle: linear_ref.go.
#ifndef KERNEL
#define FAMILY "gemm_cpu.c"
#include "leaf.h"

enum { KC = 256, MC = 96, NC = 1024, NC_SLACK = 64 };

#define MIN(a, b) ((a) < (b) ? (a) : (b))

#include "levels.h"

size_t gemm_work(void) { return (size_t)KC * (NC + NC_SLACK) + (size_t)MC * KC + 6 * 64 + 64; }

LEAF(gemm,
	(int level, int ta, int tb, int M, int N, int K, const float *A, size_t lda, const float *B, size_t ldb, int add,
		float *C, size_t ldc, float *work),
	(ta, tb, M, N, K, A, lda, B, ldb, add, C, ldc, work))

#else

#include "vec.h"
#include "micro.h"

// Three vectors of pairs a0 a1 .., b0 b1 .., c0 c1 .. as a0 b0 c0 a1 b1 c1 ..: MIX_o takes those of a and b that vector o of
// the result has to their places, FILL_o those of c.
typedef double KERNEL(pairs) __attribute__((vector_size(4 * LANES), may_alias));
#if LANES == 16
#define MIX_0 0, 8, 0, 1, 9, 0, 2, 10
#define MIX_1 0, 3, 11, 0, 4, 12, 0, 5
#define MIX_2 13, 0, 6, 14, 0, 7, 15, 0
#define FILL_0 0, 1, 8, 3, 4, 9, 6, 7
#define FILL_1 10, 1, 2, 11, 4, 5, 12, 7
#define FILL_2 0, 13, 2, 3, 14, 5, 6, 15
#elif LANES == 8
#define MIX_0 0, 4, 0, 1
#define MIX_1 5, 0, 2, 6
#define MIX_2 0, 3, 7, 0
#define FILL_0 0, 1, 4, 3
#define FILL_1 0, 5, 2, 3
#define FILL_2 6, 1, 2, 7
#else
#define MIX_0 0, 2
#define MIX_1 0, 1
#define MIX_2 3, 0
#define FILL_0 0, 1
#define FILL_1 2, 1
#define FILL_2 0, 3
#endif
#if defined(__clang__)
#define SHUFFLE(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
typedef int64_t KERNEL(places) __attribute__((vector_size(4 * LANES)));
#define SHUFFLE(a, b, ...) __builtin_shuffle(a, b, (KERNEL(places)){__VA_ARGS__})
#endif

_Static_assert(MICRO_ROWS == 6, "three pairs of rows");

// pack_rows is pack for a panel of m <= MICRO_ROWS rows of A that lie along k, a vector of k at a time: pairs of rows are
// interleaved, then the pairs. Rows from m on are zeros. It returns how far it came.
INLINE int KERNEL(pack_rows)(float *to, const float *from, size_t ld, int k, int m)
{
	int p = 0;
	for (; p + LANES <= k; p += LANES) {
		vec r[MICRO_ROWS];
		KERNEL(pairs) lower[3], upper[3];
#pragma GCC unroll 8
		for (int i = 0; i < MICRO_ROWS; i++)
			r[i] = i < m ? KERNEL(load)(from + i * ld + p) : (vec){0};
#pragma GCC unroll 4
		for (int i = 0; i < 3; i++) {
			lower[i] = (KERNEL(pairs))KERNEL(merge_lower)(r[2 * i], r[2 * i + 1]);
			upper[i] = (KERNEL(pairs))KERNEL(merge_upper)(r[2 * i], r[2 * i + 1]);
		}
		float *at = to + (size_t)p * MICRO_ROWS;
#define PACKED(from, o) (vec)SHUFFLE(SHUFFLE(from[0], from[1], MIX_##o), from[2], FILL_##o)
		KERNEL(store)(at, PACKED(lower, 0));
		KERNEL(store)(at + LANES, PACKED(lower, 1));
		KERNEL(store)(at + 2 * LANES, PACKED(lower, 2));
		KERNEL(store)(at + 3 * LANES, PACKED(upper, 0));
		KERNEL(store)(at + 4 * LANES, PACKED(upper, 1));
		KERNEL(store)(at + 5 * LANES, PACKED(upper, 2));
#undef PACKED
	}
	return p;
}
#undef MIX_0
#undef MIX_1
#undef MIX_2
#undef FILL_0
#undef FILL_1
#undef FILL_2
#undef SHUFFLE

// pack copies rows [0,k) and columns [0,n) of a matrix with the given strides into panels of width columns, zero-padded.
// One of the strides is 1.
INLINE void KERNEL(pack)(float *to, const float *from, size_t row, size_t column, int k, int n, int width)
{
	for (int j = 0; j < n; j += width, to += (size_t)k * width, from += width * column) {
		int m = MIN(width, n - j), p = 0, whole = m / LANES * LANES;
		if (m < width)
			memset(to, 0, (size_t)k * width * sizeof *to);
		if (column == 1) {
			if (width == MICRO_ROWS && n - j >= 4 * width) { // four panels, which share cache lines of from
				for (; p < k; p++)
					for (int u = 0; u < 4; u++)
						memcpy(to + ((size_t)u * k + p) * width, from + p * row + u * width, (size_t)width * sizeof *to);
				j += 3 * width, to += (size_t)3 * k * width, from += 3 * width;
				continue;
			}
			if (m == width) // a constant length, which becomes a few moves
				for (; p < k; p++)
					memcpy(to + (size_t)p * width, from + p * row, (size_t)width * sizeof *to);
			for (; p < k; p++)
				memcpy(to + (size_t)p * width, from + p * row, (size_t)m * sizeof *to);
			continue;
		}
		if (row == 1 && width == MICRO_ROWS) {
			p = KERNEL(pack_rows)(to, from, column, k, m);
			whole = 0;
		}
		if (whole)
			for (; p + LANES <= k; p += LANES)
				for (int c = 0; c < whole; c += LANES)
					KERNEL(transpose_square)(to + (size_t)p * width + c, (size_t)width, from + p + c * column, column);
		for (int c = 0; c < m; c++)
			for (int q = c < whole || !whole ? p : 0; q < k; q++)
				to[(size_t)q * width + c] = from[q * row + c * column];
	}
}

static void KERNEL(gemm)(int ta, int tb, int M, int N, int K, const float *A, size_t lda, const float *B, size_t ldb,
	int add, float *C, size_t ldc, float *work)
{
	float *bp = work, *ap = bp + (size_t)KC * (NC + NC_SLACK), *edge = ap + (size_t)MC * KC;
	size_t ai = ta ? 1 : lda, ak = ta ? lda : 1, bk = tb ? 1 : ldb, bj = tb ? ldb : 1;
	for (int jc = 0; jc < N; jc += NC) {
		int nc = MIN(NC, N - jc);
		for (int pc = 0; pc < K; pc += KC) {
			int kc = MIN(KC, K - pc), sum = add || pc > 0;
			KERNEL(pack)(bp, B + pc * bk + jc * bj, bk, bj, kc, nc, MICRO_COLUMNS);
			for (int ic = 0; ic < M; ic += MC) {
				int mc = MIN(MC, M - ic);
				KERNEL(pack)(ap, A + ic * ai + pc * ak, ak, ai, kc, mc, MICRO_ROWS);
				for (int j = 0; j < nc; j += MICRO_COLUMNS)
					for (int i = 0; i < mc; i += MICRO_ROWS) {
						const float *a = ap + (size_t)i * kc, *b = bp + (size_t)j * kc;
						float *c = C + (size_t)(ic + i) * ldc + jc + j;
						int mr = MIN(MICRO_ROWS, mc - i), n = MIN(MICRO_COLUMNS, nc - j);
						if (n % LANES == 0) {
							KERNEL(micro)(c, ldc, a, 1, MICRO_ROWS, b, MICRO_COLUMNS, kc, sum, mr, n / LANES);
							continue;
						}
						KERNEL(micro)(edge, MICRO_COLUMNS, a, 1, MICRO_ROWS, b, MICRO_COLUMNS, kc, 0, mr, MICRO_VECTORS);
						for (int r = 0; r < mr; r++)
							for (int l = 0; l < n; l++)
								c[r * ldc + l] = (sum ? c[r * ldc + l] : 0.0f) + edge[r * MICRO_COLUMNS + l];
					}
			}
		}
	}
	if (K == 0 && !add)
		for (int i = 0; i < M; i++)
			memset(C + i * ldc, 0, (size_t)N * sizeof *C);
}

#undef MICRO_ROWS
#undef MICRO_VECTORS
#undef MICRO_COLUMNS
#undef vec
#undef ivec

#endif
