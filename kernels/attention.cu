// attention: scaled dot-product attention inside the segments of a packed step, forward.
//
// Fused: scores, mask (causal, bidirectional, window), base-2 softmax with a running maximum, dropout, the product with the
// values and the log-sum-exp. N x N never exists; tiles that the mask hides entirely are neither loaded nor computed.
// Shapes: QKV bf16 [rows,(H+2K)D] (H query heads, K key heads, K value heads in a row), Out bf16 [rows,HD], LSE float32
// [H,rows] (may be null). A block of 4 warps owns 128 queries (32 a warp) of one head and runs over tiles of keys (64, or 32 for
// D > 64), which cp.async double-buffers. Heads are padded with zeros in shared memory to 64 or 128 columns.
// FLOPs: 4D a visible pair of query and key and head; an exponential each; with dropout a Philox block for 8 of them.
// Bytes: queries and outputs once; keys and values once for each tile of 128 queries of each head (mostly from L2).
// Source: FlashAttention-2, arXiv 2307.08691. Oracle: attention_ref.go.
#include "attention.cuh"

namespace attention {

// forward is the body of all variants: W the padded head width. segments holds {start, end, causal, window} and work
// {segment, first query} for each block in x; an entry with a negative segment is inert. scale2 is the scale of the scores
// times log2(e).
template <int W, bool DROP>
CUK void forward(bf16 *out, float *lse, const bf16 *qkv, const int4 *segments, const int2 *work, int rows, int H, int K, int D,
	float scale2, int aligned, const Dropout &drop)
{
	constexpr int MT = 2, QT = 128, THREADS = 128, KT = W == 64 ? 64 : 32, LD = W + 8;
	Smem sm;
	bf16 *sq = sm.take<bf16>(QT * LD);
	bf16 *keys = sm.take<bf16>(2 * KT * LD), *values = sm.take<bf16>(2 * KT * LD);

	int2 item = work[blockIdx.x];
	if (item.x < 0)
		return;
	Span span = span_of(segments, item.x);
	int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, g = lane >> 2, tc = (lane & 3) * 2;
	int head = blockIdx.y, kv = head / (H / K);
	long ld = (long)(H + 2 * K) * D;
	const bf16 *q = qkv + head * D, *k = qkv + (H + kv) * D, *v = k + K * D;
	bool in = aligned & ALIGNED_INPUTS;

	int q0 = item.y, q1 = least(q0 + QT, span.end);
	int lo = span.first(q0), hi = span.last(q1 - 1) + 1;
	int base = lo & ~7; // a tile of keys starts where a dropout block does
	int tiles = (hi - base + KT - 1) / KT;
	int w0 = q0 + warp * 16 * MT, w1 = least(w0 + 16 * MT, q1); // the warp's queries
	int see0 = span.first(w0), see1 = span.last(w1 - 1);          // seen by any of them
	int all0 = span.first(w1 - 1), all1 = span.last(w0);          // seen by all of them

	load_rows<QT, W, THREADS>(sq, q, ld, q0, q0, q1, D, in);
	load_rows<KT, W, THREADS>(keys, k, ld, base, lo, hi, D, in);
	load_rows<KT, W, THREADS>(values, v, ld, base, lo, hi, D, in);
	cpcommit();

	float acc[MT][W / 8][4] = {}, top[MT][2], sum[MT][2] = {};
	UNROLL
	for (int m = 0; m < MT; m++)
		top[m][0] = top[m][1] = -INFINITY;

	ROLLED
	for (int j = 0; j < tiles; j++) {
		int at = (j & 1) * KT * LD, other = KT * LD - at;
		bf16 *sk = keys + at, *sv = values + at;
		cpwait<0>();
		__syncthreads(); // tile j is there for all, and nobody reads tile j-1 any more
		if (j + 1 < tiles) {
			load_rows<KT, W, THREADS>(keys + other, k, ld, base + (j + 1) * KT, lo, hi, D, in);
			load_rows<KT, W, THREADS>(values + other, v, ld, base + (j + 1) * KT, lo, hi, D, in);
			cpcommit();
		}
		int key = base + j * KT;
		if (w0 >= w1 || key > see1 || key + KT <= see0)
			continue;

		float s[MT][KT / 8][4] = {};
		UNROLL
		for (int kk = 0; kk < W / 16; kk++) {
			uint32_t fq[MT][4];
			UNROLL
			for (int m = 0; m < MT; m++)
				ldm4(fq[m], block_a<LD>(sq, (warp * MT + m) * 16, kk * 16));
			UNROLL
			for (int n = 0; n < KT / 16; n++) {
				uint32_t fk[4];
				ldm4(fk, block_b<LD>(sk, n * 16, kk * 16));
				UNROLL
				for (int m = 0; m < MT; m++) {
					mma16816(s[m][2 * n], fq[m], fk);
					mma16816(s[m][2 * n + 1], fq[m], fk + 2);
				}
			}
		}
		if (key < all0 || key + KT - 1 > all1) {
			UNROLL
			for (int m = 0; m < MT; m++)
				UNROLL
				for (int i = 0; i < 2; i++) {
					int row = w0 + m * 16 + g + i * 8, a = span.first(row) - key - tc, b = span.last(row) - key - tc;
					UNROLL
					for (int n = 0; n < KT / 8; n++)
						UNROLL
						for (int e = 0; e < 2; e++)
							if (n * 8 + e < a || n * 8 + e > b)
								s[m][n][i * 2 + e] = -INFINITY;
				}
		}
		UNROLL
		for (int m = 0; m < MT; m++) {
			uint32_t mask = DROP ? kept<KT / 16>(drop, head, w0 + m * 16 + (lane & 15), key / 8 + (lane >> 4) * (KT / 16)) : 0;
			UNROLL
			for (int i = 0; i < 2; i++) {
				float t = top[m][i];
				UNROLL
				for (int n = 0; n < KT / 8; n++)
					t = fmax2(t, fmax2(s[m][n][i * 2], s[m][n][i * 2 + 1]));
				t = fmax2(t, __shfl_xor_sync(FULL, t, 1));
				t = fmax2(t, __shfl_xor_sync(FULL, t, 2));
				float shift = t == -INFINITY ? 0.0f : t * scale2;
				float f = fexp2(top[m][i] * scale2 - shift), z = sum[m][i] * f;
				top[m][i] = t;
				UNROLL
				for (int n = 0; n < W / 8; n++) {
					acc[m][n][i * 2] *= f;
					acc[m][n][i * 2 + 1] *= f;
				}
				UNROLL
				for (int n = 0; n < KT / 8; n++)
					UNROLL
					for (int e = 0; e < 2; e++)
						z += s[m][n][i * 2 + e] = fexp2(s[m][n][i * 2 + e] * scale2 - shift);
				sum[m][i] = z;
				if (DROP) {
					UNROLL
					for (int half = 0; half < 2; half++) {
						uint32_t bits = (uint32_t)__shfl_sync(FULL, (int)mask, g + i * 8 + half * 16) >> tc;
						UNROLL
						for (int n = 0; n < KT / 16; n++)
							UNROLL
							for (int e = 0; e < 2; e++)
								if (!(bits >> (n * 8 + e) & 1))
									s[m][half * (KT / 16) + n][i * 2 + e] = 0;
					}
				}
			}
		}
		UNROLL
		for (int kk = 0; kk < KT / 16; kk++) {
			uint32_t fp[MT][4];
			UNROLL
			for (int m = 0; m < MT; m++)
				as_operand(fp[m], s[m][2 * kk], s[m][2 * kk + 1]);
			UNROLL
			for (int n = 0; n < W / 16; n++) {
				uint32_t fv[4];
				ldm4t(fv, block_a<LD>(sv, kk * 16, n * 16));
				UNROLL
				for (int m = 0; m < MT; m++) {
					mma16816(acc[m][2 * n], fp[m], fv);
					mma16816(acc[m][2 * n + 1], fp[m], fv + 2);
				}
			}
		}
	}

	if (w0 >= w1)
		return;
	__syncwarp(); // the warp's query rows become the place where its output is gathered
	UNROLL
	for (int m = 0; m < MT; m++) {
		float f[2];
		UNROLL
		for (int i = 0; i < 2; i++) {
			float z = sum[m][i];
			z += __shfl_xor_sync(FULL, z, 1);
			z += __shfl_xor_sync(FULL, z, 2);
			f[i] = z > 0 ? (DROP ? drop.scale : 1.0f) / z : 0.0f;
			int row = w0 + m * 16 + g + i * 8;
			if (lse && (lane & 3) == 0 && row < w1)
				lse[(long)head * rows + row] = z > 0 ? (top[m][i] * scale2 + flog2(z)) * CUK_LN2 : -INFINITY;
		}
		stage_rows<W>(sq + (warp * MT + m) * 16 * LD, acc[m], f[0], f[1]);
	}
	__syncwarp();
	store_rows<16 * MT, W>(out + head * D, (long)H * D, sq + warp * MT * 16 * LD, w0, w0, w1, D, aligned & ALIGNED_OUTPUTS);
}

} // namespace attention

#define FORWARD_PARAMETERS \
	bf16 *out, float *lse, const bf16 *qkv, const int4 *segments, const int2 *work, int rows, int H, int K, int D, float scale2, \
		int aligned

extern "C" __global__ void __launch_bounds__(128) attention_forward_64(FORWARD_PARAMETERS)
{
	attention::forward<64, false>(out, lse, qkv, segments, work, rows, H, K, D, scale2, aligned, {});
}
EMU_KERNEL(attention_forward_64)

extern "C" __global__ void __launch_bounds__(128) attention_forward_128(FORWARD_PARAMETERS)
{
	attention::forward<128, false>(out, lse, qkv, segments, work, rows, H, K, D, scale2, aligned, {});
}
EMU_KERNEL(attention_forward_128)

extern "C" __global__ void __launch_bounds__(128) attention_forward_drop_64(FORWARD_PARAMETERS, Dropout drop)
{
	attention::forward<64, true>(out, lse, qkv, segments, work, rows, H, K, D, scale2, aligned, drop);
}
EMU_KERNEL(attention_forward_drop_64)

extern "C" __global__ void __launch_bounds__(128) attention_forward_drop_128(FORWARD_PARAMETERS, Dropout drop)
{
	attention::forward<128, true>(out, lse, qkv, segments, work, rows, H, K, D, scale2, aligned, drop);
}
EMU_KERNEL(attention_forward_drop_128)
#undef FORWARD_PARAMETERS
