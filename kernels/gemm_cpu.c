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

// pack copies rows [0,k) and columns [0,n) of a matrix with the given strides into panels of width columns, zero-padded.
// One of the strides is 1.
INLINE void KERNEL(pack)(float *to, const float *from, size_t row, size_t column, int k, int n, int width)
{
	for (int j = 0; j < n; j += width, to += (size_t)k * width, from += width * column) {
		int m = MIN(width, n - j), p = 0, whole = m / LANES * LANES;
		if (m < width)
			memset(to, 0, (size_t)k * width * sizeof *to);
		if (column == 1) {
			if (m == width) // a constant length, which becomes a few moves
				for (; p < k; p++)
					memcpy(to + (size_t)p * width, from + p * row, (size_t)width * sizeof *to);
			for (; p < k; p++)
				memcpy(to + (size_t)p * width, from + p * row, (size_t)m * sizeof *to);
			continue;
		}
		if (whole)
			for (; p + LANES <= k; p += LANES)
				for (int c = 0; c < whole; c += LANES)
					KERNEL(transpose_square)(to + (size_t)p * width + c, (size_t)width, from + p + c * column, column);
		for (int c = 0; c < m; c++)
			for (int q = c < whole ? p : 0; q < k; q++)
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
