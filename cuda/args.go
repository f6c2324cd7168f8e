package cuda

import (
	"encoding/binary"
	"math"
)

// maxArgs and maxParameters bound a launch: the driver takes 4096 bytes of parameters.
const (
	maxArgs       = 4096
	maxParameters = 96
)

// Args is a kernel's parameter list as one packed buffer, each value at its natural alignment, in the order of the
// kernel's declaration. It is meant to be reused: Reset, the values, Launch, which copies it. The driver's word on count,
// offsets and sizes is checked at the launch.
type Args struct {
	buffer  [maxArgs]byte
	size    int
	count   int
	places  [maxParameters]place
	tooMuch bool
}

// A place is where a parameter lies in the buffer.
type place struct{ offset, size uint16 }

// Reset empties the list.
func (a *Args) Reset() { a.size, a.count, a.tooMuch = 0, 0, false }

// room makes room for a value, nil when the list is full; Launch reports that.
func (a *Args) room(size, align int) []byte {
	at := alignUp(a.size, align)
	if a.count == maxParameters || at+size > maxArgs {
		a.tooMuch = true
		return nil
	}
	clear(a.buffer[a.size:at])
	a.places[a.count] = place{uint16(at), uint16(size)}
	a.count++
	a.size = at + size
	return a.buffer[at:a.size]
}

// Ptr adds a device pointer.
func (a *Args) Ptr(v Address) { a.U64(uint64(v)) }

// I32 adds an int.
func (a *Args) I32(v int32) { a.U32(uint32(v)) }

// U32 adds an unsigned int.
func (a *Args) U32(v uint32) {
	if b := a.room(4, 4); b != nil {
		binary.NativeEndian.PutUint32(b, v)
	}
}

// I64 adds a long long.
func (a *Args) I64(v int64) { a.U64(uint64(v)) }

// U64 adds an unsigned long long.
func (a *Args) U64(v uint64) {
	if b := a.room(8, 8); b != nil {
		binary.NativeEndian.PutUint64(b, v)
	}
}

// F32 adds a float.
func (a *Args) F32(v float32) { a.U32(math.Float32bits(v)) }

// F64 adds a double.
func (a *Args) F64(v float64) { a.U64(math.Float64bits(v)) }

// Bytes adds a struct passed by value, with the alignment (a power of two) of its declaration.
func (a *Args) Bytes(v []byte, align int) {
	if b := a.room(len(v), align); b != nil {
		copy(b, v)
	}
}
