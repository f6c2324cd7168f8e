package kernels

import (
	"fmt"
	"unsafe"
)

// DType is the type of a buffer's elements.
type DType uint8

// Element types. Which of them an op takes is in the op's documentation; Compute and Master of a backend's Info say
// what its activations and its parameters are.
const (
	F32 DType = iota + 1
	F64
	BF16
	I32
	U8
)

// Size returns the bytes of one element.
func (t DType) Size() int {
	switch t {
	case F32, I32:
		return 4
	case F64:
		return 8
	case BF16:
		return 2
	case U8:
		return 1
	}
	panic(fmt.Sprintf("kernels: unknown element type %d", t))
}

func (t DType) String() string {
	names := [...]string{F32: "float32", F64: "float64", BF16: "bfloat16", I32: "int32", U8: "uint8"}
	if int(t) < len(names) && names[t] != "" {
		return names[t]
	}
	return fmt.Sprintf("DType(%d)", uint8(t))
}

// Buf is a span of one backend's memory: n elements of one type. The zero Buf means "absent", for optional arguments.
// Host backends keep Go memory behind it, device backends an address; only the backend that made a Buf may look inside.
type Buf struct {
	host unsafe.Pointer // host memory; keeps it alive
	addr uintptr        // device address
	n    int
	t    DType
}

// Len returns the number of elements.
func (b Buf) Len() int { return b.n }

// Type returns the element type; the zero Buf has none.
func (b Buf) Type() DType { return b.t }

// Absent reports whether b is the zero Buf.
func (b Buf) Absent() bool { return b.t == 0 }

// Slice returns elements [from, to) of b, sharing its memory.
func (b Buf) Slice(from, to int) Buf {
	if from < 0 || to < from || to > b.n {
		panic(fmt.Sprintf("kernels: slice [%d:%d] of a buffer of %d", from, to, b.n))
	}
	s := Buf{n: to - from, t: b.t}
	if from == to { // without a pointer just past the end, which would keep what lies there alive, or break the collector
		from = 0
	}
	if offset := from * b.t.Size(); b.host != nil {
		s.host = unsafe.Add(b.host, offset)
	} else {
		s.addr = b.addr + uintptr(offset)
	}
	return s
}

// Host is what a host buffer may hold.
type Host interface {
	float32 | float64 | int32 | uint8
}

func dtypeOf[T Host]() DType {
	var zero T
	switch any(zero).(type) {
	case float32:
		return F32
	case float64:
		return F64
	case int32:
		return I32
	default:
		return U8
	}
}

// HostBuf makes a Buf over Go memory, for host backends.
func HostBuf[T Host](s []T) Buf {
	return Buf{host: unsafe.Pointer(unsafe.SliceData(s)), n: len(s), t: dtypeOf[T]()}
}

// View returns the Go memory behind a host buffer; nil for the zero Buf. It panics for another element type or for
// device memory, which is a mistake of the program.
func View[T Host](b Buf) []T {
	if b.Absent() {
		return nil
	}
	if b.t != dtypeOf[T]() || b.host == nil && b.n > 0 {
		panic(fmt.Sprintf("kernels: a host view of type %v was asked of a buffer of %v (host memory: %v)", dtypeOf[T](), b.t, b.host != nil))
	}
	return unsafe.Slice((*T)(b.host), b.n)
}
