// What the C kernels share at every level: compiler options, loop hints and what dropout is given. Nothing relies on
// -ffast-math: NaN and infinities pass through as IEEE 754 says.
#ifndef PALIMPSEST_CPU_H
#define PALIMPSEST_CPU_H

// Options that cgo does not let a package pass: sqrt needs no errno and comparisons no exception flags, so that loops with
// them vectorise, and a product may be fused with an addition. They change no NaN and no infinity.
#if defined(__clang__)
#pragma clang fp contract(fast)
#pragma clang diagnostic ignored "-Wpass-failed" // a loop that it does not vectorise is no error
#elif defined(__GNUC__)
#pragma GCC optimize("no-math-errno", "no-trapping-math", "fp-contract=fast")
#endif

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#define INLINE static inline __attribute__((always_inline, unused))

// SIMD marks a loop without dependences between iterations; SUM, one that adds up into the named variables.
#define PRAGMA(x) _Pragma(#x)
#if defined(__clang__)
#define SIMD PRAGMA(clang loop vectorize(assume_safety))
#else
#define SIMD PRAGMA(GCC ivdep)
#endif
#define SUM(...) PRAGMA(omp simd reduction(+ : __VA_ARGS__))

INLINE int smaller(int a, int b) { return a < b ? a : b; }

// fetch asks for memory that will be read, or written, a little later; most is what a first-level cache has room for.
INLINE void fetch(const void *p, size_t bytes, int write)
{
	enum { line = 64, most = 4096 };
	for (size_t i = 0; i < bytes && i < most; i += line)
		if (write)
			__builtin_prefetch((const char *)p + i, 1, 3);
		else
			__builtin_prefetch((const char *)p + i, 0, 3);
}

// The activations, numbered as in backend.go.
enum { ACT_NONE, ACT_GELU_ERF, ACT_GELU_TANH, ACT_SILU, ACT_RELU };

// FOR_ACT runs the statement with A the constant value of act, so that switches over it vanish from loops.
#define FOR_ACT(act, ...)                                             \
	switch (act) {                                                    \
	case ACT_GELU_ERF: { enum { A = ACT_GELU_ERF }; __VA_ARGS__ } break;   \
	case ACT_GELU_TANH: { enum { A = ACT_GELU_TANH }; __VA_ARGS__ } break; \
	case ACT_SILU: { enum { A = ACT_SILU }; __VA_ARGS__ } break;           \
	case ACT_RELU: { enum { A = ACT_RELU }; __VA_ARGS__ } break;           \
	default: { enum { A = ACT_NONE }; __VA_ARGS__ } break;                 \
	}

// Dropout of one call, as Go prepares it: lanes below the threshold are dropped (0: none), the rest multiplied by scale.
typedef struct {
	uint32_t threshold, key0, key1, step, site;
	float scale;
} dropout;

// A lane is a 16-bit half of the words above; little-endian memory has them in the order that Drop numbers them.
typedef uint16_t __attribute__((may_alias)) lane;

// DROP_COLUMNS is how many columns of a row get their lanes at a time; arrays of blocks have PHILOX_SLACK more.
enum { DROP_COLUMNS = 512, PHILOX_SLACK = 16, DROP_BLOCKS = DROP_COLUMNS / 8 + PHILOX_SLACK, DROP_WORDS = 4 * DROP_BLOCKS };

#endif
