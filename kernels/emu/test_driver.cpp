// Tests of the emulated driver: work that is right, work that is not ordered, and every fault of a host that it must name.
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <algorithm>
#include <string>
#include <vector>

#include <cuda.h>

#include "test.h"

namespace {

int ceildiv(int a, int b) { return (a + b - 1) / b; }

const char *const PTX =
	".version 7.8\n.target sm_80\n.address_size 64\n"
	".visible .entry test_axpy(\n.param .u64 test_axpy_param_0,\n.param .u64 test_axpy_param_1,\n"
	".param .f32 test_axpy_param_2,\n.param .u32 test_axpy_param_3\n)\n"
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

// Captured is y += a*x, a fill and a copy, captured, with their nodes.
struct Captured {
	CUgraph graph = nullptr;
	CUgraphExec executable = nullptr;
	CUgraphNode add = nullptr, fill = nullptr, copy = nullptr;
	CUdeviceptr x, y, z;

	explicit Captured(Session &s) : x(s.memory(256)), y(s.memory(256)), z(s.memory(256))
	{
		auto last = [&s](CUgraphNode *node) {
			CUstreamCaptureStatus status;
			const CUgraphNode *behind;
			size_t n = 0;
			Session::must(cuStreamGetCaptureInfo(s.stream, &status, nullptr, nullptr, &behind, &n));
			check(status == CU_STREAM_CAPTURE_STATUS_ACTIVE && n == 1, "status %d, %zu nodes", (int)status, n);
			*node = behind[0];
		};
		s.must(cuStreamBeginCapture(s.stream, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL));
		s.must(s.add(y, x, 1, 64, s.stream));
		last(&add);
		s.must(cuMemsetD8Async(z, 1, 256, s.stream));
		last(&fill);
		s.must(cuMemcpyDtoDAsync(z, y, 8, s.stream));
		last(&copy);
		s.must(cuStreamEndCapture(s.stream, &graph));
		s.must(cuGraphInstantiateWithFlags(&executable, graph, 0));
	}
	CUresult change_add(CUfunction f, CUdeviceptr to, float a, int n, unsigned shared = 0)
	{
		struct { CUdeviceptr y, x; float a; int n; } buffer = {to, x, a, n};
		size_t bytes = sizeof buffer;
		void *extra[] = {CU_LAUNCH_PARAM_BUFFER_POINTER, &buffer, CU_LAUNCH_PARAM_BUFFER_SIZE, &bytes, CU_LAUNCH_PARAM_END};
		CUDA_KERNEL_NODE_PARAMS p = {};
		p.func = f;
		p.gridDimX = p.gridDimY = p.gridDimZ = p.blockDimY = p.blockDimZ = 1;
		p.blockDimX = 64;
		p.sharedMemBytes = shared;
		p.extra = extra;
		return cuGraphExecKernelNodeSetParams(executable, add, &p);
	}
	CUresult change_fill(Session &s, CUgraphNode node, CUdeviceptr to, unsigned value, size_t n)
	{
		CUDA_MEMSET_NODE_PARAMS p = {};
		p.dst = to;
		p.value = value;
		p.elementSize = 1;
		p.width = n;
		p.height = 1;
		return cuGraphExecMemsetNodeSetParams(executable, node, &p, s.context);
	}
	CUresult change_copy(Session &s, CUdeviceptr to, CUdeviceptr from, size_t n)
	{
		CUDA_MEMCPY3D p = {};
		p.srcMemoryType = p.dstMemoryType = CU_MEMORYTYPE_DEVICE;
		p.srcDevice = from;
		p.dstDevice = to;
		p.WidthInBytes = n;
		p.Height = p.Depth = 1;
		return cuGraphExecMemcpyNodeSetParams(executable, copy, &p, s.context);
	}
};

CUresult sync(Session &s, CUresult r) { return r ? r : cuStreamSynchronize(s.stream); }

void test_work()
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

// test_changes: nodes get other arguments while launches are queued, which keep theirs.
void test_changes()
{
	Session s;
	Captured g(s);
	s.must(cuMemsetD32Async(g.y, 0, 64, s.stream));
	float ones[64], y[64];
	std::fill(ones, ones + 64, 1.0f);
	s.must(cuMemcpyHtoDAsync(g.x, ones, sizeof ones, s.stream));
	size_t before, during, after, total;
	s.must(cuMemGetInfo(&before, &total));
	for (int i = 1; i <= 10; i++) {
		s.must(g.change_add(s.axpy, g.y, (float)i, i));
		s.must(g.change_fill(s, g.fill, g.z + 16, (unsigned)i, (size_t)(10 + i)));
		s.must(g.change_copy(s, g.z + 64 + 4 * (size_t)i, g.y, 4));
		s.must(cuGraphLaunch(g.executable, s.stream));
	}
	s.must(cuMemcpyDtoHAsync(y, g.y, sizeof y, s.stream));
	s.must(cuStreamSynchronize(s.stream));
	for (int i = 0; i < 64; i++) {
		float want = 0;
		for (int k = i + 1; k <= 10; k++)
			want += (float)k;
		check(y[i] == want, "y[%d] = %g, want %g", i, (double)y[i], (double)want);
	}
	float z[64];
	s.must(cuMemcpyDtoH(z, g.z, sizeof z));
	const unsigned char *bytes = (const unsigned char *)z;
	check(bytes[16] == 10 && bytes[35] == 10 && bytes[36] == 0xff && z[16 + 1] == 1 && z[16 + 10] == 55, "fills and copies");
	s.must(cuGraphExecDestroy(g.executable));
	s.must(cuMemGetInfo(&after, &total));
	s.must(cuGraphInstantiateWithFlags(&g.executable, g.graph, 0));
	s.must(cuMemGetInfo(&during, &total));
	check(after > before && during == before, "an executable takes %zu bytes, then %zu", after - before, after - during);
	CUgraphNode nodes[4];
	size_t n = 4;
	s.must(cuGraphGetNodes(g.graph, nodes, &n));
	check(n == 3 && nodes[0] == g.add && nodes[2] == g.copy && !nodes[3], "%zu nodes", n);
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
	check(wrong[1] == 0 && wrong[0] > 0 && stale > 0, "wrong with an event %d, without %d, read too early %d", wrong[1],
		wrong[0], stale);
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
	{"a host pointer to a kernel", 700,
		[](Session &s) { return sync(s, s.add((CUdeviceptr)host, s.memory(64), 1, 16, s.stream)); }},
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
	{"a node of another graph", 1,
		[](Session &s) {
			Captured a(s), b(s);
			a.add = b.add;
			return a.change_add(s.axpy, a.y, 1, 16);
		}},
	{"a node whose graph was destroyed", 400,
		[](Session &s) {
			Captured g(s);
			s.must(cuGraphDestroy(g.graph));
			return g.change_add(s.axpy, g.y, 1, 16);
		}},
	{"a destroyed executable", 400,
		[](Session &s) {
			Captured g(s);
			s.must(cuGraphExecDestroy(g.executable));
			return g.change_add(s.axpy, g.y, 1, 16);
		}},
	{"a stream as a node", 400,
		[](Session &s) {
			Captured g(s);
			g.add = (CUgraphNode)s.stream;
			return g.change_add(s.axpy, g.y, 1, 16);
		}},
	{"another function for a node", 1,
		[](Session &s) {
			Captured g(s);
			return g.change_add(s.fault, g.y, 1, 16);
		}},
	{"a node with too much shared memory", 1,
		[](Session &s) {
			Captured g(s);
			return g.change_add(s.axpy, g.y, 1, 16, 50 << 10);
		}},
	{"a kernel's node as a fill", 1,
		[](Session &s) {
			Captured g(s);
			return g.change_fill(s, g.add, g.z, 1, 16);
		}},
	{"a node that fills nothing", 1,
		[](Session &s) {
			Captured g(s);
			return g.change_fill(s, g.fill, g.z, 1, 0);
		}},
	{"a node that fills freed memory", 1,
		[](Session &s) {
			Captured g(s);
			CUdeviceptr p = s.memory(64);
			s.must(cuMemFree(p));
			return g.change_fill(s, g.fill, p, 1, 16);
		}},
	{"a node that copies past the end", 1,
		[](Session &s) {
			Captured g(s);
			return g.change_copy(s, g.z, g.y, 257);
		}},
	{"a node with a host pointer", 700,
		[](Session &s) {
			Captured g(s);
			s.must(g.change_add(s.axpy, (CUdeviceptr)host, 1, 16));
			return sync(s, cuGraphLaunch(g.executable, s.stream));
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
			return cuModuleLoadData(&m,
				".version 7.8\n.target sm_80\n.visible .entry test_axpy(.param .u64 y, .param .u32 n)\n{ ret; }");
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

} // namespace

void test_driver()
{
	test_work();
	test_changes();
	test_order();
	test_host_faults();
}
