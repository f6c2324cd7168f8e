package kernels

import "testing"

// weightedSumShape draws a length, a number of vectors and their distance; the last trials are longer than a block.
func (r *trial) weightedSumShape() (N, J, stride int) {
	N, J = r.pick(0, 1, 7, 64, 200), r.pick(1, 2, 5, 33)
	if r.k%12 == 11 {
		N, J = 20_001, 3
	}
	return N, J, max(1, N+r.pick(0, 1, 8))
}

var weightedSumCases = []complianceCase{
	{"WeightedSum", 24, func(r *trial) {
		N, J, stride := r.weightedSumShape()
		x, w := r.normals(apart(J, N, stride)), r.normals(J)
		a := WeightedSum{Y: r.fresh(N), X: r.in(x), Weights: r.inMaster(w), N: N, J: J, Stride: stride}
		r.b.WeightedSum(a)
		m := make([]float64, N)
		weightedSumRef(m, absolute(x), absolute(w), a)
		r.out("Y", a.Y, N, near, m)
	}},
	{"WeightedSumBackward", 24, func(r *trial) {
		N, J, stride := r.weightedSumShape()
		n := apart(J, N, stride)
		x, w, dx, dw, dy := r.normals(n), r.normals(J), r.normals(n), r.normals(J), r.normals(N)
		a := WeightedSumBackward{DX: r.variable(dx), DWeights: r.master(dw), DY: r.in(dy), X: r.in(x), Weights: r.inMaster(w), N: N, J: J, Stride: stride}
		if r.k%3 == 2 {
			a.DWeights = Buf{}
		}
		r.b.WeightedSumBackward(a)
		mx, mw := absolute(dx), absolute(dw)
		weightedSumBackwardRef(mx, mw, absolute(dy), absolute(x), absolute(w), a)
		r.out("DX", a.DX, n, near, mx)
		r.out("DWeights", a.DWeights, J, near, mw)
	}},
}

func TestGradientsWeightedSum(t *testing.T) {
	r := newTestTrial(ref64, 41)
	const N, J, stride = 5, 3, 7
	x, w, u := r.normals(J*stride), r.normals(J), r.normals(N)
	dx, dw := zeros64(J*stride), zeros64(J)
	ref64.WeightedSumBackward(WeightedSumBackward{DX: dx, DWeights: dw, DY: buf64(u), X: buf64(x), Weights: buf64(w), N: N, J: J, Stride: stride})
	gradientCase{t, "weighted sum", [][]float64{x, w}, func(in [][]float64) []float64 {
		y := zeros64(N)
		ref64.WeightedSum(WeightedSum{Y: y, X: buf64(in[0]), Weights: buf64(in[1]), N: N, J: J, Stride: stride})
		return view64(y)
	}, u, [][]float64{view64(dx), view64(dw)}}.check()
}
