package model

import (
	"math"
	"testing"

	"palimpsest/kernels"
	"palimpsest/objectives"
)

// A rule over losses above the reference's gives the same in one pass over the logits and in two, and other weights than
// without the reference; without any it is the plan's own constants.
func TestRuleAboveTheReference(t *testing.T) {
	run := func(chunk int, reference bool) (float64, []float64) {
		f := newFixture(t, kernels.NewRef64(), variants()["gpt2"], 0, true)
		ruled(f.plan, func(r *objectives.Reweigh) { r.Rule, r.Tau = "softmax", 1 })
		for i := range f.plan.Terms {
			term := &f.plan.Terms[i]
			term.RowClasses, term.Reference = nil, nil
			term.NeedsReference = reference && term.Head == objectives.HeadLM
		}
		objectives.SetDenominators([]*objectives.Plan{f.plan})
		w := NewWeights(f.a.b, f.w.Config, false)
		w.Init(f.a.b, 99)
		f.a.SetReference(w, false)
		f.a.head.chunk = chunk
		loss := f.forward(t, true)
		f.a.Backward(f.w)
		return loss, kernels.View[float64](f.w.Grad)
	}
	a, x := run(14, true)
	b, y := run(3, true)
	if c, _ := run(14, false); math.Abs(a-b) > 1e-12 || a == c {
		t.Errorf("losses %.15g and %.15g, without the reference %.15g", a, b, c)
	}
	for i := range x {
		if math.Abs(x[i]-y[i]) > 1e-12 {
			t.Fatalf("gradient %d is %.15g, %.15g", i, x[i], y[i])
		}
	}
}
