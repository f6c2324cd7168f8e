// cross_entropy: the row-weighted loss of logits and its gradient, in place.
//
// Fused: log-sum-exp (running maximum and sum of exponentials in one read), loss with smoothing, z-loss, focal or DFT
// weighting, hit, and the gradient over the logits. A block has a row: it keeps `room` chunks of eight logits in shared
// memory for the gradient and reads only what is beyond a second time, from L2. A row that does not count is not read but
// for its nll; its gradient is zeros.
// Rows of any width and place are read 16 bytes at a time; what lies before the first and behind the last multiple of 16 bytes
// of memory goes element by element.
// The largest term is kept out of the sum of exponentials, so that the loss of a row whose target dominates keeps its
// relative precision: nll = (most - z_y) + log1p(rest).
// Shapes: logits bfloat16 [R,V], targets int32, weights, nll, loss, hit float32 [R] (any of these four may be null).
// Bytes a logit: 2 read and 2 written. FLOPs: about 15 and two exponentials.
// Source: online softmax, arXiv 1805.02867; focal arXiv 1708.02002; DFT arXiv 2508.05629. Oracle: cross_entropy_ref.go.
#include "eight.cuh"

#if ON_DEVICE
#define LOOP _Pragma("unroll 1")
#else
#define LOOP
#endif

namespace loss {

enum { GRADIENT = 1, DFT = 2 };
constexpr int IGNORE = -100, AHEAD = 4; // chunks under way

// Row is what a thread, a warp or a block knows of some logits: the largest, its first place, and the sum of the others'
// exponentials relative to it.
struct Row {
	float most, rest;
	int place;
};

// merge is symmetric to the bit, so that all lanes of a butterfly end with the same.
CUK Row merge(Row a, Row b)
{
	bool first = a.most > b.most || (a.most == b.most && a.place < b.place);
	Row w = first ? a : b, l = first ? b : a;
	if (l.most != -INFINITY)
		w.rest += (l.rest + 1) * fexp2((l.most - w.most) * CUK_LOG2E);
	else
		w.rest += l.rest; // 0, or a NaN
	return w;
}

CUK Row merge_warp(Row r AT)
{
	UNROLL
	for (int d = 16; d; d >>= 1) {
		Row o = {__shfl_xor_sync(FULL, r.most, d HERE), __shfl_xor_sync(FULL, r.rest, d HERE), __shfl_xor_sync(FULL, r.place, d HERE)};
		r = merge(r, o);
	}
	return r;
}

// add takes eight logits, the first one of them at place.
CUK void add(Row &r, Eight e, int place)
{
	float most = e.v[0];
	UNROLL
	for (int i = 1; i < 8; i++)
		most = fmax2(most, e.v[i]);
	if (most > r.most) {
		r.rest = r.most == -INFINITY ? r.rest : (r.rest + 1) * fexp2((r.most - most) * CUK_LOG2E);
		r.most = most;
		int at = 8;
		UNROLL
		for (int i = 7; i >= 0; i--)
			at = e.v[i] == most ? i : at;
		r.place = place + at;
		UNROLL
		for (int i = 0; i < 8; i++)
			e.v[i] = i == at ? -INFINITY : e.v[i];
	}
	float shift = r.most == -INFINITY ? 0 : r.most;
	UNROLL
	for (int i = 0; i < 8; i++)
		r.rest += fexp2((e.v[i] - shift) * CUK_LOG2E);
}

// log1 is log(1+x) for x >= 0, also near 0 (Goldberg, 1991).
CUK float log1(float x)
{
	float u = 1 + x;
	return u == 1 || !finite(u) ? x : flog(u) * (x / (u - 1));
}

// fall is 1 - exp(-x) for x >= 0, also near 0.
CUK float fall(float x)
{
	if (x > 0.35f)
		return 1 - fexp(-x);
	float s = 1 - x * (1.0f / 8) * (1 - x * (1.0f / 9));
	UNROLL
	for (int n = 7; n >= 2; n--)
		s = 1 - x / (float)n * s;
	return x * s;
}

// silence writes zeros.
CUK void silence(bf16 *z, int edge, bf16 *chunks, int whole)
{
	if (edge >= 0)
		z[edge] = {0};
	for (int c = threadIdx.x; c < whole; c += blockDim.x)
		st16(chunks + 8 * c, make_uint4(0, 0, 0, 0));
}

CUK float power(float x, float y) { return x == 1 || y == 0 ? 1 : fexp(y * flog(x)); }

} // namespace loss

struct LossOptions {
	float smoothing, zloss, focal, scale;
	int flags;
};

extern "C" __global__ void __launch_bounds__(512, 2) cross_entropy(bf16 *logits, const int *targets, const float *weights,
	float *nll, float *losses, float *hits, int V, int room, LossOptions o)
{
	Smem sm;
	float *scratch = sm.take<float>(32 * 4);
	uint4 *held = sm.take<uint4>(room); // the first chunks; a thread has the same ones in both passes
	int row = blockIdx.x, target = targets[row];
	float weight = weights ? weights[row] : 1;
	bool silent = target == loss::IGNORE || weight == 0;
	bf16 *z = logits + (long)row * V;
	// The row is edge elements up to a multiple of 16 bytes, whole chunks of eight, and edge elements again. Some threads have
	// one edge element each.
	int head = (int)(-(uintptr_t)z & 15) / 2;
	head = head < V ? head : V;
	int whole = (V - head) / 8, edge = -1;
	if ((int)threadIdx.x < head)
		edge = threadIdx.x;
	else if (threadIdx.x >= 8 && (int)threadIdx.x - 8 < V - head - 8 * whole)
		edge = head + 8 * whole + threadIdx.x - 8;
	bf16 *chunks = z + head;

	if (target == loss::IGNORE || (silent && !nll && !hits)) {
		if (threadIdx.x == 0) {
			if (nll)
				nll[row] = 0;
			if (losses)
				losses[row] = 0;
			if (hits)
				hits[row] = 0;
		}
		if (o.flags & loss::GRADIENT)
			loss::silence(z, edge, chunks, whole);
		return;
	}

	float zy = tofloat(z[target]), sum = 0;
	loss::Row r = {-INFINITY, 0, 0x7fffffff};
	int step = blockDim.x;
	LOOP
	for (int first = threadIdx.x; first < whole; first += step * loss::AHEAD) {
		uint4 words[loss::AHEAD];
		UNROLL
		for (int k = 0; k < loss::AHEAD; k++) {
			int c = first + k * step;
			words[k] = c < whole ? ld16(chunks + 8 * c) : make_uint4(0xff80ff80u, 0xff80ff80u, 0xff80ff80u, 0xff80ff80u);
		}
		LOOP
		for (int k = 0; k < loss::AHEAD; k++) {
			int c = first + k * step;
			Eight e = unpack8(words[0]);
			if (c < room)
				held[c] = words[0];
			UNROLL
			for (int i = 0; i + 1 < loss::AHEAD; i++)
				words[i] = words[i + 1];
			loss::add(r, e, head + 8 * c);
			if (o.smoothing != 0) { // logits of a counting row are finite then: -Inf is beyond its end
				UNROLL
				for (int i = 0; i < 8; i++)
					sum += e.v[i] == -INFINITY ? 0 : e.v[i];
			}
		}
	}
	float single = edge >= 0 ? tofloat(z[edge]) : -INFINITY;
	r = loss::merge(r, {single, 0, edge});
	sum += edge >= 0 ? single : 0;

	r = loss::merge_warp(r);
	sum = wsum(sum);
	int warps = blockDim.x / 32;
	if (threadIdx.x % 32 == 0) {
		float *mine = scratch + threadIdx.x / 32 * 4;
		mine[0] = r.most, mine[1] = r.rest, mine[2] = sum;
		mine[3] = __uint_as_float((unsigned)r.place);
	}
	__syncthreads(); // also: everybody has read the row before it is written
	sum = scratch[2];
	r = {scratch[0], scratch[1], (int)__float_as_uint(scratch[3])};
	for (int w = 1; w < warps; w++) {
		const float *other = scratch + w * 4;
		r = loss::merge(r, {other[0], other[1], (int)__float_as_uint(other[3])});
		sum += other[2];
	}

	float rest = loss::log1(r.rest), lse = r.most + rest, lost = (r.most - zy) + rest;
	float miss = loss::fall(lost), hit = fexp(-lost); // 1 - p_y and p_y
	float factor = 1;                                   // of the nll's gradient
	float base = lost;
	if (o.smoothing != 0) {
		base = (1 - o.smoothing) * lost + o.smoothing * (lse - sum / (float)V);
	} else if (o.focal != 0) {
		factor = loss::power(miss, o.focal);
		base = factor * lost;
		if (miss > 0 && hit > 0)
			factor += o.focal * loss::power(miss, o.focal - 1) * hit * lost;
	} else if (o.flags & loss::DFT) {
		factor = hit;
		base = lost == INFINITY ? 0 : hit * lost;
	}
	if (threadIdx.x == 0) {
		if (nll)
			nll[row] = lost;
		if (hits)
			hits[row] = r.place == target;
		if (losses)
			losses[row] = silent ? 0 : weight * (o.zloss != 0 ? base + o.zloss * lse * lse : base);
	}
	if (!(o.flags & loss::GRADIENT))
		return;

	// The gradient is scale*p + shift, and at the target the same with -(1-p_y) in place of p_y in the nll's share.
	float coefficient = o.scale * weight, z2 = o.zloss != 0 ? 2 * o.zloss * lse : 0;
	float scale = coefficient * (factor + z2), shift = coefficient * (-o.smoothing / (float)V);
	float own = coefficient * (o.smoothing != 0 ? (o.smoothing - miss) + z2 * hit : z2 * hit - factor * miss) + shift;
	if (silent) {
		loss::silence(z, edge, chunks, whole);
		return;
	}
	auto gradient = [&](uint4 words, int c) {
		Eight e = unpack8(words);
		int own_at = target - head - 8 * c;
		UNROLL
		for (int i = 0; i < 8; i++) {
			float g = fexp2((e.v[i] - lse) * CUK_LOG2E) * scale + shift;
			e.v[i] = i == own_at ? own : g;
		}
		st16(chunks + 8 * c, pack8(e));
	};
	if (edge >= 0)
		z[edge] = tobf16(edge == target ? own : fexp2((single - lse) * CUK_LOG2E) * scale + shift);
	for (int c = threadIdx.x; c < whole; c += step)
		gradient(c < room ? held[c] : ld16(chunks + 8 * c), c);
}
EMU_KERNEL(cross_entropy)
