//go:build cuda

package kernels

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"

	"palimpsest/cuda"
	"palimpsest/engine/fault"
	"palimpsest/kernels/philox"
)

// gpu is the backend of one NVIDIA GPU: bfloat16 activations, float32 masters. Ops check their arguments on the host,
// pack one or a few launches and return; NAME_cuda.go has the launches of NAME.cu. What fails makes the device fail for
// good: later ops do nothing, and Sync returns the first failure. Contents of index buffers are not looked at.
//
// Results depend on shapes and inputs alone: no op uses atomics, and grids are a function of the shape.
type gpu struct {
	Backend   // what no launcher exists for yet
	device    *cuda.Device
	info      Info
	functions map[string]*cuda.Function
	blaslt    *cuda.Products // nil: gemm.cu serves
	aside     *cuda.Products // what blaslt was, once Library was asked
	args      cuda.Args
	work      Buf // scratch of the op that runs; see workspace
	lists     lists
	staging   []byte     // conversions of Upload and Download
	failure   error      // what failed outside of the device's queue
	rehearsal *rehearsal // what is counted instead of computed; nil: nothing
	adopted   map[string]cuda.Choice
}

var _ Backend = (*gpu)(nil)

// leastCapability is the first architecture with bfloat16 products and asynchronous copies.
const leastCapability = 8

// openCUDA opens the first GPU.
func openCUDA() (Backend, error) {
	if _, err := cuda.Count(); err != nil {
		return nil, err
	}
	about, err := cuda.Describe(0)
	if err != nil {
		return nil, err
	}
	if about.Major < leastCapability {
		return nil, fault.Device.Errorf("%s has compute capability %d.%d, want at least %d.0 (Ampere): bfloat16 products need it",
			about.Name, about.Major, about.Minor, leastCapability)
	}
	device, err := cuda.Open(0)
	if err != nil {
		return nil, err
	}
	g := &gpu{device: device}
	if err := g.start(about); err != nil {
		device.Close()
		return nil, err
	}
	return g, nil
}

// start loads the kernels and says what runs where.
func (g *gpu) start(about cuda.Info) error {
	target, err := g.load(about)
	if err != nil {
		return err
	}
	products := ""
	if g.blaslt, err = cuda.OpenProducts(g.device); err == nil {
		products = "cuBLASLt " + g.blaslt.Version()
	} else {
		g.blaslt = nil
		products = fmt.Sprintf("built-in tensor-core kernels; %v", err)
	}
	g.info = Info{Name: "cuda", Threads: 1, Compute: BF16, Master: F32, Products: products,
		Device: fmt.Sprintf("%s (%s, %.0f GiB, driver for CUDA %s)", about.Name, about.Capability(), float64(about.Memory)/(1<<30), about.DriverText()),
		Notes:  []string{"kernels for " + target}}
	return nil
}

func (g *gpu) Info() Info { return g.info }

func (g *gpu) note(text string) { g.info.Notes = append(g.info.Notes, text) }

func (g *gpu) Sync() error {
	if err := g.device.Sync(); err != nil {
		return err
	}
	return g.failure
}

func (g *gpu) Close() {
	if g.blaslt != nil {
		g.blaslt.Close()
	}
	g.device.Close()
}

// fail keeps the first failure that the device's queue does not know of.
func (g *gpu) fail(err error) {
	if g.failure == nil {
		g.failure = err
	}
}

// arguments empties the list of parameters for the next launch.
func (g *gpu) arguments() *cuda.Args {
	g.args.Reset()
	return &g.args
}

// launch queues a kernel with what arguments got since. It allocates nothing.
func (g *gpu) launch(name string, grid, block cuda.Dim3, shared int) {
	f := g.functions[name]
	if f == nil {
		panic("kernels: no kernel " + name)
	}
	if g.failure == nil {
		g.device.Launch(f, grid, block, shared, &g.args)
	}
}

// line is a grid or block in one dimension.
func line(n int) cuda.Dim3 { return cuda.Dim3{X: uint32(n), Y: 1, Z: 1} }

// byRows is the grid of kernels that give a warp to a row; their blocks are rowBlock.
func byRows(n int) cuda.Dim3 { return line(ceilDiv(n, 8)) }

var rowBlock = cuda.Dim3{X: 32, Y: 8, Z: 1}

// byEights is the grid of pointwise kernels, whose threads have eight elements each; their blocks are line(256).
func byEights(n int) cuda.Dim3 { return line(ceilDiv(n, 8*256)) }

// at is the device address of a buffer; 0 where it is absent.
func at(b Buf) cuda.Address { return cuda.Address(b.addr) }

// pointers adds the addresses of buffers, 0 for absent ones, to the parameters.
func pointers(a *cuda.Args, bufs ...Buf) {
	for _, b := range bufs {
		a.Ptr(at(b))
	}
}

// vector reports, as a kernel's flag, that rows of width elements (8: no rows) can be accessed 16 bytes at a time.
func vector(width int, bufs ...Buf) int32 {
	if width%8 != 0 || slices.ContainsFunc(bufs, func(b Buf) bool { return b.addr%16 != 0 }) {
		return 0
	}
	return 1
}

// single returns flag where b holds float32.
func single(b Buf, flag int32) int32 {
	if b.t == F32 {
		return flag
	}
	return 0
}

// addDrop adds philox.cuh's struct Dropout.
func addDrop(a *cuda.Args, d Drop) {
	key := philox.Key(d.Seed)
	var s [24]byte
	for i, word := range [6]uint32{d.threshold(), key[0], key[1], d.Step, dropWord(d.Site), math.Float32bits(float32(d.keepScale()))} {
		binary.NativeEndian.PutUint32(s[4*i:], word)
	}
	a.Bytes(s[:], 4)
}

// workspace returns scratch of at least that many bytes, whose contents are unspecified. It is the running op's until the
// next op asks; kernels that were queued before have finished with it when the next one's run. It grows, which allocates,
// in the first steps only.
func (g *gpu) workspace(bytes int) Buf {
	if bytes > g.work.n {
		g.release(g.work)
		g.work = g.Alloc(U8, max(bytes+bytes/4, 1<<20))
	}
	return g.work
}

// divide returns the workspace in pieces of the given bytes, each at a multiple of 256.
func (g *gpu) divide(sizes ...int) (pieces [8]cuda.Address) {
	total := 0
	for _, n := range sizes {
		total += (n + 255) &^ 255
	}
	next := at(g.workspace(total))
	for i, n := range sizes {
		pieces[i] = next
		next += cuda.Address((n + 255) &^ 255)
	}
	return pieces
}
