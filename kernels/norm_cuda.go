//go:build cuda

package kernels

import "palimpsest/cuda"

// flags of norm.cu.
const (
	normVector = 1 << iota
	normGain32
	normBias32
	normAdd
)

// rowThreads returns the threads of a row of C elements whose threads hold up to `hold` eights each, and whether the row
// is wider than a block of `most` threads can hold.
func rowThreads(C, hold, most int) (threads int, wide bool) {
	threads = 32 * ceilDiv(ceilDiv(C, 8), 32*hold)
	return min(threads, most), threads > most
}

func (g *gpu) AddNorm(p AddNorm) {
	p.check()
	if p.N == 0 {
		return
	}
	sum, delta := p.Sum, p.Delta
	if delta.Absent() {
		sum = Buf{}
	}
	gain, bias := p.Gain, p.Bias
	flags := vector(p.C, p.Y, sum, p.X, delta, gain, bias) | single(gain, normGain32) | single(bias, normBias32)
	a := g.arguments()
	pointers(a, p.Y, sum, p.X, delta, gain, bias, p.Mean, p.Rstd)
	a.I32(int32(p.N))
	a.I32(int32(p.C))
	a.I32(int32(p.Kind))
	a.F32(p.Eps)
	a.I32(flags)
	addDrop(a, p.Drop)
	g.launchRows("norm_forward", "norm_forward_wide", p.N, p.C, 4)
}

func (g *gpu) NormBackward(p NormBackward) {
	p.check()
	if p.N == 0 {
		return
	}
	stride := 8 * ceilDiv(p.C, 8)
	blocks := min(p.N, max(64, min(1024, p.N/16)))
	size := 4 * blocks * stride
	parts := g.divide(size, size)
	gains, biases := parts[0], parts[1]
	if p.DGain.Absent() {
		gains = 0
	}
	if p.DBias.Absent() {
		biases = 0
	}
	mean := p.Mean
	if p.Kind == RMSNorm {
		mean = Buf{}
	}
	flags := vector(p.C, p.DSum, p.DY, p.Sum, p.Gain) | single(p.Gain, normGain32)
	if p.Add {
		flags |= normAdd
	}
	a := g.arguments()
	a.Ptr(at(p.DSum))
	a.Ptr(gains)
	a.Ptr(biases)
	pointers(a, p.DY, p.Sum, p.Gain, mean, p.Rstd)
	a.I32(int32(p.N))
	a.I32(int32(p.C))
	a.I32(flags)
	threads, wide := rowThreads(p.C, 2, 512)
	name := "norm_backward"
	if wide {
		name = "norm_backward_wide"
	}
	g.launch(name, line(blocks), line(threads), 512)
	g.addColumns(p.DGain, gains, blocks, stride, p.C)
	g.addColumns(p.DBias, biases, blocks, stride, p.C)
}

// addColumns adds the column sums of count rows of partial sums to dst, unless that is absent.
func (g *gpu) addColumns(dst Buf, parts cuda.Address, count, stride, C int) {
	if dst.Absent() {
		return
	}
	a := g.arguments()
	a.Ptr(at(dst))
	a.Ptr(parts)
	a.I32(int32(count))
	a.I32(int32(stride))
	a.I32(int32(C))
	g.launch("reduce_columns", line(ceilDiv(C, 32)), cuda.Dim3{X: 32, Y: 8, Z: 1}, 1024)
}
