// The micro-kernel of all products: C[m,n] (+)= A[m,k] B[k,n] with C's tile in registers, B read by vectors and A by
// single elements at any strides, so that A may be transposed for free. Included by a family inside each level, after vec.h.
//
// MICRO_ROWS x MICRO_VECTORS vectors of C: 6x4 with 32 registers (24 sums, 4 of B, elements of A as memory operands), 6x2
// with 16.
#define MICRO_ROWS 6
#if REGISTERS == 32
#define MICRO_VECTORS 4
#else
#define MICRO_VECTORS 2
#endif
#define MICRO_COLUMNS (MICRO_VECTORS * LANES)

// tile computes mr <= MICRO_ROWS rows of nv <= MICRO_VECTORS vectors; both are constants where it is inlined.
INLINE void KERNEL(tile)(float *C, size_t ldc, const float *A, size_t ar, size_t ak, const float *B, size_t ldb, int k,
	int add, int mr, int nv)
{
	vec c[MICRO_ROWS][MICRO_VECTORS];
#pragma GCC unroll 8
	for (int i = 0; i < mr; i++)
#pragma GCC unroll 8
		for (int v = 0; v < nv; v++) {
			if (add)
				c[i][v] = KERNEL(load)(C + i * ldc + v * LANES);
			else
				c[i][v] = (vec){0};
		}
	for (int p = 0; p < k; p++, A += ak, B += ldb) {
		vec b[MICRO_VECTORS];
#pragma GCC unroll 8
		for (int v = 0; v < nv; v++)
			b[v] = KERNEL(load)(B + v * LANES);
#pragma GCC unroll 8
		for (int i = 0; i < mr; i++) {
			float a = A[i * ar];
#pragma GCC unroll 8
			for (int v = 0; v < nv; v++)
				c[i][v] += b[v] * a;
		}
	}
#pragma GCC unroll 8
	for (int i = 0; i < mr; i++)
#pragma GCC unroll 8
		for (int v = 0; v < nv; v++)
			KERNEL(store)(C + i * ldc + v * LANES, c[i][v]);
}

#define MICRO_ROW_CASES(nv)                                                         \
	switch (mr) {                                                                   \
	case 6: KERNEL(tile)(C, ldc, A, ar, ak, B, ldb, k, add, 6, nv); break;          \
	case 5: KERNEL(tile)(C, ldc, A, ar, ak, B, ldb, k, add, 5, nv); break;          \
	case 4: KERNEL(tile)(C, ldc, A, ar, ak, B, ldb, k, add, 4, nv); break;          \
	case 3: KERNEL(tile)(C, ldc, A, ar, ak, B, ldb, k, add, 3, nv); break;          \
	case 2: KERNEL(tile)(C, ldc, A, ar, ak, B, ldb, k, add, 2, nv); break;          \
	default: KERNEL(tile)(C, ldc, A, ar, ak, B, ldb, k, add, 1, nv); break;         \
	}

// micro is tile for sizes known only at run time.
static void KERNEL(micro)(float *C, size_t ldc, const float *A, size_t ar, size_t ak, const float *B, size_t ldb, int k,
	int add, int mr, int nv)
{
	switch (nv) {
#if MICRO_VECTORS == 4
	case 4: MICRO_ROW_CASES(4) break;
	case 3: MICRO_ROW_CASES(3) break;
#endif
	case 2: MICRO_ROW_CASES(2) break;
	default: MICRO_ROW_CASES(1) break;
	}
}

// product is micro over a whole small matrix; n is a multiple of LANES and rows of B and C are that long.
static void __attribute__((unused)) KERNEL(product)(float *C, size_t ldc, const float *A, size_t ar, size_t ak,
	const float *B, size_t ldb, int m, int n, int k, int add)
{
	for (int j = 0; j < n; j += MICRO_COLUMNS) {
		int nv = n - j < MICRO_COLUMNS ? (n - j) / LANES : MICRO_VECTORS;
		for (int i = 0; i < m; i += MICRO_ROWS) {
			int mr = m - i < MICRO_ROWS ? m - i : MICRO_ROWS;
			KERNEL(micro)(C + i * ldc + j, ldc, A + i * ar, ar, ak, B + j, ldb, k, add, mr, nv);
		}
	}
}

#undef MICRO_ROW_CASES
