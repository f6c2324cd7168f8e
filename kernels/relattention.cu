// relattention: attention with terms of relative position, forward and backward, inside the segments of a packed step:
//
//	score_ij = scale * ( q_i.k_j + q_i.kp[b] + k_j.qp[b] ),  b = index[i-j + reach-1]
//
// It is not fused into one pass: the probabilities of a batch of segments, and in the backward pass the gradients of their
// scores, lie in memory as bfloat16, a matrix for each segment and head whose sides are multiples of 64. Scores are never
// stored; they are float32 and computed again where they are needed.
//
//	positions   to_key = q kp^T and to_query = k qp^T, float32 [H,rows,P]
//	statistics  log-sum-exp of each query; backward also delta = sum of p*dp, by a running maximum
//	weights     p after dropout; backward also ds = scale*p*(dp - delta)
//	output      out = p v
//	sums        ds added up by bucket: d_to_key [H,rows,P8] of a query, d_to_query of a key; P8 is P rounded up to eights
//	queries     dq = ds k + d_to_key kp
//	keys        dk = ds^T q + d_to_query qp, dv = p^T dout, added up over the query heads of a group
//	table       the table's gradient: partial sums over runs of rows, which table_sum adds in order
//
// All products are tiles of 64 x 64 on tensor cores, 64 deep, double-buffered by cp.async; a block of 4 warps has one. Nothing
// uses atomics: a sum by bucket has a lane for each query (key), which walks along its keys (queries) in order.
// Shapes: QKV bfloat16 [rows,(H+2K)D], Table [P,(H+K)D] (H position queries, then K position keys), any D and P.
// FLOPs: with n rows in the segment and P buckets a head has 3 products of 2nnD forward and 7 backward, and 2 and 6 of 2nPD.
// Bytes: 2 a probability and pass: 4 forward and 16 backward; the rest is small beside them.
// Source: arXiv 2006.03654, 2303.09859. Oracle: relattention_ref.go.
#include "relattention.cuh"

namespace relattention {

template <bool BACKWARD>
CUK void statistics(const Step &a, float *lse2, float *delta, const bf16 *dout, float scale2, const Dropout &drop)
{
	Tiles tiles;
	Place at(a, a.work[blockIdx.x]);
	int head = blockIdx.y, group = head / (a.H / a.K), lane = threadIdx.x & 31;
	float top[2] = {-INFINITY, -INFINITY}, sum[2] = {}, dot[2] = {};
	int to = at.keys_to();
	ROLLED
	for (int key = at.keys_from(); key < to; key += TILE) {
		float s[8][4] = {}, dp[8][4] = {};
		product<false, false>(s, tiles, of_qkv(a, at, head), of_qkv(a, at, a.H + group), at.first, key, 0, a.D);
		scores(s, a, at, head, key, scale2);
		if (BACKWARD) {
			product<false, false>(dp, tiles, of_out(a, at, dout, head), of_qkv(a, at, a.H + a.K + group), at.first, key, 0, a.D);
			dropped(dp, drop, at, head, key);
		}
		UNROLL
		for (int i = 0; i < 2; i++) {
			float t = top[i];
			UNROLL
			for (int n = 0; n < 8; n++)
				t = fmax2(t, fmax2(s[n][i * 2], s[n][i * 2 + 1]));
			float shift = t == -INFINITY ? 0 : t, f = fexp2(top[i] - shift);
			top[i] = t, sum[i] *= f, dot[i] *= f;
			UNROLL
			for (int n = 0; n < 8; n++)
				UNROLL
				for (int e = 0; e < 2; e++) {
					float p = fexp2(s[n][i * 2 + e] - shift);
					sum[i] += p;
					if (BACKWARD)
						dot[i] += p * dp[n][i * 2 + e];
				}
		}
	}
	UNROLL
	for (int i = 0; i < 2; i++) {
		float t = fmax2(top[i], __shfl_xor_sync(FULL, top[i], 1));
		t = fmax2(t, __shfl_xor_sync(FULL, t, 2));
		float f = t == -INFINITY ? 0 : fexp2(top[i] - t), z = sum[i] * f, d = dot[i] * f;
		z += __shfl_xor_sync(FULL, z, 1), d += __shfl_xor_sync(FULL, d, 1);
		z += __shfl_xor_sync(FULL, z, 2), d += __shfl_xor_sync(FULL, d, 2);
		int row = at.first + (threadIdx.x >> 5) * 16 + (lane >> 2) + i * 8;
		if ((lane & 3) || row < at.lo || row >= at.hi)
			continue;
		long place = (long)head * a.rows + at.base + row;
		lse2[place] = t + flog2(z); // a query sees itself
		if (BACKWARD)
			delta[place] = d / z;
	}
}

template <bool BACKWARD>
CUK void weights(const Step &a, bf16 *p, bf16 *ds, const float *lse2, const float *delta, const bf16 *dout, float scale,
	float scale2, const Dropout &drop)
{
	Tiles tiles;
	Place at(a, a.work[blockIdx.x]);
	int head = blockIdx.y, group = head / (a.H / a.K), lane = threadIdx.x & 31;
	int mine = at.first + (threadIdx.x >> 5) * 16 + (lane >> 2), to = at.keys_to();
	float shift[2] = {}, mean[2] = {};
	bool alone[2] = {};
	UNROLL
	for (int i = 0; i < 2; i++) {
		int row = mine + i * 8;
		if (row < at.lo || row >= at.hi)
			continue;
		shift[i] = lse2[(long)head * a.rows + at.base + row];
		if (BACKWARD) {
			mean[i] = delta[(long)head * a.rows + at.base + row];
			alone[i] = at.span.alone(row); // then its one probability is 1 and has no gradient
		}
	}
	auto save = [&](bf16 *matrices, const float v[8][4], int key) {
		bf16 *row = matrices + at.of_head(a, head) + (long)mine * at.ld + key + (lane & 3) * 2;
		UNROLL
		for (int n = 0; n < 8; n++) {
			*(uint32_t *)(row + n * 8) = pack2(v[n][0], v[n][1]);
			*(uint32_t *)(row + 8l * at.ld + n * 8) = pack2(v[n][2], v[n][3]);
		}
	};
	ROLLED
	for (int key = at.keys_from(); key < to; key += TILE) {
		float s[8][4] = {}, dp[8][4] = {};
		product<false, false>(s, tiles, of_qkv(a, at, head), of_qkv(a, at, a.H + group), at.first, key, 0, a.D);
		scores(s, a, at, head, key, scale2);
		each([&](int n, int i, int, int) { s[n][i] = fexp2(s[n][i] - shift[i >> 1]); });
		if (BACKWARD) {
			product<false, false>(dp, tiles, of_out(a, at, dout, head), of_qkv(a, at, a.H + a.K + group), at.first, key, 0, a.D);
			dropped(dp, drop, at, head, key);
			each([&](int n, int i, int, int) {
				dp[n][i] = alone[i >> 1] ? 0 : scale * (s[n][i] * (dp[n][i] - mean[i >> 1]));
			});
			save(ds, dp, key);
		}
		dropped(s, drop, at, head, key);
		save(p, s, key);
	}
}

} // namespace relattention

using relattention::Step;
using relattention::TILE;

// z < H: to_key of head z, else to_query of head z - H.
extern "C" __global__ void __launch_bounds__(128) relattention_positions(Step a, float *to_key, float *to_query)
{
	relattention::Tiles tiles;
	int head = blockIdx.z % a.H, group = head / (a.H / a.K), m = blockIdx.x * TILE, n = blockIdx.y * TILE;
	bool query = (int)blockIdx.z >= a.H;
	long ld = (long)(a.H + 2 * a.K) * a.D;
	relattention::Operand x = {a.qkv + (query ? a.H + group : head) * a.D, ld, 0, a.rows, a.D, a.aligned != 0};
	float sums[8][4] = {};
	relattention::product<false, false>(sums, tiles, x, of_table(a, query ? head : a.H + group), m, n, 0, a.D);
	float *out = (query ? to_query : to_key) + (long)head * a.rows * a.P;
	relattention::each([&](int j, int i, int row, int column) {
		if (m + row < a.rows && n + column < a.P)
			out[(long)(m + row) * a.P + n + column] = sums[j][i];
	});
}
EMU_KERNEL(relattention_positions)

extern "C" __global__ void __launch_bounds__(128) relattention_statistics(Step a, float *lse2, float scale2)
{
	relattention::statistics<false>(a, lse2, nullptr, nullptr, scale2, {});
}
EMU_KERNEL(relattention_statistics)

extern "C" __global__ void __launch_bounds__(128) relattention_statistics_backward(Step a, float *lse2, float *delta,
	const bf16 *dout, float scale2, Dropout drop)
{
	relattention::statistics<true>(a, lse2, delta, dout, scale2, drop);
}
EMU_KERNEL(relattention_statistics_backward)

extern "C" __global__ void __launch_bounds__(128) relattention_weights(Step a, bf16 *p, const float *lse2, float scale2,
	Dropout drop)
{
	relattention::weights<false>(a, p, nullptr, lse2, nullptr, nullptr, 0, scale2, drop);
}
EMU_KERNEL(relattention_weights)

extern "C" __global__ void __launch_bounds__(128) relattention_weights_backward(Step a, bf16 *p, bf16 *ds, const float *lse2,
	const float *delta, const bf16 *dout, float scale, float scale2, Dropout drop)
{
	relattention::weights<true>(a, p, ds, lse2, delta, dout, scale, scale2, drop);
}
EMU_KERNEL(relattention_weights_backward)

// Rows from `from` on are written.
extern "C" __global__ void __launch_bounds__(128) relattention_output(Step a, bf16 *out, const bf16 *p, int from)
{
	relattention::Tiles tiles;
	relattention::Place at(a, a.work[blockIdx.x]);
	int head = blockIdx.y, n = blockIdx.z * TILE;
	float sums[8][4] = {};
	relattention::product<false, true>(sums, tiles, of_matrix(a, at, p, head), of_qkv(a, at, a.H + a.K + head / (a.H / a.K)),
		at.first, n, at.keys_from(), at.keys_to());
	long ld = (long)a.H * a.D;
	relattention::store(out + at.base * ld + head * a.D, ld, sums, at.first, n, attention::most(at.lo, from - at.base), at.hi, a.D);
}
EMU_KERNEL(relattention_output)

// Half a tile of queries (z < ranges) or keys: a lane has one. Buckets are done `range` at a time, a multiple of eight.
extern "C" __global__ void __launch_bounds__(32) relattention_sums(Step a, bf16 *d_to_key, bf16 *d_to_query, const bf16 *ds,
	int range, int ranges)
{
	Smem sm;
	float *bins = sm.take<float>(range * 32) + threadIdx.x;
	relattention::Place at(a, a.work[blockIdx.x / 2]);
	int head = blockIdx.y, own = at.first + (blockIdx.x & 1) * 32 + threadIdx.x;
	bool keys = (int)blockIdx.z >= ranges;
	int ld = 8 * eights(a.P), bucket = blockIdx.z % ranges * range, count = attention::least(range, ld - bucket);
	for (int b = 0; b < count; b++)
		bins[b * 32] = 0;
	const bf16 *matrix = ds + at.of_head(a, head);
	// add takes the gradient of the score at a distance; what is not seen is 0.
	auto add = [&](float v, int distance) {
		if (v != 0) {
			unsigned b = a.index[distance + a.reach - 1] - bucket;
			if (b < (unsigned)count)
				bins[b * 32] += v;
		}
	};
	if (keys) {
		int to = at.queries_to();
		for (int row = at.queries_from(); row < to; row++)
			add(tofloat(matrix[(long)row * at.ld + own]), row - own);
	} else {
		int to = at.keys_to();
		for (int key = at.keys_from(); key < to; key += 8) {
			Eight e = unpack8(ld16(matrix + (long)own * at.ld + key));
			UNROLL
			for (int i = 0; i < 8; i++)
				add(e.v[i], own - key - i);
		}
	}
	if (own < at.lo || own >= at.hi)
		return;
	bf16 *out = (keys ? d_to_query : d_to_key) + ((long)head * a.rows + at.base + own) * ld + bucket;
	for (int b = 0; b < count; b += 8) {
		Eight e;
		UNROLL
		for (int i = 0; i < 8; i++)
			e.v[i] = bins[(b + i) * 32];
		st16(out + b, pack8(e));
	}
}
EMU_KERNEL(relattention_sums)

extern "C" __global__ void __launch_bounds__(128) relattention_queries(Step a, bf16 *dqkv, const bf16 *ds, const bf16 *d_to_key)
{
	relattention::Tiles tiles;
	relattention::Place at(a, a.work[blockIdx.x]);
	int head = blockIdx.y, group = head / (a.H / a.K), n = blockIdx.z * TILE;
	float sums[8][4] = {};
	relattention::product<false, true>(sums, tiles, of_matrix(a, at, ds, head), of_qkv(a, at, a.H + group), at.first, n,
		at.keys_from(), at.keys_to());
	relattention::product<false, true>(sums, tiles, of_sums(a, at, d_to_key, head), of_table(a, a.H + group), at.first, n, 0, a.P);
	long ld = (long)(a.H + 2 * a.K) * a.D;
	relattention::store(dqkv + at.base * ld + head * a.D, ld, sums, at.first, n, at.lo, at.hi, a.D);
}
EMU_KERNEL(relattention_queries)

// y < K: the keys of group y, else the values of group y - K.
extern "C" __global__ void __launch_bounds__(128) relattention_keys(Step a, bf16 *dqkv, const bf16 *dout, const bf16 *p,
	const bf16 *ds, const bf16 *d_to_query)
{
	relattention::Tiles tiles;
	relattention::Place at(a, a.work[blockIdx.x]);
	int group = blockIdx.y % a.K, n = blockIdx.z * TILE, from = at.queries_from(), to = at.queries_to();
	bool values = (int)blockIdx.y >= a.K;
	float sums[8][4] = {};
	ROLLED
	for (int head = group * (a.H / a.K); head < (group + 1) * (a.H / a.K); head++) {
		relattention::product<true, true>(sums, tiles, of_matrix(a, at, values ? p : ds, head),
			values ? of_out(a, at, dout, head) : of_qkv(a, at, head), at.first, n, from, to);
		if (!values)
			relattention::product<false, true>(sums, tiles, of_sums(a, at, d_to_query, head), of_table(a, head), at.first, n, 0, a.P);
	}
	long ld = (long)(a.H + 2 * a.K) * a.D;
	relattention::store(dqkv + at.base * ld + (a.H + blockIdx.y) * a.D, ld, sums, at.first, n, at.lo, at.hi, a.D);
}
EMU_KERNEL(relattention_keys)

// parts [pieces,P,(H+K)D]: piece z / (H+K) adds up over its share of the runs of rows; z % (H+K) is the column block of the
// table.
extern "C" __global__ void __launch_bounds__(128) relattention_table(Step a, float *parts, const bf16 *d_to_key,
	const bf16 *d_to_query, const int2 *runs, int count, int pieces)
{
	relattention::Tiles tiles;
	int column = blockIdx.z % (a.H + a.K), piece = blockIdx.z / (a.H + a.K), m = blockIdx.x * TILE, n = blockIdx.y * TILE;
	bool key = column >= a.H;
	int share = a.H / a.K, heads = key ? share : 1, head = key ? (column - a.H) * share : column;
	long ld = (long)(a.H + 2 * a.K) * a.D, sumsLD = 8 * eights(a.P);
	float sums[8][4] = {};
	ROLLED
	for (int r = (int)((long)count * piece / pieces); r < (int)((long)count * (piece + 1) / pieces); r++) {
		int2 run = runs[r];
		ROLLED
		for (int h = head; h < head + heads; h++) {
			relattention::Operand x = {(key ? d_to_key : d_to_query) + h * a.rows * sumsLD, sumsLD, run.x, run.y, (int)sumsLD, true};
			relattention::Operand y = {a.qkv + (key ? h : a.H + h / share) * a.D, ld, run.x, run.y, a.D, a.aligned != 0};
			relattention::product<true, true>(sums, tiles, x, y, m, n, run.x, run.y);
		}
	}
	float *out = parts + ((long)piece * a.P * (a.H + a.K) + column) * a.D;
	relattention::each([&](int j, int i, int row, int c) {
		if (m + row < a.P && n + c < a.D)
			out[(long)(m + row) * (a.H + a.K) * a.D + n + c] = sums[j][i];
	});
}
EMU_KERNEL(relattention_table)

extern "C" __global__ void __launch_bounds__(256) relattention_table_sum(bf16 *dtable, const float *parts, long long n, int pieces)
{
	long long at = (long long)blockIdx.x * 256 + threadIdx.x;
	if (at >= n)
		return;
	float sum = 0;
	for (int p = 0; p < pieces; p++)
		sum += parts[p * n + at];
	dtable[at] = tobf16(sum);
}
EMU_KERNEL(relattention_table_sum)
