// The natural logarithm by vectors of the level; included after vec.h.

// log_v returns log x for normal x > 0, -Inf for 0 and NaN for NaN, within 3e-7 (relative, also near 1): x = 2^e m with m in
// [sqrt(1/2), sqrt(2)), log m = 2 atanh((m-1)/(m+1)), whose series' tail is a minimax fit.
INLINE vec KERNEL(log_v)(vec x)
{
	ivec bits = (ivec)x - 0x3f3504f3;
	vec e = __builtin_convertvector(bits >> 23, vec);
	vec m = (vec)((bits & 0x007fffff) + 0x3f3504f3);
	vec s = (m - 1.0f) / (m + 1.0f), z = s * s;
	vec p = ((z * 2.987534578e-1f + 3.997741780e-1f) * z + 6.666677728e-1f) * z;
	vec r = e * 0.693145752f + (e * 1.42860677e-6f + (s * p + 2.0f * s));
	r = KERNEL(select)(x == (vec){0}, KERNEL(splat)(-INFINITY), r);
	return KERNEL(select)(x == x, r, x);
}

// take loads the first n elements, all lanes where there are as many, and fill for the rest; give stores so.
INLINE vec KERNEL(take)(const float *p, size_t n, float fill)
{
	return n < LANES ? KERNEL(load_part)(p, n, fill) : KERNEL(load)(p);
}
INLINE void KERNEL(give)(float *p, vec v, size_t n)
{
	if (n < LANES)
		KERNEL(store_part)(p, v, n);
	else
		KERNEL(store)(p, v);
}

// finite_base is m, or 0 in lanes of -Inf, so that what is taken off -Inf leaves it.
INLINE vec KERNEL(finite_base)(vec m) { return KERNEL(select)(m == KERNEL(splat)(-INFINITY), (vec){0}, m); }

// log_sum returns log(sum(e^x)); -Inf for nothing.
static __attribute__((unused)) float KERNEL(log_sum)(const float *x, size_t n)
{
	float most = KERNEL(greatest_of)(x, n), base = most == -INFINITY ? 0 : most;
	vec sum = {0};
	double all = 0;
	for (size_t i = 0; i < n; i += LANES) {
		sum += KERNEL(exp_v)(KERNEL(take)(x + i, n - i, -INFINITY) - base);
		if (i / LANES % 128 == 127 || i + LANES >= n) {
			all += KERNEL(total)(sum);
			sum = (vec){0};
		}
	}
	return (float)(base + log(all));
}
