// selftest: every function of device.cuh that is an instruction or stands on one, on fixed inputs, every thread's result
// stored. The emulation runs the host bodies, a GPU the PTX bodies: testdata/selftest.json holds what the emulation gives
// ('make selftest' writes it) and how far a device may be from it:
//
//   {"kernel": name, "threads": of the one block, "shared": bytes, "scratch": words of zeros,
//    "rows": [{"name", "kind": "word" | "float", "absolute", "relative"}, ...], "in": words, "out": words}
//
// The arguments are pointers to out, in and scratch. A word must be equal; a float may differ by absolute + relative*|want|
// and equals where both are NaN.
//
// Shapes: one block of 64 threads, 4096 bytes of dynamic shared memory. in: 16 rows of 64 words. out: one row of 64 words
// for each result, row r of thread t at out[64 r + t], the rows in the order of the calls of put below; a double fills two
// rows, its low word first. scratch: 1024 words, zero at first.
#include "philox.cuh"
#if !ON_DEVICE
#include "emu/selftest.h"
#endif

constexpr int SELFTEST_THREADS = 64;

// A Tolerance of a float result: |got - want| <= absolute + relative*|want|. Both 0: the same bits.
struct Tolerance { float absolute, relative; };
constexpr Tolerance EXACT = {0, 0};

struct Results {
	uint32_t *out;
	unsigned row;

	CUK void store(const char *name, bool is_float, uint32_t word, Tolerance tolerance)
	{
#if !ON_DEVICE
		emu::note_row(row, name, is_float, tolerance.absolute, tolerance.relative);
#endif
		out[row++ * SELFTEST_THREADS + threadIdx.x] = word;
	}
	CUK void put(const char *name, uint32_t v) { store(name, false, v, EXACT); }
	CUK void put(const char *name, int v) { put(name, (uint32_t)v); }
	CUK void put(const char *name, bf16 v) { put(name, (uint32_t)v.x); }
	CUK void put(const char *name, float v, Tolerance tolerance = EXACT)
	{
		store(name, true, __float_as_uint(v), tolerance);
	}
	CUK void put(const char *name, float2 v)
	{
		put(name, v.x);
		put(name, v.y);
	}
	CUK void put(const char *name, uint4 v)
	{
		put(name, v.x);
		put(name, v.y);
		put(name, v.z);
		put(name, v.w);
	}
	CUK void put(const char *name, double v)
	{
		uint64_t bits = __builtin_bit_cast(uint64_t, v);
		put(name, (uint32_t)bits);
		put(name, (uint32_t)(bits >> 32));
	}
};

// numbers: conversions, approximations and the functions over them. x: any floats; p: positive ones; s: of small size.
CUK void selftest_numbers(Results &r, float x, float p, float s)
{
	r.put("tobf16", tobf16(x));
	r.put("tofloat", tofloat(tobf16(x)));
	r.put("pack2", pack2(x, p));
	r.put("unpack2", unpack2(pack2(p, x)));
	r.put("fexp2", fexp2(s), {0, 3e-7f});
	r.put("flog2", flog2(p), {3e-7f, 3e-7f});
	r.put("frsqrt", frsqrt(p), {0, 3e-7f});
	r.put("frcp", frcp(x), {0, 2e-7f});
	r.put("fsqrt", fsqrt(p));
	r.put("frint", frint(s));
	r.put("dsqrt", dsqrt((double)p));
	r.put("fmax2", fmax2(x, s));
	r.put("fmin2", fmin2(x, s));
	r.put("ffma", ffma(x, s, p));
	r.put("fexp", fexp(s), {0, 6e-7f});
	r.put("flog", flog(p), {0, 6e-7f});
	r.put("ftanh", ftanh(s), {0, 8e-7f});
	r.put("ferf", ferf(s), {0, 6e-7f});
	r.put("fnormcdf", fnormcdf(s), {1e-30f, 3e-6f});
	r.put("finite", (int)finite(x));
	r.put("withsign", withsign(p, s));
}

// words: integers, bits, generator.
CUK void selftest_words(Results &r, uint32_t a, uint32_t b)
{
	r.put("umulhi", umulhi(a, b));
	r.put("__popc", __popc(a));
	r.put("__clz", __clz(a >> (threadIdx.x & 31)));
	r.put("__ffs", __ffs(a << (threadIdx.x & 31)));
	Divisor d(1 + (b & 0xffff));
	r.put("Divisor.quotient", d.quotient(a >> 1));
	r.put("Divisor.remainder", d.remainder(a >> 1));
	r.put("philox", philox(make_uint4(a, b, threadIdx.x, 4u << 16), make_uint2(b, a)));
	r.put("drop_lane", drop_lane(make_uint4(a, b, ~a, ~b), (int)(threadIdx.x & 7)));
}

// lanes: what a warp does together.
CUK void selftest_lanes(Results &r, uint32_t a, float s)
{
	int lane = (int)threadIdx.x & 31;
	r.put("__shfl_sync int", __shfl_sync(FULL, (int)a, (lane * 7 + 3) & 31));
	r.put("__shfl_sync float", __shfl_sync(FULL, s, 31 - lane));
	r.put("__shfl_sync double", __shfl_sync(FULL, (double)s, lane ^ 5));
	r.put("__shfl_xor_sync int", __shfl_xor_sync(FULL, (int)a, 9));
	r.put("__shfl_xor_sync float", __shfl_xor_sync(FULL, s, 16));
	r.put("__shfl_down_sync", __shfl_down_sync(FULL, s, 5));
	r.put("__shfl_up_sync", __shfl_up_sync(FULL, s, 3));
	r.put("__ballot_sync", __ballot_sync(FULL, (int)(a & 1)));
	r.put("__any_sync", (int)(__any_sync(FULL, (int)a == 0) != 0));
	r.put("__all_sync", (int)(__all_sync(FULL, lane < 32) != 0));
	r.put("wmax", wmax(s));
	r.put("wsum float", wsum(s));
	r.put("wsum int", wsum((int)(a >> 8)));
	r.put("wsum double", wsum((double)s));
}

// memory: loads, stores and atomics on global memory.
CUK void selftest_memory(Results &r, const uint32_t *in, uint32_t *scratch)
{
	unsigned t = threadIdx.x;
	uint4 v = ld16(in + 4 * t), w = ldnc16(in + 4 * (SELFTEST_THREADS - 1 - t));
	r.put("ld16", v);
	r.put("ldnc16", w);
	r.put("ldg u32", ldg(in + t));
	r.put("ldg i32", ldg((const int32_t *)in + t));
	r.put("ldg float", ldg((const float *)in + t));
	r.put("ldg bf16", ldg((const bf16 *)in + t));
	st16(scratch + 4 * t, w);
	stcs16(scratch + 256 + 4 * t, v);
	__threadfence();
	__syncthreads();
	r.put("st16", ld16(scratch + 4 * (t ^ 1)));
	r.put("stcs16", ld16(scratch + 256 + 4 * (t ^ 33)));
	atomicAdd((int *)scratch + 512 + (t & 3), (int)t);
	atomicAdd(scratch + 516 + (t & 3), t * t);
	atomicAdd((float *)scratch + 520 + (t & 3), (float)t);
	atomicAdd((double *)(scratch + 524) + (t & 1), (double)t);
	atomicOr(scratch + 528 + (t & 3), 1u << (t & 31));
	atomicMax((int *)scratch + 532 + (t & 3), (int)(in[t] >> 1));
	__syncthreads();
	r.put("atomics", scratch[512 + (t & 31)]); // sums of whole numbers: the same in any order
}

// tiles: shared memory, asynchronous copies, fragments and the tensor cores' product.
CUK void selftest_tiles(Results &r, const uint32_t *in)
{
	unsigned t = threadIdx.x, lane = t & 31;
	Smem shared;
	uint32_t *copied = shared.take<uint32_t>(5 * SELFTEST_THREADS);
	bf16 *tile = shared.take<bf16>(32 * 16 + 8);
	float *sums = shared.take<float>(32);
	cp16(copied + 4 * t, in + 4 * t, t % 3 != 0);
	cpcommit();
	cp4(copied + 4 * SELFTEST_THREADS + t, in + t, t % 5 != 0);
	cpcommit();
	for (unsigned i = t; i < 32 * 16; i += SELFTEST_THREADS)
		tile[i] = tobf16((float)(int)(i * 37 % 101) - 50); // whole numbers: every sum of products is exact
	cpwait<0>();
	__syncthreads();
	r.put("cp16", *(const uint4 *)(copied + 4 * (t ^ 7)));
	r.put("cp4", copied[4 * SELFTEST_THREADS + (t ^ 7)]);

	const bf16 *row = tile + (lane & 15) * 16 + (lane >> 4) * 8;
	uint32_t a[4], at[4], b[2], bt[2];
	ldm4(a, row);
	ldm4t(at, row);
	ldm2(b, tile + 256 + (lane & 15) * 8);
	ldm2t(bt, tile + 256 + (lane & 15) * 8);
	UNROLL for (int i = 0; i < 4; i++) r.put("ldm4", a[i]);
	UNROLL for (int i = 0; i < 4; i++) r.put("ldm4t", at[i]);
	UNROLL for (int i = 0; i < 2; i++) r.put("ldm2", b[i]);
	UNROLL for (int i = 0; i < 2; i++) r.put("ldm2t", bt[i]);

	float d[4] = {1, -2, 3, (float)(int)lane};
	mma16816(d, a, b);
	UNROLL for (int i = 0; i < 4; i++) r.put("mma16816 exact", d[i]);
	uint32_t fraction[4], other[2]; // inexact: the hardware adds in an order and a width of its own
	UNROLL for (int i = 0; i < 4; i++) fraction[i] = in[64 * i + t] & 0xbfffbfffu; // sizes below 2
	UNROLL for (int i = 0; i < 2; i++) other[i] = in[64 * i + 256 + t] & 0xbfffbfffu;
	float e[4] = {0.5f, 0.25f, -0.125f, 1};
	mma16816(e, fraction, other);
	UNROLL for (int i = 0; i < 4; i++) r.put("mma16816", e[i], {3e-5f, 3e-6f});

	float s = __uint_as_float(in[t] & 0xbfffffffu);
	r.put("bsum", bsum(s, sums));
	r.put("bmax", bmax(s, sums));
	__syncwarp();
}

extern "C" __global__ void __launch_bounds__(SELFTEST_THREADS)
	selftest_run(uint32_t *out, const uint32_t *in, uint32_t *scratch)
{
	Results r = {out, 0};
	unsigned t = threadIdx.x;
	float x = __uint_as_float(in[t]), p = __uint_as_float(in[64 + t]), s = __uint_as_float(in[128 + t]);
	selftest_numbers(r, x, p, s);
	selftest_words(r, in[192 + t], in[256 + t]);
	selftest_lanes(r, in[192 + t], s);
	selftest_memory(r, in, scratch);
	selftest_tiles(r, in + 192);
}
EMU_KERNEL(selftest_run)
