// Settings, errors, handles: what every entry point stands on.
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
std::unordered_set<const void *> objects;
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

// injected answers calls that PALIMPSEST_EMU_FAIL=name:n:code names: the n-th call of name fails with code, every one
// where n is 0.
CUresult injected(const char *name)
{
	static const char *wish = getenv("PALIMPSEST_EMU_FAIL");
	static std::map<std::string, int> calls;
	char wanted[64];
	int nth, code;
	if (!wish || sscanf(wish, "%63[^:]:%d:%d", wanted, &nth, &code) != 3 || strcmp(wanted, name) || (++calls[name] != nth && nth))
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

size_t round_up(size_t n, size_t to) { return (n + to - 1) / to * to; }

Object::Object(Kind k) : kind(k), context(driver::context) { objects.insert(this); }

void forget(const Object *o) { objects.erase(o); }

void retire(const Context *c)
{
	for (const void *p : objects) {
		Object *o = (Object *)p;
		if (o->context != c || !o->alive)
			continue;
		if (o->kind == Kind::executable)
			discharge(static_cast<Executable *>(o)->bytes);
		o->alive = false;
	}
}

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
	static const char *const names[] = {"stream", "event", "graph", "node of a graph", "executable graph", "module", "function"};
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
