// Arithmetic by vectors of the level: what loops need that the compiler does not find by itself (maxima, exponentials,
// activations, sums in several lanes). Included by a family inside each level. Functions of NaN give NaN, and a running
// maximum skips it; nothing is a library call.
typedef float KERNEL(vec) __attribute__((vector_size(4 * LANES), may_alias));
typedef float KERNEL(loose) __attribute__((vector_size(4 * LANES), aligned(4), may_alias)); // at any address
typedef int32_t KERNEL(ivec) __attribute__((vector_size(4 * LANES), may_alias));

#define vec KERNEL(vec)
#define ivec KERNEL(ivec)

INLINE vec KERNEL(load)(const float *p) { return *(const KERNEL(loose) *)p; }
INLINE void KERNEL(store)(float *p, vec v) { *(KERNEL(loose) *)p = v; }
INLINE vec KERNEL(splat)(float x) { return x - (vec){0}; }

// load_part and store_part touch n < LANES elements only; the rest of the vector is fill.
INLINE vec KERNEL(load_part)(const float *p, size_t n, float fill)
{
	vec v = KERNEL(splat)(fill);
	memcpy(&v, p, n * sizeof *p);
	return v;
}
INLINE void KERNEL(store_part)(float *p, vec v, size_t n) { memcpy(p, &v, n * sizeof *p); }

INLINE vec KERNEL(select)(ivec mask, vec a, vec b) { return (vec)((mask & (ivec)a) | (~mask & (ivec)b)); }

// greater and smaller return the second argument where one of the two is NaN.
INLINE vec KERNEL(greater)(vec a, vec b)
{
#if defined(__x86_64__) && LANES == 16
	return (vec)_mm512_max_ps((__m512)a, (__m512)b);
#elif defined(__x86_64__) && LANES == 8
	return (vec)_mm256_max_ps((__m256)a, (__m256)b);
#elif defined(__x86_64__)
	return (vec)_mm_max_ps((__m128)a, (__m128)b);
#else
	return KERNEL(select)(a > b, a, b);
#endif
}
INLINE vec KERNEL(smaller)(vec a, vec b)
{
#if defined(__x86_64__) && LANES == 16
	return (vec)_mm512_min_ps((__m512)a, (__m512)b);
#elif defined(__x86_64__) && LANES == 8
	return (vec)_mm256_min_ps((__m256)a, (__m256)b);
#elif defined(__x86_64__)
	return (vec)_mm_min_ps((__m128)a, (__m128)b);
#else
	return KERNEL(select)(a < b, a, b);
#endif
}

INLINE vec KERNEL(root)(vec v)
{
#if defined(__x86_64__) && LANES == 16
	return (vec)_mm512_sqrt_ps((__m512)v);
#elif defined(__x86_64__) && LANES == 8
	return (vec)_mm256_sqrt_ps((__m256)v);
#elif defined(__x86_64__)
	return (vec)_mm_sqrt_ps((__m128)v);
#else
	for (int l = 0; l < LANES; l++)
		v[l] = sqrtf(v[l]);
	return v;
#endif
}

// total returns the sum of the lanes, by halves; greatest the largest of them (none may be NaN).
#if defined(__x86_64__)
INLINE float KERNEL(total)(vec v)
{
#if LANES == 16
	__m256 w = _mm512_castps512_ps256((__m512)v) + _mm512_extractf32x8_ps((__m512)v, 1);
#elif LANES == 8
	__m256 w = (__m256)v;
#endif
#if LANES >= 8
	__m128 x = _mm256_castps256_ps128(w) + _mm256_extractf128_ps(w, 1);
#else
	__m128 x = (__m128)v;
#endif
	x = x + _mm_movehl_ps(x, x);
	return x[0] + x[1];
}
INLINE float KERNEL(greatest)(vec v)
{
#if LANES == 16
	__m256 w = _mm256_max_ps(_mm512_castps512_ps256((__m512)v), _mm512_extractf32x8_ps((__m512)v, 1));
#elif LANES == 8
	__m256 w = (__m256)v;
#endif
#if LANES >= 8
	__m128 x = _mm_max_ps(_mm256_castps256_ps128(w), _mm256_extractf128_ps(w, 1));
#else
	__m128 x = (__m128)v;
#endif
	x = _mm_max_ps(x, _mm_movehl_ps(x, x));
	return x[0] > x[1] ? x[0] : x[1];
}
#else
INLINE float KERNEL(total)(vec v) { return (v[0] + v[2]) + (v[1] + v[3]); }
INLINE float KERNEL(greatest)(vec v)
{
	float a = v[0] > v[2] ? v[0] : v[2], b = v[1] > v[3] ? v[1] : v[3];
	return a > b ? a : b;
}
#endif

// exp_v returns e^x within 2 units in the last place, 0 for -Inf and below about -104, Inf above 88.8. x = n ln2 + r with
// |r| <= ln2/2; e^r = 1 + r + r^2 q(r), q interpolated at Chebyshev nodes (relative error 8e-9). n is applied in two
// halves, so that denormal results come out right.
INLINE vec KERNEL(exp_v)(vec x)
{
#if !defined(__x86_64__) || LANES < 16
	ivec zero = x < -104.0f; // such as -Inf of what is masked: a product that underflows takes a hundred cycles
	x = KERNEL(smaller)(KERNEL(splat)(100.0f), (vec)((ivec)x & ~zero));
#else
	x = KERNEL(smaller)(KERNEL(splat)(100.0f), KERNEL(greater)(KERNEL(splat)(-110.0f), x));
#endif
	const float shift = 12582912.0f; // 1.5 * 2^23: adding it rounds to an integer in the low bits
	vec z = x * 1.44269504088896341f + shift;
	vec n = z - shift;
	vec r = x - n * 0.693145751953125f; // ln2 in two parts; the first has 12 significant bits, so n times it is exact
	r = r - n * 1.42860682030941723212e-6f;
	vec q = r * 1.3926251e-3f + 8.3632329e-3f;
	q = q * r + 4.1666554e-2f;
	q = q * r + 1.66665767e-1f;
	q = q * r + 0.5f;
	vec p = r * r * q + r;
	p = p + 1.0f;
#if defined(__x86_64__) && LANES == 16
	return (vec)_mm512_scalef_ps((__m512)p, (__m512)n);
#else
	ivec i = (ivec)z - 0x4B400000, half = i >> 1;
	p = p * (vec)((half + 127) << 23) * (vec)((i - half + 127) << 23);
	return (vec)((ivec)p & ~zero);
#endif
}

// sigmoid_v returns 1 / (1 + e^-x).
INLINE vec KERNEL(sigmoid_v)(vec x) { return 1.0f / (1.0f + KERNEL(exp_v)(-x)); }

// normal_v returns the normal distribution function and sets *e to e^(-x^2/2). Phi(-z) = e^(-z^2/2) t g(t) for z >= 0 with
// t = 1/(1 + z/4) and g interpolated at Chebyshev nodes over 0 <= z <= 14 (relative error 1.2e-8), the form of
// Abramowitz and Stegun 7.1.26.
INLINE vec KERNEL(normal_v)(vec x, vec *e)
{
	vec z = (vec)((ivec)x & 0x7FFFFFFF);
	*e = KERNEL(exp_v)(-0.5f * x * x);
	vec t = 1.0f / (1.0f + 0.25f * z);
	vec g = t * 1.538360334e-2f - 5.63454643e-2f;
	g = g * t + 3.661525497e-2f;
	g = g * t + 4.831808338e-2f;
	g = g * t - 3.67795936e-3f;
	g = g * t + 9.537556828e-2f;
	g = g * t + 6.901163609e-2f;
	g = g * t + 9.615086467e-2f;
	g = g * t + 9.941662313e-2f;
	g = g * t + 9.975179219e-2f;
	vec tail = *e * t * g;
	return KERNEL(select)((ivec)x >> 31, tail, 1.0f - tail);
}

// The scaled slope of GELU's tanh form: (1 + tanh u)/2 = sigmoid(2u), 2u = slope (x + 0.044715 x^3).
INLINE vec KERNEL(gelu_gate)(vec x)
{
	return KERNEL(sigmoid_v)(1.5957691216057308f * (x + 0.044715f * x * x * x));
}

// act_v is activation act, a constant, at x.
INLINE vec KERNEL(act_v)(vec x, int act)
{
	vec e;
	switch (act) {
	case ACT_GELU_ERF: return x * KERNEL(normal_v)(x, &e);
	case ACT_GELU_TANH: return x * KERNEL(gelu_gate)(x);
	case ACT_SILU: return x * KERNEL(sigmoid_v)(x);
	case ACT_RELU: return (vec)((ivec)x & ~(x <= 0.0f));
	}
	return x;
}

// slope_v is its derivative, and sets *value to act_v.
INLINE vec KERNEL(slope_v)(vec x, int act, vec *value)
{
	vec e, s;
	switch (act) {
	case ACT_GELU_ERF:
		s = KERNEL(normal_v)(x, &e);
		*value = x * s;
		return s + x * e * 0.3989422804014327f;
	case ACT_GELU_TANH:
		s = KERNEL(gelu_gate)(x);
		*value = x * s;
		return s + *value * (1.0f - s) * (1.5957691216057308f + 0.2140644488f * x * x);
	case ACT_SILU:
		s = KERNEL(sigmoid_v)(x);
		*value = x * s;
		return s + *value * (1.0f - s);
	case ACT_RELU:
		*value = (vec)((ivec)x & ~(x <= 0.0f));
		return (vec)((ivec)KERNEL(splat)(1.0f) & ~(x <= 0.0f));
	}
	*value = x;
	return KERNEL(splat)(1.0f);
}

// greatest_of returns the largest of n numbers, skipping NaN; -Inf where there is none.
static __attribute__((unused)) float KERNEL(greatest_of)(const float *x, size_t n)
{
	vec top[4];
	for (int u = 0; u < 4; u++)
		top[u] = KERNEL(splat)(-INFINITY);
	size_t i = 0;
	for (; i + 4 * LANES <= n; i += 4 * LANES)
		for (int u = 0; u < 4; u++)
			top[u] = KERNEL(greater)(KERNEL(load)(x + i + u * LANES), top[u]);
	for (; i + LANES <= n; i += LANES)
		top[0] = KERNEL(greater)(KERNEL(load)(x + i), top[0]);
	if (i < n)
		top[0] = KERNEL(greater)(KERNEL(load_part)(x + i, n - i, -INFINITY), top[0]);
	return KERNEL(greatest)(KERNEL(greater)(KERNEL(greater)(top[0], top[1]), KERNEL(greater)(top[2], top[3])));
}

// exp_all writes y[i] = e^(x[i] - base) and returns the sum; y may be x.
INLINE float KERNEL(exp_all)(float *y, const float *x, size_t n, float base)
{
	vec sum[2] = {{0}, {0}};
	size_t i = 0;
	for (; i + 2 * LANES <= n; i += 2 * LANES)
		for (int u = 0; u < 2; u++) {
			vec e = KERNEL(exp_v)(KERNEL(load)(x + i + u * LANES) - base);
			KERNEL(store)(y + i + u * LANES, e);
			sum[u] += e;
		}
	for (; i + LANES <= n; i += LANES) {
		vec e = KERNEL(exp_v)(KERNEL(load)(x + i) - base);
		KERNEL(store)(y + i, e);
		sum[0] += e;
	}
	if (i < n) {
		vec e = KERNEL(exp_v)(KERNEL(load_part)(x + i, n - i, -INFINITY) - base);
		KERNEL(store_part)(y + i, e, n - i);
		sum[1] += e;
	}
	return KERNEL(total)(sum[0] + sum[1]);
}

// merge interleaves the lower (upper) halves of two vectors: {a0, b0, a1, b1, ...}.
#if LANES == 16
#define LOWER 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23
#define UPPER 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31
#elif LANES == 8
#define LOWER 0, 8, 1, 9, 2, 10, 3, 11
#define UPPER 4, 12, 5, 13, 6, 14, 7, 15
#else
#define LOWER 0, 4, 1, 5
#define UPPER 2, 6, 3, 7
#endif
#if defined(__clang__)
INLINE vec KERNEL(merge_lower)(vec a, vec b) { return __builtin_shufflevector(a, b, LOWER); }
INLINE vec KERNEL(merge_upper)(vec a, vec b) { return __builtin_shufflevector(a, b, UPPER); }
#else
INLINE vec KERNEL(merge_lower)(vec a, vec b) { return __builtin_shuffle(a, b, (ivec){LOWER}); }
INLINE vec KERNEL(merge_upper)(vec a, vec b) { return __builtin_shuffle(a, b, (ivec){UPPER}); }
#endif
#undef LOWER
#undef UPPER

// transpose_square turns LANES rows of from into columns of to: log2(LANES) perfect shuffles of the rows.
INLINE void KERNEL(transpose_square)(float *to, size_t ldto, const float *from, size_t ldfrom)
{
	vec a[LANES], b[LANES];
#pragma GCC unroll 16
	for (int i = 0; i < LANES; i++)
		a[i] = KERNEL(load)(from + i * ldfrom);
#pragma GCC unroll 4
	for (int stage = 1; stage < LANES; stage *= 2) {
#pragma GCC unroll 8
		for (int i = 0; i < LANES / 2; i++) {
			b[2 * i] = KERNEL(merge_lower)(a[i], a[i + LANES / 2]);
			b[2 * i + 1] = KERNEL(merge_upper)(a[i], a[i + LANES / 2]);
		}
#pragma GCC unroll 16
		for (int i = 0; i < LANES; i++)
			a[i] = b[i];
	}
#pragma GCC unroll 16
	for (int i = 0; i < LANES; i++)
		KERNEL(store)(to + i * ldto, a[i]);
}
