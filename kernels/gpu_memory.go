//go:build cuda

package kernels

import (
	"fmt"
	"slices"
	"unsafe"

	"gorgonia.org/tensor"

	"palimpsest/cuda"
)

func (g *gpu) Alloc(t DType, n int) Buf {
	if n < 0 {
		panic(fmt.Sprintf("kernels: Alloc: %d elements", n))
	}
	b := Buf{n: n, t: t}
	if g.rehearsal != nil {
		b.addr = g.rehearsal.take(allocated(b))
		return b
	}
	if g.failure != nil { // an allocation failed: those that follow would only say the same
		return b
	}
	address, err := g.device.Alloc(max(n, 1) * t.Size()) // an empty buffer has an address too: it is not absent
	if err != nil {
		g.fail(fmt.Errorf("%d elements of %v: %w", n, t, err))
	}
	b.addr = uintptr(address)
	return b
}

// allocationUnit is what the bytes of a buffer are rounded up to.
const allocationUnit = 256

// allocated is the memory that a buffer takes.
func allocated(b Buf) int64 {
	return (int64(max(b.n, 1))*int64(b.t.Size()) + allocationUnit - 1) &^ (allocationUnit - 1)
}

// release gives a buffer of Alloc back, which nothing that is queued later uses.
func (g *gpu) release(b Buf) {
	switch {
	case b.Absent() || b.addr == 0:
	case g.rehearsal != nil:
		g.rehearsal.bytes -= allocated(b)
	default:
		if err := g.device.Free(at(b)); err != nil {
			g.fail(err)
		}
	}
}

// bytesOfSlice is the memory of a slice.
func bytesOfSlice[T any](s []T) []byte {
	var one T
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(s))), len(s)*int(unsafe.Sizeof(one)))
}

// stage returns n elements of T in memory that the next stage reuses.
func stage[T any](g *gpu, n int) []T {
	var one T
	if bytes := n * int(unsafe.Sizeof(one)); len(g.staging) < bytes+8 {
		g.staging = make([]byte, bytes+8)
	}
	start := unsafe.Pointer(unsafe.SliceData(g.staging))
	return unsafe.Slice((*T)(start), n)
}

// copyIn copies host data of the buffer's own type to its start.
func (g *gpu) copyIn(dst Buf, data []byte) {
	if len(data) > dst.n*dst.t.Size() {
		panic(fmt.Sprintf("kernels: Upload: %d elements into %d", len(data)/dst.t.Size(), dst.n))
	}
	if len(data) > 0 && g.failure == nil {
		g.device.CopyIn(at(dst), data)
	}
}

// copyOut is the inverse; it waits for all queued work. Without a result data are zeros, and Sync says why.
func (g *gpu) copyOut(data []byte, src Buf) {
	if len(data) == 0 {
		return
	}
	if g.failure == nil {
		err := g.device.CopyOut(data, at(src))
		if err == nil {
			return
		}
		g.fail(err)
	}
	clear(data)
}

func (g *gpu) Upload(dst Buf, src any) {
	switch s := src.(type) {
	case []float32:
		uploadDevice(g, dst, s)
	case []float64:
		uploadDevice(g, dst, s)
	case []int32:
		g.mustHold("Upload", dst, I32)
		g.copyIn(dst, bytesOfSlice(s))
	case []uint8:
		g.mustHold("Upload", dst, U8)
		g.copyIn(dst, s)
	default:
		panic(fmt.Sprintf("kernels: Upload: cannot take a %T", src))
	}
}

func (g *gpu) mustHold(op string, b Buf, t DType) {
	if b.t != t {
		panic(fmt.Sprintf("kernels: %s: the buffer holds %v, want %v", op, b.t, t))
	}
}

// uploadDevice converts on the host.
func uploadDevice[S refFloat](g *gpu, dst Buf, src []S) {
	switch dst.t {
	case dtypeOf[S]():
		g.copyIn(dst, bytesOfSlice(src))
	case BF16:
		s := stage[uint16](g, len(src))
		intoBF16("Upload", s, src)
		g.copyIn(dst, bytesOfSlice(s))
	case F32:
		s := stage[float32](g, len(src))
		copyInto("Upload", s, src)
		g.copyIn(dst, bytesOfSlice(s))
	case F64:
		s := stage[float64](g, len(src))
		copyInto("Upload", s, src)
		g.copyIn(dst, bytesOfSlice(s))
	default:
		panic(fmt.Sprintf("kernels: Upload: cannot convert to %v", dst.t))
	}
}

func (g *gpu) Download(dst any, src Buf) {
	switch d := dst.(type) {
	case []float32:
		downloadDevice(g, d, src)
	case []float64:
		downloadDevice(g, d, src)
	case []int32:
		g.mustHold("Download", src, I32)
		g.copyOut(bytesOfSlice(take("Download", d, src.n)), src)
	case []uint8:
		g.mustHold("Download", src, U8)
		g.copyOut(take("Download", d, src.n), src)
	default:
		panic(fmt.Sprintf("kernels: Download: cannot fill a %T", dst))
	}
}

// take returns the first n elements of s.
func take[T any](op string, s []T, n int) []T {
	if n > len(s) {
		panic(fmt.Sprintf("kernels: %s: %d elements into %d", op, n, len(s)))
	}
	return s[:n]
}

func (g *gpu) DownloadLater(dst []float64, src Buf) (wait func() error) {
	g.mustHold("DownloadLater", src, F64)
	if g.failure != nil {
		return func() error { return g.failure }
	}
	return g.device.CopyOutLater(bytesOfSlice(take("DownloadLater", dst, src.n)), at(src)).Wait
}

func (g *gpu) Tensor(b Buf, shape ...int) *tensor.Dense {
	t := map[DType]tensor.Dtype{BF16: cuda.BFloat16, F32: cuda.Float32, F64: cuda.Float64}[b.t]
	handle, err := g.device.DenseAt(at(b), t, shape...)
	if err != nil {
		g.fail(err)
		return nil
	}
	return handle
}

func downloadDevice[D refFloat](g *gpu, dst []D, src Buf) {
	dst = take("Download", dst, src.n)
	switch src.t {
	case dtypeOf[D]():
		g.copyOut(bytesOfSlice(dst), src)
	case BF16:
		s := stage[uint16](g, src.n)
		g.copyOut(bytesOfSlice(s), src)
		outOfBF16("Download", dst, s)
	case F32:
		s := stage[float32](g, src.n)
		g.copyOut(bytesOfSlice(s), src)
		copyInto("Download", dst, s)
	case F64:
		s := stage[float64](g, src.n)
		g.copyOut(bytesOfSlice(s), src)
		copyInto("Download", dst, s)
	default:
		panic(fmt.Sprintf("kernels: Download: cannot convert from %v", src.t))
	}
}

func (g *gpu) Zero(b Buf) {
	if b.n > 0 && g.failure == nil {
		g.device.Fill(at(b), 0, b.n*b.t.Size())
	}
}

func (g *gpu) Copy(dst, src Buf) {
	if dst.t != src.t || src.n > dst.n {
		panic(fmt.Sprintf("kernels: Copy: %d elements of %v into %d of %v", src.n, src.t, dst.n, dst.t))
	}
	if src.n > 0 && g.failure == nil {
		g.device.Copy(at(dst), at(src), src.n*src.t.Size())
	}
}

// lists keeps short integer lists that ops make from their arguments, such as segments, on the device. The layers of a
// step pass the same ones again and again; these are uploaded once.
type lists struct {
	slots [16]struct {
		data []int32
		buf  Buf
	}
	oldest int
}

// list returns the device address of a list of integers. It stays valid for what is queued before the 16 next different
// lists.
func (g *gpu) list(data []int32) cuda.Address {
	l := &g.lists
	for i := range l.slots {
		if s := &l.slots[i]; s.buf.n > 0 && slices.Equal(s.data, data) {
			return at(s.buf)
		}
	}
	s := &l.slots[l.oldest]
	l.oldest = (l.oldest + 1) % len(l.slots)
	if s.buf.n < max(len(data), 1) {
		g.release(s.buf)
		s.buf = g.Alloc(I32, max(64, 2*len(data)))
	}
	s.data = append(s.data[:0], data...)
	g.copyIn(s.buf, bytesOfSlice(s.data))
	return at(s.buf)
}
