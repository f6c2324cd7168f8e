// adamw: the fused update of one parameter tensor: gradient scale and clip, both moments, decay, the parameter and its
// compute copy, guarded against what is not finite.
//
// Each block reads the guard and works out the scale; where an element of the guard is not finite nothing is written.
// Shapes: n float32 of p, g, m, v; the copy bfloat16 or float32. Bytes a parameter: 28, with a bfloat16 copy 30. FLOPs: 15,
// a root and two divisions. Source: arXiv 1711.05101. Oracle: adamw_ref.go.
#include "eight.cuh"

namespace adamw {

enum { VECTOR = 1, COPY32 = 2, COPY_VECTOR = 4 };

} // namespace adamw

// step holds what the host worked out in float64: weight1 = 1-B1, weight2 = 1-B2, inverse1 = 1/Correction1, inverse2 =
// 1/Correction2.
struct AdamStep {
	float lr, b1, b2, weight1, weight2, eps, decay, inverse1, inverse2;
	int flags;
};

extern "C" __global__ void __launch_bounds__(256) adamw_update(float *p, const float *g, float *m, float *v, void *copy,
	const double *guard, int guards, double scale, double clip, long long n, AdamStep a)
{
	Smem sm;
	float *shared = sm.take<float>(2);
	if (threadIdx.x == 0) {
		bool good = true;
		for (int i = 0; i < guards; i++)
			good = good && guard[i] - guard[i] == 0; // not for NaN and infinity
		double norm = good ? scale * dsqrt(guard[0]) : 0;
		if (clip > 0 && norm > clip)
			scale *= clip / norm;
		shared[0] = (float)scale;
		shared[1] = good;
	}
	__syncthreads();
	long long at = 8 * ((long long)blockIdx.x * 256 + threadIdx.x);
	if (at >= n || shared[1] == 0)
		return;
	int left = n - at < 8 ? (int)(n - at) : 8;
	bool vector = a.flags & adamw::VECTOR;
	Eight pe = load8(p + at, left, vector), ge = load8(g + at, left, vector);
	Eight me = load8(m + at, left, vector), ve = load8(v + at, left, vector);
	float factor = shared[0];
	UNROLL
	for (int i = 0; i < 8; i++) {
		float grad = ge.v[i] * factor;
		me.v[i] = a.b1 * me.v[i] + a.weight1 * grad;
		ve.v[i] = a.b2 * ve.v[i] + a.weight2 * grad * grad;
		float step = me.v[i] * a.inverse1 / (fsqrt(ve.v[i] * a.inverse2) + a.eps);
		pe.v[i] -= a.lr * (step + a.decay * pe.v[i]);
	}
	store8(m + at, me, left, vector);
	store8(v + at, ve, left, vector);
	store8(p + at, pe, left, vector);
	if (copy && a.flags & adamw::COPY32)
		store8((float *)copy + at, pe, left, a.flags & adamw::COPY_VECTOR);
	else if (copy)
		store8((bf16 *)copy + at, pe, left, a.flags & adamw::COPY_VECTOR);
}
EMU_KERNEL(adamw_update)
