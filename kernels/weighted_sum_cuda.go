//go:build cuda

package kernels

import "palimpsest/cuda"

// weightedSumRun is how many elements of every vector a block of weighted_sum_backward has.
const weightedSumRun = 8 * 256 * 4

func (g *gpu) WeightedSum(s WeightedSum) {
	s.check()
	g.mustHold("WeightedSum", s.Y, BF16)
	if s.N == 0 {
		return
	}
	a := g.arguments()
	pointers(a, s.Y, s.X, s.Weights)
	a.I64(int64(s.N))
	a.I64(int64(s.Stride))
	a.I32(int32(s.J))
	a.I32(vector(s.Stride, s.Y, s.X))
	g.launch("weighted_sum_forward", byEights(s.N), line(256), 0)
}

func (g *gpu) WeightedSumBackward(s WeightedSumBackward) {
	s.check()
	g.mustHold("WeightedSumBackward", s.DY, BF16)
	if s.N == 0 {
		return
	}
	blocks := ceilDiv(s.N, weightedSumRun)
	var parts cuda.Address
	if !s.DWeights.Absent() {
		parts = g.divide(4 * blocks * s.J)[0]
	}
	a := g.arguments()
	a.Ptr(at(s.DX))
	a.Ptr(parts)
	pointers(a, s.DY, s.X, s.Weights)
	a.I64(int64(s.N))
	a.I64(int64(s.Stride))
	dims(a, s.J, weightedSumRun)
	a.I32(vector(s.Stride, s.DX, s.DY, s.X))
	g.launch("weighted_sum_backward", line(blocks), line(256), 256)
	g.addColumns(s.DWeights, parts, blocks, s.J, s.J)
}
