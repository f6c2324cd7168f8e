package kernels

import (
	"math"
	"testing"
)

var rowCases = []complianceCase{
	{"GatherRows", 10, func(r *trial) {
		R, C, N := r.pick(0, 1, 7, 40), r.pick(1, 3, 8, 65), r.pick(1, 2, 50)
		out := r.fresh(R * C)
		r.b.GatherRows(out, r.table(r.normals(N*C)), integers(r.b, r.indices(R, N)), R, C)
		r.out("out", out, R*C, exact, nil)
	}},
	{"ScatterAddRows", 10, func(r *trial) {
		R, C, N := r.pick(0, 1, 7, 40, 200), r.pick(1, 3, 8, 65), r.pick(1, 2, 50)
		dst, src, rows := r.normals(N*C), r.normals(R*C), r.indices(R, N)
		d := r.alloc(r.b.Info().Compute, dst, false, false)
		r.b.ScatterAddRows(d, r.in(src), integers(r.b, rows), R, C)
		m := absolute(dst)
		scatterAddRowsRef(m, absolute(src), rows, R, C)
		r.out("dst", d, N*C, near, m)
	}},
	{"Add", 8, func(r *trial) {
		n, extra := r.pick(0, 1, 9, 1000), r.pick(0, 1, 30)
		if dst, src := r.normals(n), r.normals(n+extra); r.coin() {
			d := r.alloc(r.b.Info().Compute, dst, false, false)
			r.b.Add(d, r.table(src))
			r.out("shorter dst", d, n, near, nil)
		} else {
			d := r.alloc(r.b.Info().Compute, src, false, false)
			r.b.Add(d, r.table(dst))
			r.out("longer dst", d, n+extra, near, nil)
		}
	}},
	{"Sum", 12, func(r *trial) {
		n, at, add := r.pick(0, 1, 9, 1000, 70000), r.pick(0, 2), r.coin()
		x, sums := r.normals(n), []float64{3, 5, 7}
		in := r.in(x)
		if r.coin() {
			in = r.inMaster(x)
		}
		dst := r.b.Alloc(F64, 3)
		r.b.Upload(dst, sums)
		magnitude := []float64{3, 5, 7}
		if r.k%2 == 0 {
			r.b.Sum(dst, at, in, n, add)
			magnitude[at] += sumRef(absolute(x))
		} else {
			r.b.SumSquares(dst, at, in, n, add)
			magnitude[at] += sumSquaresRef(x)
		}
		r.out("sums", dst, 3, near, magnitude)
	}},
}

var updateCases = []complianceCase{
	{"AdamW", 20, func(r *trial) { adamWCompliance(r, 0) }},
	{"AdamWGuard", 6, func(r *trial) { adamWCompliance(r, []float64{math.NaN(), math.Inf(1), math.Inf(-1)}[r.k%3]) }},
}

// adamWCompliance runs one update; with a guard that is not finite, in either element, nothing may change.
func adamWCompliance(r *trial, guard float64) {
	n := r.pick(1, 5, 64, 1003)
	p, g, m, v := r.normals(n), r.normals(n), r.normals(n), r.normals(n)
	for i := range v {
		v[i] = v[i] * v[i]
	}
	p[0], g[0], m[0], v[0] = 0, 0, 0, 0 // a parameter that never had a gradient
	guards := []float64{sumSquaresRef(g), 1, 2}
	how := near
	if guard != 0 {
		guards[r.k/3], how = guard, exact
	}
	a := AdamW{LR: 0.02, B1: 0.9, B2: 0.95, Eps: 1e-8, Decay: 0.1,
		Correction1: 1 - math.Pow(0.9, 3), Correction2: 1 - math.Pow(0.95, 3),
		GradScale: []float64{1, 0.125}[r.draw.IntN(2)], Clip: []float64{0, 1, 1e6}[r.draw.IntN(3)]}
	t, c := r.b.Info().Master, r.b.Info().Compute
	a.P, a.M, a.V = r.alloc(t, p, false, false), r.alloc(t, m, false, false), r.alloc(t, v, false, false)
	a.G, a.Guard = r.alloc(t, g, true, false), r.alloc(F64, guards, guard == 0, false)
	if r.coin() || guard != 0 {
		a.Copy = r.alloc(c, filled(n, 7), false, false)
	}
	r.b.AdamW(a)
	r.out("p", a.P, n, how, nil)
	r.out("m", a.M, n, how, nil)
	r.out("v", a.V, n, how, nil)
	r.out("copy", a.Copy, n, how, nil)
}

// The update written out by hand for one parameter and one step.
func TestAdamWByHand(t *testing.T) {
	forEachBackend(t, "", func(t *testing.T, b Backend) {
		one := func(v float64) Buf { return masters(b, []float64{v}) }
		guard := b.Alloc(F64, 1)
		b.Upload(guard, []float64{16}) // norm 4 of the raw gradients, 2 after GradScale, so Clip 1 halves again
		a := AdamW{P: one(2), G: one(4), M: one(0), V: one(0), Guard: guard, LR: 0.5, B1: 0.5, B2: 0.75, Eps: 1, Decay: 0.25,
			Correction1: 0.5, Correction2: 0.25, GradScale: 0.5, Clip: 1}
		b.AdamW(a)
		// g = 4/4 = 1, m = 0.5, v = 0.25, step = 1 / (1 + 1) = 0.5, p = 2 - 0.5*(0.5 + 0.25*2) = 1.5
		for name, got := range map[string][2]float64{
			"p": {read(b, a.P)[0], 1.5}, "m": {read(b, a.M)[0], 0.5}, "v": {read(b, a.V)[0], 0.25},
		} {
			if math.Abs(got[0]-got[1]) > 1e-6 {
				t.Errorf("%s = %g, want %g", name, got[0], got[1])
			}
		}
	})
}
