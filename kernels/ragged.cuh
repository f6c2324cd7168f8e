// A row of bfloat16 of any width at any place, as a block reads it: chunks of eight elements at multiples of 16 bytes, and
// single elements before the first and behind the last, of which some threads have one each.
#pragma once
#include "eight.cuh"

#if ON_DEVICE
#define LOOP _Pragma("unroll 1")
#else
#define LOOP
#endif

// INLINED, behind a lambda's parameters, keeps what it captures in registers.
#define INLINED __attribute__((always_inline))

struct Ragged {
	int head, whole, edge; // elements before the chunks, chunks, this thread's single element or -1

	CUK Ragged(const bf16 *row, int n)
	{
		head = (int)(-(uintptr_t)row & 15) / 2;
		head = head < n ? head : n;
		whole = (n - head) / 8;
		edge = -1;
		if ((int)threadIdx.x < head)
			edge = threadIdx.x;
		else if (threadIdx.x >= 8 && (int)threadIdx.x - 8 < n - head - 8 * whole)
			edge = head + 8 * whole + threadIdx.x - 8;
	}
	CUK int at(int chunk) const { return head + 8 * chunk; }
};

// silence writes zeros to a row.
CUK void silence(bf16 *row, const Ragged &r)
{
	if (r.edge >= 0)
		row[r.edge] = {0};
	for (int c = threadIdx.x; c < r.whole; c += blockDim.x)
		st16(row + r.at(c), make_uint4(0, 0, 0, 0));
}

// log1 is log(1+x) for x >= 0, also near 0 (Goldberg, 1991).
CUK float log1(float x)
{
	float u = 1 + x;
	return u == 1 || !finite(u) ? x : flog(u) * (x / (u - 1));
}

// softplus is log(1 + e^x).
CUK float softplus(float x) { return x > 0 ? x + log1(fexp(-x)) : log1(fexp(x)); }
