// reference_kl: rows of logits pulled to a frozen model's distribution without an unwanted token, and the gradient in place.
//
// Fused: one read of both rows gives, with running maxima, the log-sum-exps without the target and the sums that loss and
// divergence come from; the gradient is a second pass over what a block keeps in shared memory (`room` chunks of eight logits
// of each row) and reads again from L2 what is beyond. Rows that do not count are not read. Smoothing of every entry, as
// published, reads the rows from cache twice more.
// Rows may lie anywhere: those of the reference are read 16 bytes at a time where they lie like the logits to that.
// Shapes: logits, reference bfloat16 [R,V], targets int32, weights, nll, loss, kl float32 [R] (null: absent; weights 1).
// Bytes a logit: 4 read, 2 written. FLOPs: about 40 and four exponentials.
// Source: TNT, arXiv 2406.13660; online softmax, arXiv 1805.02867. Oracle: reference_kl_ref.go.
#include "ragged.cuh"

namespace pull {

enum { FORWARD_KL = 1, REVERSE_KL, LIKELIHOOD, UNLIKELIHOOD }; // Pull
enum { GRADIENT = 1, CLIP = 2, FLOOR_KEPT = 4 };
constexpr int IGNORE = -100;

struct Options { // floor -Inf: none
	float eps, floor, scale;
	int unwanted, kept, flags;
};

// Sums of some logits z and r of the two models: their largest m and n, e^(z-m) and e^(r-n), and with one of these as weights
// those of z (under q) and of the difference of the logits.
struct Sums {
	float m, n, p, q, mean, gap;
};

CUK float factor(float from, float to) { return from == -INFINITY ? 0 : fexp2((from - to) * CUK_LOG2E); }

CUK Sums merge(const Sums &a, const Sums &b, int pull)
{
	Sums s;
	s.m = fmax2(a.m, b.m), s.n = fmax2(a.n, b.n);
	float am = factor(a.m, s.m), bm = factor(b.m, s.m), an = factor(a.n, s.n), bn = factor(b.n, s.n);
	s.p = a.p * am + b.p * bm, s.q = a.q * an + b.q * bn;
	s.mean = a.mean * an + b.mean * bn;
	s.gap = pull == REVERSE_KL ? a.gap * am + b.gap * bm : a.gap * an + b.gap * bn;
	return s;
}

CUK Sums merge_warp(Sums s, int pull AT)
{
	UNROLL
	for (int d = 16; d; d >>= 1) {
		Sums o = {__shfl_xor_sync(FULL, s.m, d HERE), __shfl_xor_sync(FULL, s.n, d HERE), __shfl_xor_sync(FULL, s.p, d HERE),
			__shfl_xor_sync(FULL, s.q, d HERE), __shfl_xor_sync(FULL, s.mean, d HERE), __shfl_xor_sync(FULL, s.gap, d HERE)};
		s = threadIdx.x & d ? merge(o, s, pull) : merge(s, o, pull); // the same order in all lanes
	}
	return s;
}

CUK void add(Sums &s, float z, float r, int pull)
{
	float ez = z == -INFINITY ? 0 : fexp2((z - s.m) * CUK_LOG2E);
	s.p += ez;
	if (pull > REVERSE_KL)
		return;
	float er = r == -INFINITY ? 0 : fexp2((r - s.n) * CUK_LOG2E);
	s.q += er;
	if (pull == FORWARD_KL) {
		s.mean += er == 0 ? 0 : er * z;
		s.gap += er == 0 ? 0 : er * (r - z);
	} else {
		s.gap += ez == 0 ? 0 : ez * (z - r);
	}
}

// raise makes m and n at least the given numbers.
CUK void raise(Sums &s, float m, float n, int pull)
{
	if (m > s.m || n > s.n)
		s = merge(s, {m, n, 0, 0, 0, 0}, pull);
}

// Both models' rows; words of the reference's are packed like the logits' chunks, wherever they lie.
struct Rows {
	bf16 *z;
	const bf16 *r;
	Ragged shape;
	bool aligned, both;
	uint4 *held, *held_r;
	int room;

	CUK Rows(bf16 *z, const bf16 *r, int n, bool both, uint4 *held, int room)
		: z(z), r(both ? r : z), shape(z, n), aligned(((uintptr_t)z & 15) == ((uintptr_t)r & 15)), both(both), held(held),
		  held_r(held + room), room(room)
	{
	}
	CUK uint4 reference(int c) const
	{
		const bf16 *p = r + shape.at(c);
		if (!both)
			return make_uint4(0, 0, 0, 0);
		if (aligned)
			return ld16(p);
		return make_uint4(p[0].x | (unsigned)p[1].x << 16, p[2].x | (unsigned)p[3].x << 16, p[4].x | (unsigned)p[5].x << 16,
			p[6].x | (unsigned)p[7].x << 16);
	}
	// each calls f(i, z, r) for the single element of this thread and chunk(first, z, r) for its chunks, from memory the first
	// time, when it keeps them.
	template <class E, class C> CUK void each(bool first, E single, C chunk) const
	{
		if (shape.edge >= 0)
			single(shape.edge, tofloat(z[shape.edge]), tofloat(r[shape.edge]));
		LOOP
		for (int c = threadIdx.x; c < shape.whole; c += blockDim.x) {
			bool kept = c < room;
			uint4 a = first || !kept ? ld16(z + shape.at(c)) : held[c], b = first || !kept ? reference(c) : held_r[c];
			if (first && kept)
				held[c] = a, held_r[c] = b;
			chunk(shape.at(c), unpack8(a), unpack8(b));
		}
	}
};

template <bool SMOOTHED> CUK void row(bf16 *logits, const bf16 *references, const int *targets, const float *weights, float *nll,
	float *losses, float *kl, int V, int room, const Options &o)
{
	Smem sm;
	float *scratch = sm.take<float>(32 * 6);
	uint4 *held = sm.take<uint4>(2 * room);
	int at = blockIdx.x, y = targets[at];
	float w = weights ? weights[at] : 1;
	bf16 *z = logits + (long)at * V;
	if (y == IGNORE || w == 0) {
		if (threadIdx.x == 0) {
			if (nll)
				nll[at] = 0;
			if (losses)
				losses[at] = 0;
			if (kl)
				kl[at] = 0;
		}
		if (o.flags & GRADIENT)
			silence(z, Ragged(z, V));
		return;
	}
	bool unwanted = w < 0;
	int pull = unwanted ? o.unwanted : o.kept;
	w = fabs1(w);
	const bf16 *reference = references + (references ? (long)at * V : 0);
	bool both = pull <= REVERSE_KL;
	Rows rows(z, reference, V, both, held, room);
	float zy = tofloat(z[y]), ry = both ? tofloat(reference[y]) : 0;

	Sums s = {-INFINITY, -INFINITY, 0, 0, 0, 0};
	rows.each(
		true,
		[&](int i, float a, float b) INLINED {
			if (i != y) {
				raise(s, a, b, pull);
				add(s, a, b, pull);
			}
		},
		[&](int first, Eight a, Eight b) INLINED {
			float m = -INFINITY, n = -INFINITY;
			UNROLL
			for (int i = 0; i < 8; i++) {
				a.v[i] = first + i == y ? -INFINITY : a.v[i];
				b.v[i] = first + i == y ? -INFINITY : b.v[i];
				m = fmax2(m, a.v[i]), n = fmax2(n, b.v[i]);
			}
			raise(s, m, n, pull);
			UNROLL
			for (int i = 0; i < 8; i++)
				add(s, a.v[i], b.v[i], pull);
		});
	s = merge_warp(s, pull);
	if (threadIdx.x % 32 == 0) {
		float *mine = scratch + threadIdx.x / 32 * 6;
		mine[0] = s.m, mine[1] = s.n, mine[2] = s.p, mine[3] = s.q, mine[4] = s.mean, mine[5] = s.gap;
	}
	__syncthreads(); // also: everybody has read the row before it is written
	for (int k = 0, warps = blockDim.x / 32; k < warps; k++) {
		const float *other = scratch + k * 6;
		Sums t = {other[0], other[1], other[2], other[3], other[4], other[5]};
		s = k == 0 ? t : merge(s, t, pull);
	}

	float p_others = s.m + flog(s.p), over = zy - p_others;
	float p_all = p_others + softplus(over), lost = softplus(-over);
	float hit = fexp(zy - p_all), miss = fexp(p_others - p_all);
	float q_others = 0, q_all = 0;
	if (both) {
		q_others = s.n + flog(s.q);
		q_all = q_others + softplus(ry - q_others);
	}
	float c = o.scale * w, value = 0, divergence = 0;
	// The gradient is a e^(z-m) + b e^(r-n), or a e^(z-m) (z - r + b) of REVERSE_KL, and own at the target.
	float a = c * fexp(s.m - p_all), b = 0, own = 0;
	float q_base = unwanted ? q_others : q_all;

	if (SMOOTHED && pull <= LIKELIHOOD) {
		float spread = log1((float)V * o.eps);
		auto smoothed = [&](int i, float r) INLINED {
			float q = pull == LIKELIHOOD ? (float)(i == y) : unwanted && i == y ? 0 : fexp(r - q_base);
			return flog(q + o.eps) - spread;
		};
		float sums[2] = {0, 0};
		auto count = [&](int i, float z, float r) INLINED {
			float logp = z - p_all, logq = smoothed(i, r);
			if (pull == REVERSE_KL) {
				sums[1] += logp == -INFINITY ? 0 : fexp(logp) * (logp - logq);
			} else {
				float q = fexp(logq);
				sums[0] -= q * logp, sums[1] += q * (logq - logp);
			}
		};
		__syncthreads(); // scratch has been read
		rows.each(false, count, [&](int first, const Eight &e, const Eight &f) INLINED {
			UNROLL
			for (int i = 0; i < 8; i++)
				count(first + i, e.v[i], f.v[i]);
		});
		float loss = bsum(sums[0], scratch);
		divergence = bsum(sums[1], scratch);
		value = w * (pull == REVERSE_KL ? divergence : loss);
		auto slope = [&](int i, float z, float r) INLINED {
			float logp = z - p_all, p = fexp(logp), logq = smoothed(i, r);
			return c * (pull != REVERSE_KL ? p - fexp(logq) : p == 0 ? 0 : p * (logp - logq - divergence));
		};
		if (o.flags & GRADIENT)
			rows.each(
				false, [&](int i, float e, float f) INLINED { z[i] = tobf16(slope(i, e, f)); },
				[&](int first, Eight e, const Eight &f) INLINED {
					UNROLL
					for (int i = 0; i < 8; i++)
						e.v[i] = slope(first + i, e.v[i], f.v[i]);
					st16(z + first, pack8(e));
				});
		divergence = pull == LIKELIHOOD ? 0 : divergence;
	} else if (pull == FORWARD_KL) {
		float q_hit = unwanted ? 0 : fexp(ry - q_all), q_miss = fexp(q_others - q_base);
		value = q_miss * (p_all - s.mean / s.q);
		divergence = q_miss * (s.gap / s.q + (p_all - q_base));
		if (q_hit > 0)
			value += q_hit * lost, divergence += q_hit * ((ry - q_all) + lost);
		value *= w;
		b = -c * fexp(s.n - q_base), own = c * (hit - q_hit);
	} else if (pull == REVERSE_KL) {
		float shift = unwanted ? q_others - flog(1 - o.eps) : q_all;
		float at_y = -lost - (unwanted ? flog(o.eps) : ry - q_all);
		divergence = miss * (s.gap / s.p + (shift - p_all)) + (hit > 0 ? hit * at_y : 0);
		value = w * divergence;
		b = shift - p_all - divergence, own = hit > 0 ? c * hit * (at_y - divergence) : 0;
	} else if (pull == UNLIKELIHOOD) {
		value = softplus(over);
		a = -c * hit * fexp(s.m - p_others), own = c * hit;
		if (o.flags & CLIP && value > 16.118095651f) // -log(1e-7)
			value = 16.118095651f, a = own = 0;
		value *= w;
	} else {
		float sign = unwanted ? -1 : 1;
		value = sign * lost, a *= sign, own = -sign * c * miss;
		if (-lost < o.floor && unwanted != !!(o.flags & FLOOR_KEPT) && o.unwanted == LIKELIHOOD)
			value = -sign * o.floor, a = own = 0;
		value *= w;
	}
	if (threadIdx.x == 0) {
		if (nll)
			nll[at] = lost;
		if (losses)
			losses[at] = value;
		if (kl)
			kl[at] = divergence;
	}
	if (!(o.flags & GRADIENT) || (SMOOTHED && pull <= LIKELIHOOD))
		return;
	if (a == 0 && own == 0) {
		silence(z, rows.shape);
		return;
	}
	auto slope = [&](int i, float e, float f) INLINED {
		float p = e == -INFINITY ? 0 : a * fexp2((e - s.m) * CUK_LOG2E);
		if (pull == FORWARD_KL)
			p += f == -INFINITY ? 0 : b * fexp2((f - s.n) * CUK_LOG2E);
		else if (pull == REVERSE_KL)
			p = p == 0 ? 0 : p * (e - f + b);
		return i == y ? own : p;
	};
	rows.each(
		false, [&](int i, float e, float f) INLINED { z[i] = tobf16(slope(i, e, f)); },
		[&](int first, Eight e, const Eight &f) INLINED {
			UNROLL
			for (int i = 0; i < 8; i++)
				e.v[i] = slope(first + i, e.v[i], f.v[i]);
			st16(z + first, pack8(e));
		});
}

} // namespace pull

#define PARAMETERS                                                                                                            \
	bf16 *logits, const bf16 *references, const int *targets, const float *weights, float *nll, float *losses, float *kl, int V, \
		int room, pull::Options o

extern "C" __global__ void __launch_bounds__(512, 2) reference_kl(PARAMETERS)
{
	pull::row<false>(logits, references, targets, weights, nll, losses, kl, V, room, o);
}
EMU_KERNEL(reference_kl)

// With EpsPerEntry.
extern "C" __global__ void __launch_bounds__(512, 1) reference_kl_smoothed(PARAMETERS)
{
	pull::row<true>(logits, references, targets, weights, nll, losses, kl, V, room, o);
}
EMU_KERNEL(reference_kl_smoothed)
#undef PARAMETERS
