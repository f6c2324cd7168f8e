// gemm: the products of linear layers on tensor cores, for machines without cuBLASLt.
//
// gemm_forward:  y[n,out] = act(x[n,in] w[out,in]^T + bias), and the value before act where it is asked for.
// gemm_input:    dx[n,in] = (dy[n,out] w[out,in]) * act'(pre), or added to dx.
// gemm_weight:   dw[out,in] += dy[n,out]^T x[n,in] and dbias[out] += column sums of dy, float32. A long n is split in pieces
// whose partial sums gemm_reduce adds in order, so that equal runs give equal bits.
// Fused: bias, activation, its gradient, the addition, and the column sums (a product with a column of ones).
// A block of 4 warps (2 x 2) owns a square tile of the result, 128 or 64 wide, and runs over the inner dimension 32 at a
// time through a ring of 4 stages that cp.async fills. Operands whose inner dimension is not contiguous are turned by
// ldmatrix.trans. Results are gathered in shared memory and leave it in rows, 16 bytes an access.
// FLOPs: 2*n*in*out. Bytes: each operand once for each tile of the other one's side, mostly from L2: blocks are numbered so
// that those which run together share operands. bfloat16 in and out, float32 sums.
// Source: the pipelined tile product of CUTLASS (github.com/NVIDIA/cutlass, doc "efficient GEMM"). Oracle: linear_ref.go.
#include "activation.cuh"
#include "eight.cuh"

#define ALWAYS __attribute__((always_inline)) // a call would put the epilogue's values on the stack

namespace gemm {

constexpr int THREADS = 128, INNER = 32, STAGES = 4;
constexpr int BAND = 8; // rows of tiles whose blocks run together
constexpr int ALIGNED_A = 1, ALIGNED_B = 2, ALIGNED_OUT = 4, SINGLE_BIAS = 8, ADD = 16; // bits of flags

// An Operand is a matrix with `rows` rows of `cols` elements, ld apart.
struct Operand {
	const bf16 *at;
	int rows, cols;
	bool aligned; // whole rows can be copied 16 bytes at a time
};

// load starts the copy of a ROWS x COLS block, zeros outside of the matrix, to shared rows of COLS + 8 elements.
template <int ROWS, int COLS> CUK void load(bf16 *s, const Operand &o, int row0, int rows, int col0)
{
	constexpr int CHUNKS = COLS / 8, AT_ONCE = THREADS / CHUNKS, LD = COLS + 8;
	if (o.aligned) {
		int r = threadIdx.x / CHUNKS, c = threadIdx.x % CHUNKS * 8, left = col0 + c < o.cols ? rows - row0 - r : 0;
		const bf16 *from = o.at + (long)(row0 + r) * o.cols + col0 + c;
		UNROLL
		for (int i = 0; i < ROWS; i += AT_ONCE) {
			cp16(s + (r + i) * LD + c, i < left ? from : o.at, i < left);
			from += (long)AT_ONCE * o.cols;
		}
		return;
	}
	ROLLED
	for (int i = threadIdx.x; i < ROWS * COLS; i += THREADS) {
		int r = i / COLS, c = i % COLS;
		bf16 v = {0};
		if (row0 + r < rows && col0 + c < o.cols)
			v = o.at[(long)(row0 + r) * o.cols + col0 + c];
		s[r * LD + c] = v;
	}
}

// A Tile is an operand's part of a stage. TURNED operands lie in memory as [inner][side], others as [side][inner].
template <int SIDE, bool TURNED> struct Tile {
	static constexpr int LD = (TURNED ? SIDE : INNER) + 8, SIZE = (TURNED ? INNER : SIDE) * LD;
	CUK static void fetch(bf16 *s, const Operand &o, int side, int inner, int end)
	{
		if (TURNED)
			load<INNER, SIDE>(s, o, inner, end, side);
		else
			load<SIDE, INNER>(s, o, side, o.rows, inner);
	}
	// The 16 x 16 block at (side, inner) as operand A, and as operand B of two products of 8 columns.
	CUK static void as_a(uint32_t f[4], const bf16 *s, int side, int inner)
	{
		int lane = threadIdx.x & 31;
		if (TURNED)
			ldm4t(f, s + (inner + (lane & 7) + (lane >> 4) * 8) * LD + side + (lane >> 3 & 1) * 8);
		else
			ldm4(f, s + (side + (lane & 15)) * LD + inner + (lane >> 4) * 8);
	}
	CUK static void as_b(uint32_t f[4], const bf16 *s, int side, int inner)
	{
		int lane = threadIdx.x & 31;
		if (TURNED)
			ldm4t(f, s + (inner + (lane & 15)) * LD + side + (lane >> 4) * 8);
		else
			ldm4(f, s + (side + (lane & 7) + (lane >> 4) * 8) * LD + inner + (lane >> 3 & 1) * 8);
	}
};

// Place numbers the tiles of the result band by band, so that blocks which run together read few rows and columns of
// operands.
struct Place {
	int m, n;
	CUK Place(int block, int tiles_m, int tiles_n)
	{
		int band = block / (BAND * tiles_n), at = block % (BAND * tiles_n);
		int high = tiles_m - band * BAND < BAND ? tiles_m - band * BAND : BAND;
		m = band * BAND + at % high;
		n = at / high;
	}
};

// product computes the SIDE x SIDE tile at (m0, n0) of A B over the inner range [k0, k1) and gathers it as floats in shared
// rows of SIDE + 8, which it returns. With SUMS, the warps that are summing get the sums of A's rows in the first column of
// sums.
template <int SIDE, bool TURNED_A, bool TURNED_B, bool SUMS>
CUK const float *product(const Operand &a, const Operand &b, int m0, int n0, int k0, int k1, float (*sums)[4],
	bool summing)
{
	typedef Tile<SIDE, TURNED_A> TA;
	typedef Tile<SIDE, TURNED_B> TB;
	constexpr int MT = SIDE / 32, NT = SIDE / 16, LD = SIDE + 8; // 16 x 8 results of a warp
	constexpr int RING = STAGES * (TA::SIZE + TB::SIZE), GATHER = SIDE * LD * 2;
	Smem sm;
	bf16 *ring = sm.take<bf16>(RING > GATHER ? RING : GATHER);
	int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, wm = (warp >> 1) * (SIDE / 2), wn = (warp & 1) * (SIDE / 2);

	UNROLL
	for (int t = 0; t < STAGES - 1; t++) {
		bf16 *s = ring + t * (TA::SIZE + TB::SIZE);
		if (k0 + t * INNER < k1) {
			TA::fetch(s, a, m0, k0 + t * INNER, k1);
			TB::fetch(s + TA::SIZE, b, n0, k0 + t * INNER, k1);
		}
		cpcommit();
	}
	float acc[MT][NT][4] = {};
	const uint32_t ones[2] = {0x3f803f80u, 0x3f803f80u};
	int stage = 0;
	for (int k = k0; k < k1; k += INNER) {
		cpwait<STAGES - 2>();
		__syncthreads(); // this stage is there for all, and nobody reads the one before it any more
		int next = k + (STAGES - 1) * INNER, into = stage == 0 ? STAGES - 1 : stage - 1;
		if (next < k1) {
			bf16 *s = ring + into * (TA::SIZE + TB::SIZE);
			TA::fetch(s, a, m0, next, k1);
			TB::fetch(s + TA::SIZE, b, n0, next, k1);
		}
		cpcommit();
		const bf16 *sa = ring + stage * (TA::SIZE + TB::SIZE), *sb = sa + TA::SIZE;
		stage = stage == STAGES - 1 ? 0 : stage + 1;
		UNROLL
		for (int kk = 0; kk < INNER; kk += 16) {
			uint32_t fa[MT][4], fb[NT / 2][4];
			UNROLL
			for (int m = 0; m < MT; m++)
				TA::as_a(fa[m], sa, wm + m * 16, kk);
			UNROLL
			for (int n = 0; n < NT / 2; n++)
				TB::as_b(fb[n], sb, wn + n * 16, kk);
			UNROLL
			for (int m = 0; m < MT; m++) {
				UNROLL
				for (int n = 0; n < NT / 2; n++) {
					mma16816(acc[m][2 * n], fa[m], fb[n]);
					mma16816(acc[m][2 * n + 1], fa[m], fb[n] + 2);
				}
				if (SUMS && summing)
					mma16816(sums[m], fa[m], ones);
			}
		}
	}
	cpwait<0>();
	__syncthreads(); // the ring becomes the place where the tile is gathered
	float *out = (float *)ring;
	UNROLL
	for (int m = 0; m < MT; m++)
		UNROLL
		for (int n = 0; n < NT; n++)
			UNROLL
			for (int i = 0; i < 2; i++)
				*(float2 *)(out + (wm + m * 16 + (lane >> 2) + i * 8) * LD + wn + n * 8 + (lane & 3) * 2) =
					make_float2(acc[m][n][i * 2], acc[m][n][i * 2 + 1]);
	__syncthreads();
	return out;
}

// each_eight calls f(row, col, left, values) for every eight columns of the gathered tile inside the matrix; left of the
// eight are inside.
template <int SIDE, class F> CUK void each_eight(const float *tile, int m0, int n0, int M, int N, F f)
{
	constexpr int CHUNKS = SIDE / 8;
	int c = threadIdx.x % CHUNKS * 8, col = n0 + c;
	if (col >= N)
		return;
	ROLLED
	for (int r = threadIdx.x / CHUNKS; r < SIDE && m0 + r < M; r += THREADS / CHUNKS) {
		Eight e = load8(tile + r * (SIDE + 8) + c, 8, true);
		f(m0 + r, col, N - col, e);
	}
}

template <int SIDE>
CUK void forward(bf16 *y, bf16 *pre, const bf16 *x, const bf16 *w, const void *bias, int n, int in, int out, int act, int flags)
{
	Place at(blockIdx.x, ceildiv(n, SIDE), ceildiv(out, SIDE));
	int m0 = at.m * SIDE, n0 = at.n * SIDE;
	bool aligned = flags & ALIGNED_OUT;
	const float *tile = product<SIDE, false, false, false>({x, n, in, (flags & ALIGNED_A) != 0}, {w, out, in, (flags & ALIGNED_B) != 0},
		m0, n0, 0, in, nullptr, false);
	int col = n0 + threadIdx.x % (SIDE / 8) * 8;
	Eight b = {};
	if (bias && col < out)
		b = load8(bias, col, flags & SINGLE_BIAS, out - col, false);
	each_eight<SIDE>(tile, m0, n0, n, out, [&](int row, int col, int left, Eight e) ALWAYS {
		add8(e, b);
		if (pre)
			store8(pre + (long)row * out + col, e, left, aligned);
		if (act) {
			UNROLL
			for (int i = 0; i < 8; i++)
				e.v[i] = activation::value(act, e.v[i]);
		}
		store8(y + (long)row * out + col, e, left, aligned);
	});
}

template <int SIDE>
CUK void input(bf16 *dx, const bf16 *dy, const bf16 *w, const bf16 *pre, int n, int in, int out, int act, int flags)
{
	Place at(blockIdx.x, ceildiv(n, SIDE), ceildiv(in, SIDE));
	int m0 = at.m * SIDE, n0 = at.n * SIDE;
	bool aligned = flags & ALIGNED_OUT;
	const float *tile = product<SIDE, false, true, false>({dy, n, out, (flags & ALIGNED_A) != 0}, {w, out, in, (flags & ALIGNED_B) != 0},
		m0, n0, 0, out, nullptr, false);
	each_eight<SIDE>(tile, m0, n0, n, in, [&](int row, int col, int left, Eight e) ALWAYS {
		bf16 *to = dx + (long)row * in + col;
		if (flags & ADD)
			add8(e, load8(to, left, aligned));
		if (act) {
			Eight p = load8(pre + (long)row * in + col, left, aligned);
			UNROLL
			for (int i = 0; i < 8; i++)
				e.v[i] *= activation::slope(act, p.v[i]);
		}
		store8(to, e, left, aligned);
	});
}

// weight: block z adds rows [z*piece, (z+1)*piece). With parts, float32 [pieces, out*in] and then [pieces, out], it writes
// its partial sums there, else it adds to dw and dbias.
template <int SIDE>
CUK void weight(float *dw, float *dbias, float *parts, const bf16 *dy, const bf16 *x, int n, int in, int out, int piece, int flags)
{
	constexpr int MT = SIDE / 32;
	Place at(blockIdx.x, ceildiv(out, SIDE), ceildiv(in, SIDE));
	int m0 = at.m * SIDE, n0 = at.n * SIDE, z = blockIdx.y, k0 = z * piece, k1 = n - k0 < piece ? n : k0 + piece;
	float sums[MT][4] = {};
	bool summing = dbias && n0 == 0 && !(threadIdx.x >> 5 & 1);
	const float *tile = product<SIDE, true, true, true>({dy, n, out, (flags & ALIGNED_A) != 0}, {x, n, in, (flags & ALIGNED_B) != 0},
		m0, n0, k0, k1, sums, summing);
	float *to = parts ? parts + (long)z * out * in : dw;
	bool aligned = flags & ALIGNED_OUT;
	each_eight<SIDE>(tile, m0, n0, out, in, [&](int row, int col, int left, Eight e) ALWAYS {
		float *p = to + (long)row * in + col;
		if (!parts)
			add8(e, load8(p, left, aligned));
		store8(p, e, left, aligned);
	});
	int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
	if (!summing || (lane & 3))
		return;
	float *bias = parts ? parts + (long)gridDim.y * out * in + (long)z * out : dbias;
	UNROLL
	for (int m = 0; m < MT; m++)
		UNROLL
		for (int i = 0; i < 2; i++) {
			int row = m0 + (warp >> 1) * (SIDE / 2) + m * 16 + (lane >> 2) + i * 8;
			if (row < out)
				bias[row] = parts ? sums[m][i * 2] : bias[row] + sums[m][i * 2];
		}
}

} // namespace gemm

#define VARIANT(SIDE)                                                                                                    \
	extern "C" __global__ void __launch_bounds__(128) gemm_forward_##SIDE(bf16 *y, bf16 *pre, const bf16 *x, const bf16 *w, \
		const void *bias, int n, int in, int out, int act, int flags)                                                    \
	{                                                                                                                    \
		gemm::forward<SIDE>(y, pre, x, w, bias, n, in, out, act, flags);                                                 \
	}                                                                                                                    \
	EMU_KERNEL(gemm_forward_##SIDE)                                                                                      \
	extern "C" __global__ void __launch_bounds__(128) gemm_input_##SIDE(bf16 *dx, const bf16 *dy, const bf16 *w,            \
		const bf16 *pre, int n, int in, int out, int act, int flags)                                                     \
	{                                                                                                                    \
		gemm::input<SIDE>(dx, dy, w, pre, n, in, out, act, flags);                                                       \
	}                                                                                                                    \
	EMU_KERNEL(gemm_input_##SIDE)                                                                                        \
	extern "C" __global__ void __launch_bounds__(128) gemm_weight_##SIDE(float *dw, float *dbias, float *parts,             \
		const bf16 *dy, const bf16 *x, int n, int in, int out, int piece, int flags)                                     \
	{                                                                                                                    \
		gemm::weight<SIDE>(dw, dbias, parts, dy, x, n, in, out, piece, flags);                                           \
	}                                                                                                                    \
	EMU_KERNEL(gemm_weight_##SIDE)
VARIANT(128)
VARIANT(64)
#undef VARIANT

// gemm_reduce adds pieces partial sums of n elements each, in order, to sum: four elements a thread.
extern "C" __global__ void __launch_bounds__(256) gemm_reduce(float *sum, const float *parts, long long n, int pieces, int aligned)
{
	long long at = 4 * ((long long)blockIdx.x * 256 + threadIdx.x);
	if (at >= n)
		return;
	if (aligned) {
		float4 s = *(float4 *)(sum + at);
		for (int p = 0; p < pieces; p++) {
			float4 v = *(const float4 *)(parts + p * n + at);
			s.x += v.x, s.y += v.y, s.z += v.z, s.w += v.w;
		}
		*(float4 *)(sum + at) = s;
		return;
	}
	for (int i = 0; i < 4 && at + i < n; i++) {
		float s = sum[at + i];
		for (int p = 0; p < pieces; p++)
			s += parts[p * n + at + i];
		sum[at + i] = s;
	}
}
EMU_KERNEL(gemm_reduce)

// gemm_narrow rounds a float32 weight to the bfloat16 that products read.
extern "C" __global__ void __launch_bounds__(256) gemm_narrow(bf16 *to, const float *from, long long n)
{
	long long at = (long long)blockIdx.x * 256 + threadIdx.x;
	if (at < n)
		to[at] = tobf16(from[at]);
}
EMU_KERNEL(gemm_narrow)
