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

// pairs_lower (pairs_upper) interleaves the lower (upper) halves of two vectors: {a0, b0, a1, b1, ...}.
#if LANES == 16
#define LOWER 0, 8, 1, 9, 2, 10, 3, 11
#define UPPER 4, 12, 5, 13, 6, 14, 7, 15
#elif LANES == 8
#define LOWER 0, 4, 1, 5
#define UPPER 2, 6, 3, 7
#else
#define LOWER 0, 2
#define UPPER 1, 3
#endif
#if defined(__clang__)
INLINE KERNEL(wide) KERNEL(pairs_lower)(KERNEL(wide) a, KERNEL(wide) b) { return __builtin_shufflevector(a, b, LOWER); }
INLINE KERNEL(wide) KERNEL(pairs_upper)(KERNEL(wide) a, KERNEL(wide) b) { return __builtin_shufflevector(a, b, UPPER); }
#else
INLINE KERNEL(wide) KERNEL(pairs_lower)(KERNEL(wide) a, KERNEL(wide) b) { return __builtin_shuffle(a, b, (KERNEL(wide)){LOWER}); }
INLINE KERNEL(wide) KERNEL(pairs_upper)(KERNEL(wide) a, KERNEL(wide) b) { return __builtin_shuffle(a, b, (KERNEL(wide)){UPPER}); }
#endif
#undef LOWER
#undef UPPER

// philox_words writes the four words of n blocks with counters {c0[b], c1[b], step, site}; see kernels/philox for the
// source. It reads and writes whole vectors, so that the arrays must have PHILOX_SLACK blocks more than n. Two vectors go
// side by side: the rounds of one are a chain of products that wait for each other.
INLINE void KERNEL(philox_words)(uint32_t *words, int n, const uint32_t *c0, const uint32_t *c1, const dropout *d)
{
	enum { CHAINS = 2 };
	const KERNEL(wide) zero = {0}, m0 = zero + 0xD2511F53u, m1 = zero + 0xCD9E8D57u;
	uint64_t keys[20];
	for (int round = 0; round < 10; round++) {
		keys[2 * round] = d->key0 + (uint32_t)round * 0x9E3779B9u;
		keys[2 * round + 1] = d->key1 + (uint32_t)round * 0xBB67AE85u;
	}
	for (int b = 0; b < n; b += CHAINS * KERNEL(BLOCKS)) {
		KERNEL(wide) x0[CHAINS], x1[CHAINS], x2[CHAINS], x3[CHAINS];
#pragma GCC unroll 2
		for (int u = 0; u < CHAINS; u++) {
			x0[u] = __builtin_convertvector(*(const KERNEL(half) *)(c0 + b + u * KERNEL(BLOCKS)), KERNEL(wide));
			x1[u] = __builtin_convertvector(*(const KERNEL(half) *)(c1 + b + u * KERNEL(BLOCKS)), KERNEL(wide));
			x2[u] = zero + d->step;
			x3[u] = zero + d->site;
		}
#pragma GCC unroll 10
		for (int round = 0; round < 10; round++) {
			KERNEL(wide) k0 = zero + keys[2 * round], k1 = zero + keys[2 * round + 1];
#pragma GCC unroll 2
			for (int u = 0; u < CHAINS; u++) {
				KERNEL(wide) p0 = KERNEL(multiply)(x0[u], m0), p1 = KERNEL(multiply)(x2[u], m1);
				x0[u] = (p1 >> 32) ^ x1[u] ^ k0;
				x1[u] = p1;
				x2[u] = (p0 >> 32) ^ x3[u] ^ k1;
				x3[u] = p0;
			}
		}
#pragma GCC unroll 2
		for (int u = 0; u < CHAINS; u++) {
			KERNEL(wide) low = (x0[u] & 0xFFFFFFFFu) | x1[u] << 32, high = (x2[u] & 0xFFFFFFFFu) | x3[u] << 32;
			KERNEL(wide) *out = (KERNEL(wide) *)(words + 4 * (b + u * KERNEL(BLOCKS)));
			out[0] = KERNEL(pairs_lower)(low, high);
			out[1] = KERNEL(pairs_upper)(low, high);
		}
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
