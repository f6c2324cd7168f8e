package kernels

import (
	"fmt"
	"math"
	"testing"
)

// noteAlignment is everyOp's part of the losses over lattices and reference models.
func noteAlignment(c *cpu, d *digest) {
	const R, V, H, D = 200, 700, 3, 16
	list := []Lattice{{2, 130, 0, 30}, {130, 131, 30, 31}, {140, 200, 31, 40}}
	targets := randomIndex(c, 70, 40, V)
	logits, reference, weights := randomBuf(c, 71, R*V, 1), randomBuf(c, 72, R*V, 1), randomBuf(c, 73, R, 1)
	pulled, loss := c.Alloc(F32, R*V), c.Alloc(F32, R)
	c.Copy(pulled, logits)
	c.ReferenceKL(ReferenceKL{Logits: pulled, Reference: reference, Targets: randomIndex(c, 74, R, V), Weights: weights, Loss: loss, R: R, V: V,
		Unwanted: ReverseKL, Kept: ForwardKL, Eps: 1e-6, Grad: true, GradScale: 1})
	d.note("reference KL", pulled, loss)

	links, match := LinksSize(list), MatchSize(list, DAG)
	l := Links{LogE: c.Alloc(F32, links), LSE: c.Alloc(F32, R*H), QK: randomBuf(c, 75, R*2*H*D, 1), Gate: randomBuf(c, 76, R*H, 1), Lattices: list, Rows: R,
		H: H, D: D}
	c.Links(l)
	e := Emissions{Match: c.Alloc(F32, match), LSE: c.Alloc(F32, R), Logits: logits, Targets: targets, Lattices: list, R: R, V: V, Mode: DAG}
	c.Emissions(e)
	a := Alignment{LogP: c.Alloc(F32, 3), Loss: c.Alloc(F32, 3), DMatch: c.Alloc(F32, match), DLogE: c.Alloc(F32, links), Match: e.Match, LogE: l.LogE,
		Lattices: list, Mode: DAG, Grad: true, GradScale: 1}
	c.Alignment(a)
	c.EmissionsBackward(EmissionsBackward{Logits: logits, DMatch: a.DMatch, LSE: e.LSE, Targets: targets, Lattices: list, R: R, V: V, Mode: DAG})
	dqk, dgate := c.Alloc(F32, R*2*H*D), c.Alloc(F32, R*H)
	c.LinksBackward(LinksBackward{DQK: dqk, DGate: dgate, DLogE: a.DLogE, LogE: l.LogE, LSE: l.LSE, QK: l.QK, Gate: l.Gate, Lattices: list, Rows: R, H: H, D: D})
	d.note("alignment", l.LogE, e.Match, a.LogP, a.Loss, a.DMatch, a.DLogE, logits, dqk, dgate)
}

// What is not finite must reach the loss.
func TestNaNReachesTheAlignment(t *testing.T) {
	for _, open := range cpuVariants() {
		c := open().(*cpu)
		for _, at := range []int{0, 7, 13, 24} {
			const S, M = 8, 4
			match, logE := c.Alloc(F32, M*S), c.Alloc(F32, S*S)
			for i := range f32(logE) {
				f32(match)[i%(M*S)] = -1
				if f32(logE)[i] = -2; i%S <= i/S {
					f32(logE)[i] = float32(math.Inf(-1))
				}
			}
			f32(match)[at] = float32(math.NaN())
			a := Alignment{Loss: c.Alloc(F32, 1), DMatch: c.Alloc(F32, M*S), DLogE: c.Alloc(F32, S*S), Match: match, LogE: logE,
				Lattices: []Lattice{{End: S, Last: M}}, Mode: DAG, Grad: true, GradScale: 1}
			c.Alignment(a)
			reached := at == 0 || at == 13 // state 0 for target 0, state 5 for target 1; the others are on no path
			if l := f32(a.Loss)[0]; (l != l) != reached {
				t.Errorf("%s: loss %g with a NaN at %d", c.info.Name, l, at)
			}
		}
		c.Close()
	}
}

func BenchmarkReferenceKL(b *testing.B) {
	c := newCPU(b, CPUOptions{})
	for _, s := range []struct{ R, V int }{{512, 8192}, {128, 50257}} {
		logits, reference, targets, loss := randomBuf(c, 1, s.R*s.V, 1), randomBuf(c, 2, s.R*s.V, 1), randomIndex(c, 3, s.R, s.V), c.Alloc(F32, s.R)
		for name, pull := range map[string]Pull{"forward": ForwardKL, "reverse": ReverseKL, "unlikelihood": Unlikelihood} {
			b.Run(fmt.Sprintf("%dx%d/%s", s.R, s.V, name), func(b *testing.B) {
				weights := c.Alloc(F32, s.R)
				c.Upload(weights, filled(s.R, -1))
				measure(b, 0, 12*float64(s.R*s.V), func() {
					c.ReferenceKL(ReferenceKL{Logits: logits, Reference: reference, Targets: targets, Weights: weights, Loss: loss, R: s.R, V: s.V,
						Unwanted: pull, Kept: Likelihood, Eps: 1e-6, Grad: true, GradScale: 1})
				})
			})
		}
	}
}

// BenchmarkAlignment has the lattices of ExLM's base setting, and one long one.
func BenchmarkAlignment(b *testing.B) {
	c := newCPU(b, CPUOptions{})
	for _, s := range []struct{ n, S, M, V int }{{32, 85, 21, 8192}, {1, 1024, 256, 8192}} {
		const H, D = 12, 64
		R := s.n * s.S
		var list []Lattice
		for i := range s.n {
			list = append(list, Lattice{int32(i * s.S), int32((i + 1) * s.S), int32(i * s.M), int32((i + 1) * s.M)})
		}
		links, match := LinksSize(list), MatchSize(list, DAG)
		logits, targets := randomBuf(c, 1, R*s.V, 1), randomIndex(c, 2, s.n*s.M, s.V)
		l := Links{LogE: c.Alloc(F32, links), LSE: c.Alloc(F32, R*H), QK: randomBuf(c, 3, R*2*H*D, 1), Gate: randomBuf(c, 4, R*H, 1), Lattices: list,
			Rows: R, H: H, D: D}
		e := Emissions{Match: c.Alloc(F32, match), LSE: c.Alloc(F32, R), Logits: logits, Targets: targets, Lattices: list, R: R, V: s.V, Mode: DAG}
		a := Alignment{Loss: c.Alloc(F32, s.n), DMatch: c.Alloc(F32, match), DLogE: c.Alloc(F32, links), Match: e.Match, LogE: l.LogE, Lattices: list,
			Mode: DAG, Grad: true, GradScale: 1}
		back := EmissionsBackward{Logits: logits, DMatch: a.DMatch, LSE: e.LSE, Targets: targets, Lattices: list, R: R, V: s.V, Mode: DAG}
		grad := LinksBackward{DQK: c.Alloc(F32, R*2*H*D), DGate: c.Alloc(F32, R*H), DLogE: a.DLogE, LogE: l.LogE, LSE: l.LSE, QK: l.QK, Gate: l.Gate,
			Lattices: list, Rows: R, H: H, D: D}
		pairs := float64(s.n*s.S*s.S) / 2
		name := fmt.Sprintf("%dxS%d_M%d", s.n, s.S, s.M)
		b.Run(name+"/links", func(b *testing.B) { measure(b, pairs*2*D*H, 0, func() { c.Links(l) }) })
		b.Run(name+"/emissions", func(b *testing.B) { measure(b, 0, 4*float64(R*s.V), func() { c.Emissions(e) }) })
		b.Run(name+"/paths", func(b *testing.B) { measure(b, 0, 0, func() { c.Alignment(a) }) })
		b.Run(name+"/links backward", func(b *testing.B) { measure(b, pairs*6*D*H, 0, func() { c.LinksBackward(grad) }) })
		b.Run(name+"/emissions backward", func(b *testing.B) { measure(b, 0, 8*float64(R*s.V), func() { c.EmissionsBackward(back) }) })
	}
}
