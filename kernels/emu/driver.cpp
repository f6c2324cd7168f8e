// Settings, errors, the one device and its contexts.
#include "driver.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <algorithm>
#include <chrono>
#include <unordered_set>

namespace driver {

Settings settings;
thread_local Context *context;
thread_local const char *call_name = "?";

namespace {

std::recursive_mutex mutex;
std::unordered_set<const void *> objects, contexts;
Context *primary;
thread_local std::vector<Context *> pushed;
thread_local bool in_host_function;
uint64_t random_state = 1;

struct ErrorText {
	int code;
	const char *name, *text;
};
#define ERROR(code, text) {CUDA_ERROR_##code, "CUDA_ERROR_" #code, text}
const ErrorText errors[] = {
	{CUDA_SUCCESS, "CUDA_SUCCESS", "no error"},
	ERROR(INVALID_VALUE, "invalid argument"),
	ERROR(OUT_OF_MEMORY, "out of memory"),
	ERROR(NOT_INITIALIZED, "initialization error"),
	ERROR(DEINITIALIZED, "driver shutting down"),
	ERROR(NO_DEVICE, "no CUDA-capable device is detected"),
	ERROR(INVALID_DEVICE, "invalid device ordinal"),
	ERROR(INVALID_IMAGE, "device kernel image is invalid"),
	ERROR(INVALID_CONTEXT, "invalid device context"),
	ERROR(NO_BINARY_FOR_GPU, "no kernel image is available for execution on the device"),
	ERROR(INVALID_PTX, "a PTX JIT compilation failed"),
	ERROR(UNSUPPORTED_PTX_VERSION, "the provided PTX was compiled with an unsupported toolchain"),
	ERROR(INVALID_SOURCE, "device kernel image is invalid"),
	ERROR(SHARED_OBJECT_SYMBOL_NOT_FOUND, "shared object symbol not found"),
	ERROR(INVALID_HANDLE, "invalid resource handle"),
	ERROR(ILLEGAL_STATE, "the operation cannot be performed in the present state"),
	ERROR(NOT_FOUND, "named symbol not found"),
	ERROR(NOT_READY, "device not ready"),
	ERROR(ILLEGAL_ADDRESS, "an illegal memory access was encountered"),
	ERROR(LAUNCH_OUT_OF_RESOURCES, "too many resources requested for launch"),
	ERROR(LAUNCH_TIMEOUT, "the launch timed out and was terminated"),
	ERROR(CONTEXT_IS_DESTROYED, "context is destroyed"),
	ERROR(HOST_MEMORY_ALREADY_REGISTERED, "part or all of the requested memory range is already mapped"),
	ERROR(HOST_MEMORY_NOT_REGISTERED, "pointer does not correspond to a registered memory region"),
	ERROR(MISALIGNED_ADDRESS, "misaligned address"),
	ERROR(LAUNCH_FAILED, "unspecified launch failure"),
	ERROR(NOT_PERMITTED, "operation not permitted"),
	ERROR(NOT_SUPPORTED, "operation not supported"),
	ERROR(STREAM_CAPTURE_UNSUPPORTED, "operation not permitted when stream is capturing"),
	ERROR(STREAM_CAPTURE_INVALIDATED, "operation failed due to a previous error during capture"),
	ERROR(STREAM_CAPTURE_MERGE, "operation would result in a merge of separate capture sequences"),
	ERROR(STREAM_CAPTURE_UNMATCHED, "capture was not ended in the same stream as it began"),
	ERROR(STREAM_CAPTURE_UNJOINED, "capturing stream has unjoined work"),
	ERROR(STREAM_CAPTURE_ISOLATION, "dependency created on uncaptured work in another stream"),
	ERROR(STREAM_CAPTURE_IMPLICIT, "operation would make the legacy stream depend on a capturing blocking stream"),
	ERROR(CAPTURED_EVENT, "operation not permitted on an event last recorded in a capturing stream"),
	ERROR(STREAM_CAPTURE_WRONG_THREAD, "attempt to terminate a thread-local capture sequence from another thread"),
	ERROR(UNKNOWN, "unknown error"),
};

const ErrorText *error_text(int code)
{
	for (const ErrorText &e : errors)
		if (e.code == code)
			return &e;
	return nullptr;
}

// injected answers calls that PALIMPSEST_EMU_FAIL=name:n:code names: the n-th call of name fails with code.
CUresult injected(const char *name)
{
	static const char *wish = getenv("PALIMPSEST_EMU_FAIL");
	static std::map<std::string, int> calls;
	char wanted[64];
	int nth, code;
	if (!wish || sscanf(wish, "%63[^:]:%d:%d", wanted, &nth, &code) != 3 || strcmp(wanted, name) || ++calls[name] != nth)
		return CUDA_SUCCESS;
	return refuse(code, "injected by PALIMPSEST_EMU_FAIL (call %d)", nth);
}

long variable(const char *name, long otherwise)
{
	const char *v = getenv(name);
	return v && *v ? atol(v) : otherwise;
}

// choose returns the place of a variable's value among words, the first one where it is unset.
CUresult choose(const char *name, std::vector<const char *> words, int *at)
{
	const char *v = getenv(name);
	*at = 0;
	if (!v || !*v)
		return CUDA_SUCCESS;
	for (size_t i = 0; i < words.size(); i++)
		if (!strcmp(v, words[i])) {
			*at = (int)i;
			return CUDA_SUCCESS;
		}
	return refuse(CUDA_ERROR_INVALID_VALUE, "%s=%s: %s, %s or %s is expected", name, v, words[0], words[1], words[2]);
}

Context *make_context()
{
	Context *c = new Context(), *was = context;
	context = c;
	c->null = new Stream();
	objects.erase(c->null); // no handle of it is given out
	context = was;
	contexts.insert(c);
	return c;
}

void destroy(Context *c)
{
	release_memory(c);
	for (const void *o : objects)
		if (((Object *)o)->context == c)
			((Object *)o)->alive = false;
	for (Stream *s : c->streams)
		s->queue.clear();
	c->null->queue.clear();
	c->alive = false;
}

} // namespace

unsigned below(unsigned n)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return (unsigned)((random_state >> 24) % n);
}

double milliseconds()
{
	return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

int shared_opt_in()
{
	return settings.capability >= 90 ? 232448 : settings.capability % 10 ? 101376 : 166912; // H100, consumer cards, A100
}

size_t round_up(size_t n, size_t to) { return (n + to - 1) / to * to; }

Object::Object(Kind k) : kind(k), context(driver::context) { objects.insert(this); }

CUresult refuse(int code, const char *format, ...)
{
	char text[800];
	va_list list;
	va_start(list, format);
	vsnprintf(text, sizeof text, format, list);
	va_end(list);
	const ErrorText *e = error_text(code);
	fprintf(stderr, "emulated driver: %s: %s -> %s (%d)\n", call_name, text, e ? e->name : "?", code);
	return (CUresult)code;
}

Call::Call(const char *name, bool needs_context)
{
	mutex.lock();
	call_name = name;
	open_device(true);
	if (in_host_function)
		code = refuse(CUDA_ERROR_NOT_PERMITTED, "called from a host function");
	else if (!settings.initialised)
		code = refuse(CUDA_ERROR_NOT_INITIALIZED, "cuInit comes first");
	else if ((code = injected(name)) || !needs_context)
		;
	else if (!context)
		code = refuse(CUDA_ERROR_INVALID_CONTEXT, "no context is current on this OS thread");
	else if (!context->alive)
		code = refuse(CUDA_ERROR_CONTEXT_IS_DESTROYED, "the current context was destroyed");
	else
		code = context->sticky;
}

Call::~Call()
{
	open_device(false);
	mutex.unlock();
}

Object *checked(const void *handle, Kind kind, CUresult *code)
{
	static const char *const names[] = {"stream", "event", "graph", "executable graph", "module", "function"};
	const char *name = names[(int)kind];
	Object *o = (Object *)handle;
	if (!handle || !objects.count(handle) || o->kind != kind)
		*code = refuse(CUDA_ERROR_INVALID_HANDLE, "%p is not a %s", handle, name);
	else if (!o->alive)
		*code = refuse(CUDA_ERROR_INVALID_HANDLE, "%s %p was destroyed, or its context or module was", name, handle);
	else if (o->context != context)
		*code = refuse(CUDA_ERROR_INVALID_HANDLE, "%s %p belongs to another context", name, handle);
	else
		return o;
	return nullptr;
}

Stream *get_stream(CUstream handle, CUresult *code)
{
	if ((Address)handle <= 2) // 0, CU_STREAM_LEGACY, CU_STREAM_PER_THREAD
		return context->null;
	return get<Stream>(handle, Kind::stream, code);
}

} // namespace driver

using namespace driver;

// --- start

EXPORT cuInit(unsigned)
{
	std::lock_guard<std::recursive_mutex> lock(mutex);
	call_name = "cuInit";
	if (settings.initialised)
		return CUDA_SUCCESS;
	int when, copies;
	CUresult r;
	if ((r = choose("PALIMPSEST_EMU_ORDER", {"random", "eager", "late", "reversed"}, &when)) ||
		(r = choose("PALIMPSEST_EMU_COPIES", {"random", "eager", "lazy"}, &copies)))
		return r;
	settings.when = (When)when;
	settings.copies = copies == 0 ? emu::Copies::random : copies == 1 ? emu::Copies::eager : emu::Copies::lazy;
	settings.seed = (uint64_t)variable("PALIMPSEST_EMU_SEED", 1);
	settings.workers = (int)std::max(1l, variable("PALIMPSEST_EMU_WORKERS", 2));
	settings.capability = (int)variable("PALIMPSEST_EMU_CC", 80);
	settings.memory = (size_t)variable("PALIMPSEST_EMU_MEM", 1024) << 20;
	settings.statistics = variable("PALIMPSEST_EMU_STATS", 0) != 0;
	random_state = settings.seed * 0x9E3779B97F4A7C15ull | 1;
	if ((r = reserve_range()))
		return r;
	catch_faults();
	settings.initialised = true;
	return CUDA_SUCCESS;
}

EXPORT cuGetErrorName(CUresult code, const char **name)
{
	const ErrorText *e = error_text(code);
	*name = e ? e->name : nullptr;
	return e ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

EXPORT cuGetErrorString(CUresult code, const char **text)
{
	const ErrorText *e = error_text(code);
	*text = e ? e->text : nullptr;
	return e ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

EXPORT cuDriverGetVersion(int *version)
{
	*version = 12040;
	return CUDA_SUCCESS;
}

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

static CUresult check_context(CUcontext c)
{
	if (!contexts.count(c))
		return refuse(CUDA_ERROR_INVALID_CONTEXT, "%p is not a context", (void *)c);
	if (!((Context *)c)->alive)
		return refuse(CUDA_ERROR_CONTEXT_IS_DESTROYED, "the context was destroyed");
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

// cuLaunchHostFunc queues a call of the host, which may not call the driver.
EXPORT cuLaunchHostFunc(CUstream h, CUhostFn function, void *data)
{
	CALL;
	GET_STREAM(s, h);
	return enqueue(s, [=] {
		in_host_function = true;
		function(data);
		in_host_function = false;
		return CUDA_SUCCESS;
	});
}
