// links: the gated mixture of log-softmaxes of a transition head, and its gradients.
//
// A warp has a state: forward and links_queries the state that links go from, links_keys the one that they go to. Of each head
// it has the products with the other states of the lattice (a lane each), the log-softmax and the running log-sum-exp over
// heads in shared memory. links_queries writes the queries' and gates' gradients, and what links_keys needs of a state's
// heads: the sums of the links' gradients and the logarithms of the gates. Products are computed again in each kernel.
// Shapes: qk bfloat16 [rows,2HD], gate bfloat16 [rows,H], links float32 [S,S] a lattice, lse, sums, gates float32 [rows,H].
// FLOPs a link and head: 2D and two exponentials forward, 8D and four backward. Bytes a link: 4, backward 16.
// Source: DA-Transformer, arXiv 2205.07459; ExLM, arXiv 2501.13397. Oracle: links_ref.go.
#include "lattice.cuh"

namespace links {

// Head is what all kernels are given of the transition head.
struct Head {
	const bf16 *qk, *gate;
	const int *groups, *owners, *table;
	int R, H, D, widest, vector; // widest: states of the largest lattice

	CUK const bf16 *query(int row, int c) const { return qk + ((long)2 * row * H + c) * D; }
	CUK const bf16 *key(int row, int c) const { return qk + ((long)(2 * row + 1) * H + c) * D; }
	CUK bool allowed(int u, int v) const { return !groups || groups[v] > groups[u]; }
};

// load keeps a vector of D in shared memory, times scale, by a warp.
CUK void load(float *to, const bf16 *from, int D, float scale AT)
{
	__syncwarp(HERE1);
	for (int j = threadIdx.x; j < D; j += 32)
		to[j] = tofloat(from[j]) * scale;
	__syncwarp(HERE1);
}

CUK float dot(const float *a, const bf16 *b, int D, bool vector)
{
	float sum = 0;
	int j = 0;
	if (vector)
		LOOP
		for (; j < D; j += 8) {
			Eight e = unpack8(ld16(b + j));
			UNROLL
			for (int i = 0; i < 8; i++)
				sum += a[j + i] * e.v[i];
		}
	LOOP
	for (; j < D; j++)
		sum += a[j] * tofloat(b[j]);
	return sum;
}

// gates returns the log-sum-exp of a state's gates, to all lanes.
CUK float gates(const bf16 *gate, int H AT)
{
	float top = -INFINITY, sum = 0;
	for (int c = threadIdx.x; c < H; c += 32)
		top = fmax2(top, tofloat(gate[c]));
	top = wmax(top HERE);
	for (int c = threadIdx.x; c < H; c += 32)
		sum += fexp(tofloat(gate[c]) - top);
	return top + flog(wsum(sum HERE));
}

} // namespace links

extern "C" __global__ void __launch_bounds__(256) links_forward(float *logE, float *lse, links::Head h)
{
	Smem sm;
	float *mine = sm.take<float>(blockDim.y * (h.D + 3 * h.widest)) + threadIdx.y * (h.D + 3 * h.widest);
	float *q = mine, *s = q + h.D, *most = s + h.widest, *sum = most + h.widest;
	int row = blockIdx.x * blockDim.y + threadIdx.y, lane = threadIdx.x;
	if (row >= h.R || h.owners[row] < 0)
		return; // a whole warp
	Lattice l = lattice_of(h.table, h.owners[row]);
	int u = row - l.start, S = l.S;
	const bf16 *gate = h.gate + (long)row * h.H;
	float scale = 1 / fsqrt((float)h.D), all = links::gates(gate, h.H);
	for (int c = 0; c < h.H; c++) {
		links::load(q, h.query(row, c), h.D, scale);
		float top = -INFINITY, total = 0;
		for (int v = u + 1 + lane; v < S; v += 32) {
			float x = h.allowed(row, l.start + v) ? links::dot(q, h.key(l.start + v, c), h.D, h.vector) : -INFINITY;
			s[v] = x;
			top = fmax2(top, x);
		}
		top = wmax(top);
		for (int v = u + 1 + lane; v < S; v += 32)
			total += s[v] == -INFINITY ? 0 : fexp(s[v] - top);
		total = wsum(total);
		float own = total == 0 ? -INFINITY : top + flog(total), share = tofloat(gate[c]) - all - own;
		if (lse && lane == 0)
			lse[(long)row * h.H + c] = own;
		for (int v = u + 1 + lane; v < S; v += 32) {
			float x = s[v] == -INFINITY ? s[v] : s[v] + share, m = c ? most[v] : -INFINITY, t = c ? sum[v] : 0;
			if (x > m) {
				t = m == -INFINITY ? t : t * fexp(m - x);
				m = x;
			}
			most[v] = m, sum[v] = t + (x == -INFINITY ? 0 : fexp(x - m));
		}
	}
	__syncwarp(); // lanes have other states from here on
	float *out = logE + l.links + (long)u * S;
	for (int v = lane; v < S; v += 32)
		out[v] = v <= u || sum[v] == 0 ? -INFINITY : most[v] + flog(sum[v]);
}
EMU_KERNEL(links_forward)

extern "C" __global__ void __launch_bounds__(256) links_queries(bf16 *dqk, bf16 *dgate, float *sums, float *shares, const float *dlogE,
	const float *logE, const float *lse, links::Head h)
{
	Smem sm;
	float *q = sm.take<float>(blockDim.y * (h.D + h.widest)) + threadIdx.y * (h.D + h.widest), *ds = q + h.D;
	int row = blockIdx.x * blockDim.y + threadIdx.y, lane = threadIdx.x;
	if (row >= h.R || h.owners[row] < 0)
		return;
	Lattice l = lattice_of(h.table, h.owners[row]);
	int u = row - l.start, S = l.S;
	const bf16 *gate = h.gate + (long)row * h.H;
	const float *edge = logE + l.links + (long)u * S, *grad = dlogE + l.links + (long)u * S;
	float scale = 1 / fsqrt((float)h.D), all = links::gates(gate, h.H), whole = 0;
	for (int c = 0; c < h.H; c++) {
		links::load(q, h.query(row, c), h.D, scale);
		long at = (long)row * h.H + c;
		float base = lse[at], share = tofloat(gate[c]) - all, sum = 0;
		for (int v = u + 1 + lane; v < S; v += 32) {
			float e = edge[v], x = -INFINITY;
			if (e != -INFINITY) {
				x = links::dot(q, h.key(l.start + v, c), h.D, h.vector) - base;
				sum += grad[v] * fexp(share + x - e);
			}
			ds[v] = x;
		}
		sum = wsum(sum);
		whole += sum;
		if (lane == 0)
			sums[at] = sum, shares[at] = share;
		for (int v = u + 1 + lane; v < S; v += 32)
			ds[v] = ds[v] == -INFINITY ? 0 : scale * (grad[v] * fexp(share + ds[v] - edge[v]) - fexp(ds[v]) * sum);
		__syncwarp();
		bf16 *to = dqk + ((long)2 * row * h.H + c) * h.D;
		for (int j = lane; j < h.D; j += 32) {
			float dq = 0;
			for (int v = u + 1; v < S; v++)
				dq += ds[v] * tofloat(h.key(l.start + v, c)[j]);
			to[j] = tobf16(dq);
		}
	}
	__syncwarp();
	for (int c = lane; c < h.H; c += 32) {
		long at = (long)row * h.H + c;
		dgate[at] = tobf16(sums[at] - fexp(shares[at]) * whole);
	}
}
EMU_KERNEL(links_queries)

extern "C" __global__ void __launch_bounds__(256) links_keys(bf16 *dqk, const float *sums, const float *shares, const float *dlogE,
	const float *logE, const float *lse, links::Head h)
{
	Smem sm;
	float *k = sm.take<float>(blockDim.y * (h.D + h.widest)) + threadIdx.y * (h.D + h.widest), *ds = k + h.D;
	int row = blockIdx.x * blockDim.y + threadIdx.y, lane = threadIdx.x;
	if (row >= h.R || h.owners[row] < 0)
		return;
	Lattice l = lattice_of(h.table, h.owners[row]);
	int v = row - l.start, S = l.S;
	const float *edge = logE + l.links + v, *grad = dlogE + l.links + v;
	float scale = 1 / fsqrt((float)h.D);
	for (int c = 0; c < h.H; c++) {
		links::load(k, h.key(row, c), h.D, scale);
		for (int u = lane; u < v; u += 32) {
			float e = edge[(long)u * S], g = 0;
			if (e != -INFINITY) {
				long at = (long)(l.start + u) * h.H + c;
				float x = links::dot(k, h.query(l.start + u, c), h.D, h.vector) - lse[at];
				g = scale * (grad[(long)u * S] * fexp(shares[at] + x - e) - fexp(x) * sums[at]);
			}
			ds[u] = g;
		}
		__syncwarp();
		bf16 *to = dqk + ((long)(2 * row + 1) * h.H + c) * h.D;
		for (int j = lane; j < h.D; j += 32) {
			float dk = 0;
			for (int u = 0; u < v; u++)
				dk += ds[u] * tofloat(h.query(l.start + u, c)[j]);
			to[j] = tobf16(dk);
		}
	}
}
EMU_KERNEL(links_keys)
