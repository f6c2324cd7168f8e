// The one device and its contexts.
#include <stdio.h>
#include <string.h>

#include <unordered_set>

#include "driver.h"

namespace driver {

namespace {

std::unordered_set<const void *> contexts;
Context *primary;
thread_local std::vector<Context *> pushed;

Context *make_context()
{
	Context *c = new Context(), *was = context;
	context = c;
	c->null = new Stream();
	forget(c->null); // no handle of it is given out
	context = was;
	contexts.insert(c);
	return c;
}

void destroy(Context *c)
{
	release_memory(c);
	retire(c);
	for (Stream *s : c->streams)
		s->queue.clear();
	c->null->queue.clear();
	c->alive = false;
}

CUresult check_context(CUcontext c)
{
	if (!contexts.count(c))
		return refuse(CUDA_ERROR_INVALID_CONTEXT, "%p is not a context", (void *)c);
	if (!((Context *)c)->alive)
		return refuse(CUDA_ERROR_CONTEXT_IS_DESTROYED, "the context was destroyed");
	return CUDA_SUCCESS;
}

} // namespace

int shared_opt_in()
{
	return settings.capability >= 90 ? 232448 : settings.capability % 10 ? 101376 : 166912; // H100, consumer cards, A100
}

} // namespace driver

using namespace driver;

// --- the device

EXPORT cuDeviceGetCount(int *n)
{
	CALL_WITHOUT_CONTEXT;
	*n = 1;
	return CUDA_SUCCESS;
}

EXPORT cuDeviceGet(CUdevice *device, int ordinal)
{
	CALL_WITHOUT_CONTEXT;
	if (ordinal)
		return refuse(CUDA_ERROR_INVALID_DEVICE, "device %d of 1", ordinal);
	*device = 0;
	return CUDA_SUCCESS;
}

EXPORT cuDeviceGetName(char *name, int room, CUdevice)
{
	CALL_WITHOUT_CONTEXT;
	snprintf(name, (size_t)room, "Emulated sm_%d (CPU)", settings.capability);
	return CUDA_SUCCESS;
}

EXPORT cuDeviceGetUuid(CUuuid *id, CUdevice)
{
	CALL_WITHOUT_CONTEXT;
	memcpy(id, "emulated-device0", 16);
	return CUDA_SUCCESS;
}

EXPORT cuDeviceGetPCIBusId(char *id, int room, CUdevice)
{
	CALL_WITHOUT_CONTEXT;
	snprintf(id, (size_t)room, "0000:00:00.0");
	return CUDA_SUCCESS;
}

EXPORT cuDeviceTotalMem(size_t *bytes, CUdevice)
{
	CALL_WITHOUT_CONTEXT;
	*bytes = settings.memory;
	return CUDA_SUCCESS;
}

EXPORT cuDeviceGetAttribute(int *value, CUdevice_attribute attribute, CUdevice)
{
	CALL_WITHOUT_CONTEXT;
	static const std::map<int, int> limits = { // those of an A100
		{CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_BLOCK, 1024},
		{CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_X, 1024},
		{CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_Y, 1024},
		{CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_Z, 64},
		{CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_X, 0x7fffffff},
		{CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_Y, 65535},
		{CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_Z, 65535},
		{CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK, 49152},
		{CU_DEVICE_ATTRIBUTE_TOTAL_CONSTANT_MEMORY, 65536},
		{CU_DEVICE_ATTRIBUTE_WARP_SIZE, 32},
		{CU_DEVICE_ATTRIBUTE_MAX_REGISTERS_PER_BLOCK, 65536},
		{CU_DEVICE_ATTRIBUTE_CLOCK_RATE, 1410000},
		{CU_DEVICE_ATTRIBUTE_GPU_OVERLAP, 1},
		{CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT, 108},
		{CU_DEVICE_ATTRIBUTE_CONCURRENT_KERNELS, 1},
		{CU_DEVICE_ATTRIBUTE_MEMORY_CLOCK_RATE, 1215000},
		{CU_DEVICE_ATTRIBUTE_GLOBAL_MEMORY_BUS_WIDTH, 5120},
		{CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE, 40 << 20},
		{CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_MULTIPROCESSOR, 2048},
		{CU_DEVICE_ATTRIBUTE_ASYNC_ENGINE_COUNT, 3},
		{CU_DEVICE_ATTRIBUTE_UNIFIED_ADDRESSING, 1},
		{CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_MULTIPROCESSOR, 167936},
		{CU_DEVICE_ATTRIBUTE_MAX_REGISTERS_PER_MULTIPROCESSOR, 65536},
		{CU_DEVICE_ATTRIBUTE_MAX_BLOCKS_PER_MULTIPROCESSOR, 32},
		{CU_DEVICE_ATTRIBUTE_RESERVED_SHARED_MEMORY_PER_BLOCK, 1024},
	};
	auto found = limits.find(attribute);
	if (attribute == CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)
		*value = settings.capability / 10;
	else if (attribute == CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)
		*value = settings.capability % 10;
	else if (attribute == CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN)
		*value = shared_opt_in();
	else
		*value = found == limits.end() ? 0 : found->second;
	return CUDA_SUCCESS;
}

// --- contexts

EXPORT cuDevicePrimaryCtxRetain(CUcontext *c, CUdevice)
{
	CALL_WITHOUT_CONTEXT;
	if (!primary || !primary->alive)
		primary = make_context();
	primary->references++;
	*c = (CUcontext)primary;
	return CUDA_SUCCESS;
}

EXPORT cuDevicePrimaryCtxRelease(CUdevice)
{
	CALL_WITHOUT_CONTEXT;
	if (!primary || !primary->alive)
		return refuse(CUDA_ERROR_INVALID_CONTEXT, "the primary context is not retained");
	if (--primary->references == 0)
		destroy(primary);
	return CUDA_SUCCESS;
}

EXPORT cuDevicePrimaryCtxReset(CUdevice)
{
	CALL_WITHOUT_CONTEXT;
	if (primary && primary->alive)
		destroy(primary);
	return CUDA_SUCCESS;
}

EXPORT cuDevicePrimaryCtxSetFlags(CUdevice, unsigned)
{
	CALL_WITHOUT_CONTEXT;
	return CUDA_SUCCESS;
}

EXPORT cuDevicePrimaryCtxGetState(CUdevice, unsigned *flags, int *active)
{
	CALL_WITHOUT_CONTEXT;
	*flags = 0;
	*active = primary && primary->alive;
	return CUDA_SUCCESS;
}

EXPORT cuCtxCreate(CUcontext *c, unsigned, CUdevice)
{
	CALL_WITHOUT_CONTEXT;
	pushed.push_back(context);
	context = make_context();
	*c = (CUcontext)context;
	return CUDA_SUCCESS;
}

EXPORT cuCtxDestroy(CUcontext c)
{
	CALL_WITHOUT_CONTEXT;
	if (CUresult r = check_context(c))
		return r;
	destroy((Context *)c);
	return CUDA_SUCCESS;
}

EXPORT cuCtxSetCurrent(CUcontext c)
{
	CALL_WITHOUT_CONTEXT;
	CUresult r = c ? check_context(c) : CUDA_SUCCESS;
	if (!r)
		context = (Context *)c;
	return r;
}

EXPORT cuCtxGetCurrent(CUcontext *c)
{
	CALL_WITHOUT_CONTEXT;
	*c = (CUcontext)context;
	return CUDA_SUCCESS;
}

EXPORT cuCtxPushCurrent(CUcontext c)
{
	CALL_WITHOUT_CONTEXT;
	CUresult r = check_context(c);
	if (r)
		return r;
	pushed.push_back(context);
	context = (Context *)c;
	return CUDA_SUCCESS;
}

EXPORT cuCtxPopCurrent(CUcontext *c)
{
	CALL_WITHOUT_CONTEXT;
	*c = (CUcontext)context;
	context = pushed.empty() ? nullptr : pushed.back();
	if (!pushed.empty())
		pushed.pop_back();
	return CUDA_SUCCESS;
}

EXPORT cuCtxGetDevice(CUdevice *device)
{
	CALL;
	*device = 0;
	return CUDA_SUCCESS;
}

EXPORT cuCtxGetStreamPriorityRange(int *least, int *greatest)
{
	CALL;
	*least = 0;
	*greatest = -5;
	return CUDA_SUCCESS;
}

EXPORT cuCtxSynchronize(void)
{
	CALL;
	return finish_all();
}
