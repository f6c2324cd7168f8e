package model

import (
	"fmt"
	"math"
	"testing"

	"palimpsest/kernels"
	"palimpsest/objectives"
)

// ruled puts the terms of a plan under a rule.
func ruled(p *objectives.Plan, change func(*objectives.Reweigh)) {
	for i := range p.Terms {
		t := &p.Terms[i]
		t.Weights, t.Options.Reweigh = nil, objectives.DefaultLoss().Reweigh
		change(&t.Options.Reweigh)
		t.RowClasses = make([]uint8, len(t.Rows))
		t.Reference = make([]float32, len(t.Rows))
		for r := range t.Rows {
			t.RowClasses[r] = []uint8{0, 1, 1, 255}[r%4]
			t.Reference[r] = float32(r%3) * 0.25
		}
	}
	objectives.SetDenominators([]*objectives.Plan{p})
}

// Rules with the gradient through them, and those without one of their own, against central differences; the logits of a
// chunk that holds all groups, and chunks so small that they are computed twice.
func TestGradientsThroughRules(t *testing.T) {
	const h = 1e-5
	for _, rule := range []string{"uniform", "softmax", "class", "fixed", "sigmoid"} {
		for _, scope := range []string{"segment", "batch"} {
			for _, chunk := range []int{0, 2} {
				t.Run(fmt.Sprint(rule, scope, chunk), func(t *testing.T) {
					f := newFixture(t, kernels.NewRef64(), variants()["bert"], 0, true)
					ruled(f.plan, func(r *objectives.Reweigh) { r.Rule, r.Scope, r.Detach, r.Tau, r.Scale = rule, scope, false, 1, -2 })
					if chunk > 0 {
						f.a.head.chunk = chunk
					}
					f.forward(t, true)
					f.a.Backward(f.w)
					for _, p := range f.w.Params {
						grad, value := kernels.View[float64](p.Grad), kernels.View[float64](p.Master)
						for e := 0; e < len(value); e += 1 + len(value)/3 {
							x := value[e]
							value[e] = x + h
							up := f.forward(t, false)
							value[e] = x - h
							down := f.forward(t, false)
							value[e] = x
							if want := (up - down) / (2 * h); math.Abs(grad[e]-want) > 1e-6*(1+math.Abs(want)) {
								t.Fatalf("%s[%d]: gradient %.10g, differences say %.10g", p.Name, e, grad[e], want)
							}
						}
					}
				})
			}
		}
	}
}

// One pass over the logits and two of them give the same: losses to rounding, and gradients; and a rule that weighs all rows
// of a batch alike is the plain mean.
func TestRuleInOnePassEqualsTwo(t *testing.T) {
	grads := func(chunk int, change func(*objectives.Reweigh)) (float64, []float64) {
		f := newFixture(t, kernels.NewRef64(), variants()["gpt2"], 0, true)
		f.plan.Terms[1].Weights = nil
		objectives.SetDenominators([]*objectives.Plan{f.plan})
		if change != nil {
			ruled(f.plan, change)
			for i := range f.plan.Terms {
				if t := &f.plan.Terms[i]; t.Options.Reweigh.Rule == "uniform" {
					t.RowClasses = nil // all rows count
				}
			}
		}
		f.a.head.chunk = chunk
		loss := f.forward(t, true)
		f.a.Backward(f.w)
		return loss, kernels.View[float64](f.w.Grad)
	}
	same := func(name string, a, b float64, x, y []float64) {
		t.Helper()
		if math.Abs(a-b) > 1e-12 {
			t.Errorf("%s: loss %.15g, %.15g", name, a, b)
		}
		for i := range x {
			if math.Abs(x[i]-y[i]) > 1e-12 {
				t.Errorf("%s: gradient %d is %.15g, %.15g", name, i, x[i], y[i])
				return
			}
		}
	}
	for _, rule := range []string{"top", "softmax", "class"} {
		change := func(r *objectives.Reweigh) { r.Rule = rule }
		a, x := grads(14, change)
		b, y := grads(3, change)
		same(rule, a, b, x, y)
	}
	a, x := grads(14, nil)
	b, y := grads(14, func(r *objectives.Reweigh) { r.Rule, r.Scope = "uniform", "batch" })
	same("uniform", a, b, x, y)
}
