package kernels

import (
	"fmt"
	"os"
)

// product is C[m,n] (+)= op(A)[m,k] op(B)[k,n] on row-major matrices.
type product struct {
	m, n, k        int
	a, b, c        []float32
	lda, ldb, ldc  int
	transA, transB bool
	add            bool // add to C instead of writing it
}

// products computes matrix products on the calling thread.
type products interface {
	name() string
	multiply(b *cpu, p product)
}

// openBLASVariable names the library to open in place of the usual names; set but empty means none.
const openBLASVariable = "PALIMPSEST_OPENBLAS"

const openBLASHint = "hint: install libopenblas0-pthread"

// openProducts chooses who computes products, and says in notes what could make them faster.
func openProducts(choice string, leaf leaves) (p products, notes []string, err error) {
	switch choice {
	case "builtin":
		return builtinProducts(leaf, "as asked"), nil, nil
	case "", "auto", "openblas":
	default:
		return nil, nil, fmt.Errorf("BLAS %q: want auto, openblas or builtin", choice)
	}
	names := []string{"libopenblas.so.0", "libopenblas.so", "libopenblas.0.dylib"}
	path, named := os.LookupEnv(openBLASVariable)
	if named {
		names = []string{path}
	}
	p, core, err := openOpenBLAS(names)
	switch {
	case err == nil && (named || choice == "openblas" || !leaf.outrun(core)):
		return p, nil, nil
	case err == nil:
		why := fmt.Sprintf("%s would use its slower %s kernels", p.name(), core)
		note := fmt.Sprintf("products are built in: %s; hint: unset OPENBLAS_CORETYPE, or install a newer OpenBLAS, "+
			"or name its file in %s to use it all the same", why, openBLASVariable)
		return builtinProducts(leaf, why), []string{note}, nil
	case choice == "openblas":
		return nil, nil, fmt.Errorf("OpenBLAS was asked for: %w; %s, or name its file in %s", err, openBLASHint, openBLASVariable)
	}
	return builtinProducts(leaf, "OpenBLAS not found; "+openBLASHint),
		[]string{fmt.Sprintf("products are built in: %v; %s", err, openBLASHint)}, nil
}
