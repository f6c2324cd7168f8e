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

// openProducts chooses who computes products, and says why in notes when it is not the fastest way.
func openProducts(choice string, leaf leaves) (p products, notes []string, err error) {
	switch choice {
	case "", "auto", "openblas":
		names := []string{"libopenblas.so.0", "libopenblas.so", "libopenblas.0.dylib"}
		if path, set := os.LookupEnv(openBLASVariable); set {
			names = []string{path}
		}
		p, err := openOpenBLAS(names)
		if err == nil {
			return p, nil, nil
		}
		if choice == "openblas" {
			return nil, nil, fmt.Errorf("OpenBLAS was asked for: %w; %s, or name its file in %s", err, openBLASHint, openBLASVariable)
		}
		p = builtinProducts(leaf, "OpenBLAS not found; "+openBLASHint)
		return p, []string{fmt.Sprintf("products are built in: %v; %s", err, openBLASHint)}, nil
	case "builtin":
		return builtinProducts(leaf, "as asked"), nil, nil
	}
	return nil, nil, fmt.Errorf("BLAS %q: want auto, openblas or builtin", choice)
}
