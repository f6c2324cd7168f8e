// Philox4x32-10 by vectors, for dropout. Included by a family inside each level, after vec.h.
//
// A vector of 64-bit lanes holds one counter word of LANES/2 blocks. The widening product reads low halves only, so the
// words need no masking between rounds: a round is two products, two shifts and two three-way xors for LANES/2 blocks.
typedef uint64_t KERNEL(wide) __attribute__((vector_size(4 * LANES), aligned(8), may_alias));
typedef uint32_t KERNEL(half) __attribute__((vector_size(2 * LANES), aligned(4), may_alias));

enum { KERNEL(BLOCKS) = LANES / 2 }; // of one vector

INLINE KERNEL(wide) KERNEL(multiply)(KERNEL(wide) a, KERNEL(wide) b)
{
#if defined(__x86_64__) && LANES == 16
	return (KERNEL(wide))_mm512_mul_epu32((__m512i)a, (__m512i)b);
#elif defined(__x86_64__) && LANES == 8
	return (KERNEL(wide))_mm256_mul_epu32((__m256i)a, (__m256i)b);
#elif defined(__x86_64__)
	return (KERNEL(wide))_mm_mul_epu32((__m128i)a, (__m128i)b);
#else
	return (a & 0xFFFFFFFFu) * (b & 0xFFFFFFFFu);
#endif
}

// philox_words writes the four words of n blocks with counters {c0[b], c1[b], step, site}; see kernels/philox for the
// source. It reads and writes whole vectors, so that the arrays must have PHILOX_SLACK blocks more than n.
INLINE void KERNEL(philox_words)(uint32_t *words, int n, const uint32_t *c0, const uint32_t *c1, const dropout *d)
{
	const KERNEL(wide) zero = {0}, m0 = zero + 0xD2511F53u, m1 = zero + 0xCD9E8D57u;
	for (int b = 0; b < n; b += KERNEL(BLOCKS)) {
		KERNEL(wide) x0 = __builtin_convertvector(*(const KERNEL(half) *)(c0 + b), KERNEL(wide));
		KERNEL(wide) x1 = __builtin_convertvector(*(const KERNEL(half) *)(c1 + b), KERNEL(wide));
		KERNEL(wide) x2 = zero + d->step, x3 = zero + d->site;
		uint32_t k0 = d->key0, k1 = d->key1;
#pragma GCC unroll 10
		for (int round = 0; round < 10; round++) {
			KERNEL(wide) p0 = KERNEL(multiply)(x0, m0), p1 = KERNEL(multiply)(x2, m1);
			x0 = (p1 >> 32) ^ x1 ^ (zero + k0);
			x1 = p1;
			x2 = (p0 >> 32) ^ x3 ^ (zero + k1);
			x3 = p0;
			k0 += 0x9E3779B9u;
			k1 += 0xBB67AE85u;
		}
		KERNEL(wide) low = (x0 & 0xFFFFFFFFu) | x1 << 32, high = (x2 & 0xFFFFFFFFu) | x3 << 32;
		uint64_t pairs[2 * KERNEL(BLOCKS)];
		for (int l = 0; l < KERNEL(BLOCKS); l++) {
			pairs[2 * l] = low[l];
			pairs[2 * l + 1] = high[l];
		}
		memcpy(words + 4 * b, pairs, sizeof pairs);
	}
}

typedef uint16_t KERNEL(shorts) __attribute__((vector_size(2 * LANES), aligned(2), may_alias));

// kept returns v where the lanes, of which there are a whole vector, are not below the threshold, else 0.
INLINE vec KERNEL(kept)(const lane *lanes, int32_t threshold, vec v)
{
	ivec l = __builtin_convertvector(*(const KERNEL(shorts) *)lanes, ivec);
	return (vec)((ivec)v & (l >= threshold));
}

// drop_lanes computes the lanes of up to DROP_COLUMNS columns from column on, a multiple of 8, of a token, in words.
static __attribute__((unused)) const lane *KERNEL(drop_lanes)(uint32_t *words, int column, int columns, uint32_t token,
	const dropout *d)
{
	uint32_t c0[DROP_BLOCKS], c1[DROP_BLOCKS];
	int blocks = (columns + 7) / 8;
	for (int b = 0; b < blocks + PHILOX_SLACK; b++) {
		c0[b] = (uint32_t)(column / 8 + b);
		c1[b] = token;
	}
	KERNEL(philox_words)(words, blocks, c0, c1, d);
	return (const lane *)words;
}
