// What g++ needs to compile a kernel for the emulation: CUDA's words over the engine of engine.h. The functions of
// device.cuh have their host bodies there.
#pragma once
#include <math.h>
#include <stdint.h>
#include <string.h>

#include "engine.h"
#include "registry.h"

#define __global__
#define __device__
#define __host__
#define __constant__ static const
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __align__(n) alignas(n)
// __shared__ is left undefined: shared memory comes from Smem::take alone, which checks it.

struct alignas(8) float2 { float x, y; };
struct alignas(16) float4 { float x, y, z, w; };
struct alignas(16) double2 { double x, y; };
struct alignas(8) int2 { int x, y; };
struct alignas(16) int4 { int x, y, z, w; };
struct alignas(8) uint2 { unsigned x, y; };
struct alignas(16) uint4 { unsigned x, y, z, w; };
inline float2 make_float2(float x, float y) { return {x, y}; }
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
inline double2 make_double2(double x, double y) { return {x, y}; }
inline int2 make_int2(int x, int y) { return {x, y}; }
inline int4 make_int4(int x, int y, int z, int w) { return {x, y, z, w}; }
inline uint2 make_uint2(unsigned x, unsigned y) { return {x, y}; }
inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }

#define threadIdx (emu::current->thread)
#define blockIdx (emu::current->block->index)
#define blockDim (emu::current->block->threads)
#define gridDim (emu::current->block->grid)
#define warpSize 32

inline void __syncthreads(EMU_AT) { emu::barrier(file, line); }
inline void __syncwarp(unsigned mask, EMU_AT) { emu::syncwarp(mask, file, line); }
inline void __syncwarp(EMU_AT) { emu::syncwarp(0xffffffffu, file, line); }
inline void __threadfence() {}

// Shuffles: of any type of up to 8 bytes, over the whole warp. What lies outside the warp reads the own lane.
namespace emu {
template <class T> inline T shuffle_value(unsigned mask, T v, unsigned from, const char *what, const char *file, int line)
{
	static_assert(sizeof(T) <= 8, "a shuffle moves up to 8 bytes");
	uint64_t bits = 0;
	memcpy(&bits, &v, sizeof v);
	bits = shuffle(mask, bits, from < 32 ? from : current->lane, what, file, line);
	memcpy(&v, &bits, sizeof v);
	return v;
}
} // namespace emu
template <class T> inline T __shfl_sync(unsigned m, T v, int lane, EMU_AT)
{
	return emu::shuffle_value(m, v, (unsigned)lane & 31, "__shfl_sync", file, line);
}
template <class T> inline T __shfl_xor_sync(unsigned m, T v, int lanes, EMU_AT)
{
	return emu::shuffle_value(m, v, emu::current->lane ^ (unsigned)lanes, "__shfl_xor_sync", file, line);
}
template <class T> inline T __shfl_down_sync(unsigned m, T v, unsigned d, EMU_AT)
{
	return emu::shuffle_value(m, v, emu::current->lane + d, "__shfl_down_sync", file, line);
}
template <class T> inline T __shfl_up_sync(unsigned m, T v, unsigned d, EMU_AT)
{
	return emu::shuffle_value(m, v, emu::current->lane - d, "__shfl_up_sync", file, line); // below 0 wraps: out of range
}
inline unsigned __ballot_sync(unsigned m, int p, EMU_AT) { return emu::ballot(m, p != 0, file, line); }
inline int __any_sync(unsigned m, int p, EMU_AT) { return emu::ballot(m, p != 0, file, line) != 0; }
inline int __all_sync(unsigned m, int p, EMU_AT) { return emu::ballot(m, p != 0, file, line) == m; }

inline unsigned __float_as_uint(float v)
{
	unsigned u;
	memcpy(&u, &v, 4);
	return u;
}
inline float __uint_as_float(unsigned v)
{
	float f;
	memcpy(&f, &v, 4);
	return f;
}
inline unsigned __umulhi(unsigned a, unsigned b) { return (unsigned)((uint64_t)a * b >> 32); }
inline int __popc(unsigned v) { return __builtin_popcount(v); }
inline int __clz(unsigned v) { return v ? __builtin_clz(v) : 32; }
inline int __ffs(unsigned v) { return __builtin_ffs((int)v); }
inline int min(int a, int b) { return a < b ? a : b; }
inline int max(int a, int b) { return a > b ? a : b; }
inline unsigned min(unsigned a, unsigned b) { return a < b ? a : b; }
inline unsigned max(unsigned a, unsigned b) { return a > b ? a : b; }
inline long min(long a, long b) { return a < b ? a : b; }
inline long max(long a, long b) { return a > b ? a : b; }

// Atomics are relaxed, as on the device: they order nothing else.
inline int atomicAdd(int *p, int v) { return __atomic_fetch_add(p, v, __ATOMIC_RELAXED); }
inline unsigned atomicAdd(unsigned *p, unsigned v) { return __atomic_fetch_add(p, v, __ATOMIC_RELAXED); }
inline unsigned atomicOr(unsigned *p, unsigned v) { return __atomic_fetch_or(p, v, __ATOMIC_RELAXED); }
inline int atomicMax(int *p, int v)
{
	int old = __atomic_load_n(p, __ATOMIC_RELAXED);
	while (old < v && !__atomic_compare_exchange_n(p, &old, v, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
	}
	return old;
}
template <class T> inline T atomic_add_float(T *p, T v)
{
	T old, sum;
	__atomic_load(p, &old, __ATOMIC_RELAXED);
	do
		sum = old + v;
	while (!__atomic_compare_exchange(p, &old, &sum, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED));
	return old;
}
inline float atomicAdd(float *p, float v) { return atomic_add_float(p, v); }
inline double atomicAdd(double *p, double v) { return atomic_add_float(p, v); }
