// What clang needs to compile a kernel for the device without NVIDIA's headers: qualifiers, vector types, the built-in
// variables and the intrinsics in use, over clang's own builtins. Everything that is an instruction by itself stands in
// device.cuh. Compile with -nocudainc -nocudalib: there is no libdevice, thus no expf or logf.
#pragma once

#define __global__ __attribute__((global))
#define __device__ __attribute__((device))
#define __host__ __attribute__((host))
#define __shared__ __attribute__((shared))
#define __constant__ __attribute__((constant))
#define __launch_bounds__(...) __attribute__((launch_bounds(__VA_ARGS__)))
#define __forceinline__ inline __attribute__((always_inline))
#define __align__(n) __attribute__((aligned(n)))
#define INFINITY __builtin_huge_valf()
#define NAN __builtin_nanf("")
#define BARE static __device__ __forceinline__

struct __align__(8) float2 { float x, y; };
struct __align__(16) float4 { float x, y, z, w; };
struct __align__(16) double2 { double x, y; };
struct __align__(8) int2 { int x, y; };
struct __align__(16) int4 { int x, y, z, w; };
struct __align__(8) uint2 { unsigned x, y; };
struct __align__(16) uint4 { unsigned x, y, z, w; };

BARE float2 make_float2(float x, float y) { return {x, y}; }
BARE float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
BARE double2 make_double2(double x, double y) { return {x, y}; }
BARE int2 make_int2(int x, int y) { return {x, y}; }
BARE int4 make_int4(int x, int y, int z, int w) { return {x, y, z, w}; }
BARE uint2 make_uint2(unsigned x, unsigned y) { return {x, y}; }
BARE uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }

// threadIdx and its like: structs whose members read a special register.
#define SPECIAL_REGISTERS(type, prefix)                                                               \
	struct type {                                                                                     \
		__declspec(property(get = get_x)) unsigned x;                                                 \
		__declspec(property(get = get_y)) unsigned y;                                                 \
		__declspec(property(get = get_z)) unsigned z;                                                 \
		BARE unsigned get_x() { return __nvvm_read_ptx_sreg_##prefix##_x(); }                         \
		BARE unsigned get_y() { return __nvvm_read_ptx_sreg_##prefix##_y(); }                         \
		BARE unsigned get_z() { return __nvvm_read_ptx_sreg_##prefix##_z(); }                         \
	};
SPECIAL_REGISTERS(thread_index, tid)
SPECIAL_REGISTERS(block_index, ctaid)
SPECIAL_REGISTERS(block_size, ntid)
SPECIAL_REGISTERS(grid_size, nctaid)
#define threadIdx (thread_index{})
#define blockIdx (block_index{})
#define blockDim (block_size{})
#define gridDim (grid_size{})
#define warpSize 32

// __syncthreads is one of clang's builtins.
BARE void __syncwarp(unsigned mask = 0xffffffffu) { __nvvm_bar_warp_sync(mask); }
BARE void __threadfence() { __nvvm_membar_gl(); }

BARE unsigned __float_as_uint(float v) { return __builtin_bit_cast(unsigned, v); }
BARE float __uint_as_float(unsigned v) { return __builtin_bit_cast(float, v); }
BARE unsigned __umulhi(unsigned a, unsigned b) { return (unsigned)((unsigned long long)a * b >> 32); }
BARE int __popc(unsigned v) { return __builtin_popcount(v); }
BARE int __clz(unsigned v) { return v ? __builtin_clz(v) : 32; }
BARE int __ffs(unsigned v) { return __builtin_ffs((int)v); }

// Shuffles of 32 and 64 bits. The last operand of the instruction: segment mask and clamp of a whole warp.
BARE int __shfl_sync(unsigned m, int v, int lane) { return __nvvm_shfl_sync_idx_i32(m, v, lane, 31); }
BARE int __shfl_xor_sync(unsigned m, int v, int lanes) { return __nvvm_shfl_sync_bfly_i32(m, v, lanes, 31); }
BARE int __shfl_down_sync(unsigned m, int v, unsigned d) { return __nvvm_shfl_sync_down_i32(m, v, d, 31); }
BARE int __shfl_up_sync(unsigned m, int v, unsigned d) { return __nvvm_shfl_sync_up_i32(m, v, d, 0); }
BARE float __shfl_sync(unsigned m, float v, int lane) { return __nvvm_shfl_sync_idx_f32(m, v, lane, 31); }
BARE float __shfl_xor_sync(unsigned m, float v, int lanes) { return __nvvm_shfl_sync_bfly_f32(m, v, lanes, 31); }
BARE float __shfl_down_sync(unsigned m, float v, unsigned d) { return __nvvm_shfl_sync_down_f32(m, v, d, 31); }
BARE float __shfl_up_sync(unsigned m, float v, unsigned d) { return __nvvm_shfl_sync_up_f32(m, v, d, 0); }
#define SHUFFLES_BY_WORDS(shuffle, how)                                                               \
	BARE unsigned shuffle(unsigned m, unsigned v, how l) { return (unsigned)shuffle(m, (int)v, l); }  \
	BARE double shuffle(unsigned m, double v, how l)                                                  \
	{                                                                                                 \
		int2 w = __builtin_bit_cast(int2, v);                                                         \
		return __builtin_bit_cast(double, int2{shuffle(m, w.x, l), shuffle(m, w.y, l)});              \
	}
SHUFFLES_BY_WORDS(__shfl_sync, int)
SHUFFLES_BY_WORDS(__shfl_xor_sync, int)
SHUFFLES_BY_WORDS(__shfl_down_sync, unsigned)
SHUFFLES_BY_WORDS(__shfl_up_sync, unsigned)

BARE unsigned __ballot_sync(unsigned m, int p) { return __nvvm_vote_ballot_sync(m, p); }
BARE int __any_sync(unsigned m, int p) { return __nvvm_vote_any_sync(m, p); }
BARE int __all_sync(unsigned m, int p) { return __nvvm_vote_all_sync(m, p); }

BARE float atomicAdd(float *p, float v) { return __nvvm_atom_add_gen_f(p, v); }
BARE double atomicAdd(double *p, double v) { return __nvvm_atom_add_gen_d(p, v); }
BARE int atomicAdd(int *p, int v) { return __nvvm_atom_add_gen_i(p, v); }
BARE unsigned atomicAdd(unsigned *p, unsigned v) { return (unsigned)__nvvm_atom_add_gen_i((int *)p, (int)v); }
BARE int atomicMax(int *p, int v) { return __nvvm_atom_max_gen_i(p, v); }
BARE unsigned atomicOr(unsigned *p, unsigned v) { return (unsigned)__nvvm_atom_or_gen_i((int *)p, (int)v); }

BARE int min(int a, int b) { return a < b ? a : b; }
BARE int max(int a, int b) { return a > b ? a : b; }
BARE unsigned min(unsigned a, unsigned b) { return a < b ? a : b; }
BARE unsigned max(unsigned a, unsigned b) { return a > b ? a : b; }
BARE long min(long a, long b) { return a < b ? a : b; }
BARE long max(long a, long b) { return a > b ? a : b; }
