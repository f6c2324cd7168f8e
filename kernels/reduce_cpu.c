//go:build cgo

// reduce: sums of a vector, and inner products, in float64, sums of columns, additions.
//
// Shapes: vectors of n; column sums of [rows,columns] with row stride ld. Bytes: 4 an element read (12 for an addition).
// FLOPs: 1 or 2 an element. Bound by memory. Sums have a fixed number of lanes for a given instruction set, pieces are
// combined in Go in their order.
// Oracle: reduce_ref.go, linear_ref.go.
#ifndef KERNEL
#define FAMILY "reduce_cpu.c"
#include "leaf.h"
#include "levels.h"

LEAF(add_to, (int level, float *dst, const float *src, size_t n), (dst, src, n))
LEAF(sum_f64, (int level, double *out, const float *x, const float *y, size_t n), (out, x, y, n))
LEAF(column_sums, (int level, float *out, const float *x, size_t ld, int rows, int columns), (out, x, ld, rows, columns))
LEAF(add_rows, (int level, float *dst, const float *parts, int n, size_t ld, int columns), (dst, parts, n, ld, columns))

int kernel_level(void)
{
#if defined(__x86_64__)
	__builtin_cpu_init();
	if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma"))
		return 0;
	if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
		__builtin_cpu_supports("avx512vl"))
		return 2;
	return 1;
#else
	return 0;
#endif
}

#else

#include "vec.h"

static void KERNEL(add_to)(float *dst, const float *src, size_t n)
{
	SIMD
	for (size_t i = 0; i < n; i++)
		dst[i] += src[i];
}

// sum_f64 adds up the products of x and y; y absent: x.
static void KERNEL(sum_f64)(double *out, const float *x, const float *y, size_t n)
{
	enum { WIDE = 2 * LANES };
	double lanes[WIDE] = {0}, sum = 0;
	size_t whole = n - n % WIDE;
	for (size_t i = 0; i < whole; i += WIDE) {
		PRAGMA(omp simd)
		for (int l = 0; l < WIDE; l++) {
			double v = x[i + l];
			lanes[l] += y ? v * y[i + l] : v;
		}
	}
	for (size_t i = whole; i < n; i++)
		lanes[i - whole] += y ? (double)x[i] * y[i] : x[i];
	for (int l = 0; l < WIDE; l++)
		sum += lanes[l];
	*out = sum;
}

static void KERNEL(column_sums)(float *out, const float *x, size_t ld, int rows, int columns)
{
	memset(out, 0, (size_t)columns * sizeof *out);
	for (int r = 0; r < rows; r++, x += ld) {
		SIMD
		for (int j = 0; j < columns; j++)
			out[j] += x[j];
	}
}

// add_rows adds n rows, ld apart, to dst: first to each other in their order, then once.
static void KERNEL(add_rows)(float *dst, const float *parts, int n, size_t ld, int columns)
{
	int j = 0;
	for (; j + LANES <= columns; j += LANES) {
		vec sum = KERNEL(load)(parts + j);
		for (int r = 1; r < n; r++)
			sum += KERNEL(load)(parts + r * ld + j);
		KERNEL(store)(dst + j, KERNEL(load)(dst + j) + sum);
	}
	for (; j < columns; j++) {
		float sum = parts[j];
		for (int r = 1; r < n; r++)
			sum += parts[r * ld + j];
		dst[j] += sum;
	}
}

#undef vec
#undef ivec

#endif
