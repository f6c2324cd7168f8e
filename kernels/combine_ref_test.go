package kernels

import (
	"math"
	"testing"
)

var combineCases = []complianceCase{
	{"Combine", 20, func(r *trial) {
		n := r.pick(0, 1, 9, 1000, 70000)
		dst, x, y := r.normals(n), r.normals(n), r.normals(n)
		a := Combine{A: []float64{1, -0.75, 0.999}[r.draw.IntN(3)], B: []float64{1, 2.5, 0.001}[r.draw.IntN(3)], Eps: 1e-7}
		a.Dst, a.X, a.Y = r.master(dst), r.alloc(r.b.Info().Master, x, true, false), r.alloc(r.b.Info().Master, y, true, false)
		switch r.k % 5 {
		case 1:
			a.X = a.Dst
		case 2:
			a.Y = Buf{}
		case 3:
			a.Y = a.Dst
		}
		if r.coin() {
			a.Norm = r.alloc(F64, []float64{6.25}, true, false)
		}
		if r.coin() {
			a.Guard = r.alloc(F64, []float64{1, 2}, true, false)
		}
		if r.coin() {
			a.Copy = r.alloc(r.b.Info().Compute, filled(n, 7), false, false)
		}
		r.b.Combine(a)
		r.out("dst", a.Dst, n, near, filled(n, 14))
		r.out("copy", a.Copy, n, near, filled(n, 14))
	}},
	{"CombineGuard", 3, func(r *trial) {
		bad := []float64{math.NaN(), math.Inf(1), math.Inf(-1)}[r.k]
		dst := r.master(r.normals(50))
		r.b.Combine(Combine{Dst: dst, X: dst, A: 3, Guard: r.alloc(F64, []float64{1, bad}, false, false)})
		r.out("dst", dst, 50, exact, nil)
	}},
	{"Momentum", 12, func(r *trial) {
		n := r.pick(1, 9, 1000, 40000)
		m, g := r.normals(n), r.normals(n)
		a := Momentum{M: r.master(m), U: r.freshMaster(n), G: r.alloc(r.b.Info().Master, g, true, false), Beta: 0.95,
			GradScale: 0.5, Clip: []float64{0, 1}[r.k%2], Nesterov: r.coin()}
		a.Guard = r.alloc(F64, []float64{sumSquaresRef(g), 3}, true, false)
		r.b.Momentum(a)
		r.out("m", a.M, n, near, filled(n, 8))
		r.out("u", a.U, n, near, filled(n, 8))
	}},
	{"MomentumGuard", 3, func(r *trial) {
		a := Momentum{M: r.master(r.normals(9)), U: r.freshMaster(9), G: r.alloc(r.b.Info().Master, r.normals(9), true, false), Beta: 0.5, GradScale: 1}
		a.Guard = r.alloc(F64, []float64{1, []float64{math.NaN(), math.Inf(1), math.Inf(-1)}[r.k]}, false, false)
		r.b.Momentum(a)
		r.out("m", a.M, 9, exact, nil)
		r.out("u", a.U, 9, exact, nil)
	}},
	{"LAMB", 16, func(r *trial) { lambCompliance(r, 0) }},
	{"LAMBGuard", 3, func(r *trial) {
		lambCompliance(r, []float64{math.NaN(), math.Inf(1), math.Inf(-1)}[r.k])
	}},
	{"ScaleRows", 10, func(r *trial) {
		R, C := r.pick(0, 1, 7, 40), r.pick(1, 3, 64, 1000)
		x, s := r.normals(R*C), r.normals(R)
		for i := range s {
			if r.draw.IntN(3) == 0 {
				s[i] = 0
				x[i*C] = math.NaN()
			}
		}
		b := r.variable(x)
		r.b.ScaleRows(b, r.inMaster(s), R, C)
		r.out("x", b, R*C, zerosExact, nil)
	}},
}

func lambCompliance(r *trial, guard float64) {
	n := r.pick(1, 5, 64, 1003, 70000)
	p, g, m, v := r.normals(n), r.normals(n), r.normals(n), r.normals(n)
	for i := range v {
		v[i] *= v[i]
	}
	guards, how := []float64{sumSquaresRef(g), 1}, near
	if guard != 0 {
		guards[1], how = guard, exact
	}
	a := LAMB{AdamW: AdamW{LR: 0.02, B1: 0.9, B2: 0.98, Eps: 1e-8, Decay: []float64{0, 0.1}[r.k%2],
		Correction1: 1 - math.Pow(0.9, 3), Correction2: 1 - math.Pow(0.98, 3), GradScale: 1, Clip: []float64{0, 2}[r.draw.IntN(2)]}}
	t := r.b.Info().Master
	a.P, a.M, a.V = r.alloc(t, p, false, false), r.alloc(t, m, false, false), r.alloc(t, v, false, false)
	a.G, a.Guard = r.alloc(t, g, true, false), r.alloc(F64, guards, guard == 0, false)
	a.Update = r.alloc(t, filled(n, 0), false, false)
	if r.coin() {
		a.Copy = r.alloc(r.b.Info().Compute, filled(n, 7), false, false)
	}
	r.b.LAMB(a)
	r.out("p", a.P, n, how, nil)
	r.out("m", a.M, n, how, nil)
	r.out("v", a.V, n, how, nil)
	r.out("copy", a.Copy, n, how, nil)
}

// LAMB's trust ratio written out for two parameters and one step, with and without decay.
func TestLAMBByHand(t *testing.T) {
	forEachBackend(t, "", func(t *testing.T, b Backend) {
		for _, c := range []struct {
			p     []float64
			decay float64
			want  []float64
		}{
			// g = (4, 0), m = (2, 0), v = (4, 0), corrected (4, 0) and (16, 0), Adam's direction 4/(4+4) = 0.5.
			{[]float64{3, 4}, 0, []float64{3 - 0.5*0.5, 4}},
			// u = (0.5 + 0.25*3, 0.25*4) = (1.25, 1), trust = 5/sqrt(2.5625).
			{[]float64{3, 4}, 0.25, []float64{3 - 0.5*5/math.Sqrt(2.5625)*1.25, 4 - 0.5*5/math.Sqrt(2.5625)}},
			// A tensor of zeros has no norm to trust.
			{[]float64{0, 0}, 0.25, []float64{-0.25, 0}},
		} {
			a := LAMB{AdamW: AdamW{P: masters(b, c.p), G: masters(b, []float64{4, 0}), M: masters(b, []float64{0, 0}),
				V: masters(b, []float64{0, 0}), Guard: b.Alloc(F64, 1), LR: 0.5, B1: 0.5, B2: 0.75, Eps: 4, Decay: c.decay,
				Correction1: 0.5, Correction2: 0.25, GradScale: 1}, Update: masters(b, []float64{0, 0})}
			b.LAMB(a)
			for i, got := range read(b, a.P) {
				if math.Abs(got-c.want[i]) > 1e-6 {
					t.Errorf("p %v, decay %g: p[%d] = %g, want %g", c.p, c.decay, i, got, c.want[i])
				}
			}
		}
	})
}
