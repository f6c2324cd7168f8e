// activation: pointwise non-linearities, plain and gated, and their gradients, in float32 between loads and stores.
//
// Shapes: n elements, or n rows of F and their gates, ld apart, that give n rows of F. Bytes an element: 4 (forward), 6 (backward), 6 and 10
// for the gated ones. FLOPs: 10 to 40, an exponential among them.
// Source: GELU arXiv 1606.08415, SwiGLU and GEGLU arXiv 2002.05202. Oracle: activation_ref.go.
#include "activation.cuh"
#include "eight.cuh"

extern "C" __global__ void __launch_bounds__(256) activation_forward(bf16 *y, const bf16 *x, long long n, int act, int vector)
{
	long long at = 8 * ((long long)blockIdx.x * 256 + threadIdx.x);
	if (at >= n)
		return;
	int left = n - at < 8 ? (int)(n - at) : 8;
	Eight e = load8(x + at, left, vector);
	UNROLL
	for (int i = 0; i < 8; i++)
		e.v[i] = activation::value(act, e.v[i]);
	store8(y + at, e, left, vector);
}
EMU_KERNEL(activation_forward)

extern "C" __global__ void __launch_bounds__(256)
	activation_backward(bf16 *dx, const bf16 *dy, const bf16 *x, long long n, int act, int vector)
{
	long long at = 8 * ((long long)blockIdx.x * 256 + threadIdx.x);
	if (at >= n)
		return;
	int left = n - at < 8 ? (int)(n - at) : 8;
	Eight e = load8(x + at, left, vector), d = load8(dy + at, left, vector);
	UNROLL
	for (int i = 0; i < 8; i++)
		d.v[i] *= activation::slope(act, e.v[i]);
	store8(dx + at, d, left, vector);
}
EMU_KERNEL(activation_backward)

// A warp has a row.
extern "C" __global__ void __launch_bounds__(256)
	activation_gated(bf16 *y, const bf16 *gate, const bf16 *up, int n, int F, int ld, int act, int vector)
{
	int row = blockIdx.x * blockDim.y + threadIdx.y;
	if (row >= n)
		return;
	long at = (long)row * ld;
	for (int c = threadIdx.x; c < eights(F); c += 32) {
		int left = F - 8 * c;
		Eight g = load8(gate + at + 8 * c, left, vector), u = load8(up + at + 8 * c, left, vector);
		UNROLL
		for (int i = 0; i < 8; i++)
			g.v[i] = activation::value(act, g.v[i]) * u.v[i];
		store8(y + (long)row * F + 8 * c, g, left, vector);
	}
}
EMU_KERNEL(activation_gated)

extern "C" __global__ void __launch_bounds__(256)
	activation_gated_backward(bf16 *dgate, bf16 *dup, const bf16 *dy, const bf16 *gate, const bf16 *up, int n, int F, int ld,
		int act, int vector)
{
	int row = blockIdx.x * blockDim.y + threadIdx.y;
	if (row >= n)
		return;
	long at = (long)row * ld;
	for (int c = threadIdx.x; c < eights(F); c += 32) {
		int left = F - 8 * c;
		Eight g = load8(gate + at + 8 * c, left, vector), u = load8(up + at + 8 * c, left, vector);
		Eight d = load8(dy + (long)row * F + 8 * c, left, vector);
		UNROLL
		for (int i = 0; i < 8; i++) {
			float z = g.v[i];
			g.v[i] = d.v[i] * activation::slope(act, z) * u.v[i];
			u.v[i] = d.v[i] * activation::value(act, z);
		}
		store8(dgate + at + 8 * c, g, left, vector);
		store8(dup + at + 8 * c, u, left, vector);
	}
}
EMU_KERNEL(activation_gated_backward)
