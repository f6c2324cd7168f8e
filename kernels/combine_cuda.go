//go:build cuda

package kernels

import (
	"encoding/binary"
	"math"

	"palimpsest/cuda"
)

// flags of combine.cu.
const (
	combineVector = 1 << iota
	combineCopy32
	combineCopyVector
	combineNesterov
)

// addGuard adds the guard's address and length.
func addGuard(a *cuda.Args, guard Buf) {
	a.Ptr(at(guard))
	a.I32(int32(guard.n))
}

func copyFlags(c Buf) int32 { return single(c, combineCopy32) | vector(8, c)*combineCopyVector }

func (g *gpu) Combine(c Combine) {
	c.check()
	g.mustHold("Combine", c.Dst, F32)
	if c.Dst.n == 0 {
		return
	}
	a := g.arguments()
	pointers(a, c.Dst, c.X, c.Y, c.Copy, c.Norm)
	addGuard(a, c.Guard)
	a.F32(float32(c.A))
	a.F32(float32(c.B))
	a.F64(c.Eps)
	a.I64(int64(c.Dst.n))
	a.I32(vector(8, c.Dst, c.X, c.Y) | copyFlags(c.Copy))
	g.launch("combine_linear", byEights(c.Dst.n), line(256), 8)
}

func (g *gpu) Momentum(m Momentum) {
	m.check()
	g.mustHold("Momentum", m.M, F32)
	if m.M.n == 0 {
		return
	}
	flags := vector(8, m.M, m.U, m.G)
	if m.Nesterov {
		flags |= combineNesterov
	}
	a := g.arguments()
	pointers(a, m.M, m.U, m.G)
	addGuard(a, m.Guard)
	a.F64(m.GradScale)
	a.F64(m.Clip)
	a.F32(float32(m.Beta))
	a.I64(int64(m.M.n))
	a.I32(flags)
	g.launch("combine_momentum", byEights(m.M.n), line(256), 8)
}

// lambBlocks bounds the partial sums of a norm.
const lambBlocks = 1024

func (g *gpu) LAMB(l LAMB) {
	l.check()
	g.mustHold("LAMB", l.P, F32)
	n := l.P.n
	if n == 0 {
		return
	}
	const unit = 8 * 256
	piece := unit * ceilDiv(ceilDiv(n, unit), lambBlocks)
	blocks := ceilDiv(n, piece)
	parts := g.divide(16*blocks, 8)
	squares, trust := parts[0], parts[1]

	a := g.arguments()
	pointers(a, l.Update, l.P, l.G, l.M, l.V)
	a.Ptr(squares)
	addGuard(a, l.Guard)
	a.F64(l.GradScale)
	a.F64(l.Clip)
	a.I64(int64(n))
	a.I64(int64(piece))
	var step [36]byte
	for i, v := range [8]float64{l.B1, l.B2, 1 - l.B1, 1 - l.B2, l.Eps, l.Decay, 1 / l.Correction1, 1 / l.Correction2} {
		binary.NativeEndian.PutUint32(step[4*i:], math.Float32bits(float32(v)))
	}
	binary.NativeEndian.PutUint32(step[32:], uint32(vector(8, l.P, l.G, l.M, l.V, l.Update)))
	a.Bytes(step[:], 4)
	g.launch("lamb_direction", line(blocks), line(256), 128+256)

	if l.Decay > 0 {
		a = g.arguments()
		a.Ptr(trust)
		a.Ptr(squares)
		a.I32(int32(blocks))
		g.launch("lamb_trust", line(1), line(256), 256)
	} else {
		trust = 0
	}

	a = g.arguments()
	pointers(a, l.P, l.Update, l.Copy)
	a.Ptr(trust)
	addGuard(a, l.Guard)
	a.F64(l.LR)
	a.I64(int64(n))
	a.I32(vector(8, l.P, l.Update) | copyFlags(l.Copy))
	g.launch("lamb_apply", byEights(n), line(256), 8)
}
