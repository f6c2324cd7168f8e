// Tests of the emulation and of the emulated driver: prints what fails, exit code 1. "bench" measures their speed. Under a
// sanitizer the same kernels run, and "plant N" makes a fault that it must report.
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <string>
#include <vector>

#include <cuda.h>

#include "../philox.cuh"
#include "launch.h"
#include "selftest.h"

namespace {

constexpr int TILE = 64, ROW = 72; // of test_product

int failures;

void check(bool ok, const char *format, ...) __attribute__((format(printf, 2, 3)));
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

uint64_t state = 88172645463325252;
uint32_t bits() { return (uint32_t)((state = state * 6364136223846793005ull + 1442695040888963407ull) >> 32); }
float uniform() { return (float)(bits() >> 8) * 0x1p-23f - 1; }

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
	check(flog(0) == -INFINITY && isnan(flog(-1)) && flog(INFINITY) == INFINITY && isnan(flog(NAN)), "flog of 0, -1, infinity");
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

// --- the driver

const char *const PTX =
	".version 7.8\n.target sm_80\n.address_size 64\n"
	".visible .entry test_axpy(\n.param .u64 test_axpy_param_0,\n.param .u64 test_axpy_param_1,\n.param .f32 a,\n.param .u32 n\n)\n"
	".maxntid 256, 1, 1\n{\nret;\n}\n"
	".visible .entry test_fault(.param .u64 p, .param .u32 fault, .param .u64 at)\n{\nret;\n}\n"
	".visible .entry test_nowhere(.param .u64 p)\n{\nret;\n}\n";

struct Session { // a context with the kernels loaded and a stream
	CUcontext context = nullptr;
	CUmodule module = nullptr;
	CUfunction axpy = nullptr, fault = nullptr;
	CUstream stream = nullptr;

	Session()
	{
		CUdevice d;
		must(cuInit(0));
		must(cuDeviceGet(&d, 0));
		must(cuDevicePrimaryCtxRetain(&context, d));
		must(cuCtxSetCurrent(context));
		must(cuModuleLoadData(&module, PTX));
		must(cuModuleGetFunction(&axpy, module, "test_axpy"));
		must(cuModuleGetFunction(&fault, module, "test_fault"));
		must(cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
	}
	~Session() { must(cuDevicePrimaryCtxRelease(0)); }
	static void must(CUresult r) { check(r == CUDA_SUCCESS, "the driver answers %d", (int)r); }

	CUdeviceptr memory(size_t bytes)
	{
		CUdeviceptr p = 0;
		must(cuMemAlloc(&p, bytes));
		return p;
	}
	CUresult launch(CUfunction f, unsigned blocks, unsigned threads, unsigned shared, void *buffer, size_t bytes)
	{
		void *extra[] = {CU_LAUNCH_PARAM_BUFFER_POINTER, buffer, CU_LAUNCH_PARAM_BUFFER_SIZE, &bytes, CU_LAUNCH_PARAM_END};
		return cuLaunchKernel(f, blocks, 1, 1, threads, 1, 1, shared, stream, nullptr, extra);
	}
	CUresult add(CUdeviceptr y, CUdeviceptr x, float a, int n, CUstream on)
	{
		void *arguments[] = {&y, &x, &a, &n};
		return cuLaunchKernel(axpy, (unsigned)ceildiv(n, 256), 1, 1, 256, 1, 1, 0, on, arguments, nullptr);
	}
	CUresult bad(CUdeviceptr p, int number, long at = 0)
	{
		struct { CUdeviceptr p; int number, pad; long at; } a = {p, number, 0, at};
		CUresult r = launch(fault, 1, 64, 256, &a, sizeof a);
		return r ? r : cuStreamSynchronize(stream);
	}
};

CUresult sync(Session &s, CUresult r) { return r ? r : cuStreamSynchronize(s.stream); }

void test_driver()
{
	Session s;
	constexpr int N = 1000;
	std::vector<float> x(N), y(N), back(N);
	for (int i = 0; i < N; i++) {
		x[i] = uniform();
		y[i] = uniform();
	}
	CUdeviceptr dx = s.memory(4 * N), dy = s.memory(4 * N);
	s.must(cuMemcpyDtoH(back.data(), dx, 4 * N));
	check(isnan(back[0]) && isnan(back[N - 1]), "new memory is not NaN");
	s.must(cuMemcpyHtoDAsync(dx, x.data(), 4 * N, s.stream));
	s.must(cuMemcpyHtoDAsync(dy, y.data(), 4 * N, s.stream));
	// y += 2x; x += y, captured once and replayed
	CUgraph graph;
	CUgraphExec executable;
	s.must(cuStreamBeginCapture(s.stream, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL));
	s.must(s.add(dy, dx, 2, N, s.stream));
	s.must(s.add(dx, dy, 1, N, s.stream));
	s.must(cuStreamEndCapture(s.stream, &graph));
	size_t nodes = 0;
	s.must(cuGraphGetNodes(graph, nullptr, &nodes));
	check(nodes == 2, "%zu nodes", nodes);
	s.must(cuGraphInstantiateWithFlags(&executable, graph, 0));
	s.must(cuGraphDestroy(graph));
	CUevent before, after;
	s.must(cuEventCreate(&before, 0));
	s.must(cuEventCreate(&after, 0));
	s.must(cuEventRecord(before, s.stream));
	for (int i = 0; i < 3; i++)
		s.must(cuGraphLaunch(executable, s.stream));
	s.must(cuEventRecord(after, s.stream));
	s.must(cuEventSynchronize(after));
	float ms = -1;
	s.must(cuEventElapsedTime(&ms, before, after));
	check(ms >= 0, "elapsed %g", (double)ms);
	s.must(cuMemcpyDtoH(back.data(), dx, 4 * N));
	for (int i = 0; i < N; i++) {
		for (int k = 0; k < 3; k++) {
			y[i] = 2 * x[i] + y[i];
			x[i] = y[i] + x[i];
		}
		check(fabsf(back[i] - x[i]) <= 1e-5f * (1 + fabsf(x[i])), "x[%d] = %g, want %g", i, (double)back[i], (double)x[i]);
	}
	size_t offset, size;
	s.must(cuFuncGetParamInfo(s.axpy, 3, &offset, &size));
	check(offset == 20 && size == 4 && cuFuncGetParamInfo(s.axpy, 4, &offset, &size) == CUDA_ERROR_INVALID_VALUE,
		"argument 3 at %zu, %zu bytes", offset, size);
}

// test_order: work of two streams with and without an event between them. Without, some order must give wrong values.
void test_order()
{
	Session s;
	CUstream other;
	CUevent event;
	s.must(cuStreamCreate(&other, CU_STREAM_NON_BLOCKING));
	s.must(cuEventCreate(&event, CU_EVENT_DISABLE_TIMING));
	constexpr int N = 64;
	float ones[N], *pinned = nullptr;
	std::fill(ones, ones + N, 1.0f);
	s.must(cuMemHostAlloc((void **)&pinned, sizeof ones, 0));
	int wrong[2] = {0, 0}, stale = 0;
	for (int wait = 0; wait < 2; wait++)
		for (int i = 0; i < 40; i++) {
			CUdeviceptr x = s.memory(sizeof ones), y = s.memory(sizeof ones);
			s.must(cuMemsetD32Async(y, 0, N, other));
			s.must(cuMemcpyHtoDAsync(x, ones, sizeof ones, s.stream));
			if (wait) {
				s.must(cuEventRecord(event, s.stream));
				s.must(cuStreamWaitEvent(other, event, 0));
			}
			s.must(s.add(y, x, 2, N, other));
			pinned[0] = -1;
			s.must(cuMemcpyDtoHAsync(pinned, y, sizeof ones, other));
			stale += pinned[0] == -1;
			s.must(cuStreamSynchronize(other));
			wrong[wait] += pinned[0] != 2;
			s.must(cuStreamSynchronize(s.stream));
		}
	s.must(cuMemFreeHost(pinned));
	check(wrong[1] == 0 && wrong[0] > 0 && stale > 0, "wrong with an event %d, without %d, read too early %d", wrong[1], wrong[0],
		stale);
}

struct HostFault {
	const char *name;
	int code;
	CUresult (*act)(Session &);
};

char host[4096];

const HostFault host_faults[] = {
	{"a copy past the end", 1, [](Session &s) { return cuMemcpyHtoD(s.memory(1000), host, 1001); }},
	{"a copy from freed memory", 1,
		[](Session &s) {
			CUdeviceptr p = s.memory(64);
			s.must(cuMemFree(p));
			return cuMemcpyDtoH(host, p, 64);
		}},
	{"a host pointer as device memory", 1, [](Session &) { return cuMemcpyHtoD((CUdeviceptr)host, host, 64); }},
	{"a device pointer as host memory", 1, [](Session &s) { return cuMemcpyHtoD(s.memory(64), (void *)s.memory(64), 64); }},
	{"freed twice", 1,
		[](Session &s) {
			CUdeviceptr p = s.memory(64);
			s.must(cuMemFree(p));
			return cuMemFree(p);
		}},
	{"out of memory", 2,
		[](Session &) {
			CUdeviceptr p;
			return cuMemAlloc(&p, (size_t)1 << 40);
		}},
	{"no such kernel", 500,
		[](Session &s) {
			CUfunction f;
			return cuModuleGetFunction(&f, s.module, "nothing");
		}},
	{"a kernel that is in the PTX only", 500,
		[](Session &s) {
			CUfunction f;
			return cuModuleGetFunction(&f, s.module, "test_nowhere");
		}},
	{"too many threads", 1, [](Session &s) { return s.launch(s.fault, 1, 1056, 0, host, 24); }},
	{"over the launch bound", 1, [](Session &s) { return s.launch(s.axpy, 1, 512, 0, host, 24); }},
	{"an empty grid", 1, [](Session &s) { return s.launch(s.axpy, 0, 32, 0, host, 24); }},
	{"shared memory without opt-in", 1, [](Session &s) { return s.launch(s.fault, 1, 32, 50 << 10, host, 24); }},
	{"opt-in over the device", 1,
		[](Session &s) { return cuFuncSetAttribute(s.fault, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, 240 << 10); }},
	{"one argument too few", 1, [](Session &s) { return s.launch(s.axpy, 1, 32, 0, host, 16); }},
	{"one argument too many", 1, [](Session &s) { return s.launch(s.axpy, 1, 32, 0, host, 32); }},
	{"a host pointer to a kernel", 700, [](Session &s) { return sync(s, s.add((CUdeviceptr)host, s.memory(64), 1, 16, s.stream)); }},
	{"a freed pointer to a kernel", 700,
		[](Session &s) {
			CUdeviceptr p = s.memory(64);
			s.must(cuMemFree(p));
			return sync(s, s.add(p, s.memory(64), 1, 16, s.stream));
		}},
#if !defined(EMU_ASAN)
	{"a write just past the end", 700, [](Session &s) { return s.bad(s.memory(1000), 9, 250); }},
#endif
#if !defined(EMU_ASAN) && !defined(EMU_TSAN)
	{"a write far past the end", 700, [](Session &s) { return s.bad(s.memory(1024), 9, 5000); }},
	{"a write through a wild pointer", 700, [](Session &s) { return s.bad(s.memory(1024), 9, -(1l << 40)); }},
	{"every later call, too", 700,
		[](Session &s) {
			s.bad(s.memory(1024), 9, 5000);
			CUdeviceptr p;
			return cuMemAlloc(&p, 64);
		}},
#endif
#if !defined(EMU_TSAN) // which reports unordered accesses after a kernel was left in the middle
	{"a deadlock", 702, [](Session &s) { return s.bad(s.memory(1024), 2); }},
	{"a misaligned copy", 716, [](Session &s) { return s.bad(s.memory(1024), 6); }},
	{"a diverged warp", 719, [](Session &s) { return s.bad(s.memory(1024), 4); }},
#endif
	{"a graph with a freed pointer", 700,
		[](Session &s) {
			CUdeviceptr p = s.memory(64);
			CUgraph g;
			CUgraphExec x;
			s.must(cuStreamBeginCapture(s.stream, CU_STREAM_CAPTURE_MODE_RELAXED));
			s.must(s.add(p, p, 1, 16, s.stream));
			s.must(cuStreamEndCapture(s.stream, &g));
			s.must(cuGraphInstantiateWithFlags(&x, g, 0));
			s.must(cuMemFree(p));
			return sync(s, cuGraphLaunch(x, s.stream));
		}},
	{"an allocation during capture", 900,
		[](Session &s) {
			CUdeviceptr p;
			s.must(cuStreamBeginCapture(s.stream, CU_STREAM_CAPTURE_MODE_GLOBAL));
			return cuMemAlloc(&p, 64);
		}},
	{"a wait during capture", 900,
		[](Session &s) {
			s.must(cuStreamBeginCapture(s.stream, CU_STREAM_CAPTURE_MODE_GLOBAL));
			return cuStreamSynchronize(s.stream);
		}},
	{"a fork that is not joined", 904,
		[](Session &s) {
			CUstream other;
			CUevent e;
			CUgraph g;
			CUdeviceptr p = s.memory(64);
			s.must(cuStreamCreate(&other, CU_STREAM_NON_BLOCKING));
			s.must(cuEventCreate(&e, 0));
			s.must(cuStreamBeginCapture(s.stream, CU_STREAM_CAPTURE_MODE_GLOBAL));
			s.must(cuEventRecord(e, s.stream));
			s.must(cuStreamWaitEvent(other, e, 0));
			s.must(cuMemsetD8Async(p, 0, 64, other));
			return cuStreamEndCapture(s.stream, &g);
		}},
	{"a destroyed stream", 400,
		[](Session &s) {
			CUstream other;
			s.must(cuStreamCreate(&other, 0));
			s.must(cuStreamDestroy(other));
			return cuMemsetD8Async(s.memory(64), 0, 64, other);
		}},
	{"an unloaded module", 400,
		[](Session &s) {
			s.must(cuModuleUnload(s.module));
			return s.launch(s.axpy, 1, 32, 0, host, 24);
		}},
	{"no context", 201,
		[](Session &s) {
			s.must(cuCtxSetCurrent(nullptr));
			CUdeviceptr p;
			CUresult r = cuMemAlloc(&p, 64);
			s.must(cuCtxSetCurrent(s.context));
			return r;
		}},
	{"stale PTX", 300,
		[](Session &) {
			CUmodule m;
			return cuModuleLoadData(&m, ".version 7.8\n.target sm_80\n.visible .entry test_axpy(.param .u64 y, .param .u32 n)\n{ ret; }");
		}},
	{"PTX for a newer device", 218,
		[](Session &) {
			CUmodule m;
			return cuModuleLoadData(&m, ".version 8.0\n.target sm_90a\n");
		}},
};

// quiet runs f with standard error in a file and returns what was written there.
template <class F> std::string quiet(F f)
{
	fflush(stderr);
	FILE *file = tmpfile();
	int was = dup(2);
	dup2(fileno(file), 2);
	f();
	fflush(stderr);
	dup2(was, 2);
	close(was);
	std::string text((size_t)ftell(file), 0);
	rewind(file);
	text.resize(fread(&text[0], 1, text.size(), file));
	fclose(file);
	return text;
}

void test_host_faults()
{
	for (const HostFault &f : host_faults) {
		CUresult r = CUDA_SUCCESS;
		std::string said = quiet([&] {
			Session s;
			r = f.act(s);
		});
		check((int)r == f.code, "%s: %d, want %d", f.name, (int)r, f.code);
		size_t lines = (size_t)std::count(said.begin(), said.end(), '\n');
		check(lines == 1 && said.find("emulated driver: ") == 0, "%s: it says %s", f.name, said.c_str());
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
			t = seconds([&] { run("test_product", dim3(S / 64, S / 64), 128, 4 * TILE * ROW * 2, o, y.at, x.at, x.at, S, S, S, 0); });
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
	test_order();
	test_host_faults();
	printf("emulation: %s\n", failures ? "FAILED" : "all tests passed");
	return failures != 0;
}
