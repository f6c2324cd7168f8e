// alignment: log-probabilities of emissions gathered from logits, the sum over paths of lattices with its gradients, and the
// gradient of the emissions over the logits.
//
// emissions and emissions_backward have a block a state and read the logits once (and once from L2 for the gradient); tokens
// that occur more than once add up in the order of targets. alignment_paths has a block a lattice for both dynamic programs:
// forward a thread has a state and walks down a column of the links, next to its neighbours'; backward a warp has a state and
// walks along a row. alignment_gradients has a warp a state for the emissions' and links' gradients. alignment_ctc has a warp a
// lattice, its lanes over labels. State u can emit target i only when i <= u <= S-M+i; nothing else is looked at. Every step
// is relative to its largest number, the shifts are float64, and all sums have an order of their own.
// Shapes: logits bfloat16 [R,V]; match, alpha, beta float32 [E,S] and links [S,S] a lattice. Bytes a logit: 2, backward 4
// and 2 written. Exponentials: about M S^2/2 forward, backward and for the links' gradient.
// Source: DA-Transformer, arXiv 2205.07459; ExLM, arXiv 2501.13397. Oracle: alignment_ref.go.
#include "lattice.cuh"

namespace alignment {

constexpr unsigned ELSEWHERE = 0x7fc0deadu; // marks a token that an earlier one serves: no arithmetic gives this NaN

// add takes a number into a running maximum and the sum of exponentials relative to it.
CUK void add(float &most, float &sum, float x)
{
	if (x > most) {
		sum = most == -INFINITY ? sum : sum * fexp(most - x);
		most = x;
	}
	sum += x == -INFINITY ? 0 : fexp(x - most);
}

CUK void merge(float &most, float &sum, float m, float s)
{
	float top = fmax2(most, m);
	sum = (most == -INFINITY ? sum : sum * fexp(most - top)) + (m == -INFINITY ? s : s * fexp(m - top));
	most = top;
}

// log_of is the logarithm of what add summed; -Inf for nothing.
CUK float log_of(float most, float sum) { return most == -INFINITY ? (sum == 0 ? most : sum) : most + flog(sum); }

CUK int token(const Lattice &l, const int *targets, int blank, int i) { return i < l.M ? targets[l.first + i] : blank; }

// settle takes the largest number off a row of S, by a block, and returns it: -Inf for a row of nothing, NaN where a NaN is
// alone. Every thread has put its part of the row.
CUK float settle(float *row, int S, float *scratch AT)
{
	__syncthreads(HERE1);
	float top = -INFINITY;
	float odd = 0;
	for (int u = threadIdx.x; u < S; u += blockDim.x) {
		top = fmax2(top, row[u]);
		odd += row[u] != row[u] ? 1 : 0;
	}
	top = bmax(top, scratch HERE);
	if (top == -INFINITY)
		return bsum(odd, scratch HERE) > 0 ? NAN : top;
	for (int u = threadIdx.x; u < S; u += blockDim.x)
		row[u] -= top;
	__syncthreads(HERE1);
	return top;
}

} // namespace alignment

extern "C" __global__ void __launch_bounds__(256) emissions(float *match, float *lse, const bf16 *logits, const int *targets,
	const int *owners, const int *table, int V, int blank)
{
	Smem sm;
	float *scratch = sm.take<float>(64);
	int row = blockIdx.x;
	if (owners[row] < 0)
		return; // the whole block
	Lattice l = lattice_of(table, owners[row]);
	const bf16 *z = logits + (long)row * V;
	Ragged shape(z, V);
	float most = -INFINITY, sum = 0;
	if (shape.edge >= 0)
		alignment::add(most, sum, tofloat(z[shape.edge]));
	LOOP
	for (int c = threadIdx.x; c < shape.whole; c += blockDim.x) {
		Eight e = unpack8(ld16(z + shape.at(c)));
		float top = e.v[0];
		UNROLL
		for (int i = 1; i < 8; i++)
			top = fmax2(top, e.v[i]);
		if (top > most) {
			sum = most == -INFINITY ? sum : sum * fexp(most - top);
			most = top;
		}
		UNROLL
		for (int i = 0; i < 8; i++)
			sum += e.v[i] == -INFINITY ? 0 : fexp2((e.v[i] - most) * CUK_LOG2E);
	}
	UNROLL
	for (int d = 16; d; d >>= 1) {
		float m = __shfl_xor_sync(FULL, most, d), s = __shfl_xor_sync(FULL, sum, d);
		alignment::merge(most, sum, m, s);
	}
	if (threadIdx.x % 32 == 0)
		scratch[threadIdx.x / 32 * 2] = most, scratch[threadIdx.x / 32 * 2 + 1] = sum;
	__syncthreads();
	most = scratch[0], sum = scratch[1];
	for (int w = 1; w < (int)blockDim.x / 32; w++)
		alignment::merge(most, sum, scratch[2 * w], scratch[2 * w + 1]);
	float all = alignment::log_of(most, sum);
	if (threadIdx.x == 0)
		lse[row] = all;
	for (int i = threadIdx.x; i < l.E; i += blockDim.x)
		match[l.match + (long)i * l.S + row - l.start] = tofloat(z[alignment::token(l, targets, blank, i)]) - all;
}
EMU_KERNEL(emissions)

extern "C" __global__ void __launch_bounds__(256) emissions_backward(bf16 *logits, const float *dmatch, const float *lse,
	const int *targets, const int *owners, const int *table, int V, int blank, int most)
{
	Smem sm;
	float *scratch = sm.take<float>(32);
	float *own = sm.take<float>(most); // the gradient at a token's first place among the emitted
	int row = blockIdx.x;
	bf16 *z = logits + (long)row * V;
	Ragged shape(z, V);
	Lattice l = {};
	float sum = 0, counts = 0;
	const float *d = dmatch;
	if (owners[row] >= 0) {
		l = lattice_of(table, owners[row]);
		d += l.match + row - l.start;
		for (int i = threadIdx.x; i < l.E; i += blockDim.x) {
			float g = d[(long)i * l.S];
			sum += g, counts += g != 0 ? 1 : 0;
		}
	}
	sum = bsum(sum, scratch);
	counts = bsum(counts, scratch);
	if (counts == 0) {
		silence(z, shape);
		return;
	}
	float base = lse[row];
	for (int i = threadIdx.x; i < l.E; i += blockDim.x) {
		int y = alignment::token(l, targets, blank, i);
		float g = d[(long)i * l.S];
		bool first = true;
		for (int k = 0; k < i && first; k++)
			first = alignment::token(l, targets, blank, k) != y;
		for (int k = i + 1; k < l.E && first; k++)
			g += alignment::token(l, targets, blank, k) == y ? d[(long)k * l.S] : 0;
		own[i] = first ? g - sum * fexp(tofloat(z[y]) - base) : __uint_as_float(alignment::ELSEWHERE);
	}
	__syncthreads();
	auto slope = [&](float x) INLINED { return x == -INFINITY ? 0 : -sum * fexp2((x - base) * CUK_LOG2E); };
	if (shape.edge >= 0)
		z[shape.edge] = tobf16(slope(tofloat(z[shape.edge])));
	LOOP
	for (int c = threadIdx.x; c < shape.whole; c += blockDim.x) {
		Eight e = unpack8(ld16(z + shape.at(c)));
		UNROLL
		for (int i = 0; i < 8; i++)
			e.v[i] = slope(e.v[i]);
		st16(z + shape.at(c), pack8(e));
	}
	__syncthreads();
	for (int i = threadIdx.x; i < l.E; i += blockDim.x)
		if (__float_as_uint(own[i]) != alignment::ELSEWHERE)
			z[alignment::token(l, targets, blank, i)] = tobf16(own[i]);
}
EMU_KERNEL(emissions_backward)

// Both programs of DAG. steps receives by target the sums of what was taken off alpha's rows and off beta's, totals logP.
extern "C" __global__ void __launch_bounds__(256) alignment_paths(float *logp, float *losses, float *lost, float *alphas, float *betas,
	double *steps, double *totals, const float *matches, const float *links, const float *weights, const int *table, int grad)
{
	Smem sm;
	float *scratch = sm.take<float>(32);
	int b = blockIdx.x;
	Lattice l = lattice_of(table, b);
	int S = l.S, M = l.M;
	const float *match = matches + l.match, *edges = links + l.links;
	float *alpha = alphas + l.match, *beta = betas + l.match;
	double *c = steps + 2 * (long)l.steps, *d = c + M;
	double Z = M == 0 ? 0 : -(double)INFINITY, shift = 0;
	bool path = M > 0 && M <= S;
	for (int i = 0; i < M && path; i++) {
		float *row = alpha + (long)i * S;
		for (int u = threadIdx.x; u < S; u += blockDim.x) {
			float value = i == 0 && u == 0 ? match[0] : -INFINITY;
			if (i > 0 && u >= i && u <= S - M + i) {
				float most = -INFINITY, sum = 0;
				const float *before = row - S;
				for (int v = i - 1; v < u; v++)
					alignment::add(most, sum, before[v] + edges[(long)v * S + u]);
				value = match[(long)i * S + u] + alignment::log_of(most, sum);
			}
			row[u] = value;
		}
		float top = alignment::settle(row, S, scratch);
		shift += (double)top;
		if (threadIdx.x == 0)
			c[i] = shift;
		path = finite(top);
		Z = path && i == M - 1 ? shift + (double)row[S - 1] : !path ? (double)top : Z;
	}
	path = path && Z - Z == 0;
	if (threadIdx.x == 0) {
		double w = weights ? (double)weights[b] : 1;
		bool none = Z == -(double)INFINITY;
		totals[b] = M == 0 ? -(double)INFINITY : Z;
		if (logp)
			logp[b] = (float)Z;
		if (losses)
			losses[b] = none ? 0 : (float)(-w * Z);
		if (lost)
			lost[b] = none ? 1 : 0;
	}
	if (!grad || !path)
		return;
	shift = 0;
	int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
	for (int i = M - 1; i >= 0; i--) {
		float *row = beta + (long)i * S;
		for (int u = warp; u < S; u += blockDim.x / 32) {
			float value = i == M - 1 && u == S - 1 ? match[(long)M * S - 1] : -INFINITY;
			if (i < M - 1 && u >= i && u <= S - M + i) {
				float most = -INFINITY, sum = 0;
				const float *after = row + S, *edge = edges + (long)u * S;
				for (int w = u + 1 + lane; w <= S - M + i + 1; w += 32)
					alignment::add(most, sum, edge[w] + after[w]);
				UNROLL
				for (int k = 16; k; k >>= 1) {
					float m = __shfl_xor_sync(FULL, most, k), s = __shfl_xor_sync(FULL, sum, k);
					alignment::merge(most, sum, m, s);
				}
				value = match[(long)i * S + u] + alignment::log_of(most, sum);
			}
			if (lane == 0)
				row[u] = value;
		}
		shift += (double)alignment::settle(row, S, scratch);
		if (threadIdx.x == 0)
			d[i] = shift;
	}
}
EMU_KERNEL(alignment_paths)

// The gradients of scale * weight * logP by the emissions and links of each state.
extern "C" __global__ void __launch_bounds__(256) alignment_gradients(float *dmatches, float *dlinks, const float *alphas,
	const float *betas, const double *steps, const double *totals, const float *matches, const float *links, const float *weights,
	const int *owners, const int *table, int R, float scale)
{
	int at = blockIdx.x * blockDim.y + threadIdx.y;
	if (at >= R || owners[at] < 0)
		return; // a whole warp
	int b = owners[at], lane = threadIdx.x;
	Lattice l = lattice_of(table, b);
	int S = l.S, M = l.M, v = at - l.start;
	double Z = totals[b];
	const float *match = matches + l.match, *alpha = alphas + l.match, *beta = betas + l.match, *edge = links + l.links + (long)v * S;
	float *out = dlinks + l.links + (long)v * S;
	const double *c = steps + 2 * (long)l.steps, *d = c + M;
	scale *= weights ? weights[b] : 1;
	if (!(Z - Z == 0)) { // no path, or NaN
		float value = Z == -(double)INFINITY ? 0 : NAN;
		for (int i = lane; i < M; i += 32)
			dmatches[l.match + (long)i * S + v] = value;
		for (int u = lane; u < S; u += 32)
			out[u] = value;
		return;
	}
	for (int i = lane; i < M; i += 32) {
		long p = (long)i * S + v;
		float m = match[p], x = alpha[p] + beta[p];
		bool inert = m == -INFINITY || x == -INFINITY;
		dmatches[l.match + p] = inert ? 0 : scale * fexp(x - m + (float)(c[i] + d[i] - Z));
	}
	int first = v > S - M ? v - (S - M) : 0, end = v + 1 < M - 1 ? v + 1 : M - 1;
	for (int u = lane; u < S; u += 32) {
		float sum = 0, e = u > v ? edge[u] : -INFINITY;
		if (e != -INFINITY)
			for (int i = first; i < end; i++) {
				float x = alpha[(long)i * S + v] + beta[(long)(i + 1) * S + u];
				sum += x == -INFINITY ? 0 : fexp(x + e + (float)(c[i] + d[i + 1] - Z));
			}
		out[u] = scale * sum;
	}
}
EMU_KERNEL(alignment_gradients)

// CTC: labels are a blank before, between and behind the targets; alphas and betas have rows of labels by state, steps receives
// by state the sums of what was taken off alpha's rows. dmatches null: no gradients.
extern "C" __global__ void __launch_bounds__(256) alignment_ctc(float *logp, float *losses, float *lost, float *dmatches, float *alphas,
	float *betas, double *steps, const float *matches, const int *targets, const float *weights, const int *table, int count, int blank,
	float scale)
{
	int b = blockIdx.x * blockDim.y + threadIdx.y, lane = threadIdx.x;
	if (b >= count)
		return; // a whole warp
	Lattice l = lattice_of(table, b);
	int S = l.S, M = l.M, n = 2 * M + 1;
	const float *match = matches + l.match;
	float *alpha = alphas + l.labels, *beta = betas + l.labels;
	const int *y = targets + l.first;
	auto emitted = [&](int s, int t) INLINED { return match[(long)(s % 2 ? s / 2 : M) * S + t]; };
	auto skips = [&](int s) INLINED { return s % 2 == 1 && s > 1 && y[s / 2] != y[s / 2 - 1]; };
	bool none = S == 0;
	for (int i = lane; i < M; i += 32)
		none = none || y[i] == blank;
	none = __any_sync(FULL, none);
	double shift = 0, Z = M == 0 ? 0 : -(double)INFINITY;
	bool path = M > 0 && !none;
	auto settle = [&](float *row) INLINED {
		__syncwarp();
		float top = -INFINITY;
		bool odd = false;
		for (int s = lane; s < n; s += 32) {
			top = fmax2(top, row[s]);
			odd = odd || row[s] != row[s];
		}
		top = wmax(top);
		odd = __any_sync(FULL, odd);
		if (top == -INFINITY)
			return odd ? NAN : top;
		for (int s = lane; s < n; s += 32)
			row[s] -= top;
		__syncwarp();
		return top;
	};
	for (int t = 0; t < S && path; t++) {
		float *row = alpha + (long)t * n;
		for (int s = lane; s < n; s += 32) {
			float most = -INFINITY, sum = 0;
			if (t == 0 && s < 2)
				most = 0, sum = 1;
			for (int k = 0; k < 3 && t > 0; k++)
				if (s - k >= 0 && (k < 2 || skips(s)))
					alignment::add(most, sum, row[s - k - n]);
			row[s] = alignment::log_of(most, sum) + emitted(s, t);
		}
		float top = settle(row);
		shift += (double)top;
		if (lane == 0)
			steps[l.start + t] = shift;
		path = finite(top);
		Z = path ? Z : (double)top;
	}
	if (path) {
		float most = -INFINITY, sum = 0;
		alignment::add(most, sum, alpha[(long)S * n - 1]);
		alignment::add(most, sum, alpha[(long)S * n - 2]);
		Z = shift + (double)alignment::log_of(most, sum);
		path = Z - Z == 0;
	}
	float w = weights ? weights[b] : 1;
	if (lane == 0) {
		bool nowhere = Z == -(double)INFINITY;
		if (logp)
			logp[b] = (float)Z;
		if (losses)
			losses[b] = nowhere ? 0 : (float)(-(double)w * Z);
		if (lost)
			lost[b] = nowhere ? 1 : 0;
	}
	if (!dmatches)
		return;
	float *dmatch = dmatches + l.match;
	scale *= w;
	if (!path) {
		float value = Z != Z ? NAN : 0;
		for (int i = lane; i < l.E * S; i += 32)
			dmatch[i] = value;
		return;
	}
	double behind = 0; // what was taken off beta
	__syncwarp();
	for (int t = S - 1; t >= 0; t--) {
		float *row = beta + (long)t * n, *before = alpha + (long)t * n, blanks = 0;
		float offset = (float)(steps[l.start + t] + behind - Z);
		for (int s = lane; s < n; s += 32) {
			float most = -INFINITY, sum = 0, e = emitted(s, t);
			if (t == S - 1 && s >= n - 2)
				most = 0, sum = 1;
			for (int k = 0; k < 3 && t < S - 1; k++)
				if (s + k < n && (k < 2 || skips(s + 2)))
					alignment::add(most, sum, row[s + k + n]);
			float after = alignment::log_of(most, sum), x = before[s] + after;
			row[s] = after + e;
			float p = x == -INFINITY || e == -INFINITY ? 0 : scale * fexp(x + offset);
			if (s % 2)
				dmatch[(long)(s / 2) * S + t] = p;
			else
				blanks += p;
		}
		blanks = wsum(blanks);
		if (lane == 0)
			dmatch[(long)M * S + t] = blanks;
		behind += (double)settle(row);
	}
}
EMU_KERNEL(alignment_ctc)
