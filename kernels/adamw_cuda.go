//go:build cuda

package kernels

import (
	"encoding/binary"
	"math"
)

// flags of adamw.cu.
const (
	adamVector = 1 << iota
	adamCopy32
	adamCopyVector
)

func (g *gpu) AdamW(s AdamW) {
	s.check()
	g.mustHold("AdamW", s.P, F32)
	if s.P.n == 0 {
		return
	}
	a := g.arguments()
	pointers(a, s.P, s.G, s.M, s.V, s.Copy, s.Guard)
	a.I32(int32(s.Guard.n))
	a.F64(s.GradScale)
	a.F64(s.Clip)
	a.I64(int64(s.P.n))
	flags := vector(8, s.P, s.G, s.M, s.V) | single(s.Copy, adamCopy32) | vector(8, s.Copy)*adamCopyVector
	var step [40]byte
	for i, v := range [9]float64{s.LR, s.B1, s.B2, 1 - s.B1, 1 - s.B2, s.Eps, s.Decay, 1 / s.Correction1, 1 / s.Correction2} {
		binary.NativeEndian.PutUint32(step[4*i:], math.Float32bits(float32(v)))
	}
	binary.NativeEndian.PutUint32(step[36:], uint32(flags))
	a.Bytes(step[:], 4)
	g.launch("adamw_update", byEights(s.P.n), line(256), 8)
}
