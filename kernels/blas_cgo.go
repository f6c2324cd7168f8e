//go:build cgo

package kernels

/*
#include <stdlib.h>
#include "blas.h"
#cgo noescape blas_sgemm
#cgo nocallback blas_sgemm
*/
import "C"

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"unsafe"
)

// openBLAS is products by cblas_sgemm; the library is opened once a process and stays.
type openBLAS struct{ label string }

var openedBLAS struct {
	sync.Mutex
	path, label, core string
}

// openOpenBLAS opens the first of the named libraries that can be opened, and returns the processor core whose kernels it
// runs. The library that is open stays open when its name is met again.
func openOpenBLAS(names []string) (p products, core string, err error) {
	o := &openedBLAS
	o.Lock()
	defer o.Unlock()
	var failures []string
	for _, path := range names {
		if path == "" {
			return nil, "", errors.New(openBLASVariable + " is empty, which means none")
		}
		if o.path != path {
			cPath := C.CString(path)
			why := C.blas_open(cPath)
			C.free(unsafe.Pointer(cPath))
			if why != nil {
				failures = append(failures, C.GoString(why))
				continue
			}
			o.path, o.core = path, C.GoString(C.blas_core())
			o.label = blasLabel(path, o.core)
		}
		return openBLAS{o.label}, o.core, nil
	}
	return nil, "", fmt.Errorf("cannot open OpenBLAS: %s", strings.Join(failures, "; "))
}

// blasLabel is for example "OpenBLAS 0.3.21 Cooperlake (libopenblas.so.0)".
func blasLabel(path, core string) string {
	version := C.GoString(C.blas_config())
	if words := strings.Fields(version); len(words) > 1 && words[0] == "OpenBLAS" {
		version = words[1]
	}
	return fmt.Sprintf("OpenBLAS %s %s (%s)", version, core, path)
}

// outrun reports whether the built-in products are faster than OpenBLAS's kernels for a core: where they have wider
// vectors. Otherwise the two are within some per cent of each other, either way, and OpenBLAS has kernels of its own for
// more processors.
func (l leaves) outrun(core string) bool {
	wide := map[string]bool{"SkylakeX": true, "Cooperlake": true, "SapphireRapids": true}
	medium := map[string]bool{"Haswell": true, "Zen": true}
	switch l.level {
	case 2:
		return !wide[core]
	case 1:
		return !wide[core] && !medium[core]
	}
	return false
}

func (p openBLAS) name() string { return p.label }

func (openBLAS) multiply(_ *cpu, x product) {
	C.blas_sgemm(flag(x.transA), flag(x.transB), C.int(x.m), C.int(x.n), C.int(x.k), ptr(x.a), C.int(x.lda), ptr(x.b),
		C.int(x.ldb), flag(x.add), ptr(x.c), C.int(x.ldc))
}
