// attention.cuh: what attention's forward and backward kernels share: tiles of a head's rows in shared memory, who sees
// whom, and the masks of dropout. Both are written over tiles of 16 x 8 scores in the accumulator layout of mma.m16n8k16:
// lane l holds rows l/4 and l/4 + 8 and columns 2*(l%4) and 2*(l%4) + 1.
#pragma once
#include "device.cuh"
#include "philox.cuh"

namespace attention {

constexpr int ALIGNED_INPUTS = 1, ALIGNED_OUTPUTS = 2; // bits of `aligned`: 16-byte accesses are possible

// A Span is a segment of packed rows; window is larger than any row where there is none.
struct Span {
	int start, end, causal, window;
	// first and last bound the keys that query i sees. Both grow with i.
	CUK int first(int i) const { return i - window > start ? i - window : start; }
	CUK int last(int i) const
	{
		int l = causal ? i : i + window;
		return l < end ? l : end - 1;
	}
	CUK bool alone(int i) const { return first(i) == last(i); }
};

CUK Span span_of(const int4 *segments, int i)
{
	int4 s = segments[i];
	return {s.x, s.y, s.z, s.w > 0 && s.w < 1 << 29 ? s.w : 1 << 29};
}

CUK int least(int a, int b) { return a < b ? a : b; }
CUK int most(int a, int b) { return a > b ? a : b; }

// load_rows starts the copy of ROWS rows of one head, D elements each and ld apart, from packed row row0 on, to shared
// rows of W + 8 elements (so that ldmatrix meets no bank conflict). Rows outside [lo, hi) and columns from D on become
// zeros. Without 16-byte alignment elements are copied one by one, which the block barrier after the wait also covers.
template <int ROWS, int W, int THREADS>
CUK void load_rows(bf16 *s, const bf16 *g, long ld, int row0, int lo, int hi, int D, bool aligned)
{
	constexpr int CHUNKS = W / 8;
	if (aligned) {
		int r = threadIdx.x / CHUNKS, c = threadIdx.x % CHUNKS * 8;
		unsigned from = row0 + r - lo, count = c < D ? hi - lo : 0; // one comparison: below lo is far above
		const bf16 *at = g + (row0 + r) * ld + c;
		UNROLL
		for (int i = 0; i < ROWS; i += THREADS / CHUNKS) {
			bool ok = from + i < count;
			cp16(s + (r + i) * (W + 8) + c, ok ? at : g, ok);
			at += THREADS / CHUNKS * ld;
		}
		return;
	}
	ROLLED
	for (int at = threadIdx.x; at < ROWS * W; at += THREADS) {
		int r = at / W, c = at % W, row = row0 + r;
		bf16 v = {0};
		if (row >= lo && row < hi && c < D)
			v = g[row * ld + c];
		s[r * (W + 8) + c] = v;
	}
}

// store_rows writes a warp's ROWS rows of its shared tile (the same layout) to packed rows from row0 on, those in
// [lo, hi). Shared rows must be the warp's own; the caller synchronises the warp before.
template <int ROWS, int W>
CUK void store_rows(bf16 *g, long ld, const bf16 *s, int row0, int lo, int hi, int D, bool aligned)
{
	constexpr int CHUNKS = W / 8;
	int lane = threadIdx.x & 31;
	if (aligned) {
		UNROLL
		for (int i = 0; i < ROWS * CHUNKS / 32; i++) {
			int at = i * 32 + lane, r = at / CHUNKS, c = at % CHUNKS * 8, row = row0 + r;
			if (row >= lo && row < hi && c < D)
				*(uint4 *)(g + row * ld + c) = *(const uint4 *)(s + r * (W + 8) + c);
		}
		return;
	}
	ROLLED
	for (int at = lane; at < ROWS * W; at += 32) {
		int r = at / W, c = at % W, row = row0 + r;
		if (row >= lo && row < hi && c < D)
			g[row * ld + c] = s[r * (W + 8) + c];
	}
}

// stage_rows writes 16 rows of accumulators, times f0 (rows 0-7) and f1 (rows 8-15), to shared memory as bf16.
template <int W>
CUK void stage_rows(bf16 *s, const float acc[][4], float f0, float f1)
{
	int lane = threadIdx.x & 31, g = lane >> 2, c = (lane & 3) * 2;
	UNROLL
	for (int n = 0; n < W / 8; n++) {
		*(uint32_t *)(s + g * (W + 8) + n * 8 + c) = pack2(acc[n][0] * f0, acc[n][1] * f0);
		*(uint32_t *)(s + (g + 8) * (W + 8) + n * 8 + c) = pack2(acc[n][2] * f1, acc[n][3] * f1);
	}
}

// Addresses for ldmatrix.x4 in a shared tile of row stride LD: a 16x16 block as operand A; 16 rows by 16 columns as
// operand B of two products over columns (rows are n: fragments 0, 1 and 2, 3); the same block transposed as operand B of
// two products over rows (columns are n).
template <int LD>
CUK const bf16 *block_a(const bf16 *s, int row, int col)
{
	int lane = threadIdx.x & 31;
	return s + (row + (lane & 15)) * LD + col + (lane >> 4) * 8;
}
template <int LD>
CUK const bf16 *block_b(const bf16 *s, int row, int col)
{
	int lane = threadIdx.x & 31;
	return s + (row + (lane & 7) + (lane >> 4) * 8) * LD + col + (lane >> 3 & 1) * 8;
}

// as_operand packs two neighbouring 16x8 accumulators into a 16x16 operand A.
CUK void as_operand(uint32_t a[4], const float lo[4], const float hi[4])
{
	a[0] = pack2(lo[0], lo[1]);
	a[1] = pack2(lo[2], lo[3]);
	a[2] = pack2(hi[0], hi[1]);
	a[3] = pack2(hi[2], hi[3]);
}

// kept returns 8*BLOCKS bits: whether dropout keeps the probabilities of the keys from 8*block on under a query.
template <int BLOCKS> CUK uint32_t kept(const Dropout &d, int head, int query, int block)
{
	uint32_t bits = 0;
	UNROLL
	for (int b = 0; b < BLOCKS; b++) {
		uint4 words = drop_block(d, (uint32_t)(block + b) | (uint32_t)head << 20, query);
		UNROLL
		for (int l = 0; l < 8; l++)
			bits |= (uint32_t)(drop_lane(words, l) >= d.threshold) << (b * 8 + l);
	}
	return bits;
}

} // namespace attention
