package kernels

import (
	"fmt"
	"math"
	"unsafe"
)

// bfloat16 is the upper half of a float32: 8 bits of exponent and 8 of precision, the hidden one included.

// toBF16 rounds to the nearest, ties to even; what is too large becomes infinite and NaN stays NaN.
func toBF16(f float32) uint16 {
	u := math.Float32bits(f)
	if f != f {
		return uint16(u>>16) | 0x40
	}
	return uint16((u + 0x7fff + u>>16&1) >> 16)
}

// fromBF16 is exact.
func fromBF16(h uint16) float32 { return math.Float32frombits(uint32(h) << 16) }

// roundBF16 returns the bfloat16 nearest to v.
func roundBF16(v float64) float64 { return float64(fromBF16(toBF16(float32(v)))) }

// hostBF16 makes a Buf of bfloat16 over Go memory.
func hostBF16(s []uint16) Buf {
	return Buf{host: unsafe.Pointer(unsafe.SliceData(s)), n: len(s), t: BF16}
}

// viewBF16 is View for bfloat16.
func viewBF16(b Buf) []uint16 {
	if b.t != BF16 || b.host == nil && b.n > 0 {
		panic(fmt.Sprintf("kernels: a host view of bfloat16 was asked of a buffer of %v (host memory: %v)", b.t, b.host != nil))
	}
	return unsafe.Slice((*uint16)(b.host), b.n)
}

// intoBF16 rounds src to the start of dst.
func intoBF16[S refFloat](op string, dst []uint16, src []S) {
	if len(src) > len(dst) {
		panic(fmt.Sprintf("kernels: %s: %d elements into %d", op, len(src), len(dst)))
	}
	for i, v := range src {
		dst[i] = toBF16(float32(v))
	}
}

// outOfBF16 widens src to the start of dst.
func outOfBF16[D refFloat](op string, dst []D, src []uint16) {
	if len(src) > len(dst) {
		panic(fmt.Sprintf("kernels: %s: %d elements into %d", op, len(src), len(dst)))
	}
	for i, v := range src {
		dst[i] = D(fromBF16(v))
	}
}
