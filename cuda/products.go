//go:build cuda

package cuda

/*
#include <stdlib.h>
#include "queue.h"
#include "products.h"
*/
import "C"

import (
	"cmp"
	"errors"
	"fmt"
	"math/bits"
	"os"
	"slices"
	"strings"
	"sync"
	"unsafe"

	"palimpsest/engine/fault"
)

// ErrUnsupported: cuBLASLt has no algorithm for a product as asked; the same without its epilogue may have one.
var ErrUnsupported = errors.New("cuBLASLt does not support this product")

// workspaceBytes is what cuBLASLt's algorithms may use of device memory: the size NVIDIA advises for Hopper.
const workspaceBytes = 32 << 20

// Products computes matrix products of bfloat16 with float32 accumulation by cuBLASLt.
type Products struct {
	device *Device
	lt     *C.struct_blaslt
	path   string

	mu         sync.Mutex
	plans      map[productKey]*product
	prepared   uint64               // products ever
	algorithms map[string][8]uint64 // by shape: chosen here, or taken over from an earlier run
}

// maxPlans bounds the prepared products: packed steps have another number of tokens nearly every time.
const maxPlans = 4096

// Epilogue is what a product does to its result before storing it. The numbers are cublasLtEpilogue_t. The GELU is its
// tanh approximation.
type Epilogue int32

// The epilogues. Bias is a vector of N added to every row. GELUAux keeps the value before the GELU in Aux [M,N]; DGELU
// multiplies by the GELU's derivative at Aux. The gradients of a bias are written, not added: BiasGradD sums the rows of
// D (N values), BiasGradA sums A over K (M values), BiasGradB sums B over K (N values).
const (
	NoEpilogue     Epilogue = 1
	Bias           Epilogue = 4
	GELU           Epilogue = 32
	GELUBias       Epilogue = 36
	GELUAux        Epilogue = 160
	GELUAuxBias    Epilogue = 164
	DGELU          Epilogue = 192
	DGELUBiasGradD Epilogue = 208
	BiasGradB      Epilogue = 256
	BiasGradA      Epilogue = 512
)

var epilogueNames = map[Epilogue]string{
	Bias: " + bias", GELU: ", gelu", GELUBias: " + bias, gelu", GELUAux: ", gelu kept", GELUAuxBias: " + bias, gelu kept",
	DGELU: " * gelu'", DGELUBiasGradD: " * gelu', bias gradient", BiasGradA: ", sums of A", BiasGradB: ", sums of B",
}

// Matmul is a product of row-major matrices, D[M,N] = Scale * A[M,K] B[K,N], or added to D. With TransA, A is stored
// [K,M]; with TransB, B is stored [N,K]. A and B are bfloat16.
//
//	y = x w^T            M n, N out, K in, TransB           Bias, GELUBias, GELUAuxBias
//	dx = dy w            M n, N in,  K out                  DGELU with the input's pre-activation as Aux
//	dw += dy^T x         M out, N in, K n, TransA           BiasGradA: the column sums of dy
type Matmul struct {
	M, N, K        int
	TransA, TransB bool
	A, B, D        Address
	LDA, LDB, LDD  int     // elements from row to row; 0: rows are dense
	Float          bool    // D is float32 rather than bfloat16
	Add            bool    // add to D
	Scale          float32 // 0: 1
	Epilogue       Epilogue
	Bias           Address // read or, for a gradient, written; N or M values
	BiasFloat      bool    // of float32 rather than of bfloat16
	Aux            Address // bfloat16 [M,N]
	LDAux          int
	// Batch > 1 computes that many products, whose matrices lie so many elements apart.
	Batch                     int
	StrideA, StrideB, StrideD int
}

// productKey is everything of a product but its addresses.
type productKey struct {
	shape     C.product_shape
	bias, aux bool
	alignBias uint32
	alignAux  uint32
}

// A product is a prepared product of one shape. c is nil where the library has no algorithm.
type product struct {
	owner  *Products
	serial uint64 // never used again
	m      Matmul
	c      *C.struct_product
}

// String says which product it is.
func (p *product) String() string { return p.m.String() }

// String is the product's shape and options in words.
func (m Matmul) String() string {
	var b strings.Builder
	matrix := func(rows, columns int, transposed bool) {
		if transposed {
			fmt.Fprintf(&b, "[%d,%d]^T", columns, rows)
		} else {
			fmt.Fprintf(&b, "[%d,%d]", rows, columns)
		}
	}
	b.WriteString("the product ")
	if m.Batch > 1 {
		fmt.Fprintf(&b, "%d x ", m.Batch)
	}
	matrix(m.M, m.K, m.TransA)
	b.WriteString(" ")
	matrix(m.K, m.N, m.TransB)
	b.WriteString(epilogueNames[m.Epilogue])
	b.WriteString(map[bool]string{true: ", float32", false: ", bfloat16"}[m.Float])
	if m.Add {
		b.WriteString(", added")
	}
	return b.String()
}

// openProducts opens the first library of the search, and says what was tried otherwise.
func openProducts() (*C.struct_blaslt, string, error) {
	places := blasltPlaces(os.LookupEnv, globs, pythonSites)
	var tried []string
	text := (*C.char)(C.calloc(1, 1024))
	defer C.free(unsafe.Pointer(text))
	for _, path := range places {
		name := C.CString(path)
		lt := C.blaslt_open(name, text, 1024)
		C.free(unsafe.Pointer(name))
		if lt != nil {
			return lt, path, nil
		}
		if said := C.GoString(text); strings.Contains(path, "/") || !strings.Contains(said, "No such file") {
			tried = append(tried, said)
		}
	}
	why := "it was not found in the system's paths, in /usr/local/cuda or in a Python installation"
	if named, set := os.LookupEnv("PALIMPSEST_CUBLASLT"); set && named == "" {
		why = "PALIMPSEST_CUBLASLT is empty, which means: none"
	}
	if len(tried) > 0 {
		why = strings.Join(tried, "; ")
	}
	return nil, "", fault.Device.Errorf("cuBLASLt: %s; hint: pip install nvidia-cublas-cu12, or name libcublasLt.so.12 "+
		"in PALIMPSEST_CUBLASLT", why)
}

// FindProducts says which cuBLASLt would be used and its version (as major*10000 + minor*100 + patch), or why there is none.
func FindProducts() (path string, version int, err error) {
	lt, path, err := openProducts()
	if err != nil {
		return "", 0, err
	}
	version = int(C.blaslt_version(lt))
	C.blaslt_close(lt)
	return path, version, nil
}

// OpenProducts opens cuBLASLt for a device: what PALIMPSEST_CUBLASLT names, else the system's, else a Python
// installation's. It takes 32 MiB of device memory. The error says what was tried.
func OpenProducts(d *Device) (*Products, error) {
	lt, path, err := openProducts()
	if err != nil {
		return nil, err
	}
	p := &Products{device: d, lt: lt, path: path, plans: map[productKey]*product{}, algorithms: map[string][8]uint64{}}
	workspace, err := d.Alloc(workspaceBytes)
	if err == nil {
		err = d.queue.do(func() error {
			return p.failure("starting cuBLASLt from "+path, int(C.blaslt_start(lt, C.uint64_t(workspace), workspaceBytes)))
		})
	}
	if err != nil {
		C.blaslt_close(lt)
		return nil, err
	}
	return p, nil
}

// Version is the library's version, as "12.8.4".
func (p *Products) Version() string { return BlasltVersion(int(C.blaslt_version(p.lt))) }

// BlasltVersion writes a version number of cuBLASLt as text.
func BlasltVersion(v int) string { return fmt.Sprintf("%d.%d.%d", v/10000, v/100%100, v%100) }

// Path is the library that was opened.
func (p *Products) Path() string { return p.path }

// Close gives the library back; the device must still be open. Nothing may be queued afterwards. It returns the device's
// failure, if it has one.
func (p *Products) Close() error {
	err := p.device.Sync()
	p.mu.Lock()
	defer p.mu.Unlock()
	return first(err, p.device.queue.do(func() error {
		p.forget()
		C.blaslt_close(p.lt)
		return nil
	}))
}

// forget destroys all prepared products, on the device's thread and behind all that was queued.
func (p *Products) forget() {
	for _, plan := range p.plans {
		if plan.c != nil {
			C.product_destroy(plan.c)
		}
	}
	clear(p.plans)
}

// failure makes an Error of a status of cuBLASLt; nil for 0.
func (p *Products) failure(op string, status int) error {
	if status == 0 {
		return nil
	}
	const notInitialized, allocFailed, archMismatch, executionFailed = 1, 3, 8, 13
	text := C.GoString(C.blaslt_status(p.lt, C.int(status)))
	e := &Error{Op: op, Code: -status, Text: fmt.Sprintf("%s (cuBLASLt %s, status %d)", text, p.Version(), status)}
	switch status {
	case notInitialized, archMismatch:
		e.Hint = "this cuBLASLt does not serve this device or driver: PALIMPSEST_CUBLASLT names another; its empty value, none"
	case executionFailed:
		e.Hint = "an earlier kernel may be the cause: CUDA_LAUNCH_BLOCKING=1 makes the failing one report itself"
	case allocFailed:
		e.Code = codeOutOfMemory
	}
	return fail(e)
}

// Matmul queues a product. An error means that nothing was queued: ErrUnsupported when the library has no algorithm.
// The first product of a shape prepares it, and the first of a size class (see class) asks the heuristic; both take host
// time only.
func (p *Products) Matmul(m Matmul) error {
	key, err := m.key()
	if err != nil {
		return err
	}
	if key.shape.m == 0 || key.shape.n == 0 {
		return nil
	}
	p.mu.Lock()
	plan := p.plans[key]
	if plan == nil {
		if plan, err = p.prepare(m, key); err == nil {
			p.plans[key] = plan
		}
	}
	p.mu.Unlock()
	if err != nil {
		return err
	}
	if plan.c == nil {
		return fmt.Errorf("%w: %v", ErrUnsupported, m)
	}
	// In column-major terms the operands change places.
	p.device.queue.put(C.command{kind: C.COMMAND_PRODUCT, handle: C.uint64_t(uintptr(unsafe.Pointer(plan.c))),
		a: C.uint64_t(m.B), b: C.uint64_t(m.A), n: C.uint64_t(m.D),
		more: [2]C.uint64_t{C.uint64_t(m.Bias), C.uint64_t(m.Aux)}}, plan, false)
	return nil
}

// key translates to column-major terms, where a row-major matrix is its own transpose: D^T [N,M] = B^T A^T.
func (m *Matmul) key() (productKey, error) {
	if m.M < 0 || m.N < 0 || m.K <= 0 || m.Batch < 0 {
		return productKey{}, fault.Internal.Errorf("cuda: %v: extents", *m)
	}
	if m.A == 0 || m.B == 0 || m.D == 0 {
		return productKey{}, fault.Internal.Errorf("cuda: %v: a matrix without an address", *m)
	}
	epilogue := cmp.Or(m.Epilogue, NoEpilogue)
	switch wantsBias, wantsAux := epilogue&(4|16|256|512) != 0, epilogue&128 != 0; {
	case wantsBias != (m.Bias != 0):
		return productKey{}, fault.Internal.Errorf("cuda: %v: bias given %v, needed %v", *m, m.Bias != 0, wantsBias)
	case wantsAux != (m.Aux != 0):
		return productKey{}, fault.Internal.Errorf("cuda: %v: auxiliary matrix given %v, needed %v", *m, m.Aux != 0, wantsAux)
	}
	s := C.product_shape{
		m: C.uint64_t(m.N), n: C.uint64_t(m.M), k: C.uint64_t(m.K), transpose_a: flag(m.TransB), transpose_b: flag(m.TransA),
		lda: C.int64_t(cmp.Or(m.LDB, pick(m.TransB, m.K, m.N))), ldb: C.int64_t(cmp.Or(m.LDA, pick(m.TransA, m.M, m.K))),
		ldd:      C.int64_t(cmp.Or(m.LDD, m.N)),
		epilogue: C.int(epilogue), type_d: typeOf(m.Float),
		align_a: C.uint32_t(alignedTo(m.B)), align_b: C.uint32_t(alignedTo(m.A)), align_d: C.uint32_t(alignedTo(m.D)),
		alpha: C.float(cmp.Or(m.Scale, 1)), beta: C.float(flag(m.Add)), batch: C.int32_t(max(m.Batch, 1)),
	}
	if m.Batch > 1 {
		s.stride_a, s.stride_b, s.stride_d = C.int64_t(m.StrideB), C.int64_t(m.StrideA), C.int64_t(m.StrideD)
	}
	key := productKey{bias: m.Bias != 0, aux: m.Aux != 0}
	if key.bias {
		s.type_bias, key.alignBias = typeOf(m.BiasFloat), alignedTo(m.Bias)
	}
	if key.aux {
		s.ld_auxiliary, key.alignAux = C.int64_t(cmp.Or(m.LDAux, m.N)), alignedTo(m.Aux)
	}
	key.shape = s
	return key, nil
}

func flag(b bool) C.int {
	if b {
		return 1
	}
	return 0
}

func pick(first bool, a, b int) int {
	if first {
		return a
	}
	return b
}

// alignedTo is the largest power of two, at most the allocator's own, that divides an address.
func alignedTo(a Address) uint32 {
	if a == 0 {
		return alignment
	}
	return uint32(min(1<<bits.TrailingZeros64(uint64(a)), alignment))
}

// typeOf is a cudaDataType: CUDA_R_32F or CUDA_R_16BF.
func typeOf(float bool) C.int {
	if float {
		return 0
	}
	return 14
}

// class rounds the number of rows (tokens: M, or K of a product with TransA) up, to a power of two or a multiple of 256. Packed
// steps differ in it all the time; all products of a class share one algorithm, so that a run chooses few, and the same
// ones in whatever order its shapes come.
func (k productKey) class() productKey {
	rows := &k.shape.n
	if k.shape.transpose_b != 0 {
		rows = &k.shape.k
	}
	const step = 256
	if *rows > step {
		*rows = (*rows + step - 1) / step * step
	} else {
		*rows = 1 << bits.Len64(uint64(*rows-1))
	}
	return k
}

// prepare makes descriptors and takes the algorithm of the shape's class. p.mu is held.
func (p *Products) prepare(m Matmul, key productKey) (*product, error) {
	p.prepared++
	plan := &product{owner: p, serial: p.prepared, m: m}
	const notSupported, invalidValue = 15, 7
	create := func(key productKey, algo *[8]uint64, check bool) (c *C.struct_product, err error) { // nil: there is no algorithm
		status := C.product_create(p.lt, &key.shape, C.uint64_t(m.Bias), C.uint64_t(m.Aux), (*C.uint64_t)(unsafe.Pointer(algo)), flag(check), &c)
		if status != notSupported && status != invalidValue {
			err = p.failure("preparing "+m.String(), int(status))
		}
		return c, err
	}
	err := p.device.queue.do(func() (err error) {
		if len(p.plans) >= maxPlans {
			p.forget()
		}
		if own, ok := p.algorithms[key.text()]; ok {
			plan.c, err = create(key, &own, false)
			return err
		}
		class := key.class()
		shared, ok := p.algorithms[class.text()]
		if !ok {
			c, err := create(class, nil, false)
			if err != nil || c == nil {
				return err
			}
			shared = *(*[8]uint64)(unsafe.Pointer(&c.algo))
			C.product_destroy(c)
			p.algorithms[class.text()] = shared
		}
		if plan.c, err = create(key, &shared, true); err != nil || plan.c == nil {
			return err
		}
		if used := *(*[8]uint64)(unsafe.Pointer(&plan.c.algo)); used != shared { // the class's does not serve this shape
			p.algorithms[key.text()] = used
		}
		return nil
	})
	return plan, err
}

// text is the key for other processes: everything that decides the algorithm.
func (k productKey) text() string {
	s := k.shape
	return fmt.Sprintf("m%d n%d k%d a%d:%d b%d:%d d%d:%d aux%d:%d bias%d transposed%d%d types%d:%d epilogue%d beta%g batch%d:%d:%d:%d",
		s.m, s.n, s.k, s.lda, s.align_a, s.ldb, s.align_b, s.ldd, s.align_d, s.ld_auxiliary, k.alignAux, k.alignBias,
		s.transpose_a, s.transpose_b, s.type_d, s.type_bias, s.epilogue, s.beta, s.batch, s.stride_a, s.stride_b, s.stride_d)
}

// A Choice is the algorithm that was chosen for a shape. It means something to the same version of the library on the same
// kind of device only.
type Choice struct {
	Shape string    `json:"shape"`
	Algo  [8]uint64 `json:"algo"`
}

// Choices are the algorithms chosen or adopted so far, by shape.
func (p *Products) Choices() []Choice {
	p.mu.Lock()
	defer p.mu.Unlock()
	var list []Choice
	for shape, algo := range p.algorithms {
		list = append(list, Choice{shape, algo})
	}
	slices.SortFunc(list, func(a, b Choice) int { return cmp.Compare(a.Shape, b.Shape) })
	return list
}

// Adopt uses the algorithms of an earlier run for shapes that come from now on, in place of the heuristic's.
func (p *Products) Adopt(list []Choice) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range list {
		p.algorithms[c.Shape] = c.Algo
	}
}
