package kernels

import (
	"math"
	"testing"
)

var lossCases = []complianceCase{{"CrossEntropy", 60, crossEntropyCompliance}}

func crossEntropyCompliance(r *trial) {
	R, V := r.pick(0, 1, 5, 9), r.pick(1, 2, 3, 17, 64, 1000, 2999)
	a := CrossEntropy{R: R, V: V, Grad: r.k%4 != 3, GradScale: []float64{1, 1.0 / 64, 1e-3}[r.draw.IntN(3)]}
	gamma := 0.0
	switch r.k % 5 {
	case 1:
		a.Smoothing = 0.125
	case 2:
		gamma = []float64{2, 0.5, 1.5}[r.draw.IntN(3)]
		a.Focal = gamma
	case 3:
		a.DFT = true
	}
	if r.coin() {
		a.ZLoss = 1.0 / 1024
	}
	z, targets, weights := r.normals(R*V), r.indices(R, V), r.normals(R)
	size := r.pick(1, 1, 5, 20)
	for i := range z {
		switch {
		case size == 1 && r.k%6 == 5:
			z[i] = math.Round(z[i]) // ties for the largest
		default:
			z[i] *= float64(size)
		}
	}
	for i := range targets {
		switch r.draw.IntN(6) {
		case 0:
			targets[i] = IgnoreTarget
		case 1:
			weights[i] = 0
		}
	}
	if a.Smoothing == 0 && V > 2 {
		for i := range z { // never the target of a row that counts
			if y := targets[i/V]; r.draw.IntN(10) == 0 && (int(y) != i%V || y == IgnoreTarget) {
				z[i] = math.Inf(-1)
			}
		}
		for row := range R { // and some logit stays
			z[row*V+int(max(0, targets[row]))] = 0.5
		}
	}
	A := largest(z) + math.Log(float64(V)) + 1 // bounds logits and log-sum-exps
	options := (1 + gamma) * (1 + a.ZLoss*A)   // bounds what focal and z-loss multiply a term by
	ml, mg := make([]float64, R), make([]float64, R*V)
	a.Logits, a.Targets = r.variable(z), integers(r.b, targets)
	a.Weights, a.NLL, a.Loss, a.Hit = r.inMaster(weights), r.freshMaster(R), r.freshMaster(R), r.freshMaster(R)
	if r.k%8 == 7 {
		a.Weights = Buf{}
		weights = filled(R, 1)
	}
	switch r.k % 9 {
	case 6:
		a.NLL = Buf{}
	case 7:
		a.Loss = Buf{}
	case 8:
		a.Hit = Buf{}
	}
	r.b.CrossEntropy(a)
	for row, w := range weights {
		ml[row] = math.Abs(w) * A * options
		for j := range V {
			mg[row*V+j] = a.GradScale * ml[row]
		}
	}
	r.out("nll", a.NLL, R, near, filled(R, A))
	r.out("loss", a.Loss, R, zerosExact, ml)
	r.out("hit", a.Hit, R, exact, nil)
	if a.Grad {
		r.out("gradient", a.Logits, R*V, zerosExact, mg)
	}
}

// A row that does not count has exactly zero loss and gradient whatever its logits are.
func TestSilentRowsSpreadNothing(t *testing.T) {
	forEachBackend(t, "", func(t *testing.T, b Backend) {
		inf, nan := math.Inf(1), math.NaN()
		z := []float64{nan, 1, 2, inf, -inf, 0, -inf, -inf, -inf, nan, nan, nan}
		for _, o := range []CrossEntropy{{}, {Smoothing: 0.1}, {Focal: 2}, {DFT: true}, {ZLoss: 0.1}} {
			a := o
			a.R, a.V, a.Grad, a.GradScale = 4, 3, true, 1
			a.Logits, a.Weights = floats(b, z), masters(b, []float64{0, 3, 0, 0})
			a.Targets = integers(b, []int32{1, IgnoreTarget, 0, IgnoreTarget})
			a.Loss = masters(b, filled(4, nan))
			b.CrossEntropy(a)
			for i, v := range append(read(b, a.Loss), read(b, a.Logits)...) {
				if v != 0 {
					t.Errorf("%+v: value %d of loss and gradient is %g", o, i, v)
				}
			}
		}
	})
}
