//go:build cuda

#include "queue.h"

#include <string.h>

#include "products.h"

#define EVENT(h) ((CUevent)(uintptr_t)(h))
#define STREAM(h) ((CUstream)(uintptr_t)(h))

static CUresult issue(const command *c, const unsigned char *parameters, CUstream s) {
	switch (c->kind) {
	case COMMAND_LAUNCH: {
		size_t size = c->size;
		void *extra[] = {CU_LAUNCH_PARAM_BUFFER_POINTER, (void *)(parameters + c->at), CU_LAUNCH_PARAM_BUFFER_SIZE, &size,
			CU_LAUNCH_PARAM_END};
		return cuLaunchKernel((CUfunction)(uintptr_t)c->handle, c->grid[0], c->grid[1], c->grid[2], c->block[0], c->block[1],
			c->block[2], c->shared, s, 0, extra);
	}
	case COMMAND_COPY:
		return cuMemcpyDtoDAsync(c->a, c->b, c->n, s);
	case COMMAND_COPY_IN:
		return cuMemcpyHtoDAsync(c->a, (const void *)(uintptr_t)c->b, c->n, s);
	case COMMAND_COPY_OUT:
		return cuMemcpyDtoHAsync((void *)(uintptr_t)c->a, c->b, c->n, s);
	case COMMAND_FILL:
		return cuMemsetD8Async(c->a, (unsigned char)c->b, c->n, s);
	case COMMAND_RECORD:
		return cuEventRecord(EVENT(c->handle), s);
	case COMMAND_WAIT:
		return cuStreamWaitEvent(s, EVENT(c->handle), 0);
	case COMMAND_GRAPH:
		return cuGraphLaunch((CUgraphExec)(uintptr_t)c->handle, s);
	case COMMAND_PRODUCT:
		// The library's own results are told from CUDA's by their sign.
		return (CUresult)-product_issue((struct product *)(uintptr_t)c->handle, c->a, c->b, c->n, c->more[0], c->more[1], s);
	}
	return CUDA_ERROR_INVALID_VALUE;
}

int queue_issue(const command *c, int n, const unsigned char *parameters, uint64_t compute, uint64_t copies, int *failed) {
	for (int i = 0; i < n; i++) {
		CUresult r = issue(c + i, parameters, STREAM(c[i].stream ? copies : compute));
		if (r != CUDA_SUCCESS) {
			*failed = i;
			return r;
		}
	}
	return 0;
}

// A waiting thread sleeps rather than spins: the host has a next step to prepare.
int event_create(uint64_t *event) {
	CUevent e = 0;
	CUresult r = cuEventCreate(&e, CU_EVENT_BLOCKING_SYNC);
	*event = (uintptr_t)e;
	return r;
}

static CUresult enter(uint64_t ctx) {
	return cuCtxSetCurrent((CUcontext)(uintptr_t)ctx);
}

int event_wait(uint64_t ctx, uint64_t event) {
	CUresult r = enter(ctx);
	return r != CUDA_SUCCESS ? r : cuEventSynchronize(EVENT(event));
}

int event_query(uint64_t ctx, uint64_t event) {
	CUresult r = enter(ctx);
	return r != CUDA_SUCCESS ? r : cuEventQuery(EVENT(event));
}

int event_elapsed(uint64_t ctx, uint64_t from, uint64_t to, float *ms) {
	CUresult r = enter(ctx);
	return r != CUDA_SUCCESS ? r : cuEventElapsedTime(ms, EVENT(from), EVENT(to));
}

int event_destroy(uint64_t event) {
	return cuEventDestroy(EVENT(event));
}

int pinned_alloc(uint64_t *at, size_t bytes) {
	void *p = 0;
	CUresult r = cuMemHostAlloc(&p, bytes, CU_MEMHOSTALLOC_PORTABLE);
	*at = (uintptr_t)p;
	return r;
}

int pinned_free(uint64_t at) {
	return cuMemFreeHost((void *)(uintptr_t)at);
}

int capture_begin(uint64_t stream) {
	return cuStreamBeginCapture(STREAM(stream), CU_STREAM_CAPTURE_MODE_THREAD_LOCAL);
}

int capture_end(uint64_t stream, uint64_t *exec, size_t *nodes) {
	CUgraph graph = 0;
	CUgraphExec executable = 0;
	*exec = 0;
	*nodes = 0;
	CUresult r = cuStreamEndCapture(STREAM(stream), &graph);
	if (r == CUDA_SUCCESS) r = cuGraphGetNodes(graph, 0, nodes);
	if (r == CUDA_SUCCESS) r = cuGraphInstantiateWithFlags(&executable, graph, 0);
	if (graph) {
		CUresult d = cuGraphDestroy(graph);
		if (r == CUDA_SUCCESS) r = d;
	}
	*exec = (uintptr_t)executable;
	return r;
}

int graph_destroy(uint64_t exec) {
	return cuGraphExecDestroy((CUgraphExec)(uintptr_t)exec);
}

int module_load(uint64_t *module, const char *ptx, char *log, unsigned room) {
	CUmodule m = 0;
	CUjit_option options[] = {CU_JIT_ERROR_LOG_BUFFER, CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES};
	void *values[] = {log, (void *)(uintptr_t)room};
	memset(log, 0, room);
	CUresult r = cuModuleLoadDataEx(&m, ptx, 2, options, values);
	*module = (uintptr_t)m;
	return r;
}

int function_shared(uint64_t function, int bytes) {
	return cuFuncSetAttribute((CUfunction)(uintptr_t)function, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, bytes);
}

int function_parameter(uint64_t function, size_t i, size_t *offset, size_t *size) {
	return cuFuncGetParamInfo((CUfunction)(uintptr_t)function, i, offset, size);
}
