package optim

import (
	"testing"

	"palimpsest/engine/model"
	"palimpsest/kernels"
	"palimpsest/objectives"
)

// Every optimiser teaches adapters a text by heart, and neither it nor an average touches what is frozen, or keeps anything of it.
func TestAdaptersLearn(t *testing.T) {
	for kind, rate := range map[string]float64{"adamw": 1e-2, "lamb": 3e-2, "muon": 1e-2} {
		b := kernels.NewRef64()
		c := model.Config{Vocab: 11, Layers: 2, Width: 16, Heads: 2, FF: 24, Context: 24, MLP: "swiglu", InitStd: 0.3, Adapter: model.DefaultAdapter()}
		c.Adapter.Rank, c.Adapter.Targets = 4, c.AdapterTargets()
		c, problems := c.Resolve(11)
		if len(problems) > 0 {
			t.Fatal(problems)
		}
		w, a := model.NewWeights(b, c, true), model.NewActivations(b, c, model.Capacity{Tokens: 24, Rows: 24}, true)
		w.Init(b, 1)
		settings := Default()
		settings.Kind, settings.LearningRate, settings.WeightDecay = kind, rate, 0
		o, average := New(b, settings, w), NewEMA(b, EMAConfig{Decay: 0.5}, w)
		average.Begin(b, w)
		clm, err := objectives.New("clm", objectives.Settings{Vocabulary: objectives.Vocabulary{Size: 11, BOS: 0, EOS: 1, Pad: -1, Mask: 2, Special: func(id int32) bool { return id < 3 }}})
		if err != nil {
			t.Fatal(err)
		}
		p := new(objectives.Plan)
		tokens := []int32{0}
		for i := range int32(22) {
			tokens = append(tokens, 3+i*i*3%8)
		}
		clm.Plan(objectives.Document{Tokens: append(tokens, 1)}, p)
		objectives.SetDenominators([]*objectives.Plan{p})
		frozen := map[string][]float64{}
		for _, p := range w.Params {
			if p.Frozen {
				frozen[p.Name] = clone(p.Master)
			}
		}
		var losses []float64
		for range 60 {
			b.Zero(w.Grad)
			a.ResetResults()
			if err := a.Load(p, model.Step{}); err != nil {
				t.Fatal(err)
			}
			a.Forward(w)
			a.Loss(w, true)
			a.Backward(w)
			guard := a.Guard(w)
			o.Step(b, w, guard, 1)
			average.Update(b, w, guard, o.Updates)
			_, terms, err := a.Results([]string{"clm"})
			if err != nil {
				t.Fatal(err)
			}
			losses = append(losses, terms[0].Loss/p.Terms[0].Den)
		}
		first, last := losses[0], losses[len(losses)-1]
		t.Logf("%s: %.3f to %.3f", kind, first, last)
		if last > first/2 {
			t.Errorf("%s: the loss goes from %.3f to %.3f", kind, first, last)
		}
		trained := 0
		for i, p := range w.Params {
			same := average.Weights.Params[i].Master == p.Master
			if p.Frozen != same {
				t.Errorf("%s: %s is shared with the average: %v", kind, p.Name, same)
			}
			if !p.Frozen {
				trained += p.Len()
				continue
			}
			for e, v := range kernels.View[float64](p.Master) {
				if v != frozen[p.Name][e] {
					t.Fatalf("%s: %s is frozen and changed", kind, p.Name)
				}
			}
		}
		for _, m := range o.State() {
			if m.Param.Frozen {
				t.Errorf("%s: there is a moment %s%s", kind, m.Prefix, m.Param.Name)
			}
		}
		if o.M.Len() < trained || o.M.Len() > trained+16*len(w.Params) || average.Weights.Master.Len() != o.M.Len() {
			t.Errorf("%s: moments of %d elements for %d that are trained", kind, o.M.Len(), trained)
		}
	}
}
