//go:build cuda

// Package shim makes the NVIDIA driver library optional at run time: it defines every cu* symbol that the program links,
// as a trampoline that opens libcuda.so.1 at the first call. PALIMPSEST_LIBCUDA names another library, such as an emulated
// driver; its empty value means that there is none. A package that calls cu* functions imports this one.
package shim

//go:generate go run ./generate ../abi/cuda.h trampolines.c

/*
#cgo LDFLAGS: -L${SRCDIR}/emptylib -Wl,--as-needed -ldl -lpthread
#include "shim.h"
*/
import "C"

// Status opens the driver library and returns what its cuInit answered as a CUresult: 0 for success, 100 where there is
// no library or no device.
func Status() int { return int(C.shim_status()) }

// Library is the file that was opened, "" where none could be.
func Library() string { return C.GoString(C.shim_library()) }

// Reason says why no library could be opened, "" when one is.
func Reason() string {
	if Library() != "" {
		return ""
	}
	return C.GoString(C.shim_reason())
}

// Missing is the last symbol that was called and that the library lacks, "" when there is none.
func Missing() string { return C.GoString(C.shim_missing()) }
