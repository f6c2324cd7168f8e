package kernels

import (
	"fmt"

	"gorgonia.org/tensor"
)

// Memory of host backends: allocation, conversion and copies.

// allocHost returns zeroed host memory.
func allocHost(t DType, n int) Buf {
	if n < 0 {
		panic(fmt.Sprintf("kernels: Alloc: %d elements", n))
	}
	switch t {
	case F32:
		return HostBuf(make([]float32, n))
	case F64:
		return HostBuf(make([]float64, n))
	case I32:
		return HostBuf(make([]int32, n))
	case U8:
		return HostBuf(make([]uint8, n))
	}
	panic(fmt.Sprintf("kernels: Alloc: host backends hold no %v", t))
}

// uploadHost is Backend.Upload for host memory.
func uploadHost(dst Buf, src any) {
	switch s := src.(type) {
	case []float32:
		uploadFloats(dst, s)
	case []float64:
		uploadFloats(dst, s)
	case []int32:
		copyInto("Upload", View[int32](dst), s)
	case []uint8:
		copyInto("Upload", View[uint8](dst), s)
	default:
		panic(fmt.Sprintf("kernels: Upload: cannot take a %T", src))
	}
}

func uploadFloats[T refFloat](dst Buf, src []T) {
	if dst.Type() == F32 {
		copyInto("Upload", View[float32](dst), src)
	} else {
		copyInto("Upload", View[float64](dst), src)
	}
}

// downloadHost is Backend.Download for host memory.
func downloadHost(dst any, src Buf) {
	switch d := dst.(type) {
	case []float32:
		downloadFloats(d, src)
	case []float64:
		downloadFloats(d, src)
	case []int32:
		copyInto("Download", d, View[int32](src))
	case []uint8:
		copyInto("Download", d, View[uint8](src))
	default:
		panic(fmt.Sprintf("kernels: Download: cannot fill a %T", dst))
	}
}

func downloadFloats[T refFloat](dst []T, src Buf) {
	if src.Type() == F32 {
		copyInto("Download", dst, View[float32](src))
	} else {
		copyInto("Download", dst, View[float64](src))
	}
}

// downloadHostLater is Backend.DownloadLater where ops have run when they return.
func downloadHostLater(dst []float64, src Buf) (wait func() error) {
	downloadHost(dst, src)
	return func() error { return nil }
}

// tensorHost is Backend.Tensor for host memory.
func tensorHost(b Buf, shape []int) *tensor.Dense {
	switch b.Type() {
	case F32:
		return tensor.New(tensor.WithShape(shape...), tensor.WithBacking(View[float32](b)))
	case F64:
		return tensor.New(tensor.WithShape(shape...), tensor.WithBacking(View[float64](b)))
	}
	panic(fmt.Sprintf("kernels: Tensor: no handle over %v", b.Type()))
}

// copyInto converts src to the start of dst.
func copyInto[D, S Host](op string, dst []D, src []S) {
	if len(src) > len(dst) {
		panic(fmt.Sprintf("kernels: %s: %d elements into %d", op, len(src), len(dst)))
	}
	for i, v := range src {
		dst[i] = D(v)
	}
}

// copyHost is Backend.Copy for host memory: src to the start of dst, of the same type.
func copyHost(dst, src Buf) {
	switch dst.Type() {
	case F32:
		copySame[float32](dst, src)
	case F64:
		copySame[float64](dst, src)
	case I32:
		copySame[int32](dst, src)
	case U8:
		copySame[uint8](dst, src)
	default:
		panic(fmt.Sprintf("kernels: Copy: host backends hold no %v", dst.Type()))
	}
}

func copySame[T Host](dst, src Buf) {
	d, s := View[T](dst), View[T](src)
	if len(s) > len(d) {
		panic(fmt.Sprintf("kernels: Copy: %d elements into %d", len(s), len(d)))
	}
	copy(d, s)
}

// zeroHost is Backend.Zero for host memory.
func zeroHost(b Buf) {
	switch b.Type() {
	case F32:
		clear(View[float32](b))
	case F64:
		clear(View[float64](b))
	case I32:
		clear(View[int32](b))
	case U8:
		clear(View[uint8](b))
	default:
		panic(fmt.Sprintf("kernels: Zero: host backends hold no %v", b.Type()))
	}
}
