package model

import (
	"math"
	"slices"
	"testing"

	"palimpsest/kernels"
	"palimpsest/objectives"
)

// What a Filler adds to a plan changes no bit of losses and gradients, whatever the terms are: the oracle sums in the order of
// rows, and exact zeros come last.
func TestFilledPlansAddNothing(t *testing.T) {
	f := objectives.NewFiller(160, 9)
	compare := func(t *testing.T, run func(fill func(p *objectives.Plan)) (results []TermResult, grad []float64)) {
		t.Helper()
		plain, want := run(func(p *objectives.Plan) {})
		filled, got := run(func(p *objectives.Plan) {
			rows := p.Rows()
			if f.Fill(p); p.Filled == 0 || !p.Ragged && p.Rows() == rows {
				t.Errorf("%d tokens and %d rows were added", p.Filled, p.Rows()-rows)
			}
		})
		if !slices.Equal(plain, filled) {
			t.Errorf("%+v, filled %+v", plain, filled)
		}
		if i := slices.IndexFunc(got, func(v float64) bool { return math.IsNaN(v) }); i >= 0 || !slices.Equal(want, got) {
			t.Errorf("other gradients; the first NaN is %d", i)
		}
	}
	step := func(t *testing.T, a *Activations, w *Weights, p *objectives.Plan, s Step) ([]TermResult, []float64) {
		t.Helper()
		if err := p.Check(int(w.Config.Vocab), w.Config.Context); err != nil {
			t.Fatal(err)
		}
		if err := a.Load(p, s); err != nil {
			t.Fatal(err)
		}
		a.ResetResults()
		a.Forward(w)
		a.Loss(w, true)
		a.Backward(w)
		var names []string
		for i := range p.Terms {
			names = append(names, p.Terms[i].Name)
		}
		_, results, err := a.Results(names)
		if err != nil {
			t.Fatal(err)
		}
		return results, slices.Clone(kernels.View[float64](w.Grad))
	}
	for name, change := range map[string]func(p *objectives.Plan){
		"cross-entropy": func(p *objectives.Plan) {},
		"rules": func(p *objectives.Plan) {
			ruled(p, func(r *objectives.Reweigh) { r.Rule, r.Tau = "class", 1 })
		},
		"rules of a batch, above the reference": func(p *objectives.Plan) {
			ruled(p, func(r *objectives.Reweigh) { r.Rule, r.Scope, r.Share = "top", "batch", 0.5 })
			for i := range p.Terms {
				term := &p.Terms[i]
				term.RowClasses, term.Reference, term.NeedsReference = nil, nil, term.Head == objectives.HeadLM
			}
		},
		"pulls": func(p *objectives.Plan) {
			for i := range p.Terms {
				if term := &p.Terms[i]; term.Head == objectives.HeadLM {
					term.Kind, term.NeedsReference, term.Options = objectives.ReferenceKL, true, objectives.LossOptions{}
					term.Pulls = objectives.Pulls{Unwanted: kernels.ReverseKL, Kept: kernels.ForwardKL, Eps: 1e-4}
					term.Weights = nil
					for r := range term.Rows {
						term.Weights = append(term.Weights, []float32{1, -0.5, 0}[r%3])
					}
				}
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			compare(t, func(fill func(p *objectives.Plan)) ([]TermResult, []float64) {
				x := newFixture(t, kernels.NewRef64(), variants()["detector"], 0.1, true)
				x.a = NewActivations(x.b, x.w.Config, Capacity{Tokens: 160, Rows: 160}, true)
				change(x.plan)
				objectives.SetDenominators([]*objectives.Plan{x.plan})
				if x.plan.NeedsReference {
					w := NewWeights(x.b, x.w.Config, false)
					w.Init(x.b, 99)
					x.a.SetReference(w, false)
				}
				fill(x.plan)
				return step(t, x.a, x.w, x.plan, x.step)
			})
		})
	}
	for _, dag := range []string{"dense", "none"} {
		t.Run("lattices, "+dag, func(t *testing.T) {
			compare(t, func(fill func(p *objectives.Plan)) ([]TermResult, []float64) {
				features := map[string]string{"dense": "hidden+position", "none": "none"}[dag]
				p := alignedPlan(t, alignedSettings(func(e *objectives.EXLM) { e.DAG = dag }), 0, 1, 2)
				x := newAligned(t, kernels.NewRef64(), alignedConfig(features, "rope2d"), p, 0)
				x.a = NewActivations(x.b, x.w.Config, Capacity{Tokens: 160, Rows: 160, States: 24}, true)
				fill(p)
				return step(t, x.a, x.w, p, x.step)
			})
		})
	}
}
