// Shuffles, votes and the tensor cores' product: what the last lane of a warp to arrive does for all of them.
#include "worker.h"

namespace emu {

struct Shuffle {
	uint64_t in, out;
	unsigned from;
};

static void deal(Warp &w, unsigned mask)
{
	for (unsigned rest = mask; rest; rest &= rest - 1) {
		Shuffle *s = (Shuffle *)w.argument[__builtin_ctz(rest)];
		if (!(mask >> s->from & 1))
			fail("a shuffle reads lane %u, which is not in mask %08x", s->from, mask);
		s->out = ((const Shuffle *)w.argument[s->from])->in;
	}
}

uint64_t shuffle(unsigned mask, uint64_t value, unsigned from, const char *what, const char *file, int line)
{
	Shuffle s{value, 0, from};
	meet(deal, mask, &s, what, file, line);
	return s.out;
}

struct Vote {
	bool in;
	unsigned out;
};

static void count(Warp &w, unsigned mask)
{
	unsigned votes = 0;
	for (unsigned rest = mask; rest; rest &= rest - 1)
		votes |= (unsigned)((const Vote *)w.argument[__builtin_ctz(rest)])->in << __builtin_ctz(rest);
	for (unsigned rest = mask; rest; rest &= rest - 1)
		((Vote *)w.argument[__builtin_ctz(rest)])->out = votes;
}

unsigned ballot(unsigned mask, bool predicate, const char *file, int line)
{
	Vote v{predicate, 0};
	meet(count, mask, &v, "__ballot_sync", file, line);
	return v.out;
}

// --- mma.m16n8k16: the fragments of a warp are laid out as matrices, multiplied row by row, and dealt out again. A product
// of two bf16 is exact in double, so every instruction set gives the same bits.

struct Product {
	float *d;
	const uint32_t *a, *b;
};

static inline double low(uint32_t v)
{
	v <<= 16;
	float f;
	__builtin_memcpy(&f, &v, 4);
	return f;
}
static inline double high(uint32_t v) { return low(v >> 16); }

typedef double row8 __attribute__((vector_size(64)));

static inline __attribute__((always_inline)) void multiply(Warp &w)
{
	alignas(64) double a[16][16], b[16][8], d[16][8];
	for (int l = 0; l < 32; l++) {
		const Product &p = *(const Product *)w.argument[l];
		int g = l >> 2, t = 2 * (l & 3);
		for (int i = 0; i < 4; i++) {
			int row = g + 8 * (i & 1), k = t + 8 * (i >> 1);
			a[row][k] = low(p.a[i]);
			a[row][k + 1] = high(p.a[i]);
		}
		for (int i = 0; i < 2; i++) {
			b[t + 8 * i][g] = low(p.b[i]);
			b[t + 8 * i + 1][g] = high(p.b[i]);
		}
		for (int i = 0; i < 4; i++)
			d[g + 8 * (i >> 1)][t + (i & 1)] = p.d[i];
	}
	for (int r = 0; r < 16; r += 4) {
		row8 s0 = *(row8 *)d[r], s1 = *(row8 *)d[r + 1], s2 = *(row8 *)d[r + 2], s3 = *(row8 *)d[r + 3];
		for (int k = 0; k < 16; k++) {
			row8 v = *(row8 *)b[k];
			s0 += a[r][k] * v;
			s1 += a[r + 1][k] * v;
			s2 += a[r + 2][k] * v;
			s3 += a[r + 3][k] * v;
		}
		*(row8 *)d[r] = s0;
		*(row8 *)d[r + 1] = s1;
		*(row8 *)d[r + 2] = s2;
		*(row8 *)d[r + 3] = s3;
	}
	for (int l = 0; l < 32; l++) {
		const Product &p = *(const Product *)w.argument[l];
		int g = l >> 2, t = 2 * (l & 3);
		for (int i = 0; i < 4; i++)
			p.d[i] = (float)d[g + 8 * (i >> 1)][t + (i & 1)];
	}
}

static void multiply_plain(Warp &w, unsigned) { multiply(w); }
#if defined(__x86_64__)
__attribute__((target("avx512f"))) static void multiply_avx512(Warp &w, unsigned) { multiply(w); }
__attribute__((target("avx2,fma"))) static void multiply_avx2(Warp &w, unsigned) { multiply(w); }
#endif

static void (*best_multiply())(Warp &, unsigned)
{
#if defined(__x86_64__)
	__builtin_cpu_init();
	if (__builtin_cpu_supports("avx512f"))
		return multiply_avx512;
	if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
		return multiply_avx2;
#endif
	return multiply_plain;
}
static void (*const chosen_multiply)(Warp &, unsigned) = best_multiply();

void mma(float *d, const uint32_t *a, const uint32_t *b, const char *file, int line)
{
	Product p{d, a, b};
	meet(chosen_multiply, 0xffffffffu, &p, "mma.m16n8k16", file, line);
}

} // namespace emu
