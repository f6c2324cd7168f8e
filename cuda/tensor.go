//go:build cuda

package cuda

import (
	"errors"
	"fmt"
	"reflect"

	"gorgonia.org/tensor"
)

// BF16 is a bfloat16's bits; gorgonia.org/tensor holds, shapes and slices it but computes nothing with it.
type BF16 uint16

// The types of device tensors.
var (
	BFloat16 = tensor.Dtype{Type: reflect.TypeFor[BF16]()}
	Float32  = tensor.Float32
	Float64  = tensor.Float64
	Int32    = tensor.Int32
)

// Engine lets gorgonia.org/tensor's Dense be the shaped handle of memory on a device: it allocates from the arena and
// copies there, and lends nothing to the host. Arithmetic is the kernels' business: an operation on such a tensor is an
// error of tensor's. Do not call Dense.Zero, Data or fmt's verbs on it: these touch memory in ways no engine can prevent.
type Engine struct{ device *Device }

// Engine returns the engine for tensors on d.
func (d *Device) Engine() Engine { return Engine{d} }

var errHost = errors.New("cuda: device memory is not accessible to the host; hint: CopyOut")

// A piece is device memory as tensor.Memory. Its address is no pointer of this process.
type piece struct {
	at    uintptr
	bytes uintptr
}

func (p piece) Uintptr() uintptr { return p.at }
func (p piece) MemSize() uintptr { return p.bytes }

// NonStdAlloc marks the memory as not Go's.
func (Engine) NonStdAlloc() {}

// AllocAccessible: the host must not touch the memory.
func (Engine) AllocAccessible() bool { return false }

// Alloc allocates zeroed memory of the arena.
func (e Engine) Alloc(bytes int64) (tensor.Memory, error) {
	at, err := e.device.Alloc(int(bytes))
	if err != nil {
		return nil, err
	}
	return piece{uintptr(at), uintptr(bytes)}, nil
}

// Free gives memory back to the arena; tensor itself never calls it.
func (e Engine) Free(m tensor.Memory, _ int64) error { return e.device.Free(Address(m.Uintptr())) }

// Memset sets every byte to a uint8 value.
func (e Engine) Memset(m tensor.Memory, v any) error {
	b, ok := v.(uint8)
	if !ok {
		return fmt.Errorf("cuda: Memset takes a uint8, not %T", v)
	}
	e.device.Fill(Address(m.Uintptr()), b, int(m.MemSize()))
	return e.device.Err()
}

// Memclr sets memory to zeros.
func (e Engine) Memclr(m tensor.Memory) { e.device.Fill(Address(m.Uintptr()), 0, int(m.MemSize())) }

// Memcpy copies on the device.
func (e Engine) Memcpy(dst, src tensor.Memory) error {
	if dst.MemSize() < src.MemSize() {
		return fmt.Errorf("cuda: copying %d bytes to a tensor of %d", src.MemSize(), dst.MemSize())
	}
	e.device.Copy(Address(dst.Uintptr()), Address(src.Uintptr()), int(src.MemSize()))
	return e.device.Err()
}

// Accessible refuses.
func (Engine) Accessible(tensor.Memory) (tensor.Memory, error) { return nil, errHost }

// WorksWith accepts row-major tensors.
func (Engine) WorksWith(order tensor.DataOrder) bool {
	return order.IsRowMajor() && order.IsContiguous()
}

// NewDense allocates a zeroed tensor on the device.
func (d *Device) NewDense(t tensor.Dtype, shape ...int) (dense *tensor.Dense, err error) {
	bytes := int(t.Size())
	for _, n := range shape {
		bytes *= max(n, 0)
	}
	at, err := d.Alloc(bytes)
	if err != nil {
		return nil, fmt.Errorf("tensor of shape %v: %w", shape, err)
	}
	return d.DenseAt(at, t, shape...)
}

// DenseAt is a tensor over device memory that is already there; the memory belongs to whoever allocated it.
func (d *Device) DenseAt(at Address, t tensor.Dtype, shape ...int) (dense *tensor.Dense, err error) {
	defer func() {
		if r := recover(); r != nil { // tensor panics on shapes it does not like
			dense, err = nil, fmt.Errorf("cuda: tensor of %v and shape %v: %v", t, shape, r)
		}
	}()
	bytes := t.Size()
	for _, n := range shape {
		bytes *= uintptr(max(n, 0))
	}
	if at == 0 || bytes == 0 {
		return nil, fmt.Errorf("cuda: tensor of %v and shape %v at 0x%x: it needs elements and an address", t, shape, uint64(at))
	}
	return tensor.New(tensor.Of(t), tensor.WithShape(shape...), tensor.WithEngine(d.Engine()),
		tensor.FromMemory(uintptr(at), bytes)), nil
}

// AddressOf is where a device tensor, or a slice of one, begins.
func AddressOf(dense *tensor.Dense) Address { return Address(dense.Uintptr()) }
