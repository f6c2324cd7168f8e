package kernels

import (
	"fmt"
	"runtime"
	"unsafe"

	"gorgonia.org/tensor"
)

// CPUOptions chooses how the CPU backend computes.
type CPUOptions struct {
	Threads int    // workers; 0: as many as GOMAXPROCS allows. Results do not depend on it
	BLAS    string // "auto" or "": OpenBLAS when it can be opened, else built-in products; "openblas"; "builtin"

	maxLevel int // tests: the highest instruction set level to use plus one; 0: all that the machine has
}

// cpu is the fast float32 backend for the host. Ops run before they return, cut into pieces for a pool of workers. What a
// piece does is a leaf: C compiled for several instruction sets (leaf_cgo.go) or, without cgo, the oracles (leaf_go.go).
type cpu struct {
	*pool
	scratch scratchpad
	leaf    leaves
	blas    products
	info    Info
}

// NewCPU returns the float32 CPU backend. It fails when options.BLAS names a library that cannot be opened.
func NewCPU(options CPUOptions) (Backend, error) {
	threads := options.Threads
	if threads == 0 {
		threads = runtime.GOMAXPROCS(0)
	}
	if threads < 0 {
		return nil, fmt.Errorf("%d threads: want at least 1, or 0 for all processors", threads)
	}
	leaf := newLeaves(options.maxLevel)
	blas, notes, err := openProducts(options.BLAS, leaf)
	if err != nil {
		return nil, err
	}
	b := &cpu{pool: newPool(threads), leaf: leaf, blas: blas}
	b.info = Info{Name: "cpu", Device: processorName() + " (" + leaf.name() + ")", Products: blas.name(), Threads: threads,
		Compute: F32, Master: F32, Notes: append(leaf.notes(), notes...)}
	return b, nil
}

func (b *cpu) Info() Info { return b.info }

// Alloc returns memory aligned to cache lines and vectors, so that loops meet the same alignment in every run.
func (b *cpu) Alloc(t DType, n int) Buf {
	if t == F32 && n >= 0 {
		return HostBuf(alignedFloats(n))
	}
	return allocHost(t, n)
}

func (b *cpu) Upload(dst Buf, src any)   { uploadHost(dst, src) }
func (b *cpu) Download(dst any, src Buf) { downloadHost(dst, src) }
func (b *cpu) DownloadLater(dst []float64, src Buf) func() error {
	return downloadHostLater(dst, src)
}
func (b *cpu) Tensor(x Buf, shape ...int) *tensor.Dense { return tensorHost(x, shape) }
func (b *cpu) Copy(dst, src Buf)                        { copyHost(dst, src) }
func (b *cpu) Sync() error                              { return nil }
func (b *cpu) Close()                                   { b.pool.close() }

func (b *cpu) Zero(x Buf) {
	if x.Type() != F32 {
		zeroHost(x)
		return
	}
	s := View[float32](x)
	b.spans(len(s), 8*grain, func(lo, hi int) { clear(s[lo:hi]) })
}

func f32(b Buf) []float32 { return View[float32](b) }

const alignment = 64

// alignedFloats returns n zeroed elements that start at a multiple of 64 bytes.
func alignedFloats(n int) []float32 {
	s := make([]float32, n+alignment/4)
	skip := int(-uintptr(unsafe.Pointer(unsafe.SliceData(s))) % alignment / 4)
	return s[skip : skip+n : skip+n]
}
