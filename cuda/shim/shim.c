//go:build cuda

// The driver library, opened at the first real call, so that a program which links these symbols starts on machines
// without a driver. cuInit is deferred to that moment too: gorgonia.org/cu calls it when the program starts and ends the
// process on any failure.
#include "shim.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

static void *library;
static const char *opened;
static const char *missing;
static char reason[512];
static CUresult status = CUDA_ERROR_NO_DEVICE;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void try_open(const char *path) {
	if (library) return;
	library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	if (library) {
		opened = path;
	} else if (!reason[0]) { // the first place is the one to complain about
		const char *text = dlerror();
		snprintf(reason, sizeof reason, "%s", text ? text : path);
	}
}

static void load(void) {
	const char *named = getenv("PALIMPSEST_LIBCUDA");
	if (named && !*named) {
		snprintf(reason, sizeof reason, "PALIMPSEST_LIBCUDA is empty, which means: no driver");
		return;
	}
	if (named) {
		try_open(named);
	} else {
		try_open("libcuda.so.1");
		try_open("/usr/lib/wsl/lib/libcuda.so.1");
	}
	if (!library) return;
	CUresult (*init)(unsigned) = (CUresult(*)(unsigned))dlsym(library, "cuInit");
	if (!init) {
		missing = "cuInit";
		status = CUDA_ERROR_SHARED_OBJECT_INIT_FAILED;
		return;
	}
	status = init(0);
}

CUresult shim_status(void) {
	pthread_once(&once, load);
	return status;
}

const char *shim_library(void) {
	shim_status();
	return opened;
}

const char *shim_reason(void) {
	shim_status();
	return reason;
}

const char *shim_missing(void) {
	return __atomic_load_n(&missing, __ATOMIC_RELAXED);
}

CUresult shim_resolve_early(const char *name, void **address) {
	shim_status();
	if (!library) return CUDA_ERROR_NO_DEVICE;
	*address = dlsym(library, name);
	if (*address) return CUDA_SUCCESS;
	__atomic_store_n(&missing, name, __ATOMIC_RELAXED);
	return CUDA_ERROR_SHARED_OBJECT_SYMBOL_NOT_FOUND;
}

CUresult shim_resolve(const char *name, void **address) {
	CUresult ready = shim_status();
	return ready != CUDA_SUCCESS ? ready : shim_resolve_early(name, address);
}

SHIM_HIDDEN CUresult cuInit(unsigned flags) {
	(void)flags;
	return CUDA_SUCCESS;
}
