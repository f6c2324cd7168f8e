// A driver that does nothing: every call of package cuda succeeds at once and no memory exists, so that what a benchmark
// measures over it is the host's own work. IDLE_NS gives every launch, fill, copy on the device, change of a node and launch of a
// graph so many nanoseconds. It has no cuFuncGetParamInfo, as drivers before CUDA 12.4.
#include <cuda.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static uintptr_t numbers = 4096;
static CUdeviceptr memory = 1ull << 40;
static CUgraphNode last;

#define DO(name, parameters, body) CUresult name parameters { body; return CUDA_SUCCESS; }
static long cost = -1;
static void spend(void) {
	if (cost < 0) cost = getenv("IDLE_NS") ? atol(getenv("IDLE_NS")) : 0;
	struct timespec t;
	if (!cost) return;
	clock_gettime(CLOCK_MONOTONIC, &t);
	for (long end = t.tv_sec * 1000000000 + t.tv_nsec + cost; t.tv_sec * 1000000000 + t.tv_nsec < end;) clock_gettime(CLOCK_MONOTONIC, &t);
}
#define HANDLE(out) *(out) = (void *)(numbers += 64)

DO(cuInit, (unsigned f), (void)f)
DO(cuDriverGetVersion, (int *v), *v = 12000)
DO(cuDeviceGetCount, (int *n), *n = 1)
DO(cuDeviceGet, (CUdevice *d, int i), *d = i)
DO(cuDeviceGetName, (char *name, int room, CUdevice d), (void)d; strncpy(name, "idle", room))
DO(cuDeviceTotalMem, (size_t *n, CUdevice d), (void)d; *n = 1ull << 37)
DO(cuDeviceGetPCIBusId, (char *t, int room, CUdevice d), (void)d; strncpy(t, "0000:00:00.0", room))
CUresult cuDeviceGetAttribute(int *v, CUdevice_attribute a, CUdevice d) {
	(void)d;
	switch ((int)a) {
	case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR: *v = 8; break;
	case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR: *v = 0; break;
	case CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT: *v = 108; break;
	default: *v = 163 << 10;
	}
	return CUDA_SUCCESS;
}
DO(cuDevicePrimaryCtxRetain, (CUcontext *c, CUdevice d), (void)d; HANDLE(c))
DO(cuDevicePrimaryCtxRelease, (CUdevice d), (void)d)
DO(cuCtxSetCurrent, (CUcontext c), (void)c)
DO(cuStreamCreate, (CUstream *s, unsigned f), (void)f; HANDLE(s))
DO(cuStreamDestroy, (CUstream s), (void)s)
DO(cuStreamSynchronize, (CUstream s), (void)s)
DO(cuStreamWaitEvent, (CUstream s, CUevent e, unsigned f), (void)s; (void)e; (void)f)
DO(cuEventCreate, (CUevent *e, unsigned f), (void)f; HANDLE(e))
DO(cuEventDestroy, (CUevent e), (void)e)
DO(cuEventRecord, (CUevent e, CUstream s), (void)e; (void)s)
DO(cuEventQuery, (CUevent e), (void)e)
DO(cuEventSynchronize, (CUevent e), (void)e)
DO(cuMemGetInfo, (size_t *f, size_t *t), *f = *t = 1ull << 37)
DO(cuMemAlloc, (CUdeviceptr *p, size_t n), *p = memory; memory += (n + 4095) / 4096 * 4096)
DO(cuMemFree, (CUdeviceptr p), (void)p)
DO(cuMemHostAlloc, (void **p, size_t n, unsigned f), (void)f; *p = calloc(1, n))
DO(cuMemFreeHost, (void *p), free(p))
DO(cuMemcpyHtoDAsync, (CUdeviceptr to, const void *from, size_t n, CUstream s), (void)to; (void)from; (void)n; (void)s)
DO(cuMemcpyDtoHAsync, (void *to, CUdeviceptr from, size_t n, CUstream s), (void)to; (void)from; (void)n; (void)s)
DO(cuMemcpyDtoDAsync, (CUdeviceptr to, CUdeviceptr from, size_t n, CUstream s), spend(); (void)to; (void)from; (void)n; (void)s; HANDLE(&last))
DO(cuMemsetD8Async, (CUdeviceptr to, unsigned char v, size_t n, CUstream s), spend(); (void)to; (void)v; (void)n; (void)s; HANDLE(&last))
DO(cuModuleLoadDataEx, (CUmodule *m, const void *t, unsigned n, CUjit_option *o, void **v), (void)t; (void)n; (void)o; (void)v; HANDLE(m))
DO(cuModuleUnload, (CUmodule m), (void)m)
DO(cuModuleGetFunction, (CUfunction *f, CUmodule m, const char *n), (void)m; (void)n; HANDLE(f))
DO(cuFuncGetAttribute, (int *v, CUfunction_attribute a, CUfunction f), (void)f; *v = a == CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK ? 1024 : 0)
DO(cuFuncSetAttribute, (CUfunction f, CUfunction_attribute a, int v), (void)f; (void)a; (void)v)
DO(cuLaunchKernel, (CUfunction f, unsigned a, unsigned b, unsigned c, unsigned d, unsigned e, unsigned g, unsigned m, CUstream s, void **p, void **x),
	spend(); (void)f; (void)a; (void)b; (void)c; (void)d; (void)e; (void)g; (void)m; (void)s; (void)p; (void)x; HANDLE(&last))
DO(cuStreamBeginCapture, (CUstream s, CUstreamCaptureMode m), (void)s; (void)m)
DO(cuStreamEndCapture, (CUstream s, CUgraph *g), (void)s; HANDLE(g))
DO(cuStreamGetCaptureInfo, (CUstream s, CUstreamCaptureStatus *t, cuuint64_t *i, CUgraph *g, const CUgraphNode **b, size_t *n),
	(void)s; (void)i; (void)g; *t = CU_STREAM_CAPTURE_STATUS_ACTIVE; *b = &last; *n = 1)
DO(cuGraphGetNodes, (CUgraph g, CUgraphNode *l, size_t *n), (void)g; (void)l; *n = 1)
DO(cuGraphInstantiateWithFlags, (CUgraphExec *x, CUgraph g, unsigned long long f), (void)g; (void)f; HANDLE(x))
DO(cuGraphUpload, (CUgraphExec x, CUstream s), (void)x; (void)s)
DO(cuGraphLaunch, (CUgraphExec x, CUstream s), spend(); (void)x; (void)s)
DO(cuGraphDestroy, (CUgraph g), (void)g)
DO(cuGraphExecDestroy, (CUgraphExec x), (void)x)
DO(cuGraphExecKernelNodeSetParams, (CUgraphExec x, CUgraphNode n, const CUDA_KERNEL_NODE_PARAMS *p), spend(); (void)x; (void)n; (void)p)
DO(cuGraphExecMemsetNodeSetParams, (CUgraphExec x, CUgraphNode n, const CUDA_MEMSET_NODE_PARAMS *p, CUcontext c), spend(); (void)x; (void)n; (void)p; (void)c)
DO(cuGraphExecMemcpyNodeSetParams, (CUgraphExec x, CUgraphNode n, const CUDA_MEMCPY3D *p, CUcontext c), spend(); (void)x; (void)n; (void)p; (void)c)
