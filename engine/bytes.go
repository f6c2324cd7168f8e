package engine

import (
	"encoding/binary"
	"math"
)

// littleEndian appends the bytes of float32 values.
func littleEndian(dst []byte, values []float32) []byte {
	for _, v := range values {
		dst = binary.LittleEndian.AppendUint32(dst, math.Float32bits(v))
	}
	return dst
}
