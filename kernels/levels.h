// Compiles one family of C kernels once for every instruction set worth having. A family file reads
//
//	#ifndef KERNEL
//	#define FAMILY "norm_cpu.c"
//	#include "levels.h"
//	... dispatchers: LEAF(name, (parameters), (arguments)) ...
//	#else
//	... static void KERNEL(name)(parameters) { ... } ...
//	#endif
//
// and is included here again for each level with KERNEL(name) naming that level's copy. The level is an argument of every
// leaf, chosen once by Go with kernel_level(), so that tests can run all that the machine has. Levels on x86-64: 0 the
// baseline (SSE2), 1 AVX2 with FMA, 2 AVX-512 F/BW/DQ/VL. Elsewhere level 0 alone is there (NEON on arm64 is part of it).
// LANES is the number of floats of a vector of the level and REGISTERS the number of its vector registers.
#include "cpu.h"

#define KERNEL_0(name) name##_base
#define KERNEL_1(name) name##_avx2
#define KERNEL_2(name) name##_avx512

#define KERNEL KERNEL_0
#define LANES 4
#if defined(__x86_64__)
#define REGISTERS 16
#else
#define REGISTERS 32
#endif
#include FAMILY
#undef KERNEL
#undef LANES
#undef REGISTERS

#if defined(__x86_64__)

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma")
#endif
#define KERNEL KERNEL_1
#define LANES 8
#define REGISTERS 16
#include FAMILY
#undef KERNEL
#undef LANES
#undef REGISTERS
#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma,avx512f,avx512bw,avx512dq,avx512vl"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma,avx512f,avx512bw,avx512dq,avx512vl,prefer-vector-width=512")
#endif
#define KERNEL KERNEL_2
#define LANES 16
#define REGISTERS 32
#include FAMILY
#undef KERNEL
#undef LANES
#undef REGISTERS
#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

#define LEAF(name, parameters, arguments)                     \
	void name parameters                                      \
	{                                                         \
		switch (level) {                                      \
		case 2: KERNEL_2(name) arguments; return;             \
		case 1: KERNEL_1(name) arguments; return;             \
		default: KERNEL_0(name) arguments; return;            \
		}                                                     \
	}

#else

#define LEAF(name, parameters, arguments) \
	void name parameters { KERNEL_0(name) arguments; }

#endif

#define KERNEL(name) name // marks the end of the levels; nothing below defines kernels
