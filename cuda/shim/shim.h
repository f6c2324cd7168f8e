//go:build cuda

// What the trampolines ask of the loader.
#ifndef PALIMPSEST_SHIM_H
#define PALIMPSEST_SHIM_H

#include <cuda.h>

// Hidden: Go's linker exports symbols to libraries that are opened later, and an exported cu* symbol would take the place
// of libcuda's own.
#define SHIM_HIDDEN __attribute__((visibility("hidden")))

// shim_resolve finds a symbol of the driver library after opening and initialising it; CUDA_ERROR_NO_DEVICE without a
// library, what cuInit said when it failed, CUDA_ERROR_SHARED_OBJECT_SYMBOL_NOT_FOUND for a symbol the driver lacks.
SHIM_HIDDEN CUresult shim_resolve(const char *name, void **address);

// shim_resolve_early does not ask whether the driver could be initialised.
SHIM_HIDDEN CUresult shim_resolve_early(const char *name, void **address);

// shim_status opens and initialises the driver library now and returns what became of it.
SHIM_HIDDEN CUresult shim_status(void);

SHIM_HIDDEN const char *shim_library(void); // the file that was opened; null: none
SHIM_HIDDEN const char *shim_reason(void);  // why none was, in the loader's words
SHIM_HIDDEN const char *shim_missing(void); // the last symbol that the library lacked; null: none

#endif
