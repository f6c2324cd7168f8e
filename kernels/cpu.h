// What the C kernels share: scalar functions written so that loops over them vectorise (no branches, no library calls),
// and Philox. Nothing here relies on -ffast-math: NaN and infinities pass through as IEEE 754 says.
#ifndef PALIMPSEST_CPU_H
#define PALIMPSEST_CPU_H

// Options that cgo does not let a package pass: sqrt needs no errno and comparisons no exception flags, so that loops with
// them vectorise, and a product may be fused with an addition. They change no NaN and no infinity.
#if defined(__clang__)
#pragma clang fp contract(fast)
#elif defined(__GNUC__)
#pragma GCC optimize("no-math-errno", "no-trapping-math", "fp-contract=fast")
#endif

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define INLINE static inline __attribute__((always_inline, unused))

// SIMD marks a loop without dependences between iterations; SUM, one that adds up into the named variables.
#define PRAGMA(x) _Pragma(#x)
#if defined(__clang__)
#define SIMD PRAGMA(clang loop vectorize(enable) interleave(enable))
#else
#define SIMD PRAGMA(GCC ivdep)
#endif
#define SUM(...) PRAGMA(omp simd reduction(+ : __VA_ARGS__))

INLINE float bits_float(uint32_t u)
{
	float f;
	memcpy(&f, &u, 4);
	return f;
}

INLINE uint32_t float_bits(float f)
{
	uint32_t u;
	memcpy(&u, &f, 4);
	return u;
}

// exp_f returns e^x within 2 units in the last place, 0 for -Inf and below about -104, Inf above 88.8, NaN for NaN.
// x = n ln2 + r with |r| <= ln2/2; e^r = 1 + r + r^2 q(r), q interpolated at Chebyshev nodes (relative error 8e-9). n is
// applied in two halves, so that denormal results come out right.
INLINE float exp_f(float x)
{
	x = x < -110.0f ? -110.0f : x;
	x = x > 100.0f ? 100.0f : x;
	const float shift = 12582912.0f; // 1.5 * 2^23: adding it rounds to an integer in the low bits
	float z = x * 1.44269504088896341f + shift;
	float n = z - shift;
	float r = x - n * 0.693145751953125f; // ln2 in two parts; the first has 12 significant bits, so n times it is exact
	r = r - n * 1.42860682030941723212e-6f;
	float q = 1.3926251e-3f;
	q = q * r + 8.3632329e-3f;
	q = q * r + 4.1666554e-2f;
	q = q * r + 1.66665767e-1f;
	q = q * r + 0.5f;
	float p = r + r * r * q;
	p = p + 1.0f;
	int32_t i = (int32_t)(float_bits(z) - 0x4B400000u);
	int32_t half = i >> 1;
	return p * bits_float((uint32_t)(half + 127) << 23) * bits_float((uint32_t)(i - half + 127) << 23);
}

// sigmoid_f returns 1 / (1 + e^-x).
INLINE float sigmoid_f(float x) { return 1.0f / (1.0f + exp_f(-x)); }

// The activations: value and derivative. Numbers as in backend.go; they are compile-time constants at every call.
enum { ACT_NONE, ACT_GELU_ERF, ACT_GELU_TANH, ACT_SILU };

// normal_tail returns the normal distribution function at -|x| and sets *e to e^(-x^2/2). Phi(-z) = e^(-z^2/2) t g(t) with
// t = 1/(1 + z/4) and g interpolated at Chebyshev nodes over 0 <= z <= 14 (relative error 1.2e-8), the form of
// Abramowitz and Stegun 7.1.26.
INLINE float normal_tail(float x, float *e)
{
	float z = x < 0 ? -x : x;
	*e = exp_f(-0.5f * x * x);
	float t = 1.0f / (1.0f + 0.25f * z);
	float g = 1.538360334e-2f;
	g = g * t - 5.63454643e-2f;
	g = g * t + 3.661525497e-2f;
	g = g * t + 4.831808338e-2f;
	g = g * t - 3.67795936e-3f;
	g = g * t + 9.537556828e-2f;
	g = g * t + 6.901163609e-2f;
	g = g * t + 9.615086467e-2f;
	g = g * t + 9.941662313e-2f;
	g = g * t + 9.975179219e-2f;
	return *e * t * g;
}

INLINE float act_f(float x, int act)
{
	switch (act) {
	case ACT_GELU_ERF: {
		float e, tail = normal_tail(x, &e);
		return x * (x < 0 ? tail : 1.0f - tail);
	}
	case ACT_GELU_TANH: // x (1 + tanh u)/2 = x sigmoid(2u)
		return x * sigmoid_f(1.5957691216057308f * (x + 0.044715f * x * x * x));
	case ACT_SILU:
		return x * sigmoid_f(x);
	}
	return x;
}

INLINE float act_derivative_f(float x, int act)
{
	switch (act) {
	case ACT_GELU_ERF: {
		float e, tail = normal_tail(x, &e);
		return (x < 0 ? tail : 1.0f - tail) + x * e * 0.3989422804014327f;
	}
	case ACT_GELU_TANH: {
		float s = sigmoid_f(1.5957691216057308f * (x + 0.044715f * x * x * x));
		return s + x * s * (1.0f - s) * (1.5957691216057308f + 0.2140644488f * x * x);
	}
	case ACT_SILU: {
		float s = sigmoid_f(x);
		return s + x * s * (1.0f - s);
	}
	}
	return 1.0f;
}

// FOR_ACT runs the statement with A the constant value of act, so that the switches above vanish from loops.
#define FOR_ACT(act, ...)                                             \
	switch (act) {                                                    \
	case ACT_GELU_ERF: { enum { A = ACT_GELU_ERF }; __VA_ARGS__ } break;   \
	case ACT_GELU_TANH: { enum { A = ACT_GELU_TANH }; __VA_ARGS__ } break; \
	case ACT_SILU: { enum { A = ACT_SILU }; __VA_ARGS__ } break;           \
	default: { enum { A = ACT_NONE }; __VA_ARGS__ } break;                 \
	}

// Dropout of one call, as Go prepares it: lanes below the threshold are dropped (0: none), the rest multiplied by scale.
typedef struct {
	uint32_t threshold, key0, key1, step, site;
	float scale;
} dropout;

// philox_words writes the four words of n Philox4x32-10 blocks with counters {c0[b], c1[b], step, site}; see
// kernels/philox for the source. The loop vectorises over blocks.
INLINE void philox_words(uint32_t *words, int n, const uint32_t *c0, const uint32_t *c1, const dropout *d)
{
	uint32_t step = d->step, site = d->site, key0 = d->key0, key1 = d->key1;
	SIMD
	for (int b = 0; b < n; b++) {
		uint32_t x0 = c0[b], x1 = c1[b], x2 = step, x3 = site, k0 = key0, k1 = key1;
#pragma GCC unroll 10
		for (int round = 0; round < 10; round++) {
			uint64_t p0 = (uint64_t)0xD2511F53u * x0, p1 = (uint64_t)0xCD9E8D57u * x2;
			x0 = (uint32_t)(p1 >> 32) ^ x1 ^ k0;
			x2 = (uint32_t)(p0 >> 32) ^ x3 ^ k1;
			x1 = (uint32_t)p1;
			x3 = (uint32_t)p0;
			k0 += 0x9E3779B9u;
			k1 += 0xBB67AE85u;
		}
		words[4 * b] = x0;
		words[4 * b + 1] = x1;
		words[4 * b + 2] = x2;
		words[4 * b + 3] = x3;
	}
}

// A lane is a 16-bit half of the words above; little-endian memory has them in the order that Drop numbers them.
typedef uint16_t __attribute__((may_alias)) lane;

// DROP_COLUMNS is how many columns of a row get their lanes at a time.
enum { DROP_COLUMNS = 512 };

// drop_lanes writes the lanes of columns [column, column + DROP_COLUMNS) of a token; column is a multiple of 8. Returns
// them for reading.
INLINE const lane *drop_lanes(uint32_t *words, int column, int columns, uint32_t token, const dropout *d)
{
	uint32_t c0[DROP_COLUMNS / 8], c1[DROP_COLUMNS / 8];
	int blocks = (columns + 7) / 8;
	for (int b = 0; b < blocks; b++) {
		c0[b] = (uint32_t)(column / 8 + b);
		c1[b] = token;
	}
	philox_words(words, blocks, c0, c1, d);
	return (const lane *)words;
}

#endif
