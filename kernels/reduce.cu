// reduce: sums, sums of squares and additions in a fixed order.
//
// reduce_sum leaves one float64 a block (eight neighbours are added up in float32, the rest in float64), reduce_total adds
// these in order to one place. reduce_rows and reduce_columns are the two steps of column sums: of bfloat16 rows to one row
// of partial sums a block, and of such rows to the gradient they are added to. The number of blocks is given by the shape.
// Bytes: the input once; a row of partial sums is written and read again for each block. FLOPs: one or two an element.
// Oracle: reduce_ref.go.
#include "eight.cuh"

namespace reduce {

enum { VECTOR = 1, SINGLE = 2, SQUARES = 4 };

} // namespace reduce

// x is bfloat16, or float32 with SINGLE, n elements.
extern "C" __global__ void __launch_bounds__(256) reduce_sum(double *parts, const void *x, long long n, int flags)
{
	Smem sm;
	double *scratch = sm.take<double>(32);
	double sum = 0;
	for (long long at = 8 * ((long long)blockIdx.x * 256 + threadIdx.x); at < n; at += 8ll * 256 * gridDim.x) {
		int left = n - at < 8 ? (int)(n - at) : 8;
		Eight e = load8(x, at, flags & reduce::SINGLE, left, flags & reduce::VECTOR);
		float s = 0;
		UNROLL
		for (int i = 0; i < 8; i++)
			s += flags & reduce::SQUARES ? e.v[i] * e.v[i] : e.v[i];
		sum += (double)s;
	}
	sum = bsum(sum, scratch);
	if (threadIdx.x == 0)
		parts[blockIdx.x] = sum;
}
EMU_KERNEL(reduce_sum)

// One block adds count parts, and what dst holds with add, to dst.
extern "C" __global__ void __launch_bounds__(256) reduce_total(double *dst, const double *parts, int count, int add)
{
	Smem sm;
	double *scratch = sm.take<double>(32);
	double sum = 0;
	for (int i = threadIdx.x; i < count; i += 256)
		sum += parts[i];
	sum = bsum(sum, scratch);
	if (threadIdx.x == 0)
		*dst = add ? *dst + sum : sum;
}
EMU_KERNEL(reduce_total)

// parts[blockIdx.y] gets the sums of rows [blockIdx.y*height, ...+height) of x[n,C]; a thread has eight columns. Rows of
// parts are 8*eights(C) float32 long.
extern "C" __global__ void __launch_bounds__(64) reduce_rows(float *parts, const bf16 *x, int n, int C, int height, int vector)
{
	int c = blockIdx.x * 64 + threadIdx.x, count = eights(C);
	if (c >= count)
		return;
	Eight sum = {};
	int first = blockIdx.y * height, end = n - first < height ? n : first + height;
	for (int row = first; row < end; row++)
		add8(sum, load8(x + (long)row * C + 8 * c, C - 8 * c, vector));
	store8(parts + ((long)blockIdx.y * count + c) * 8, sum, 8, true);
}
EMU_KERNEL(reduce_rows)

// dst[c] += sum of parts[p*stride + c] over count rows p. A block has 32 columns and eight runs of rows, added in order.
extern "C" __global__ void __launch_bounds__(256) reduce_columns(float *dst, const float *parts, int count, int stride, int C)
{
	Smem sm;
	float *runs = sm.take<float>(256);
	int c = blockIdx.x * 32 + threadIdx.x, run = ceildiv(count, 8), first = threadIdx.y * run;
	float sum = 0;
	if (c < C)
		for (int p = first; p < first + run && p < count; p++)
			sum += parts[(long)p * stride + c];
	runs[threadIdx.y * 32 + threadIdx.x] = sum;
	__syncthreads();
	if (threadIdx.y == 0 && c < C) {
		sum = dst[c];
		for (int r = 0; r < 8; r++)
			sum += runs[r * 32 + threadIdx.x];
		dst[c] = sum;
	}
}
EMU_KERNEL(reduce_columns)

// dst += src on n elements.
extern "C" __global__ void __launch_bounds__(256) reduce_add(bf16 *dst, const bf16 *src, long long n, int vector)
{
	long long at = 8 * ((long long)blockIdx.x * 256 + threadIdx.x);
	if (at >= n)
		return;
	int left = n - at < 8 ? (int)(n - at) : 8;
	Eight e = load8(dst + at, left, vector);
	add8(e, load8(src + at, left, vector));
	store8(dst + at, e, left, vector);
}
EMU_KERNEL(reduce_add)

extern "C" __global__ void __launch_bounds__(256) reduce_add_single(float *dst, const float *src, long long n, int vector)
{
	long long at = 8 * ((long long)blockIdx.x * 256 + threadIdx.x);
	if (at >= n)
		return;
	int left = n - at < 8 ? (int)(n - at) : 8;
	Eight e = load8(dst + at, left, vector);
	add8(e, load8(src + at, left, vector));
	store8(dst + at, e, left, vector);
}
EMU_KERNEL(reduce_add_single)
