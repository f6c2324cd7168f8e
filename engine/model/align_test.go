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
	return Config{Vocab: 13, Layers: 2, Width: 8, Heads: 2, FF: 12, Context: 64, Positions: positions, MLP: "gelu", Transform: on, HeadBias: on, InitStd: 0.3, InitScale: "none",
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
		{"dense", "hidden+position", "rope2d"}, {"sparse", "hidden+position", "rope2d"}, {"none", "none", "rope2d"}, {"dense", "hidden", "rope"},
	} {
		for _, chunk := range []int{0, 24} {
			t.Run(fmt.Sprint(x, chunk), func(t *testing.T) {
				p := alignedPlan(t, alignedSettings(func(e *objectives.EXLM) {
					e.DAG = x.dag
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
					for e := 0; e < len(value); e += 1 + len(value)/7 {
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
				if moved < 60 {
					t.Errorf("only %d elements moved the loss", moved)
				}
			})
		}
	}
}
