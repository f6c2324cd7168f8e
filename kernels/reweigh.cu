// reweigh: weights of rows from their losses, group by group, and the multiplication of rows by weights.
//
// A block has a group and reads it a few times, from cache but for the first: each pass adds up in float64, rows by thread
// and then threads, in an order that depends on the group's length alone. The rows of largest loss difference (TopShare) are
// found by a binary search for the k-th largest difference over the 64 bits of its float64, ordered as integers, and one more
// pass that gives the places left to the first ties.
// Shapes: weights, shares, losses, reference float32 and classes bytes by row (shares, reference and classes may be null),
// offsets int32 [groups+1]. Bytes a row: 8 to 17. reweigh_scale: x bfloat16 or float32 [R,C], scales float32 [R]; 4 bytes an
// element. Source: arXiv 2404.07965, 2412.14780, 2404.05868. Oracle: reweigh_ref.go.
#include "eight.cuh"

#if ON_DEVICE
#define LOOP _Pragma("unroll 1")
#else
#define LOOP
#endif

namespace reweigh {

enum { UNIFORM = 1, SOFTMAX, TOP_SHARE, BY_CLASS, FIXED_CLASS, SIGMOID }; // Rule
enum { SUM = 1, THROUGH = 2 };
constexpr int THREADS = 256;

// Group is the rows that a block has.
struct Group {
	float *weights, *shares;
	const float *losses, *reference;
	const unsigned char *classes;
	int first, end;

	CUK bool counts(int r) const { return !classes || classes[r] < 2; }
	CUK double loss(int r) const { return (double)losses[r]; }
	CUK double difference(int r) const { return loss(r) - (reference ? (double)reference[r] : 0); }
	CUK void set(int r, double weight, double share) const
	{
		weights[r] = (float)weight;
		if (shares)
			shares[r] = (float)share;
	}
	// each calls f(r) for the rows of this thread that count.
	template <class F> CUK void each(F f) const
	{
		LOOP
		for (int r = first + (int)threadIdx.x; r < end; r += THREADS)
			if (counts(r))
				f(r);
	}
};

CUK double most(double v, double *scratch AT)
{
	UNROLL
	for (int d = 16; d; d >>= 1) {
		double o = __shfl_xor_sync(FULL, v, d HERE);
		v = o > v ? o : v;
	}
	if (threadIdx.x % 32 == 0)
		scratch[threadIdx.x / 32] = v;
	__syncthreads(HERE1);
	v = scratch[0];
	for (int w = 1; w < THREADS / 32; w++)
		v = scratch[w] > v ? scratch[w] : v;
	__syncthreads(HERE1);
	return v;
}

CUK double exponential(double x) { return (double)fexp((float)x); }

// soft is log(1 + exp(-x)) for x >= 0.
CUK double soft(double x)
{
	float e = fexp(-(float)x), u = 1 + e;
	return u == 1 ? (double)e : (double)(flog(u) * (e / (u - 1)));
}

// key maps a number to an integer of the same order; NaNs come first, as the oracle sorts them.
CUK unsigned long long key(double d)
{
	if (d != d)
		return 0;
	d += 0.0; // one zero
	unsigned long long bits;
	static_assert(sizeof bits == sizeof d, "");
	bits = __builtin_bit_cast(unsigned long long, d);
	return bits >> 63 ? ~bits : bits | 1ull << 63;
}

CUK void softmax(const Group &g, int n, double q, double tau, bool through, double *scratch)
{
	double top = -(double)INFINITY, sum = 0, mean = 0;
	g.each([&](int r) {
		double d = g.difference(r);
		top = d > top ? d : top;
	});
	top = most(top, scratch);
	g.each([&](int r) {
		double e = exponential((g.difference(r) - top) / tau);
		sum += e;
		mean += e * g.loss(r);
	});
	sum = bsum(sum, scratch);
	mean = bsum(mean, scratch) / sum;
	g.each([&](int r) {
		double l = g.loss(r), w = n * q * exponential((g.difference(r) - top) / tau) / sum;
		g.set(r, through ? w * (1 + (l - mean) / tau) : w, w * l);
	});
}

// top_share selects the first k rows by falling difference.
CUK void top_share(const Group &g, int k, double weight, double *scratch)
{
	unsigned long long bar = 0; // the k-th largest key: the largest one that k rows reach; the bits below may be open
	for (int bit = 63; bit >= 0; bit--) {
		unsigned long long trial = bar | 1ull << bit;
		int n = 0;
		g.each([&](int r) { n += key(g.difference(r)) >= trial; });
		double reached = bsum((double)n, scratch);
		if (reached >= (double)k)
			bar = trial;
		if (reached == (double)k) {
			bar--; // so that all of these are above it
			break;
		}
	}
	int above = 0;
	g.each([&](int r) { above += key(g.difference(r)) > bar; });
	int places = k - (int)bsum((double)above, scratch); // for rows at the bar, in their order
	for (int base = g.first; base < g.end; base += THREADS) {
		int r = base + (int)threadIdx.x, lane = threadIdx.x % 32, warp = threadIdx.x / 32;
		bool valid = r < g.end && g.counts(r);
		unsigned long long own = valid ? key(g.difference(r)) : 0;
		unsigned ties = __ballot_sync(FULL, valid && own == bar);
		if (lane == 0)
			scratch[warp] = __popc(ties);
		__syncthreads();
		int before = __popc(ties & ((1u << lane) - 1)), all = 0;
		for (int w = 0; w < THREADS / 32; w++) {
			before += w < warp ? (int)scratch[w] : 0;
			all += (int)scratch[w];
		}
		if (valid) {
			double w = own > bar || (own == bar && before < places) ? weight : 0;
			g.set(r, w, w == 0 ? 0 : w * g.loss(r));
		}
		places -= all;
		__syncthreads();
	}
}

struct Options {
	double tau, alpha, share, slope, scale;
	int rule, flags;
};

CUK void by_class(const Group &g, const Options &o, double *scratch)
{
	double n[2] = {}, l[2] = {}, d[2] = {};
	g.each([&](int r) {
		bool one = g.classes[r];
		double loss = g.loss(r), difference = g.difference(r);
		n[0] += one ? 0 : 1, l[0] += one ? 0 : loss, d[0] += one ? 0 : difference;
		n[1] += one ? 1 : 0, l[1] += one ? loss : 0, d[1] += one ? difference : 0;
	});
	double q[2] = {1, 1}, f[2] = {1 - o.alpha, o.alpha}, through[2] = {1, 1};
	UNROLL
	for (int c = 0; c < 2; c++) {
		n[c] = bsum(n[c], scratch), l[c] = bsum(l[c], scratch), d[c] = bsum(d[c], scratch);
		if (n[c] > 0 && !(o.flags & SUM))
			q[c] = 1 / n[c], l[c] *= q[c], d[c] *= q[c];
	}
	if (n[0] == 0 || n[1] == 0) {
		f[0] = f[1] = 1;
	} else if (o.rule == BY_CLASS) {
		double top = d[0] > d[1] ? d[0] : d[1];
		double a = exponential((d[0] - top) / o.tau), b = exponential((d[1] - top) / o.tau);
		f[0] = a / (a + b), f[1] = b / (a + b);
		if (o.flags & THROUGH) {
			double loss = f[0] * l[0] + f[1] * l[1];
			through[0] += (l[0] - loss) / o.tau, through[1] += (l[1] - loss) / o.tau;
		}
	}
	g.each([&](int r) {
		bool one = g.classes[r];
		double w = one ? f[1] * q[1] : f[0] * q[0];
		g.set(r, w * (one ? through[1] : through[0]), w * g.loss(r));
	});
}

CUK void sigmoid(const Group &g, int n, double q, const Options &o, double *scratch)
{
	double x = 0;
	g.each([&](int r) { x += q * g.difference(r); });
	double y = o.slope * bsum(x, scratch), size = y < 0 ? -y : y;
	double loss = o.scale / o.slope * ((y > 0 ? y : 0) + soft(size));
	double e = exponential(-size), half = (y < 0 ? e : 1) / (1 + e);
	g.each([&](int r) { g.set(r, q * o.scale * half, loss / n); });
}

} // namespace reweigh

#define GROUP_PARAMETERS                                                                                             \
	float *weights, float *shares, const float *losses, const float *reference, const unsigned char *classes,        \
		const int *offsets, reweigh::Options o

// start gives zeros to the rows that do not count and returns the number of the others.
CUK int reweigh_start(const reweigh::Group &g, double *scratch)
{
	int n = 0;
	for (int r = g.first + (int)threadIdx.x; r < g.end; r += reweigh::THREADS) {
		if (g.counts(r))
			n++;
		else
			g.set(r, 0, 0);
	}
	return (int)bsum((double)n, scratch);
}

// Uniform, Softmax and Sigmoid.
extern "C" __global__ void __launch_bounds__(256) reweigh_groups(GROUP_PARAMETERS)
{
	Smem sm;
	double *scratch = sm.take<double>(32);
	reweigh::Group g = {weights, shares, losses, reference, classes, offsets[blockIdx.x], offsets[blockIdx.x + 1]};
	int n = reweigh_start(g, scratch);
	if (n == 0)
		return; // the whole block
	double q = o.flags & reweigh::SUM ? 1 : 1 / (double)n;
	if (o.rule == reweigh::UNIFORM)
		g.each([&](int r) { g.set(r, q, q * g.loss(r)); });
	else if (o.rule == reweigh::SOFTMAX)
		reweigh::softmax(g, n, q, o.tau, o.flags & reweigh::THROUGH, scratch);
	else
		reweigh::sigmoid(g, n, q, o, scratch);
}
EMU_KERNEL(reweigh_groups)

// ByClass and FixedClass.
extern "C" __global__ void __launch_bounds__(256) reweigh_classes(GROUP_PARAMETERS)
{
	Smem sm;
	double *scratch = sm.take<double>(32);
	reweigh::Group g = {weights, shares, losses, reference, classes, offsets[blockIdx.x], offsets[blockIdx.x + 1]};
	if (reweigh_start(g, scratch) > 0)
		reweigh::by_class(g, o, scratch);
}
EMU_KERNEL(reweigh_classes)

// TopShare.
extern "C" __global__ void __launch_bounds__(256) reweigh_top(GROUP_PARAMETERS)
{
	Smem sm;
	double *scratch = sm.take<double>(32);
	reweigh::Group g = {weights, shares, losses, reference, classes, offsets[blockIdx.x], offsets[blockIdx.x + 1]};
	int n = reweigh_start(g, scratch);
	if (n == 0)
		return;
	double share = o.share * n - 1e-9; // a share such as 0.07 of 100 rows is 7
	int k = (int)share;
	k += share > k;
	k = k < 1 ? 1 : k;
	reweigh::top_share(g, k, o.flags & reweigh::SUM ? 1 : 1 / (double)k, scratch);
}
EMU_KERNEL(reweigh_top)
#undef GROUP_PARAMETERS

// x[r] *= scales[r]; 0 gives exactly zeros whatever the row holds. A warp has a row.
extern "C" __global__ void __launch_bounds__(256) reweigh_scale(void *x, const float *scales, int R, int C, int single, int vector)
{
	int row = blockIdx.x * blockDim.y + threadIdx.y;
	if (row >= R)
		return;
	float s = scales[row];
	long at = (long)row * C;
	for (int c = threadIdx.x; c < eights(C); c += 32) {
		int left = C - 8 * c;
		Eight e = {};
		if (s != 0) {
			e = load8(x, at + 8 * c, single, left, vector);
			UNROLL
			for (int i = 0; i < 8; i++)
				e.v[i] *= s;
		}
		if (single)
			store8((float *)x + at + 8 * c, e, left, vector);
		else
			store8((bf16 *)x + at + 8 * c, e, left, vector);
	}
}
EMU_KERNEL(reweigh_scale)
