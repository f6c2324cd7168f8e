// Tests of the emulation and of the emulated driver: prints what fails, exit code 1. "bench" measures their speed. Under a
// sanitizer the same kernels run, and "plant N" makes a fault that it must report.
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <algorithm>
#include <string>
#include <vector>

#include "../philox.cuh"
#include "launch.h"
#include "selftest.h"
#include "test.h"

int failures;

void check(bool ok, const char *format, ...)
{
	if (ok)
		return;
	failures++;
	va_list list;
	va_start(list, format);
	printf("FAIL: ");
	vprintf(format, list);
	printf("\n");
	va_end(list);
}

uint32_t bits()
{
	static uint64_t state = 88172645463325252;
	return (uint32_t)((state = state * 6364136223846793005ull + 1442695040888963407ull) >> 32);
}

float uniform() { return (float)(bits() >> 8) * 0x1p-23f - 1; }

namespace {

constexpr int TILE = 64, ROW = 72; // of test_product

// --- the functions of device.cuh against double

void worst(const char *name, float (*f)(float), double (*want)(double), float from, float to, double allowed)
{
	double most = 0;
	float at = 0;
	for (int i = 0; i <= 200000; i++) {
		float x = from + (to - from) * ((float)i / 200000);
		double w = want(x), error = fabs((double)f(x) - w) / fabs(w);
		if (w == 0 || fabs(w) < 1e-37)
			continue;
		if (!(error <= most)) {
			most = error;
			at = x;
		}
	}
	check(most <= allowed, "%s: relative error %.2g at %g, allowed %.2g", name, most, (double)at, allowed);
	if (getenv("VERBOSE"))
		printf("%-10s worst relative error %.2g at %g\n", name, most, (double)at);
}

void test_functions()
{
	worst("fexp", fexp, exp, -87, 88.7f, 4e-7);
	worst("fexp", fexp, exp, -1, 1, 3e-7);
	worst("flog", flog, log, 1e-30f, 3, 3e-7);
	worst("flog", flog, log, 0.9f, 1.1f, 3e-7);
	worst("ftanh", ftanh, tanh, -10, 10, 4e-7);
	worst("ferf", ferf, erf, -5, 5, 3e-7);
	worst("fnormcdf", fnormcdf, [](double x) { return 0.5 * erfc(-x * M_SQRT1_2); }, -12, 12, 1e-6);
	check(fexp(-200) == 0 && fexp(100) == INFINITY && isnan(fexp(NAN)), "fexp of large numbers and NaN");
	check(flog(0) == -INFINITY && isnan(flog(-1)) && flog(INFINITY) == INFINITY && isnan(flog(NAN)),
		"flog of 0, -1, infinity");
	check(flog(1e-42f) < -96 && flog(1e-42f) > -97, "flog of a subnormal number");
	check(ftanh(INFINITY) == 1 && ftanh(-INFINITY) == -1 && isnan(ftanh(NAN)), "ftanh at infinity");
	check(ferf(INFINITY) == 1 && ferf(-9) == -1 && isnan(ferf(NAN)), "ferf at infinity");
	check(fnormcdf(INFINITY) == 1 && fnormcdf(-INFINITY) == 0 && isnan(fnormcdf(NAN)), "fnormcdf at infinity");
	for (int i = 0; i < 20000; i++) {
		unsigned d = 1 + bits() % (i % 2 ? 1000 : 0x7ffffffeu), n = bits() >> 1;
		Divisor q(d);
		check(q.quotient(n) == n / d && q.remainder(n) == n % d, "%u / %u", n, d);
	}
	// A vector of Random123's kat_vectors, which kernels/philox is tested with too.
	uint4 w = philox(make_uint4(0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344), make_uint2(0xa4093822, 0x299f31d0));
	check(w.x == 0xd16cfe09 && w.y == 0x94fdcceb && w.z == 0x5001e420 && w.w == 0x24126ea1, "philox");
}

// --- launches without the driver

struct Memory { // exactly as large as asked for, NaN at first
	void *at;
	size_t bytes;
	explicit Memory(size_t n) : at(aligned_alloc(16, (n + 15) / 16 * 16)), bytes(n) { memset(at, 0xff, n); }
	~Memory() { free(at); }
	Memory(const Memory &) = delete;
	template <class T> T *as() { return (T *)at; }
};

std::vector<emu::Options> ways()
{
	std::vector<emu::Options> all;
	for (emu::Order order : {emu::Order::in_order, emu::Order::reversed, emu::Order::random})
		for (emu::Copies copies : {emu::Copies::eager, emu::Copies::lazy, emu::Copies::random})
			for (int workers : {1, 2})
				all.push_back({7 + all.size(), order, copies, workers});
	return all;
}

template <class... A>
emu::Result run(const char *name, dim3 grid, dim3 block, unsigned shared, const emu::Options &o, A... arguments)
{
	void *pointers[] = {(void *)&arguments...};
	return emu::launch(emu::find(name), grid, block, shared, pointers, o);
}

void test_softmax(const emu::Options &o, int rows, int columns)
{
	size_t n = (size_t)rows * (size_t)columns;
	Memory x(4 * n), y(4 * n), mask(n);
	for (size_t i = 0; i < n; i++) {
		x.as<float>()[i] = 5 * uniform();
		mask.as<uint8_t>()[i] = i < (size_t)columns ? 0 : bits() % 3 != 0; // the first row is masked entirely
	}
	emu::Result r = run("test_softmax", dim3((unsigned)rows), 128, 128, o, y.at, x.at, mask.at, columns);
	check(r.fault == emu::Fault::none, "softmax: %s", r.message);
	double most = 0;
	for (int i = 0; i < rows; i++) {
		double z = 0;
		for (int c = 0; c < columns; c++)
			z += mask.as<uint8_t>()[i * columns + c] ? exp((double)x.as<float>()[i * columns + c]) : 0;
		for (int c = 0; c < columns; c++) {
			double want = mask.as<uint8_t>()[i * columns + c] ? exp((double)x.as<float>()[i * columns + c]) / z : 0;
			most = fmax(most, fabs((double)y.as<float>()[i * columns + c] - want) / (1e-30 + want));
		}
	}
	check(most <= 3e-6, "softmax of %d x %d: relative error %.2g", rows, columns, most);
}

// product returns the largest error relative to 1, or a NaN; the message where the launch failed.
double product(const emu::Options &o, int M, int N, int K, int fault, std::string *message)
{
	Memory a(2 * (size_t)M * (size_t)K), b(2 * (size_t)N * (size_t)K), c(4 * (size_t)M * (size_t)N);
	for (int i = 0; i < M * K; i++)
		a.as<bf16>()[i] = tobf16(uniform());
	for (int i = 0; i < N * K; i++)
		b.as<bf16>()[i] = tobf16(uniform());
	emu::Result r = run("test_product", dim3((unsigned)ceildiv(N, TILE), (unsigned)ceildiv(M, TILE)), 128, 4 * TILE * ROW * 2,
		o, c.at, a.at, b.at, M, N, K, fault);
	*message = r.message;
	double most = 0;
	for (int i = 0; i < M; i++)
		for (int j = 0; j < N; j++) {
			double want = 0;
			for (int k = 0; k < K; k++)
				want += (double)tofloat(a.as<bf16>()[i * K + k]) * (double)tofloat(b.as<bf16>()[j * K + k]);
			double error = fabs((double)c.as<float>()[i * N + j] - want);
			if (!(error <= most))
				most = error;
		}
	return most;
}

void test_kernels()
{
	std::string message;
	for (const emu::Options &o : ways()) {
		test_softmax(o, 1 + (int)(bits() % 6), 1 + (int)(bits() % 400));
		int M = 1 + (int)(bits() % 140), N = 1 + (int)(bits() % 140), K = 8 * (1 + (int)(bits() % 24));
		double error = product(o, M, N, K, 0, &message);
		check(error <= 2e-5 && message.empty(), "product of %d x %d x %d: error %.2g %s", M, N, K, error, message.c_str());
	}
}

// test_selftest runs it in every way: the bits must not depend on it, and be those recorded where a file is given.
void test_selftest()
{
	constexpr unsigned THREADS = 64;
	std::vector<uint32_t> first;
	for (const emu::Options &o : ways()) {
		Memory out(4 * 4096 * THREADS), in(4 * 16 * THREADS), scratch(4096);
		for (unsigned i = 0; i < 16 * THREADS; i++)
			in.as<uint32_t>()[i] = (i * 2654435761u + 12345) & 0xbfffffff;
		memset(scratch.at, 0, 4096);
		emu::Result r = run("selftest_run", 1, THREADS, 4096, o, out.at, in.at, scratch.at);
		check(r.fault == emu::Fault::none, "selftest: %s", r.message);
		std::vector<uint32_t> words(out.as<uint32_t>(), out.as<uint32_t>() + emu::rows.size() * THREADS);
		if (first.empty())
			first = words;
		for (size_t i = 0; i < words.size(); i++)
			check(words[i] == first[i], "selftest: row %zu (%s) depends on the order of the threads", i / THREADS,
				emu::rows[i / THREADS].name);
	}
}

// A fault of a kernel and words of the message that it must give.
struct KernelFault {
	int number;
	emu::Fault fault;
	const char *words;
};

void test_kernel_faults()
{
	const KernelFault faults[] = {
		{1, emu::Fault::shared_memory, "needs 260 bytes of shared memory, the launch gave 256"},
		{2, emu::Fault::deadlock, "16 wait at a barrier"},
		{3, emu::Fault::deadlock, "__shfl_xor_sync at"},
		{4, emu::Fault::other, "diverged warp"},
		{5, emu::Fault::other, "divergent barrier"},
		{6, emu::Fault::alignment, "cp.async into shared memory"},
		{7, emu::Fault::other, "1 cp.async not waited for"},
#if !defined(EMU_ASAN) && !defined(EMU_TSAN)
		{8, emu::Fault::shared_memory, "wrote behind piece 0"},
#endif
		{10, emu::Fault::other, "which is not in mask"},
		{11, emu::Fault::alignment, "ldmatrix"},
	};
	for (const KernelFault &f : faults)
		for (emu::Order order : {emu::Order::in_order, emu::Order::reversed, emu::Order::random}) {
			Memory p(1024);
			emu::Result r = run("test_fault", 1, 64, 256, emu::Options{3, order, emu::Copies::random, 1}, p.at, f.number, 0l);
			check(r.fault == f.fault && strstr(r.message, f.words), "fault %d gives %d, \"%s\"", f.number, (int)r.fault, r.message);
			check(f.number == 8 || f.number == 10 || strstr(r.message, "test_kernels.cu:") || f.number == 7,
				"fault %d does not name its line: %s", f.number, r.message);
		}
	// Races show as values, in some order.
	int wrong = 0;
	for (const emu::Options &o : ways()) {
		Memory p(1024);
		run("test_fault", 1, 64, 256, o, p.at, 12, 0l);
		for (int t = 0; t < 64; t++)
			wrong += p.as<float>()[t] != (float)(t ^ 1);
	}
	check(wrong > 0, "a missing barrier is not found in any order");
	for (int fault : {1, 2}) {
		int found = 0;
		std::string message;
		for (const emu::Options &o : ways())
			found += !(product(o, 70, 66, 200, fault, &message) <= 1e-4);
		check(found > 0, "fault %d of the product is not found in any order", fault);
	}
}

// --- speed

template <class F> double seconds(F f)
{
	double best = 1e9;
	for (int i = 0; i < 5; i++) {
		timespec a, b;
		clock_gettime(CLOCK_MONOTONIC, &a);
		f();
		clock_gettime(CLOCK_MONOTONIC, &b);
		best = fmin(best, (double)(b.tv_sec - a.tv_sec) + 1e-9 * (double)(b.tv_nsec - a.tv_nsec));
	}
	return best;
}

void bench()
{
	Memory x(4 << 20), y(4 << 20), mask(1 << 20);
	memset(x.at, 0, x.bytes);
	memset(y.at, 0, y.bytes);
	for (emu::Order order : {emu::Order::in_order, emu::Order::random})
		for (int workers : {1, 2}) {
			emu::Options o{1, order, emu::Copies::random, workers};
			printf("%s, %d workers:\n", order == emu::Order::random ? "random" : "in order", workers);
			constexpr int N = 1 << 20, S = 256;
			double t = seconds([&] { run("test_axpy", 1, 128, 0, o, y.at, x.at, 1.0f, 128); });
			printf("  launch of 128 threads      %8.2f us\n", t * 1e6);
			t = seconds([&] { run("test_axpy", N / 256, 256, 0, o, y.at, x.at, 1.0f, N); });
			printf("  element-wise               %8.2f ns a thread\n", t * 1e9 / N);
			t = seconds([&] { run("test_softmax", 512, 128, 128, o, y.at, x.at, mask.at, 256); });
			printf("  softmax (24 collectives)   %8.2f ns a thread\n", t * 1e9 / (512 * 128));
			t = seconds([&] {
				run("test_product", dim3(S / 64, S / 64), 128, 4 * TILE * ROW * 2, o, y.at, x.at, x.at, S, S, S, 0);
			});
			printf("  product                    %8.2f GFLOP/s\n", 2.0 * S * S * S / t * 1e-9);
		}
}

// plant runs one fault that only a sanitizer finds, which then ends the process with a code of its own.
void plant(int fault)
{
	Memory p(1024);
	memset(p.at, 0, p.bytes);
	run("test_fault", 1, 64, 256, emu::Options{1, emu::Order::in_order, emu::Copies::eager, 1}, p.at, fault, 256l);
}

} // namespace

int main(int argc, char **argv)
{
	if (argc > 2 && !strcmp(argv[1], "plant")) {
		plant(atoi(argv[2]));
		return 0;
	}
	if (argc > 1 && !strcmp(argv[1], "bench")) {
		bench();
		return 0;
	}
	test_functions();
	test_kernels();
	test_selftest();
#if !defined(EMU_TSAN)
	test_kernel_faults();
#endif
	test_driver();
	printf("emulation: %s\n", failures ? "FAILED" : "all tests passed");
	return failures != 0;
}
