// attention_bwd: the gradients of attention's queries, keys and values.
//
// Three kernels, without atomics, so that equal runs give equal bits. attention_delta: delta = rowsum(dO*O), float32 [H,rows].
// attention_keys: a block of 4 warps owns a tile of keys of one key/value head and runs over the query heads of its group
// and their tiles of queries, in order: dV += P^T dO, dK += dS^T Q. attention_queries: a block owns a tile of queries of one
// head and runs over the keys: dQ += dS K. Both compute P again from q, k and the log-sum-exp, with dP = dO V^T and
// dS = P*(dP - delta). Scores are laid out so that an accumulator is the operand of the next product: P and dS never pass
// through shared memory.
// Fused: mask, dropout (recomputed), exponential, scale, and the sum over the heads of a group.
// Shapes: QKV, DQKV bf16 [rows,(H+2K)D]; Out, DOut bf16 [rows,HD]; LSE float32 [H,rows]. Tiles: 64 keys, or
// 128 queries (64 for D > 64), against tiles of 64 (32 for D > 64) that cp.async double-buffers. Heads are padded to 64 or
// 128 columns.
// FLOPs a visible pair of query and key and head: 8D by keys, 6D by queries. Bytes: QKV, DOut and DQKV once; q and dO once
// more for each tile of keys, k and v for each tile of queries (mostly from L2).
// Source: FlashAttention-2, arXiv 2307.08691, its one pass with atomics split in two. Oracle: attention_ref.go.
#include "attention.cuh"

namespace attention {

constexpr int STEP = 32; // queries (keys) that are computed at a time

// Gradients is what both kernels read: the arguments of a launch.
struct Gradients {
	bf16 *dqkv;
	const bf16 *dout;
	const float *lse, *delta;
	const bf16 *qkv;
	const int4 *segments;
	const int2 *work; // {segment, first row} for each block in x; an entry with a negative segment is inert
	int rows, H, K, D;
	float scale, scale2; // of the scores, and times log2(e)
	int aligned;
};

// scores adds A B^T to s, for MT x 16 rows of tile A from a0 on and STEP rows of tile B from b0 on.
template <int W, int MT>
CUK void scores(float s[MT][STEP / 8][4], const bf16 *sa, int a0, const bf16 *sb, int b0)
{
	constexpr int LD = W + 8;
	UNROLL
	for (int kk = 0; kk < W / 16; kk++) {
		uint32_t fa[MT][4], fb[4];
		UNROLL
		for (int m = 0; m < MT; m++)
			ldm4(fa[m], block_a<LD>(sa, a0 + m * 16, kk * 16));
		UNROLL
		for (int n = 0; n < STEP / 16; n++) {
			ldm4(fb, block_b<LD>(sb, b0 + n * 16, kk * 16));
			UNROLL
			for (int m = 0; m < MT; m++) {
				mma16816(s[m][2 * n], fa[m], fb);
				mma16816(s[m][2 * n + 1], fa[m], fb + 2);
			}
		}
	}
}

// accumulate adds A B to acc, with A in registers (STEP columns) and B the STEP rows of a tile from b0 on.
template <int W, int MT>
CUK void accumulate(float acc[MT][W / 8][4], const uint32_t a[STEP / 16][MT][4], const bf16 *sb, int b0)
{
	UNROLL
	for (int kk = 0; kk < STEP / 16; kk++)
		UNROLL
		for (int n = 0; n < W / 16; n++) {
			uint32_t fb[4];
			ldm4t(fb, block_a<W + 8>(sb, b0 + kk * 16, n * 16));
			UNROLL
			for (int m = 0; m < MT; m++) {
				mma16816(acc[m][2 * n], a[kk][m], fb);
				mma16816(acc[m][2 * n + 1], a[kk][m], fb + 2);
			}
		}
}

// drop_scores writes s times scale where dropout keeps it and 0 elsewhere. Lane c of mask has the bits of query column c.
CUK void drop_scores(float to[4], const float s[4], float scale, uint32_t mask, int column, int row)
{
	UNROLL
	for (int e = 0; e < 2; e++) {
		uint32_t bits = __shfl_sync(FULL, mask, column + e) >> row;
		UNROLL
		for (int r = 0; r < 2; r++)
			to[r * 2 + e] = bits >> (r * 8) & 1 ? s[r * 2 + e] * scale : 0;
	}
}

// load_stats starts the copy of the log-sum-exp and delta of QT queries.
template <int QT> CUK void load_stats(float *s, const float *lse, const float *delta, int row0, int hi)
{
	if (threadIdx.x >= 2 * QT)
		return;
	int row = row0 + threadIdx.x % QT;
	const float *from = threadIdx.x < QT ? lse : delta;
	cp4(s + threadIdx.x, row < hi ? from + row : from, row < hi);
}

// negated returns minus the log-sum-exp in base 2; a query that sees nothing gets -Inf, so that its probabilities are 0.
CUK float negated(float lse) { return lse == -INFINITY ? -INFINITY : -lse * CUK_LOG2E; }

template <int W, bool DROP> CUK void by_keys(const Gradients &a, const Dropout &drop)
{
	constexpr int MT = 1, KT = 64 * MT, THREADS = 128, QT = W == 64 ? 64 : 32, LD = W + 8;
	Smem sm;
	bf16 *sk = sm.take<bf16>(KT * LD), *sv = sm.take<bf16>(KT * LD);
	bf16 *queries = sm.take<bf16>(2 * QT * LD), *douts = sm.take<bf16>(2 * QT * LD);
	float *stats = sm.take<float>(2 * 2 * QT);

	int2 item = a.work[blockIdx.x];
	if (item.x < 0)
		return;
	Span span = span_of(a.segments, item.x);
	int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, g = lane >> 2, tc = (lane & 3) * 2;
	int kv = blockIdx.y, group = a.H / a.K, D = a.D;
	long ld = (long)(a.H + 2 * a.K) * D, ldo = (long)a.H * D;
	const bf16 *k = a.qkv + (a.H + kv) * D, *v = k + a.K * D;
	bool in = a.aligned & ALIGNED_INPUTS;

	int base = item.y, k0 = most(base, span.start), k1 = least(base + KT, span.end); // base: where a dropout block starts
	int w0 = base + warp * 16 * MT, w1 = w0 + 16 * MT; // the warp's keys
	// Who sees the tile, and who sees the warp's keys: a query's first and last key grow with it.
	int qlo = span.causal ? k0 : most(span.start, k0 - span.window), qhi = least(span.end, k1 + span.window);
	int tiles = (qhi - qlo + QT - 1) / QT;

	load_rows<KT, W, THREADS>(sk, k, ld, base, k0, k1, D, in);
	load_rows<KT, W, THREADS>(sv, v, ld, base, k0, k1, D, in);
	int head = kv * group, tile = 0;
	load_rows<QT, W, THREADS>(queries, a.qkv + head * D, ld, qlo, qlo, qhi, D, in);
	load_rows<QT, W, THREADS>(douts, a.dout + head * D, ldo, qlo, qlo, qhi, D, in);
	load_stats<QT>(stats, a.lse + (long)head * a.rows, a.delta + (long)head * a.rows, qlo, qhi);
	cpcommit();

	float dk[MT][W / 8][4] = {}, dv[MT][W / 8][4] = {};
	ROLLED
	for (int j = 0, turns = group * tiles; j < turns; j++) {
		int at = (j & 1) * QT * LD;
		const bf16 *sq = queries + at, *so = douts + at;
		const float *st = stats + (j & 1) * 2 * QT;
		int q0 = qlo + tile * QT, now = head;
		if (++tile == tiles) {
			tile = 0;
			head++;
		}
		cpwait<0>();
		__syncthreads(); // tile j is there for all, and nobody reads tile j-1 any more
		if (j + 1 < turns) {
			int next = qlo + tile * QT, other = QT * LD - at;
			load_rows<QT, W, THREADS>(queries + other, a.qkv + head * D, ld, next, next, qhi, D, in);
			load_rows<QT, W, THREADS>(douts + other, a.dout + head * D, ldo, next, next, qhi, D, in);
			load_stats<QT>(stats + 2 * QT - (j & 1) * 2 * QT, a.lse + (long)head * a.rows, a.delta + (long)head * a.rows, next, qhi);
			cpcommit();
		}
		ROLLED
		for (int half = 0; half < QT; half += STEP) {
			int i0 = q0 + half, i1 = least(i0 + STEP, qhi);
			if (i0 >= i1 || span.last(i1 - 1) < w0 || span.first(i0) >= w1 || w0 >= k1)
				continue;
			bool whole = span.first(i1 - 1) <= w0 && span.last(i0) >= w1 - 1 && i1 == i0 + STEP;
			uint32_t mask = DROP ? kept<2 * MT>(drop, now, i0 + lane, w0 / 8) : 0, f[STEP / 16][MT][4];
			float p[MT][STEP / 8][4] = {}, dp[MT][STEP / 8][4] = {};
			scores<W, MT>(p, sk, warp * 16 * MT, sq, half);
			UNROLL
			for (int n = 0; n < STEP / 8; n++)
				UNROLL
				for (int e = 0; e < 2; e++) {
					float l = negated(st[half + n * 8 + tc + e]);
					UNROLL
					for (int m = 0; m < MT; m++)
						UNROLL
						for (int r = 0; r < 2; r++)
							p[m][n][r * 2 + e] = fexp2(ffma(p[m][n][r * 2 + e], a.scale2, l));
				}
			if (!whole) {
				UNROLL
				for (int n = 0; n < STEP / 8; n++)
					UNROLL
					for (int e = 0; e < 2; e++) {
						int i = i0 + n * 8 + tc + e; // the lane's query
						int first = i < qhi ? span.first(i) : w1, last = span.last(i);
						UNROLL
						for (int m = 0; m < MT; m++)
							UNROLL
							for (int r = 0; r < 2; r++) {
								int key = w0 + m * 16 + r * 8 + g;
								if (key < first || key > last)
									p[m][n][r * 2 + e] = 0;
							}
					}
			}
			UNROLL
			for (int m = 0; m < MT; m++)
				UNROLL
				for (int n = 0; n < STEP / 8; n++) {
					if (DROP)
						drop_scores(dp[m][n], p[m][n], 1, mask, n * 8 + tc, m * 16 + g);
					UNROLL
					for (int r = 0; r < 2; r++) {
						const float *x = DROP ? dp[m][n] : p[m][n];
						f[n / 2][m][n % 2 * 2 + r] = pack2(x[r * 2], x[r * 2 + 1]);
					}
				}
			accumulate<W, MT>(dv, f, so, half);
			UNROLL
			for (int m = 0; m < MT; m++)
				UNROLL
				for (int n = 0; n < STEP / 8; n++)
					UNROLL
					for (int x = 0; x < 4; x++)
						dp[m][n][x] = 0;
			scores<W, MT>(dp, sv, warp * 16 * MT, so, half);
			if (!whole) { // the softmax over a single key has no gradient, exactly
				UNROLL
				for (int n = 0; n < STEP / 8; n++)
					UNROLL
					for (int e = 0; e < 2; e++)
						if (span.alone(i0 + n * 8 + tc + e)) {
							UNROLL
							for (int m = 0; m < MT; m++)
								p[m][n][e] = p[m][n][2 + e] = 0;
						}
			}
			UNROLL
			for (int n = 0; n < STEP / 8; n++) {
				float d[2] = {st[QT + half + n * 8 + tc], st[QT + half + n * 8 + tc + 1]};
				UNROLL
				for (int m = 0; m < MT; m++) {
					if (DROP)
						drop_scores(dp[m][n], dp[m][n], drop.scale, mask, n * 8 + tc, m * 16 + g);
					UNROLL
					for (int r = 0; r < 2; r++)
						f[n / 2][m][n % 2 * 2 + r] =
							pack2(p[m][n][r * 2] * (dp[m][n][r * 2] - d[0]), p[m][n][r * 2 + 1] * (dp[m][n][r * 2 + 1] - d[1]));
				}
			}
			accumulate<W, MT>(dk, f, sq, half);
		}
	}

	__syncwarp(); // the warp's keys and values become the place where its gradients are gathered
	float fv = DROP ? drop.scale : 1.0f;
	UNROLL
	for (int m = 0; m < MT; m++) {
		stage_rows<W>(sk + (warp * MT + m) * 16 * LD, dk[m], a.scale, a.scale);
		stage_rows<W>(sv + (warp * MT + m) * 16 * LD, dv[m], fv, fv);
	}
	__syncwarp();
	bool out = a.aligned & ALIGNED_OUTPUTS;
	bf16 *to = a.dqkv + (a.H + kv) * D;
	store_rows<16 * MT, W>(to, ld, sk + warp * MT * 16 * LD, w0, k0, k1, D, out);
	store_rows<16 * MT, W>(to + a.K * D, ld, sv + warp * MT * 16 * LD, w0, k0, k1, D, out);
}

template <int W, bool DROP> CUK void by_queries(const Gradients &a, const Dropout &drop)
{
	constexpr int MT = W == 64 ? 2 : 1, QT = 64 * MT, THREADS = 128, KT = W == 64 ? 64 : 32, LD = W + 8;
	Smem sm;
	bf16 *sq = sm.take<bf16>(QT * LD), *so = sm.take<bf16>(QT * LD);
	bf16 *keys = sm.take<bf16>(2 * KT * LD), *values = sm.take<bf16>(2 * KT * LD);

	int2 item = a.work[blockIdx.x];
	if (item.x < 0)
		return;
	Span span = span_of(a.segments, item.x);
	int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, g = lane >> 2, tc = (lane & 3) * 2;
	int head = blockIdx.y, kv = head / (a.H / a.K), D = a.D;
	long ld = (long)(a.H + 2 * a.K) * D;
	const bf16 *k = a.qkv + (a.H + kv) * D, *v = k + a.K * D;
	bool in = a.aligned & ALIGNED_INPUTS;

	int q0 = item.y, q1 = least(q0 + QT, span.end);
	int lo = span.first(q0), hi = span.last(q1 - 1) + 1;
	int base = lo & ~7; // a tile of keys starts where a dropout block does
	int tiles = (hi - base + KT - 1) / KT;
	int w0 = q0 + warp * 16 * MT, w1 = least(w0 + 16 * MT, q1); // the warp's queries

	load_rows<QT, W, THREADS>(sq, a.qkv + head * D, ld, q0, q0, q1, D, in);
	load_rows<QT, W, THREADS>(so, a.dout + head * D, (long)a.H * D, q0, q0, q1, D, in);
	load_rows<KT, W, THREADS>(keys, k, ld, base, lo, hi, D, in);
	load_rows<KT, W, THREADS>(values, v, ld, base, lo, hi, D, in);
	cpcommit();

	float dq[MT][W / 8][4] = {}, l[MT][2], delta[MT][2];
	UNROLL
	for (int m = 0; m < MT; m++)
		UNROLL
		for (int r = 0; r < 2; r++) {
			int row = w0 + m * 16 + g + r * 8;
			l[m][r] = row < w1 ? negated(a.lse[(long)head * a.rows + row]) : -INFINITY;
			delta[m][r] = row < w1 ? a.delta[(long)head * a.rows + row] : 0;
		}
	ROLLED
	for (int j = 0; j < tiles; j++) {
		int at = (j & 1) * KT * LD, other = KT * LD - at, key = base + j * KT;
		cpwait<0>();
		__syncthreads(); // tile j is there for all, and nobody reads tile j-1 any more
		if (j + 1 < tiles) {
			load_rows<KT, W, THREADS>(keys + other, k, ld, key + KT, lo, hi, D, in);
			load_rows<KT, W, THREADS>(values + other, v, ld, key + KT, lo, hi, D, in);
			cpcommit();
		}
		ROLLED
		for (int half = 0; half < KT; half += STEP) {
			int j0 = key + half;
			if (w0 >= w1 || j0 > span.last(w1 - 1) || j0 + STEP <= span.first(w0))
				continue;
			float s[MT][STEP / 8][4] = {}, dp[MT][STEP / 8][4] = {};
			scores<W, MT>(s, sq, warp * 16 * MT, keys + at, half);
			scores<W, MT>(dp, so, warp * 16 * MT, values + at, half);
			bool whole = span.first(w1 - 1) <= j0 && span.last(w0) >= j0 + STEP - 1;
			uint32_t f[STEP / 16][MT][4];
			UNROLL
			for (int m = 0; m < MT; m++) {
				uint32_t mask = 0;
				if (DROP)
					mask = kept<2>(drop, head, w0 + m * 16 + (lane & 15), j0 / 8 + (lane >> 4) * 2);
				UNROLL
				for (int r = 0; r < 2; r++) {
					int row = w0 + m * 16 + g + r * 8;
					int first = whole ? j0 : span.first(row), last = whole ? j0 + STEP : span.last(row);
					if (span.alone(row))
						last = -1; // the softmax over a single key has no gradient, exactly
					uint32_t bits = 0;
					if (DROP)
						bits = (__shfl_sync(FULL, mask, g + r * 8) & 0xffff) | __shfl_sync(FULL, mask, g + r * 8 + 16) << 16;
					UNROLL
					for (int n = 0; n < STEP / 8; n++)
						UNROLL
						for (int e = 0; e < 2; e++) {
							int c = n * 8 + tc + e, x = r * 2 + e;
							float p = fexp2(ffma(s[m][n][x], a.scale2, l[m][r])), d = dp[m][n][x];
							if (j0 + c < first || j0 + c > last)
								p = 0;
							if (DROP)
								d = bits >> c & 1 ? d * drop.scale : 0;
							dp[m][n][x] = p * (d - delta[m][r]);
						}
				}
				UNROLL
				for (int kk = 0; kk < STEP / 16; kk++)
					as_operand(f[kk][m], dp[m][2 * kk], dp[m][2 * kk + 1]);
			}
			accumulate<W, MT>(dq, f, keys + at, half);
		}
	}

	if (w0 >= w1)
		return;
	__syncwarp(); // the warp's query rows become the place where its gradient is gathered
	UNROLL
	for (int m = 0; m < MT; m++)
		stage_rows<W>(sq + (warp * MT + m) * 16 * LD, dq[m], a.scale, a.scale);
	__syncwarp();
	store_rows<16 * MT, W>(a.dqkv + head * D, ld, sq + warp * MT * 16 * LD, w0, w0, w1, D, a.aligned & ALIGNED_OUTPUTS);
}

} // namespace attention

// A group of 8 lanes sums one head of one row, 16 bytes a lane at a time.
extern "C" __global__ void __launch_bounds__(256) attention_delta(float *delta, const bf16 *dout, const bf16 *out, int rows,
	int H, int D, int aligned)
{
	long item = (long)blockIdx.x * 32 + threadIdx.x / 8;
	int lane = threadIdx.x % 8;
	bool live = item < (long)rows * H;
	const bf16 *a = dout + (live ? item * D : 0), *b = out + (live ? item * D : 0);
	float sum = 0;
	if (live && aligned)
		for (int d = lane * 8; d < D; d += 64) {
			uint4 x = ldnc16(a + d), y = ldnc16(b + d);
			uint32_t u[4] = {x.x, x.y, x.z, x.w}, w[4] = {y.x, y.y, y.z, y.w};
			UNROLL
			for (int i = 0; i < 4; i++) {
				float2 p = unpack2(u[i]), q = unpack2(w[i]);
				sum = ffma(p.x, q.x, ffma(p.y, q.y, sum));
			}
		}
	else if (live)
		for (int d = lane; d < D; d += 8)
			sum = ffma(tofloat(a[d]), tofloat(b[d]), sum);
	UNROLL
	for (int i = 4; i; i >>= 1)
		sum += __shfl_xor_sync(FULL, sum, i);
	if (live && lane == 0)
		delta[item % H * rows + item / H] = sum;
}
EMU_KERNEL(attention_delta)

#define PARAMETERS \
	bf16 *dqkv, const bf16 *dout, const float *lse, const float *delta, const bf16 *qkv, const int4 *segments, const int2 *work, \
		int rows, int H, int K, int D, float scale, float scale2, int aligned
#define GRADIENTS {dqkv, dout, lse, delta, qkv, segments, work, rows, H, K, D, scale, scale2, aligned}
// blocks is how many of them a multiprocessor shall hold, which bounds registers: three of keys run with 168.
#define VARIANTS(name, body, W, blocks)                                                                             \
	extern "C" __global__ void __launch_bounds__(128, blocks) attention_##name##_##W(PARAMETERS)                    \
	{                                                                                                               \
		attention::body<W, false>(GRADIENTS, {});                                                                   \
	}                                                                                                               \
	EMU_KERNEL(attention_##name##_##W)                                                                              \
	extern "C" __global__ void __launch_bounds__(128, blocks) attention_##name##_drop_##W(PARAMETERS, Dropout drop) \
	{                                                                                                               \
		attention::body<W, true>(GRADIENTS, drop);                                                                  \
	}                                                                                                               \
	EMU_KERNEL(attention_##name##_drop_##W)
VARIANTS(keys, by_keys, 64, 3)
VARIANTS(keys, by_keys, 128, 2)
VARIANTS(queries, by_queries, 64, 2)
VARIANTS(queries, by_queries, 128, 2)
#undef VARIANTS
#undef GRADIENTS
#undef PARAMETERS
