//go:build cuda

#include "queue.h"

#include <string.h>

#define STREAM(h) ((CUstream)(uintptr_t)(h))
#define NODE(h) ((CUgraphNode)(uintptr_t)(h))
#define EXEC(h) ((CUgraphExec)(uintptr_t)(h))

// last_node is what the stream's next captured work would come behind: the node of what was captured last.
static CUresult last_node(CUstream s, uint64_t *node) {
	CUstreamCaptureStatus status;
	const CUgraphNode *behind = 0;
	size_t n = 0;
	CUresult r = cuStreamGetCaptureInfo(s, &status, 0, 0, &behind, &n);
	*node = r == CUDA_SUCCESS && n == 1 ? (uintptr_t)behind[0] : 0;
	return r;
}

int sequence_capture(const command *c, int n, const unsigned char *parameters, uint64_t stream, uint64_t *graph, uint64_t *exec,
	uint64_t *nodes, int *failed) {
	CUstream s = STREAM(stream);
	CUgraph g = 0;
	CUgraphExec x = 0;
	*graph = *exec = 0;
	*failed = -1;
	int r = cuStreamBeginCapture(s, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL);
	if (r) return r;
	for (int i = 0; i < n && !r; i++) {
		r = queue_issue(c + i, 1, parameters, stream, stream, failed);
		// A product's nodes are never patched. They are not asked for either: where the library lets one kernel begin before the
		// last one ends (programmatic launch), drivers may refuse to tell of edges without their data.
		if (!r && c[i].kind != COMMAND_PRODUCT) r = last_node(s, nodes + i);
		*failed = r ? i : -1;
	}
	CUresult end = cuStreamEndCapture(s, &g); // also of a spoilt capture, which leaves the stream usable
	if (!r) r = end;
	if (!r) r = cuGraphInstantiateWithFlags(&x, g, 0);
	if (!r) r = cuGraphUpload(x, s);
	if (r) {
		if (x) cuGraphExecDestroy(x);
		if (g) cuGraphDestroy(g);
		return r;
	}
	*graph = (uintptr_t)g;
	*exec = (uintptr_t)x;
	return 0;
}

static CUresult patch(CUgraphExec x, CUgraphNode node, const command *c, const unsigned char *parameters, CUcontext ctx) {
	switch (c->kind) {
	case COMMAND_LAUNCH: {
		size_t size = c->size;
		void *extra[] = {CU_LAUNCH_PARAM_BUFFER_POINTER, (void *)(parameters + c->at), CU_LAUNCH_PARAM_BUFFER_SIZE, &size,
			CU_LAUNCH_PARAM_END};
		CUDA_KERNEL_NODE_PARAMS p = {.func = (CUfunction)(uintptr_t)c->handle, .gridDimX = c->grid[0], .gridDimY = c->grid[1],
			.gridDimZ = c->grid[2], .blockDimX = c->block[0], .blockDimY = c->block[1], .blockDimZ = c->block[2],
			.sharedMemBytes = c->shared, .extra = extra};
		return cuGraphExecKernelNodeSetParams(x, node, &p);
	}
	case COMMAND_FILL: {
		CUDA_MEMSET_NODE_PARAMS p = {.dst = c->a, .value = (unsigned char)c->b, .elementSize = 1, .width = c->n, .height = 1};
		return cuGraphExecMemsetNodeSetParams(x, node, &p, ctx);
	}
	case COMMAND_COPY: {
		CUDA_MEMCPY3D p = {.srcMemoryType = CU_MEMORYTYPE_DEVICE, .srcDevice = c->b, .dstMemoryType = CU_MEMORYTYPE_DEVICE,
			.dstDevice = c->a, .WidthInBytes = c->n, .Height = 1, .Depth = 1};
		return cuGraphExecMemcpyNodeSetParams(x, node, &p, ctx);
	}
	}
	return CUDA_ERROR_INVALID_VALUE; // nothing of a product may differ
}

static int same(const command *a, const unsigned char *with, const command *b, const unsigned char *by) {
	return !memcmp(a->grid, b->grid, sizeof a->grid) && !memcmp(a->block, b->block, sizeof a->block) && a->shared == b->shared &&
		a->a == b->a && a->b == b->b && a->n == b->n && (!a->size || !memcmp(with + a->at, by + b->at, a->size));
}

int sequence_patch(uint64_t exec, const uint64_t *nodes, int n, const command *now, const unsigned char *parameters,
	const command *was, const unsigned char *parameters_were, uint64_t ctx, int *patched, int *failed) {
	*patched = 0;
	for (int i = 0; i < n; i++) {
		if (same(now + i, parameters, was + i, parameters_were)) continue;
		CUresult r = patch(EXEC(exec), NODE(nodes[i]), now + i, parameters, (CUcontext)(uintptr_t)ctx);
		if (r != CUDA_SUCCESS) {
			*failed = i;
			return r;
		}
		++*patched;
	}
	return 0;
}

int sequence_launch(uint64_t exec, uint64_t stream) {
	return cuGraphLaunch(EXEC(exec), STREAM(stream));
}

int sequence_destroy(uint64_t graph, uint64_t exec, uint64_t stream) {
	CUresult waited = cuStreamSynchronize(STREAM(stream));
	CUresult x = cuGraphExecDestroy(EXEC(exec));
	CUresult g = cuGraphDestroy((CUgraph)(uintptr_t)graph);
	return waited != CUDA_SUCCESS ? waited : x != CUDA_SUCCESS ? x : g;
}
