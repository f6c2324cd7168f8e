package checkpoint

import (
	"encoding/binary"
	"math"
)

// A DType is an element type as safetensors spells it.
type DType string

// The element types that the reader knows, of one byte or more.
const (
	Bool   DType = "BOOL"
	U8     DType = "U8"
	I8     DType = "I8"
	F8E4M3 DType = "F8_E4M3"
	F8E5M2 DType = "F8_E5M2"
	F8E8M0 DType = "F8_E8M0"
	I16    DType = "I16"
	U16    DType = "U16"
	F16    DType = "F16"
	BF16   DType = "BF16"
	I32    DType = "I32"
	U32    DType = "U32"
	F32    DType = "F32"
	I64    DType = "I64"
	U64    DType = "U64"
	F64    DType = "F64"
	C64    DType = "C64"
)

// Size returns the bytes of one element, or 0 for a type that is not known.
func (d DType) Size() int {
	switch d {
	case Bool, U8, I8, F8E4M3, F8E5M2, F8E8M0:
		return 1
	case I16, U16, F16, BF16:
		return 2
	case I32, U32, F32:
		return 4
	case I64, U64, F64, C64:
		return 8
	}
	return 0
}

// decodeFloat32 converts little-endian elements of a float type to float32. len(src) is len(dst) elements; it reports
// false for a type that is not a float of 16, 32 or 64 bits. F64 rounds to the nearest float32, ties to even.
func decodeFloat32(dst []float32, src []byte, d DType) bool {
	le := binary.LittleEndian
	switch d {
	case F32:
		for i := range dst {
			dst[i] = math.Float32frombits(le.Uint32(src[4*i:]))
		}
	case BF16:
		for i := range dst {
			dst[i] = math.Float32frombits(uint32(le.Uint16(src[2*i:])) << 16)
		}
	case F16:
		for i := range dst {
			dst[i] = halfToFloat32(le.Uint16(src[2*i:]))
		}
	case F64:
		for i := range dst {
			dst[i] = float32(math.Float64frombits(le.Uint64(src[8*i:])))
		}
	default:
		return false
	}
	return true
}

// encodeFloat32 is the inverse of decodeFloat32; narrower types round to nearest, ties to even, and keep NaN a NaN.
func encodeFloat32(dst []byte, src []float32, d DType) bool {
	le := binary.LittleEndian
	switch d {
	case F32:
		for i, v := range src {
			le.PutUint32(dst[4*i:], math.Float32bits(v))
		}
	case BF16:
		for i, v := range src {
			le.PutUint16(dst[2*i:], float32ToBrain(v))
		}
	case F16:
		for i, v := range src {
			le.PutUint16(dst[2*i:], float32ToHalf(v))
		}
	case F64:
		for i, v := range src {
			le.PutUint64(dst[8*i:], math.Float64bits(float64(v)))
		}
	default:
		return false
	}
	return true
}

func float32ToBrain(v float32) uint16 {
	b := math.Float32bits(v)
	if v != v {
		return uint16(b>>16) | 0x40 // quiet, so that a payload in the low half alone does not become infinity
	}
	return uint16((b + 0x7FFF + b>>16&1) >> 16)
}

// halfToFloat32 is exact: every IEEE 754 binary16 is a binary32.
func halfToFloat32(h uint16) float32 {
	sign, exponent, fraction := uint32(h>>15)<<31, uint32(h>>10&0x1F), uint32(h&0x3FF)
	switch exponent {
	case 0: // zero or subnormal: fraction * 2^-24
		return math.Float32frombits(sign | math.Float32bits(float32(fraction)*0x1p-24))
	case 31:
		return math.Float32frombits(sign | 0xFF<<23 | fraction<<13)
	}
	return math.Float32frombits(sign | (exponent+127-15)<<23 | fraction<<13)
}

// float32ToHalf rounds to the nearest binary16, ties to even; 65520 and above become infinity.
func float32ToHalf(v float32) uint16 {
	b := math.Float32bits(v)
	sign, magnitude := uint16(b>>16&0x8000), b&0x7FFFFFFF
	switch {
	case magnitude > 0x7F800000:
		return sign | 0x7E00 | uint16(magnitude>>13&0x3FF)
	case magnitude >= 0x477FF000: // 65520
		return sign | 0x7C00
	case magnitude < 0x38800000: // below 2^-14: adding 0.5 aligns units of 2^-24 with the float's last bit and rounds
		return sign | uint16(math.Float32bits(math.Float32frombits(magnitude)+0.5)-0x3F000000)
	}
	return sign | uint16((magnitude-112<<23+0xFFF+magnitude>>13&1)>>13)
}

// Encode appends values as little-endian elements of F32, BF16, F16 or F64 to dst. Narrower types round to nearest, ties to even;
// what is too large for F16 or BF16 becomes infinite. It panics on any other type.
func Encode(dst []byte, values []float32, d DType) []byte {
	at := len(dst)
	dst = append(dst, make([]byte, len(values)*d.Size())...)
	if !encodeFloat32(dst[at:], values, d) {
		panic("checkpoint: Encode: " + string(d) + " is no type of floats")
	}
	return dst
}
