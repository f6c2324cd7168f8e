// The one header that a kernel includes. Three compilers read it: clang or nvcc for the device (-> PTX), and g++ through
// emu/host.h for the emulation. Every instruction that C++ cannot say is a small function with a PTX body and a host body
// of the same meaning; selftest.cu runs each of them, so that one run on a GPU compares the two.
//
// Rules for kernels: no inline assembly of their own; shared memory only by Smem::take; no expf, logf and the like (there
// is no libdevice) but the functions below; UNROLL and not #pragma unroll; blocks of whole warps; no return before a
// barrier; EMU_KERNEL(name) after each kernel. Warp collectives, barriers and copies remember the line that called them:
// a function that wraps one takes AT as its last parameter and hands on HERE (AT1 and HERE1 where it is the only one).
#pragma once
#include <stdint.h>

#if defined(__CUDACC__) && !defined(__clang__)
#define ON_DEVICE 1
#elif defined(__clang__) && defined(__CUDA__)
#define ON_DEVICE 1
#include "device_bare.h"
#else
#define ON_DEVICE 0
#include "emu/host.h"
#endif

#define CUK __device__ __forceinline__
#if ON_DEVICE
#define UNROLL _Pragma("unroll")
#define ROLLED _Pragma("unroll 1") // stays a loop: unrolled, its turns would overlap and want twice the registers
#define AT
#define AT1
#define HERE
#define HERE1
#define EMU_KERNEL(name)
#else
#define UNROLL
#define ROLLED
#define AT , EMU_AT
#define AT1 EMU_AT
#define HERE , file, line
#define HERE1 file, line
#endif

struct bf16 { uint16_t x; };
constexpr unsigned FULL = 0xffffffffu; // every lane of a warp
constexpr float CUK_LOG2E = 1.4426950408889634f, CUK_LN2 = 0.6931471805599453f;

// --- bfloat16: one value, and two in a word (the first one in the low half)
CUK float tofloat(bf16 v) { return __uint_as_float((unsigned)v.x << 16); }
CUK float2 unpack2(uint32_t v) { return make_float2(__uint_as_float(v << 16), __uint_as_float(v & 0xffff0000u)); }
#if ON_DEVICE
CUK bf16 tobf16(float v)
{
	bf16 r;
	asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(r.x) : "f"(v));
	return r;
}
CUK uint32_t pack2(float low, float high)
{
	uint32_t r;
	asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(r) : "f"(high), "f"(low));
	return r;
}
#else
CUK bf16 tobf16(float v)
{
	unsigned u = __float_as_uint(v);
	return {(uint16_t)(v != v ? 0x7fff : (u + 0x7fff + (u >> 16 & 1)) >> 16)};
}
CUK uint32_t pack2(float low, float high) { return tobf16(low).x | (uint32_t)tobf16(high).x << 16; }
#endif

// --- approximations of the device. ex2, lg2, rsqrt and rcp take subnormal inputs for 0 and give 0 for subnormal results
// (ftz); errors are the PTX ISA's: ex2 and lg2 2^-22 (lg2: absolute, in [1/2, 2]), rsqrt 2^-22.9, rcp 1 ulp. The host
// bodies are exact but for ftz.
#if ON_DEVICE
#define APPROXIMATION(name, instruction)                             \
	CUK float name(float x)                                          \
	{                                                                \
		float r;                                                     \
		asm(instruction " %0, %1;" : "=f"(r) : "f"(x));              \
		return r;                                                    \
	}
APPROXIMATION(fexp2, "ex2.approx.ftz.f32")
APPROXIMATION(flog2, "lg2.approx.ftz.f32")
APPROXIMATION(frsqrt, "rsqrt.approx.ftz.f32")
APPROXIMATION(frcp, "rcp.approx.ftz.f32")
APPROXIMATION(fsqrt, "sqrt.rn.f32") // exact
APPROXIMATION(frint, "cvt.rni.f32.f32") // exact
#undef APPROXIMATION
CUK double dsqrt(double x)
{
	double r;
	asm("sqrt.rn.f64 %0, %1;" : "=d"(r) : "d"(x));
	return r;
}
CUK float fmax2(float a, float b)
{
	float r;
	asm("max.f32 %0, %1, %2;" : "=f"(r) : "f"(a), "f"(b));
	return r;
}
CUK float fmin2(float a, float b)
{
	float r;
	asm("min.f32 %0, %1, %2;" : "=f"(r) : "f"(a), "f"(b));
	return r;
}
CUK float ffma(float a, float b, float c)
{
	float r;
	asm("fma.rn.f32 %0, %1, %2, %3;" : "=f"(r) : "f"(a), "f"(b), "f"(c));
	return r;
}
#else
CUK float ftz(float x) { return fabsf(x) < 0x1p-126f ? copysignf(0.0f, x) : x; }
CUK float fexp2(float x) { return ftz(exp2f(ftz(x))); }
CUK float flog2(float x) { return log2f(ftz(x)); }
CUK float frsqrt(float x) { return 1.0f / sqrtf(ftz(x)); }
CUK float frcp(float x) { return ftz(1.0f / ftz(x)); }
CUK float fsqrt(float x) { return sqrtf(x); }
CUK float frint(float x) { return rintf(x); }
CUK double dsqrt(double x) { return sqrt(x); }
CUK float fmax2(float a, float b) { return fmaxf(a, b); } // of a number and a NaN, the number: as max.f32
CUK float fmin2(float a, float b) { return fminf(a, b); }
CUK float ffma(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
#endif
CUK float fabs1(float x) { return __uint_as_float(__float_as_uint(x) & 0x7fffffffu); }
CUK bool finite(float x) { return (__float_as_uint(x) & 0x7f800000u) != 0x7f800000u; }
CUK float withsign(float magnitude, float sign)
{
	return __uint_as_float((__float_as_uint(magnitude) & 0x7fffffffu) | (__float_as_uint(sign) & 0x80000000u));
}

// --- functions of float32 accuracy (measured against float64 in emu/test.cpp). Coefficients: own weighted minimax fits.
// fexp is e^x within 4e-7 (relative), also far from 0, where fexp2(x * CUK_LOG2E) loses |x| * 6e-8.
CUK float fexp(float x)
{
	float n = frint(fmin2(fmax2(x * CUK_LOG2E, -160.0f), 130.0f));
	float r = ffma(n, -1.42860677e-6f, ffma(n, -0.693145752f, x)); // ln 2 in two parts, the first one of 16 bits
	int half = (int)n >> 1, rest = (int)n - half;
	float scale = __uint_as_float((unsigned)(half + 127) << 23);
	return fexp2(r * CUK_LOG2E) * scale * __uint_as_float((unsigned)(rest + 127) << 23);
}

// flog is the natural logarithm within 3e-7 (relative), also near 1, where flog2 has an absolute error only.
CUK float flog(float x)
{
	float lift = x < 0x1p-126f ? 25.0f : 0.0f; // subnormal
	float y = lift != 0 ? x * 0x1p25f : x;
	unsigned bits = __float_as_uint(y) - 0x3f3504f3u; // relative to sqrt(1/2)
	float e = (float)((int)bits >> 23) - lift;
	float m = __uint_as_float((bits & 0x007fffffu) + 0x3f3504f3u); // in [sqrt(1/2), sqrt(2))
	float s = (m - 1) / (m + 1), z = s * s;
	float p = ffma(ffma(2.987534578e-1f, z, 3.997741780e-1f), z, 6.666677728e-1f) * z;
	float r = ffma(e, 0.693145752f, ffma(e, 1.42860677e-6f, ffma(s, p, 2 * s)));
	if (!(x > 0))
		return x == 0 ? -INFINITY : NAN;
	return finite(x) ? r : x;
}

// ftanh is the hyperbolic tangent within 4e-7 (relative).
CUK float ftanh(float x)
{
	float a = fabs1(x), z = x * x;
	float p = ffma(-5.704946394e-3f, z, 2.063905246e-2f);
	p = ffma(ffma(ffma(p, z, -5.373970493e-2f), z, 1.333144208e-1f), z, -3.333328194e-1f);
	float near = ffma(x * z, p, x), far = withsign(1 - 2 / (fexp(2 * a) + 1), x);
	return a < 0.625f ? near : far;
}

// ferfc_tail is erfc(x) for x >= 0.84 within 1e-6 (relative): t e^(-x^2) R(t) with t = 1/(1 + x/2). The square is given
// as z + lost, because the tail is as exact as it is.
CUK float ferfc_tail(float x, float z, float lost)
{
	float t = 1 / ffma(0.5f, x, 1);
	float r = ffma(ffma(ffma(8.322268041e-2f, t, -1.969655035e-1f), t, 4.774727253e-2f), t, 8.308865861e-2f);
	r = ffma(ffma(ffma(ffma(r, t, 1.706515907e-1f), t, 2.486911165e-1f), t, 2.818436649e-1f), t, 2.821075536e-1f);
	float e = fexp(-z);
	return t * ffma(-lost, e, e) * r;
}

// ferf_near is erf(x) for |x| <= 0.85.
CUK float ferf_near(float x)
{
	float z = x * x, p = ffma(8.836226455e-5f, z, -8.244285414e-4f);
	p = ffma(ffma(ffma(p, z, 5.209298432e-3f), z, -2.686248194e-2f), z, 1.128374714e-1f);
	return x * ffma(ffma(p, z, -3.761263687e-1f), z, 1.128379167f);
}

// ferf is the error function within 3e-7 (relative).
CUK float ferf(float x)
{
	float a = fabs1(x), z = x * x;
	if (a < 0.84f)
		return ferf_near(x);
	return a < 4 ? withsign(1 - ferfc_tail(a, z, ffma(x, x, -z)), x) : x != x ? x : withsign(1, x);
}

// fnormcdf is Phi(x), the standard normal distribution, within 1e-6 (relative), also in its lower tail: GELU is x*Phi(x).
CUK float fnormcdf(float x)
{
	float y = x * 0.70710678f, a = fabs1(y), z = x * x;
	if (a < 0.84f)
		return ffma(0.5f, ferf_near(y), 0.5f);
	float tail = a < 10 ? 0.5f * ferfc_tail(a, 0.5f * z, 0.5f * ffma(x, x, -z)) : x != x ? x : 0;
	return x < 0 ? tail : 1 - tail;
}

// --- global memory, 16 bytes at a time. Addresses are multiples of 16. ld16/st16 as the caches like it; ldnc16 for what no
// one writes while the kernel runs and nobody reads again (read-only path, no room in L1); stcs16 for what is written once.
#if ON_DEVICE
CUK uint4 ld16(const void *p) { return *(const uint4 *)p; }
CUK void st16(void *p, uint4 v) { *(uint4 *)p = v; }
CUK uint4 ldnc16(const void *p)
{
	uint4 r;
	asm("{ .reg .u64 g; cvta.to.global.u64 g, %4; ld.global.nc.L1::no_allocate.v4.u32 {%0, %1, %2, %3}, [g]; }"
		: "=r"(r.x), "=r"(r.y), "=r"(r.z), "=r"(r.w) : "l"(p));
	return r;
}
CUK void stcs16(void *p, uint4 v)
{
	asm volatile("{ .reg .u64 g; cvta.to.global.u64 g, %0; st.global.cs.v4.u32 [g], {%1, %2, %3, %4}; }"
				 ::"l"(p), "r"(v.x), "r"(v.y), "r"(v.z), "r"(v.w) : "memory");
}
CUK uint32_t ldg(const uint32_t *p)
{
	uint32_t r;
	asm("{ .reg .u64 g; cvta.to.global.u64 g, %1; ld.global.nc.u32 %0, [g]; }" : "=r"(r) : "l"(p));
	return r;
}
CUK bf16 ldg(const bf16 *p)
{
	bf16 r;
	asm("{ .reg .u64 g; cvta.to.global.u64 g, %1; ld.global.nc.u16 %0, [g]; }" : "=h"(r.x) : "l"(p));
	return r;
}
#else
CUK uint4 ld16(const void *p AT) { return *(const uint4 *)emu::aligned(p, 16, "a 16-byte load" HERE); }
CUK void st16(void *p, uint4 v AT) { *(uint4 *)emu::aligned(p, 16, "a 16-byte store" HERE) = v; }
CUK uint4 ldnc16(const void *p AT) { return ld16(p HERE); }
CUK void stcs16(void *p, uint4 v AT) { st16(p, v HERE); }
CUK uint32_t ldg(const uint32_t *p) { return *p; }
CUK bf16 ldg(const bf16 *p) { return *p; }
#endif
CUK int32_t ldg(const int32_t *p) { return (int32_t)ldg((const uint32_t *)p); }
CUK float ldg(const float *p) { return __uint_as_float(ldg((const uint32_t *)p)); }
CUK uint4 pack4(float4 low, float4 high) // eight floats -> bf16
{
	return make_uint4(pack2(low.x, low.y), pack2(low.z, low.w), pack2(high.x, high.y), pack2(high.z, high.w));
}

// --- shared memory: typed pieces of the launch's dynamic shared memory, each at a multiple of 128 bytes. Every thread
// takes the same pieces in the same order. The launch asks for the sum of the sizes, each but the last rounded up to 128.
#if ON_DEVICE
extern __shared__ __align__(128) unsigned char cuk_smem[];
struct Smem {
	unsigned off = 0;
	template <class T> CUK T *take(unsigned n)
	{
		off = (off + 127) & ~127u;
		T *p = (T *)(cuk_smem + off);
		off += n * (unsigned)sizeof(T);
		return p;
	}
};
// saddr is the 32-bit address that instructions on shared memory take. A cast and no assembler, so that the compiler sees
// through it and puts constant offsets into the instructions, where each would need a register.
CUK unsigned saddr(const void *p)
{
#if defined(__clang__)
	return (unsigned)(uintptr_t)(const __attribute__((address_space(3))) void *)p;
#else
	return (unsigned)__cvta_generic_to_shared(p);
#endif
}
#else
struct Smem {
	unsigned off = 0, n = 0;
	template <class T> T *take(unsigned k AT)
	{
		off = (off + 127) & ~127u;
		T *p = (T *)emu::take(n++, k * sizeof(T), off HERE);
		off += k * (unsigned)sizeof(T);
		return p;
	}
};
#endif

// --- asynchronous copies global -> shared. Not ok: the target is filled with zeros and the source is not read. A thread
// waits for its own copies (cpwait<N>: until at most its N latest groups are under way) and sees others' after a barrier.
#if ON_DEVICE
CUK void cp16(void *s, const void *g, bool ok)
{
	asm volatile("{ .reg .u64 g; cvta.to.global.u64 g, %1; cp.async.cg.shared.global [%0], [g], 16, %2; }"
				 ::"r"(saddr(s)), "l"(g), "r"(ok ? 16 : 0) : "memory");
}
CUK void cp4(void *s, const void *g, bool ok)
{
	asm volatile("{ .reg .u64 g; cvta.to.global.u64 g, %1; cp.async.ca.shared.global [%0], [g], 4, %2; }"
				 ::"r"(saddr(s)), "l"(g), "r"(ok ? 4 : 0) : "memory");
}
CUK void cpcommit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
template <int N> CUK void cpwait() { asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory"); }
#else
CUK void cp16(void *s, const void *g, bool ok AT) { emu::copy_async(s, g, 16, ok HERE); }
CUK void cp4(void *s, const void *g, bool ok AT) { emu::copy_async(s, g, 4, ok HERE); }
CUK void cpcommit() { emu::copy_commit(); }
template <int N> CUK void cpwait() { emu::copy_wait(N); }
#endif

// --- tensor cores. Fragments are laid out as the PTX ISA says for mma.m16n8k16; lane = 4g + t:
//   a[0..3] = A[g][2t..], A[g+8][2t..], A[g][2t+8..], A[g+8][2t+8..];  b[0..1] = B[2t..][g], B[2t+8..][g] (two bf16 each);
//   d[0..3] = D[g][2t], D[g][2t+1], D[g+8][2t], D[g+8][2t+1].
// ldmN loads N 8x8 matrices of 16-bit elements from shared memory: lane 8i+r names row r of matrix i (16 bytes, aligned)
// and gets of each matrix the elements 2t, 2t+1 of row g; ldmNt those of the transposed matrix.
#if ON_DEVICE
CUK void ldm4(uint32_t r[4], const void *row)
{
	asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
				 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(saddr(row)) : "memory");
}
CUK void ldm4t(uint32_t r[4], const void *row)
{
	asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
				 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(saddr(row)) : "memory");
}
CUK void ldm2(uint32_t r[2], const void *row)
{
	asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0, %1}, [%2];"
				 : "=r"(r[0]), "=r"(r[1]) : "r"(saddr(row)) : "memory");
}
CUK void ldm2t(uint32_t r[2], const void *row)
{
	asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0, %1}, [%2];"
				 : "=r"(r[0]), "=r"(r[1]) : "r"(saddr(row)) : "memory");
}
CUK void mma16816(float d[4], const uint32_t a[4], const uint32_t b[2])
{
	asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
				 "{%0, %1, %2, %3};"
				 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
				 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
#else
CUK void ldm4(uint32_t r[4], const void *row AT) { emu::ldmatrix(r, row, 4, false HERE); }
CUK void ldm4t(uint32_t r[4], const void *row AT) { emu::ldmatrix(r, row, 4, true HERE); }
CUK void ldm2(uint32_t r[2], const void *row AT) { emu::ldmatrix(r, row, 2, false HERE); }
CUK void ldm2t(uint32_t r[2], const void *row AT) { emu::ldmatrix(r, row, 2, true HERE); }
CUK void mma16816(float d[4], const uint32_t a[4], const uint32_t b[2] AT) { emu::mma(d, a, b HERE); }
#endif

// --- reductions in a fixed order, by all lanes of a warp; every lane gets the result.
CUK float wmax(float v AT)
{
	UNROLL for (int d = 16; d; d >>= 1) v = fmax2(v, __shfl_xor_sync(FULL, v, d HERE));
	return v;
}
template <class T> CUK T wsum(T v AT) // float, double, int
{
	UNROLL for (int d = 16; d; d >>= 1) v = v + __shfl_xor_sync(FULL, v, d HERE);
	return v;
}

// The same over a block, by all of its threads, through scratch in shared memory of at least 32 elements, which may be used
// again afterwards. Warps are added in order.
CUK unsigned block_thread() { return threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z); }
CUK unsigned block_warps() { return (blockDim.x * blockDim.y * blockDim.z + 31) / 32; }
template <class T> CUK T bsum(T v, T *scratch AT)
{
	unsigned thread = block_thread(), warps = block_warps();
	v = wsum(v HERE);
	if (thread % 32 == 0)
		scratch[thread / 32] = v;
	__syncthreads(HERE1);
	v = scratch[0];
	for (unsigned w = 1; w < warps; w++)
		v = v + scratch[w];
	__syncthreads(HERE1);
	return v;
}
CUK float bmax(float v, float *scratch AT)
{
	unsigned thread = block_thread(), warps = block_warps();
	v = wmax(v HERE);
	if (thread % 32 == 0)
		scratch[thread / 32] = v;
	__syncthreads(HERE1);
	v = scratch[0];
	for (unsigned w = 1; w < warps; w++)
		v = fmax2(v, scratch[w]);
	__syncthreads(HERE1);
	return v;
}

// --- integers. Divisor divides 32-bit numbers below 2^31 by one number many times: a product and a shift each (Granlund and
// Montgomery, PLDI 1994).
CUK unsigned umulhi(unsigned a, unsigned b) { return __umulhi(a, b); }
CUK int ceildiv(int a, int b) { return (a + b - 1) / b; }
struct Divisor {
	unsigned d, multiplier, shift;
	CUK explicit Divisor(unsigned divisor) : d(divisor)
	{
		shift = 32 - (unsigned)__clz(d - 1);
		multiplier = (unsigned)(((((uint64_t)1 << shift) - d) << 32) / d + 1);
	}
	CUK unsigned quotient(unsigned n) const { return (umulhi(n, multiplier) + n) >> shift; }
	CUK unsigned remainder(unsigned n) const { return n - quotient(n) * d; }
};
