package model

import (
	"fmt"
	"math"
	"testing"

	"palimpsest/kernels"
	"palimpsest/objectives"
)

// alignedConfig is a model with a transition head at a size for finite differences.
func alignedConfig(features, positions string) Config {
	return Config{Vocab: 13, Layers: 1, Width: 8, Heads: 2, FF: 12, Context: 64, Positions: positions, MLP: "gelu", Transform: on, HeadBias: on, InitStd: 0.3, InitScale: "none",
		Links: Links{Features: features, Heads: 2, Positions: 40}}
}

func alignedSettings(change func(*objectives.EXLM)) objectives.Settings {
	s := objectives.Settings{Seed: 3, Mask: objectives.DefaultMask(), EXLM: objectives.DefaultEXLM(), Loss: objectives.DefaultLoss(),
		Vocabulary: objectives.Vocabulary{Size: 13, BOS: 0, EOS: 1, Pad: -1, Mask: 2, Unk: 3, Special: func(id int32) bool { return id < 4 }}}
	s.Mask.P, s.EXLM.K = 0.4, 3
	if change != nil {
		change(&s.EXLM)
	}
	return s
}

var alignedDocuments = []objectives.Document{
	{ID: 1, Tokens: []int32{0, 5, 6, 7, 8, 9, 1}},
	{ID: 2, Tokens: []int32{0, 4, 12, 4, 1}},
	{ID: 3, Tokens: []int32{9, 10, 11}}, // gets both ends
}

func alignedPlan(t *testing.T, s objectives.Settings, order ...int) *objectives.Plan {
	t.Helper()
	o, err := objectives.New("exlm", s)
	if err != nil {
		t.Fatal(err)
	}
	p := new(objectives.Plan)
	o.Begin(p)
	for _, i := range order {
		o.Plan(alignedDocuments[i], p)
	}
	objectives.SetDenominators([]*objectives.Plan{p})
	if err := p.Check(13, 64); err != nil {
		t.Fatal(err)
	}
	return p
}

type alignedFixture struct {
	*fixture
}

func newAligned(t *testing.T, b kernels.Backend, c Config, p *objectives.Plan, chunk int) *alignedFixture {
	c = resolved(t, c)
	f := &fixture{b: b, w: NewWeights(b, c, true), a: NewActivations(b, c, Capacity{Tokens: 80, Rows: 80, States: 24}, true), plan: p, step: Step{Dropout: 0.1, Seed: 5, Micro: 2}}
	f.w.Init(b, 7)
	if chunk > 0 {
		f.a.head.chunk = chunk
	}
	return &alignedFixture{f}
}

func (f *alignedFixture) loss(t *testing.T, gradient bool) float64 {
	t.Helper()
	if err := f.a.Load(f.plan, f.step); err != nil {
		t.Fatal(err)
	}
	f.a.ResetResults()
	f.a.Forward(f.w)
	f.a.Loss(f.w, gradient)
	_, terms, err := f.a.Results([]string{"exlm"})
	if err != nil {
		t.Fatal(err)
	}
	if terms[0].Lost != 0 || terms[0].NLL != 0 {
		t.Fatalf("%+v", terms[0])
	}
	return terms[0].Loss / f.plan.Terms[0].Den
}

// The gradient of the whole objective, encoder, both heads, links and the sum over all paths, against central differences in
// float64, with all lattices in one chunk and with one in each.
func TestAlignmentGradients(t *testing.T) {
	const h = 1e-5
	for _, x := range []struct{ dag, features, positions string }{
		{"dense", "hidden+position", "rope2d"}, {"sparse", "hidden+position", "rope2d"}, {"fallback", "hidden+position", "rope2d"}, {"none", "none", "rope2d"}, {"dense", "hidden", "rope"},
	} {
		for _, chunk := range []int{0, 24} {
			t.Run(fmt.Sprint(x, chunk), func(t *testing.T) {
				p := alignedPlan(t, alignedSettings(func(e *objectives.EXLM) {
					if e.DAG = x.dag; x.dag == "fallback" {
						e.DAG, e.Compat.Fallback = "sparse", true
					}
					if x.positions == "rope" {
						e.Rope = "1d"
					}
				}), 0, 1, 2)
				f := newAligned(t, kernels.NewRef64(), alignedConfig(x.features, x.positions), p, chunk)
				f.loss(t, true)
				f.a.Backward(f.w)
				moved := 0
				for _, param := range f.w.Params {
					grad, value := kernels.View[float64](param.Grad), kernels.View[float64](param.Master)
					for e := 0; e < len(value); e += 1 + len(value)/5 {
						x := value[e]
						value[e] = x + h
						up := f.loss(t, false)
						value[e] = x - h
						down := f.loss(t, false)
						value[e] = x
						want := (up - down) / (2 * h)
						if diff := math.Abs(grad[e] - want); !(diff <= 1e-7*(1+math.Abs(want))) {
							t.Errorf("%s[%d]: gradient %.12g, difference %.12g", param.Name, e, grad[e], want)
						}
						if math.Abs(want) > 1e-6 {
							moved++
						}
					}
				}
				if moved < 30 {
					t.Errorf("only %d elements moved the loss", moved)
				}
			})
		}
	}
}

// A text's loss and gradient do not depend on what it is packed with, nor on the order.
func TestAlignmentDoesNotDependOnPacking(t *testing.T) {
	for _, dag := range []string{"dense", "sparse", "none"} {
		s := alignedSettings(func(e *objectives.EXLM) { e.DAG = dag })
		features := map[bool]string{true: "none", false: "hidden+position"}[dag == "none"]
		var losses []float64
		var grads [][]float64
		for _, order := range [][]int{{0, 1, 2}, {2, 0, 1}, {1, 2, 0}} {
			f := newAligned(t, kernels.NewRef64(), alignedConfig(features, "rope2d"), alignedPlan(t, s, order...), 0)
			f.step.Dropout = 0 // which goes by the row of the step
			losses = append(losses, f.loss(t, true))
			f.a.Backward(f.w)
			grads = append(grads, append([]float64(nil), kernels.View[float64](f.w.Grad)...))
		}
		for k := 1; k < 3; k++ {
			if math.Abs(losses[k]-losses[0]) > 1e-12 {
				t.Errorf("%s: losses %v", dag, losses)
			}
			for i, v := range grads[0] {
				if math.Abs(grads[k][i]-v) > 1e-12 {
					t.Fatalf("%s: gradient %d is %g in one order and %g in another", dag, i, v, grads[k][i])
				}
			}
		}
	}
}

// The mean over separate micro-batches is that over one.
func TestAlignmentAccumulates(t *testing.T) {
	s := alignedSettings(nil)
	whole := newAligned(t, kernels.NewRef64(), alignedConfig("hidden+position", "rope2d"), alignedPlan(t, s, 0, 1, 2), 0)
	whole.step.Dropout = 0
	want := whole.loss(t, true)
	whole.a.Backward(whole.w)
	parts := []*objectives.Plan{alignedPlan(t, s, 0), alignedPlan(t, s, 1, 2)}
	objectives.SetDenominators(parts)
	f := newAligned(t, kernels.NewRef64(), alignedConfig("hidden+position", "rope2d"), parts[0], 0)
	f.step.Dropout = 0
	got := 0.0
	for _, p := range parts {
		f.plan = p
		got += f.loss(t, true)
		f.a.Backward(f.w)
	}
	if math.Abs(got-want) > 1e-12 {
		t.Errorf("loss %g, in parts %g", want, got)
	}
	for i, v := range kernels.View[float64](whole.w.Grad) {
		if g := kernels.View[float64](f.w.Grad)[i]; math.Abs(g-v) > 1e-12 {
			t.Fatalf("gradient %d is %g, in parts %g", i, v, g)
		}
	}
}

// The float32 CPU against the float64 oracle, gradients of every parameter.
func TestAlignmentBackendsAgree(t *testing.T) {
	for _, dag := range []string{"dense", "sparse", "none"} {
		p := alignedPlan(t, alignedSettings(func(e *objectives.EXLM) { e.DAG = dag }), 0, 1, 2)
		c := alignedConfig(map[bool]string{true: "none", false: "hidden+position"}[dag == "none"], "rope2d")
		want, got := newAligned(t, kernels.NewRef64(), c, p, 0), newAligned(t, cpuBackend(t), c, p, 0)
		x, y := want.loss(t, true), got.loss(t, true)
		want.a.Backward(want.w)
		got.a.Backward(got.w)
		if math.Abs(x-y) > 2e-5*math.Abs(x) {
			t.Errorf("%s: loss %g, oracle %g", dag, y, x)
		}
		for i, param := range got.w.Params {
			g, o, scale := kernels.View[float32](param.Grad), kernels.View[float64](want.w.Params[i].Grad), 0.0
			for _, v := range o {
				scale = max(scale, math.Abs(v))
			}
			for e := range g {
				if !(math.Abs(float64(g[e])-o[e]) <= 1e-4*scale+2e-6) {
					t.Fatalf("%s: %s[%d] gradient %g, oracle %g", dag, param.Name, e, g[e], o[e])
				}
			}
		}
	}
}

// A text with a target of probability 0 has no path: it is counted, named, and adds nothing to loss and gradients.
func TestTextsWithoutAPath(t *testing.T) {
	s := alignedSettings(func(e *objectives.EXLM) { e.K = 3 })
	s.Mask.P = 1 // document 1 asks for token 12, the others do not
	f := newAligned(t, kernels.NewRef64(), alignedConfig("hidden+position", "rope2d"), alignedPlan(t, s, 0, 1, 2), 0)
	others := newAligned(t, kernels.NewRef64(), alignedConfig("hidden+position", "rope2d"), alignedPlan(t, s, 0, 2), 0)
	run := func(f *alignedFixture) (loss float64, lost float64) {
		f.step.Dropout = 0
		kernels.View[float64](f.w.ByName("head.lm.bias").Master)[12] = math.Inf(-1)
		if err := f.a.Load(f.plan, f.step); err != nil {
			t.Fatal(err)
		}
		f.a.ResetResults()
		f.a.Forward(f.w)
		f.a.Loss(f.w, true)
		wait := f.a.LostLater()
		f.a.Backward(f.w)
		later, err := wait()
		if err != nil {
			t.Fatal(err)
		}
		_, terms, err := f.a.Results([]string{"exlm"})
		if err != nil || terms[0].Lost != later {
			t.Fatalf("%v, %+v, later %g", err, terms, later)
		}
		return terms[0].Loss, later
	}
	loss, lost := run(f)
	want, none := run(others)
	if lost != 1 || none != 0 || math.Abs(loss-want) > 1e-12 {
		t.Errorf("%g and %g texts without a path, losses %g and %g", lost, none, loss, want)
	}
	for i, v := range kernels.View[float64](others.w.Grad) { // 2 of 3 count: the mean of the others is 3/2 times as much
		if g := 1.5 * kernels.View[float64](f.w.Grad)[i]; !(math.Abs(g-v) <= 1e-12) {
			t.Fatalf("gradient %d is %g, of the others alone %g", i, g, v)
		}
	}
	f.a.Forward(f.w)
	if first, err := f.a.FirstLost(f.w, 0); err != nil || first != 1 {
		t.Errorf("lattice %d is the first without a path, want 1 (%v)", first, err)
	}
}

// Lattices that a model or its activations cannot take are refused with their place.
func TestLoadRefusesLattices(t *testing.T) {
	p := alignedPlan(t, alignedSettings(nil), 0, 1)
	b := kernels.NewRef64()
	load := func(c Config, capacity Capacity) error {
		return NewActivations(b, resolved(t, c), capacity, false).Load(p, Step{})
	}
	room := Capacity{Tokens: 80, Rows: 80, States: 24}
	if err := load(alignedConfig("hidden+position", "rope2d"), room); err != nil {
		t.Error(err)
	}
	if load(alignedConfig("none", "rope2d"), room) == nil {
		t.Error("a graph without a transition head")
	}
	short := alignedConfig("hidden+position", "rope2d")
	short.Links.Positions = 8
	if load(short, room) == nil {
		t.Error("places behind the table")
	}
	if load(alignedConfig("hidden", "rope2d"), Capacity{Tokens: 80, Rows: 80, States: 5}) == nil {
		t.Error("more states than the capacity")
	}
}

// Where a chunk of the head is shorter than a lattice may be, it is made as long.
func TestChunksHoldTheLongestLattice(t *testing.T) {
	c := alignedConfig("hidden+position", "rope2d")
	c.Vocab = 400_000
	c, _ = c.Resolve(0)
	for _, states := range []int{0, 100, 700} {
		var a Activations
		a.allocate(c, Capacity{Tokens: 1000, Rows: 1000, States: states}, true, kernels.F32, kernels.F32, func(kernels.DType, int) kernels.Buf { return kernels.Buf{} })
		if want := max(128, states); a.head.chunk != want {
			t.Errorf("lattices of %d states: chunks of %d rows, want %d", states, a.head.chunk, want)
		}
	}
}
