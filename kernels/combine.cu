// combine: updates of vectors beside AdamW's: a guarded linear combination, the heavy ball, and LAMB.
//
// combine_linear: dst = (a*x + b*y) / (sqrt(norm) + eps), and a copy in the compute type.
// combine_momentum: m = beta*m + g*scale and the direction u; u is zero where the guard forbids the step.
// LAMB is three launches: lamb_direction updates the moments, writes u and leaves the squares of p and u, one pair of float64
// a block; lamb_trust adds these in order; lamb_apply moves p by lr*trust*u. Without decay only the first and the last one.
// Fused: gradient scale and clip, guard, the compute copy. Every block reads the guard; where an element of it is not finite
// nothing is written, but for momentum's u.
// Shapes: n float32; copies bfloat16 or float32. Bytes an element: combine 12 (with y) and 2 for the copy; momentum 16; LAMB
// 28 and 12, with the copy 14. FLOPs: 4, 5 and about 20. Source: arXiv 1904.00962. Oracle: combine_ref.go.
#include "eight.cuh"

namespace combine {

enum { VECTOR = 1, COPY32 = 2, COPY_VECTOR = 4, NESTEROV = 8 };

// all_finite is for one thread; an absent guard has no elements.
CUK bool all_finite(const double *guard, int guards)
{
	bool good = true;
	for (int i = 0; i < guards; i++)
		good = good && guard[i] - guard[i] == 0; // not for NaN and infinity
	return good;
}

// step_scale returns what gradients are multiplied by, by all threads of a block, and whether the guard allows the step.
CUK bool step_scale(float &factor, const double *guard, int guards, double scale, double clip, float *shared AT)
{
	if (threadIdx.x == 0) {
		bool good = all_finite(guard, guards);
		double norm = good ? scale * dsqrt(guard[0]) : 0;
		if (clip > 0 && norm > clip)
			scale *= clip / norm;
		shared[0] = (float)scale;
		shared[1] = good;
	}
	__syncthreads(HERE1);
	factor = shared[0];
	return shared[1] != 0;
}

CUK void store_copy(void *copy, long long at, const Eight &e, int left, int flags)
{
	if (copy && flags & COPY32)
		store8((float *)copy + at, e, left, flags & COPY_VECTOR);
	else if (copy)
		store8((bf16 *)copy + at, e, left, flags & COPY_VECTOR);
}

} // namespace combine

// y, copy, norm and guard may be null. x and y may be dst.
extern "C" __global__ void __launch_bounds__(256) combine_linear(float *dst, const float *x, const float *y, void *copy,
	const double *norm, const double *guard, int guards, float a, float b, double eps, long long n, int flags)
{
	Smem sm;
	float *shared = sm.take<float>(2);
	if (threadIdx.x == 0) {
		shared[0] = norm ? (float)(dsqrt(norm[0]) + eps) : 1;
		shared[1] = combine::all_finite(guard, guards);
	}
	__syncthreads();
	long long at = 8 * ((long long)blockIdx.x * 256 + threadIdx.x);
	if (at >= n || shared[1] == 0)
		return;
	int left = n - at < 8 ? (int)(n - at) : 8;
	bool vector = flags & combine::VECTOR;
	float divisor = shared[0];
	Eight e = load8(x + at, left, vector), o = {};
	if (y)
		o = load8(y + at, left, vector);
	UNROLL
	for (int i = 0; i < 8; i++) {
		e.v[i] = y ? a * e.v[i] + b * o.v[i] : a * e.v[i];
		if (norm)
			e.v[i] /= divisor;
	}
	store8(dst + at, e, left, vector);
	combine::store_copy(copy, at, e, left, flags);
}
EMU_KERNEL(combine_linear)

extern "C" __global__ void __launch_bounds__(256) combine_momentum(float *m, float *u, const float *g, const double *guard,
	int guards, double scale, double clip, float beta, long long n, int flags)
{
	Smem sm;
	float *shared = sm.take<float>(2), factor;
	bool good = combine::step_scale(factor, guard, guards, scale, clip, shared);
	long long at = 8 * ((long long)blockIdx.x * 256 + threadIdx.x);
	if (at >= n)
		return;
	int left = n - at < 8 ? (int)(n - at) : 8;
	bool vector = flags & combine::VECTOR;
	if (!good) {
		store8(u + at, Eight{}, left, vector);
		return;
	}
	Eight me = load8(m + at, left, vector), ge = load8(g + at, left, vector);
	UNROLL
	for (int i = 0; i < 8; i++) {
		float grad = ge.v[i] * factor;
		me.v[i] = beta * me.v[i] + grad;
		ge.v[i] = flags & combine::NESTEROV ? grad + beta * me.v[i] : me.v[i];
	}
	store8(m + at, me, left, vector);
	store8(u + at, ge, left, vector);
}
EMU_KERNEL(combine_momentum)

// What LAMB's launches are given beside the buffers, worked out by the host in float64.
struct LambStep {
	float b1, b2, weight1, weight2, eps, decay, inverse1, inverse2;
	int flags;
};

// A block does `piece` elements, a multiple of 2048, and leaves their sums of squares of p and u in squares[2*blockIdx.x].
extern "C" __global__ void __launch_bounds__(256) lamb_direction(float *u, const float *p, const float *g, float *m, float *v,
	double *squares, const double *guard, int guards, double scale, double clip, long long n, long long piece, LambStep a)
{
	Smem sm;
	float *shared = sm.take<float>(2), factor;
	double *scratch = sm.take<double>(32);
	bool good = combine::step_scale(factor, guard, guards, scale, clip, shared);
	if (!good)
		return; // all threads of the block
	bool vector = a.flags & combine::VECTOR;
	double squaresP = 0, squaresU = 0;
	long long first = piece * blockIdx.x, end = n - first < piece ? n : first + piece;
	for (long long at = first + 8 * threadIdx.x; at < end; at += 8 * 256) {
		int left = end - at < 8 ? (int)(end - at) : 8;
		Eight pe = load8(p + at, left, vector), ge = load8(g + at, left, vector);
		Eight me = load8(m + at, left, vector), ve = load8(v + at, left, vector);
		float sp = 0, su = 0;
		UNROLL
		for (int i = 0; i < 8; i++) {
			float grad = ge.v[i] * factor;
			me.v[i] = a.b1 * me.v[i] + a.weight1 * grad;
			ve.v[i] = a.b2 * ve.v[i] + a.weight2 * grad * grad;
			float step = me.v[i] * a.inverse1 / (fsqrt(ve.v[i] * a.inverse2) + a.eps) + a.decay * pe.v[i];
			ge.v[i] = step;
			if (i < left)
				sp += pe.v[i] * pe.v[i], su += step * step;
		}
		squaresP += (double)sp, squaresU += (double)su;
		store8(m + at, me, left, vector);
		store8(v + at, ve, left, vector);
		store8(u + at, ge, left, vector);
	}
	squaresP = bsum(squaresP, scratch);
	squaresU = bsum(squaresU, scratch);
	if (threadIdx.x == 0)
		squares[2 * blockIdx.x] = squaresP, squares[2 * blockIdx.x + 1] = squaresU;
}
EMU_KERNEL(lamb_direction)

// One block: *trust = |p|/|u| from count pairs of squares, 1 where a norm is 0. What it makes of a forbidden step is not read.
extern "C" __global__ void __launch_bounds__(256) lamb_trust(double *trust, const double *squares, int count)
{
	Smem sm;
	double *scratch = sm.take<double>(32);
	double p = 0, u = 0;
	for (int i = threadIdx.x; i < count; i += 256)
		p += squares[2 * i], u += squares[2 * i + 1];
	p = bsum(p, scratch);
	u = bsum(u, scratch);
	if (threadIdx.x == 0)
		*trust = p > 0 && u > 0 ? dsqrt(p) / dsqrt(u) : 1;
}
EMU_KERNEL(lamb_trust)

// trust may be null: 1.
extern "C" __global__ void __launch_bounds__(256) lamb_apply(float *p, const float *u, void *copy, const double *trust,
	const double *guard, int guards, double lr, long long n, int flags)
{
	Smem sm;
	float *shared = sm.take<float>(2);
	if (threadIdx.x == 0) {
		shared[0] = (float)(trust ? lr * *trust : lr);
		shared[1] = combine::all_finite(guard, guards);
	}
	__syncthreads();
	long long at = 8 * ((long long)blockIdx.x * 256 + threadIdx.x);
	if (at >= n || shared[1] == 0)
		return;
	int left = n - at < 8 ? (int)(n - at) : 8;
	bool vector = flags & combine::VECTOR;
	float rate = shared[0];
	Eight pe = load8(p + at, left, vector), ue = load8(u + at, left, vector);
	UNROLL
	for (int i = 0; i < 8; i++)
		pe.v[i] -= rate * ue.v[i];
	store8(p + at, pe, left, vector);
	combine::store_copy(copy, at, pe, left, flags);
}
EMU_KERNEL(lamb_apply)
