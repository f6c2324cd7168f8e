// Eight neighbouring elements of a row as floats: the unit of every memory-bound kernel, 16 bytes of bfloat16. Where the
// launch found that addresses and widths are multiples of 16 bytes ("vector"), a full eight is one access (two for
// float32); rows of another shape and the ends of arrays are read and written element by element in the same kernel.
#pragma once
#include "device.cuh"

struct Eight {
	float v[8];
};

CUK Eight unpack8(uint4 w)
{
	float2 a = unpack2(w.x), b = unpack2(w.y), c = unpack2(w.z), d = unpack2(w.w);
	return {{a.x, a.y, b.x, b.y, c.x, c.y, d.x, d.y}};
}

CUK uint4 pack8(const Eight &e)
{
	return make_uint4(pack2(e.v[0], e.v[1]), pack2(e.v[2], e.v[3]), pack2(e.v[4], e.v[5]), pack2(e.v[6], e.v[7]));
}

// load8 reads the first left elements at p, at most eight, and zeros for the rest.
CUK Eight load8(const bf16 *p, int left, bool vector)
{
	if (vector && left >= 8)
		return unpack8(ld16(p));
	Eight e;
	UNROLL
	for (int i = 0; i < 8; i++)
		e.v[i] = i < left ? tofloat(p[i]) : 0;
	return e;
}

CUK Eight load8(const float *p, int left, bool vector)
{
	Eight e;
	if (vector && left >= 8) {
		uint4 a = ld16(p), b = ld16(p + 4);
		e.v[0] = __uint_as_float(a.x), e.v[1] = __uint_as_float(a.y), e.v[2] = __uint_as_float(a.z);
		e.v[3] = __uint_as_float(a.w), e.v[4] = __uint_as_float(b.x), e.v[5] = __uint_as_float(b.y);
		e.v[6] = __uint_as_float(b.z), e.v[7] = __uint_as_float(b.w);
		return e;
	}
	UNROLL
	for (int i = 0; i < 8; i++)
		e.v[i] = i < left ? p[i] : 0;
	return e;
}

// load8 of a parameter, which is bfloat16 or float32.
CUK Eight load8(const void *p, long at, bool single, int left, bool vector)
{
	return single ? load8((const float *)p + at, left, vector) : load8((const bf16 *)p + at, left, vector);
}

// store8 writes the first left elements, at most eight.
CUK void store8(bf16 *p, const Eight &e, int left, bool vector)
{
	if (vector && left >= 8) {
		st16(p, pack8(e));
		return;
	}
	UNROLL
	for (int i = 0; i < 8; i++)
		if (i < left)
			p[i] = tobf16(e.v[i]);
}

CUK void store8(float *p, const Eight &e, int left, bool vector)
{
	if (vector && left >= 8) {
		UNROLL
		for (int i = 0; i < 8; i += 4)
			st16(p + i, make_uint4(__float_as_uint(e.v[i]), __float_as_uint(e.v[i + 1]), __float_as_uint(e.v[i + 2]),
				__float_as_uint(e.v[i + 3])));
		return;
	}
	UNROLL
	for (int i = 0; i < 8; i++)
		if (i < left)
			p[i] = e.v[i];
}

CUK void add8(Eight &sum, const Eight &e)
{
	UNROLL
	for (int i = 0; i < 8; i++)
		sum.v[i] += e.v[i];
}

// round8 rounds to bfloat16.
CUK void round8(Eight &e) { e = unpack8(pack8(e)); }

// eights returns how many of them a row of C elements takes.
CUK int eights(int C) { return (C + 7) / 8; }

// Rows that one warp or one block does, each of its blockDim.x threads with every blockDim.x-th eight.
//
// chunks calls f(k, c) for the eights c of a row that are this thread's. With HOLD of them at most k counts them, so that
// registers may hold them; HOLD 0 is for rows of any width, which are read from memory again.
template <int HOLD, class F> CUK void chunks(int count, F f)
{
	if (HOLD > 0) {
		UNROLL
		for (int k = 0; k < HOLD; k++) {
			int c = threadIdx.x + k * blockDim.x;
			if (c < count)
				f(k, c);
		}
	} else {
		for (int c = threadIdx.x; c < count; c += blockDim.x)
			f(0, c);
	}
}

// row_sum adds over the threads of a row, row_max takes the largest; scratch is 32 floats of shared memory.
CUK float row_sum(float v, float *scratch AT) { return blockDim.x == 32 ? wsum(v HERE) : bsum(v, scratch HERE); }
CUK float row_max(float v, float *scratch AT) { return blockDim.x == 32 ? wmax(v HERE) : bmax(v, scratch HERE); }
