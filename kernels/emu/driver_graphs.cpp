// Capture and graphs. Nodes of an executable graph may be given other work of their kind, which the launches that are queued
// already do not see.
#include <string.h>

#include "driver.h"

namespace driver {

namespace {

// run_graph runs nodes in any order that their needs allow.
CUresult run_graph(const std::vector<Node> &nodes)
{
	std::vector<char> done(nodes.size());
	std::vector<int> left(nodes.size()), ready;
	std::vector<std::vector<int>> next(nodes.size());
	for (size_t i = 0; i < nodes.size(); i++) {
		left[i] = (int)nodes[i].needs.size();
		for (int n : nodes[i].needs)
			next[(size_t)n].push_back((int)i);
		if (!left[i])
			ready.push_back((int)i);
	}
	const char *was = call_name;
	while (!ready.empty()) {
		size_t at = settings.when == When::random ? below((unsigned)ready.size()) : 0;
		int i = ready[at];
		ready.erase(ready.begin() + (long)at);
		call_name = nodes[(size_t)i].call;
		CUresult r = nodes[(size_t)i].work();
		call_name = was;
		if (r)
			return r;
		for (int n : next[(size_t)i])
			if (--left[(size_t)n] == 0)
				ready.push_back(n);
	}
	return CUDA_SUCCESS;
}

GraphNode *handle(Graph *g, int i)
{
	g->handles.resize(g->nodes.size());
	GraphNode *&h = g->handles[(size_t)i];
	if (!h)
		h = new GraphNode(g, i);
	return h;
}

// executable_bytes is what an executable graph takes of the device's memory here.
size_t executable_bytes(const Graph &g) { return ((size_t)64 << 10) + ((size_t)1 << 10) * g.nodes.size(); }

// change gives a node of an executable other work.
CUresult change(Executable *x, const GraphNode *n, What what, Work work)
{
	if (n->graph != x->graph)
		return refuse(CUDA_ERROR_INVALID_VALUE, "the node is not one of the graph that this executable was made of");
	if (x->nodes.use_count() > 1) // launches are queued
		x->nodes = std::make_shared<std::vector<Node>>(*x->nodes);
	Node &node = (*x->nodes)[(size_t)n->at];
	if (node.what.does != what.does)
		return refuse(CUDA_ERROR_INVALID_VALUE, "the node was captured of %s: it is of another kind", node.call);
	if (node.what.function != what.function)
		return refuse(CUDA_ERROR_INVALID_VALUE, "the node launches %s, and cannot launch %s", node.what.function->name.c_str(),
			what.function->name.c_str());
	node.work = std::move(work);
	return CUDA_SUCCESS;
}

} // namespace

} // namespace driver

using namespace driver;

// --- capture

EXPORT cuStreamBeginCapture(CUstream h, CUstreamCaptureMode mode)
{
	CALL;
	GET_STREAM(s, h);
	if (s == context->null)
		return refuse(CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, "the default stream cannot capture");
	if (s->capture)
		return refuse(CUDA_ERROR_ILLEGAL_STATE, "the stream captures already");
	Graph *g = new Graph();
	g->origin = s;
	g->streams = {s};
	g->strict = mode != CU_STREAM_CAPTURE_MODE_RELAXED;
	g->thread = std::this_thread::get_id();
	s->capture = g;
	s->behind.clear();
	return CUDA_SUCCESS;
}

// joined counts the nodes that a stream's next work would come behind.
static size_t joined(const Graph &g, std::vector<int> todo)
{
	std::vector<char> seen(g.nodes.size());
	size_t n = 0;
	while (!todo.empty()) {
		size_t i = (size_t)todo.back();
		todo.pop_back();
		if (seen[i])
			continue;
		seen[i] = 1;
		n++;
		todo.insert(todo.end(), g.nodes[i].needs.begin(), g.nodes[i].needs.end());
	}
	return n;
}

EXPORT cuStreamEndCapture(CUstream h, CUgraph *out)
{
	CALL;
	GET_STREAM(s, h);
	*out = nullptr;
	Graph *g = s->capture;
	if (!g)
		return refuse(CUDA_ERROR_ILLEGAL_STATE, "the stream does not capture");
	if (g->origin != s)
		return refuse(CUDA_ERROR_STREAM_CAPTURE_UNMATCHED, "another stream began this capture");
	if (g->strict && g->thread != std::this_thread::get_id())
		return refuse(CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD, "the capture was begun on another OS thread");
	size_t n = joined(*g, s->behind);
	for (Stream *t : g->streams)
		t->capture = nullptr;
	g->open = false;
	if (g->spoilt)
		return refuse(CUDA_ERROR_STREAM_CAPTURE_INVALIDATED, "an earlier call spoilt this capture");
	if (n < g->nodes.size())
		return refuse(CUDA_ERROR_STREAM_CAPTURE_UNJOINED, "%zu of %zu captured operations are not joined to the first stream",
			g->nodes.size() - n, g->nodes.size());
	*out = (CUgraph)g;
	return CUDA_SUCCESS;
}

EXPORT cuStreamIsCapturing(CUstream h, CUstreamCaptureStatus *status)
{
	CALL;
	GET_STREAM(s, h);
	*status = !s->capture          ? CU_STREAM_CAPTURE_STATUS_NONE
			  : s->capture->spoilt ? CU_STREAM_CAPTURE_STATUS_INVALIDATED
								   : CU_STREAM_CAPTURE_STATUS_ACTIVE;
	return CUDA_SUCCESS;
}

EXPORT cuStreamGetCaptureInfo(CUstream h, CUstreamCaptureStatus *status, cuuint64_t *id, CUgraph *graph,
	const CUgraphNode **behind, size_t *n)
{
	CALL;
	GET_STREAM(s, h);
	*status = !s->capture          ? CU_STREAM_CAPTURE_STATUS_NONE
			  : s->capture->spoilt ? CU_STREAM_CAPTURE_STATUS_INVALIDATED
								   : CU_STREAM_CAPTURE_STATUS_ACTIVE;
	if (*status != CU_STREAM_CAPTURE_STATUS_ACTIVE)
		return CUDA_SUCCESS;
	s->told.clear();
	for (int i : s->behind)
		s->told.push_back(handle(s->capture, i));
	if (id)
		*id = (uintptr_t)s->capture;
	if (graph)
		*graph = (CUgraph)s->capture;
	if (behind)
		*behind = (const CUgraphNode *)s->told.data();
	if (n)
		*n = s->told.size();
	return CUDA_SUCCESS;
}

// --- graphs

EXPORT cuGraphGetNodes(CUgraph h, CUgraphNode *nodes, size_t *n)
{
	CALL;
	GET(Graph, g, h, graph);
	for (size_t i = 0; nodes && i < *n; i++)
		nodes[i] = i < g->nodes.size() ? (CUgraphNode)handle(g, (int)i) : nullptr;
	if (!nodes || *n > g->nodes.size())
		*n = g->nodes.size();
	return CUDA_SUCCESS;
}

EXPORT cuGraphInstantiateWithFlags(CUgraphExec *out, CUgraph h, unsigned long long)
{
	CALL;
	GET(Graph, g, h, graph);
	if (!charge(executable_bytes(*g)))
		return refuse(CUDA_ERROR_OUT_OF_MEMORY, "a graph of %zu nodes takes %zu bytes", g->nodes.size(), executable_bytes(*g));
	Executable *x = new Executable();
	x->graph = g;
	x->bytes = executable_bytes(*g);
	x->nodes = std::make_shared<std::vector<Node>>(g->nodes);
	*out = (CUgraphExec)x;
	return CUDA_SUCCESS;
}

EXPORT cuGraphUpload(CUgraphExec h, CUstream sh)
{
	CALL;
	GET(Executable, x, h, executable);
	GET_STREAM(s, sh);
	return s->capture ? refuse(CUDA_ERROR_NOT_SUPPORTED, "a graph uploaded into a capture") : CUDA_SUCCESS;
}

EXPORT cuGraphLaunch(CUgraphExec h, CUstream sh)
{
	CALL;
	GET(Executable, x, h, executable);
	GET_STREAM(s, sh);
	if (s->capture)
		return refuse(CUDA_ERROR_NOT_SUPPORTED, "a graph launched into a capture");
	auto nodes = x->nodes;
	return enqueue(s, [nodes] { return run_graph(*nodes); });
}

EXPORT cuGraphExecKernelNodeSetParams(CUgraphExec h, CUgraphNode nh, const CUDA_KERNEL_NODE_PARAMS *p)
{
	CALL;
	GET(Executable, x, h, executable);
	GET(GraphNode, n, nh, node);
	GET(Function, f, p->func, function);
	Work work;
	CUresult r = launch_work(f, dim3(p->gridDimX, p->gridDimY, p->gridDimZ), dim3(p->blockDimX, p->blockDimY, p->blockDimZ),
		p->sharedMemBytes, p->kernelParams, p->extra, &work);
	return r ? r : change(x, n, {Does::launch, f}, std::move(work));
}

EXPORT cuGraphExecMemsetNodeSetParams(CUgraphExec h, CUgraphNode nh, const CUDA_MEMSET_NODE_PARAMS *p, CUcontext c)
{
	CALL;
	GET(Executable, x, h, executable);
	GET(GraphNode, n, nh, node);
	if ((Context *)c != context)
		return refuse(CUDA_ERROR_INVALID_VALUE, "of another context");
	if (p->height != 1 || !p->width || (p->elementSize != 1 && p->elementSize != 2 && p->elementSize != 4))
		return refuse(CUDA_ERROR_INVALID_VALUE, "%zu x %zu elements of %u bytes: one row of 1, 2 or 4 is possible", p->height,
			p->width, p->elementSize);
	Work work;
	CUresult r = fill_work(p->dst, p->value, p->elementSize, p->width, &work);
	return r ? r : change(x, n, {Does::fill}, std::move(work));
}

EXPORT cuGraphExecMemcpyNodeSetParams(CUgraphExec h, CUgraphNode nh, const CUDA_MEMCPY3D *p, CUcontext c)
{
	CALL;
	GET(Executable, x, h, executable);
	GET(GraphNode, n, nh, node);
	if ((Context *)c != context)
		return refuse(CUDA_ERROR_INVALID_VALUE, "of another context");
	if (p->Height != 1 || p->Depth != 1 || !p->WidthInBytes || p->srcMemoryType != CU_MEMORYTYPE_DEVICE ||
		p->dstMemoryType != CU_MEMORYTYPE_DEVICE)
		return refuse(CUDA_ERROR_INVALID_VALUE, "%zu x %zu x %zu bytes, memory types %d to %d: one row on the device is possible",
			p->WidthInBytes, p->Height, p->Depth, (int)p->srcMemoryType, (int)p->dstMemoryType);
	Work work;
	CUresult r = copy_work(p->dstDevice + p->dstXInBytes, p->srcDevice + p->srcXInBytes, p->WidthInBytes, &work);
	return r ? r : change(x, n, {Does::copy}, std::move(work));
}

EXPORT cuGraphDestroy(CUgraph h)
{
	CALL;
	GET(Graph, g, h, graph);
	g->alive = false;
	for (GraphNode *n : g->handles)
		if (n)
			n->alive = false;
	g->nodes.clear();
	return CUDA_SUCCESS;
}

EXPORT cuGraphExecDestroy(CUgraphExec h)
{
	CALL;
	GET(Executable, x, h, executable);
	x->alive = false;
	x->nodes.reset();
	discharge(x->bytes);
	return CUDA_SUCCESS;
}
