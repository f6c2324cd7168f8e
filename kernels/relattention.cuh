// relattention.cuh: what the kernels of relattention.cu share: the places of tiles in packed rows and in matrices, the tile
// product, and scores and dropout in its accumulators (warps of 16 rows x 64 columns, see attention.cuh).
#pragma once
#include "attention.cuh"
#include "eight.cuh"

namespace relattention {

constexpr int TILE = 64, LD = TILE + 8, STAGE = TILE * LD, MATRIX = TILE * TILE;
using attention::least;
using attention::most;
using attention::Span;

// Step is what all kernels are given. total is the number of tiles of a head's matrices in this batch of segments; work holds
// {segment, tile of rows, first tile of the segment's matrix, tiles along its side}.
struct Step {
	const bf16 *qkv, *table;
	const int *index;
	const float *to_key, *to_query;
	const int4 *segments, *work;
	int rows, H, K, D, P, reach, total, aligned;
};

// Place is the tile of rows that a block has. Rows and keys count from base, the multiple of eight at or before the
// segment's start, where dropout's blocks begin; what is outside of [lo,hi) belongs to others.
struct Place {
	Span span;
	int base, lo, hi, first, end; // first and end: rows of the tile
	long matrix;                  // offset of head 0's matrix
	int ld;

	CUK Place(const Step &a, int4 work) : span(attention::span_of(a.segments, work.x))
	{
		base = span.start & ~7;
		lo = span.start - base, hi = span.end - base;
		span.start = lo, span.end = hi;
		first = work.y * TILE, end = least(first + TILE, hi);
		matrix = (long)work.z * MATRIX;
		ld = work.w * TILE;
	}
	CUK long of_head(const Step &a, int head) const { return (long)head * a.total * MATRIX + matrix; }
	// The tiles of keys that the tile's queries see, and those of queries that see the tile's keys: [from, to) in rows.
	CUK int keys_from() const { return span.first(most(first, lo)) / TILE * TILE; }
	CUK int keys_to() const { return span.last(end - 1) / TILE * TILE + TILE; }
	CUK int queries_from() const
	{
		int key = most(first, lo);
		return (span.causal ? key : most(key - span.window, lo)) / TILE * TILE;
	}
	CUK int queries_to() const { return least(end - 1 + span.window, hi - 1) / TILE * TILE + TILE; }
};

// Operand is a matrix that products read; rows outside of [lo,hi) and columns from cols on count as zeros.
struct Operand {
	const bf16 *p;
	long ld;
	int lo, hi, cols;
	bool aligned;
};

CUK Operand of_qkv(const Step &a, const Place &at, int head)
{
	long ld = (long)(a.H + 2 * a.K) * a.D;
	return {a.qkv + at.base * ld + head * a.D, ld, at.lo, at.hi, a.D, a.aligned != 0};
}
CUK Operand of_out(const Step &a, const Place &at, const bf16 *out, int head)
{
	long ld = (long)a.H * a.D;
	return {out + at.base * ld + head * a.D, ld, at.lo, at.hi, a.D, a.aligned != 0};
}
CUK Operand of_table(const Step &a, int head)
{
	return {a.table + head * a.D, (long)(a.H + a.K) * a.D, 0, a.P, a.D, a.aligned != 0};
}
CUK Operand of_matrix(const Step &a, const Place &at, const bf16 *matrices, int head)
{
	return {matrices + at.of_head(a, head), at.ld, 0, at.ld, at.ld, true};
}
CUK Operand of_sums(const Step &a, const Place &at, const bf16 *sums, int head)
{
	long ld = eights(a.P) * 8;
	return {sums + ((long)head * a.rows + at.base) * ld, ld, at.lo, at.hi, (int)ld, true};
}

CUK void stage(bf16 *s, const Operand &o, int row, int col)
{
	attention::load_rows<TILE, TILE, 128>(s, o.p + col, o.ld, row, o.lo, o.hi, o.cols - col, o.aligned);
}

// Tiles is shared memory for both operands, twice.
struct Tiles {
	bf16 *a, *b;
	CUK Tiles()
	{
		Smem sm;
		a = sm.take<bf16>(2 * STAGE);
		b = sm.take<bf16>(2 * STAGE);
	}
};

// product adds a b, rows m.. by columns n.., over [k0,k1) to a warp's 16 x 64 sums. A_INNER: a's rows are the inner
// dimension, so that it is a's transpose; B_INNER: b's rows are, else its columns, so that it is b's transpose.
template <bool A_INNER, bool B_INNER>
CUK void product(float sums[8][4], const Tiles &s, const Operand &a, const Operand &b, int m, int n, int k0, int k1)
{
	int warp = threadIdx.x >> 5;
	auto fetch = [&](int k, int at) {
		stage(s.a + at, a, A_INNER ? k : m, A_INNER ? m : k);
		stage(s.b + at, b, B_INNER ? k : n, B_INNER ? n : k);
		cpcommit();
	};
	if (k0 < k1)
		fetch(k0, 0);
	int at = 0;
	ROLLED
	for (int k = k0; k < k1; k += TILE, at = STAGE - at) {
		cpwait<0>();
		__syncthreads(); // this tile is there for all, and nobody reads the one before any more
		if (k + TILE < k1)
			fetch(k + TILE, STAGE - at);
		const bf16 *sa = s.a + at, *sb = s.b + at;
		UNROLL
		for (int kk = 0; kk < TILE; kk += 16) {
			uint32_t fa[4];
			if (A_INNER)
				ldm4t(fa, attention::block_b<LD>(sa, kk, warp * 16));
			else
				ldm4(fa, attention::block_a<LD>(sa, warp * 16, kk));
			UNROLL
			for (int nn = 0; nn < TILE / 16; nn++) {
				uint32_t fb[4];
				if (B_INNER)
					ldm4t(fb, attention::block_a<LD>(sb, kk, nn * 16));
				else
					ldm4(fb, attention::block_b<LD>(sb, nn * 16, kk));
				mma16816(sums[2 * nn], fa, fb);
				mma16816(sums[2 * nn + 1], fa, fb + 2);
			}
		}
	}
	__syncthreads();
}

// each calls f(n, i, row, column) for a thread's sums[n][i], row and column within the block's tile.
template <class F> CUK void each(F f)
{
	int lane = threadIdx.x & 31, row = (threadIdx.x >> 5) * 16 + (lane >> 2), column = (lane & 3) * 2;
	UNROLL
	for (int n = 0; n < 8; n++)
		UNROLL
		for (int i = 0; i < 4; i++)
			f(n, i, row + (i >> 1) * 8, n * 8 + column + (i & 1));
}

// store writes the sums as rows of out from row m and column n on, those of [lo,hi) and below cols.
CUK void store(bf16 *out, long ld, const float sums[8][4], int m, int n, int lo, int hi, int cols)
{
	each([&](int j, int i, int row, int column) {
		if (m + row >= lo && m + row < hi && n + column < cols)
			out[(m + row) * ld + n + column] = tobf16(sums[j][i]);
	});
}

// scores makes scores in units of log2(e) of the products of a tile of queries and one of keys; -Inf where a query does not
// see a key.
CUK void scores(float s[8][4], const Step &a, const Place &at, int head, int key, float scale2)
{
	const float *to_key = a.to_key + ((long)head * a.rows + at.base) * a.P;
	const float *to_query = a.to_query + ((long)head * a.rows + at.base + key) * a.P;
	int lane = threadIdx.x & 31, row = at.first + (threadIdx.x >> 5) * 16 + (lane >> 2), column = (lane & 3) * 2;
	const int *index = a.index + a.reach - 1 - key + row - column;
	int from[2], to[2];
	UNROLL
	for (int i = 0; i < 2; i++) {
		bool own = row + i * 8 >= at.lo && row + i * 8 < at.hi;
		from[i] = own ? at.span.first(row + i * 8) - key - column : 1 << 30;
		to[i] = at.span.last(row + i * 8) - key - column;
	}
	to_key += row * a.P;
	to_query += column * a.P;
	UNROLL
	for (int n = 0; n < 8; n++) {
		UNROLL
		for (int i = 0; i < 4; i++) {
			int r = (i >> 1) * 8, c = n * 8 + (i & 1);
			float &v = s[n][i];
			if (c >= from[i >> 1] && c <= to[i >> 1]) {
				int bucket = index[r - c];
				v = (v + to_key[r * a.P + bucket] + to_query[c * a.P + bucket]) * scale2;
			} else {
				v = -INFINITY;
			}
		}
		__syncwarp(); // no more than these twelve loads at once, which take enough registers
	}
}

// dropped multiplies a tile of values by dropout's factors.
CUK void dropped(float v[8][4], const Dropout &d, const Place &at, int head, int key)
{
	if (d.threshold == 0)
		return;
	int lane = threadIdx.x & 31, row = at.base + at.first + (threadIdx.x >> 5) * 16;
	uint32_t mask = attention::kept<4>(d, head, row + (lane & 15), (at.base + key) / 8 + (lane >> 4) * 4);
	UNROLL
	for (int i = 0; i < 2; i++)
		UNROLL
		for (int half = 0; half < 2; half++) {
			uint32_t bits = (uint32_t)__shfl_sync(FULL, (int)mask, (lane >> 2) + i * 8 + half * 16) >> (lane & 3) * 2;
			UNROLL
			for (int n = 0; n < 4; n++)
				UNROLL
				for (int e = 0; e < 2; e++) {
					float &x = v[half * 4 + n][i * 2 + e];
					x = bits >> (n * 8 + e) & 1 ? x * d.scale : 0;
				}
		}
}

} // namespace relattention
