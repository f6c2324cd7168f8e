package optim

import (
	"math"
	"testing"

	"palimpsest/engine/model"
	"palimpsest/kernels"
)

func TestSchedule(t *testing.T) {
	for _, c := range []struct {
		s           Schedule
		step, total int64
		want        float64
	}{
		{Schedule{Kind: "cosine", Warmup: 0.1, Final: 0.1, Cooldown: 0}, 0, 100, 0.1},
		{Schedule{Kind: "cosine", Warmup: 0.1, Final: 0.1, Cooldown: 0}, 9, 100, 1},
		{Schedule{Kind: "cosine", Warmup: 0.1, Final: 0.1, Cooldown: 0}, 10, 100, 1},
		{Schedule{Kind: "cosine", Warmup: 0.1, Final: 0.1, Cooldown: 0}, 99, 100, 0.1},
		{Schedule{Kind: "cosine", Warmup: 0, Final: 0, Cooldown: 0}, 50, 101, 0.5},
		{Schedule{Kind: "linear", Warmup: 10, Final: 0.2, Cooldown: 0}, 4, 111, 0.5},
		{Schedule{Kind: "linear", Warmup: 10, Final: 0.2, Cooldown: 0}, 60, 111, 0.6},
		{Schedule{Kind: "constant", Warmup: 2, Final: 0, Cooldown: 0}, 0, 10, 0.5},
		{Schedule{Kind: "constant", Warmup: 2, Final: 0, Cooldown: 0}, 9, 10, 1},
		{Schedule{Kind: "cosine", Warmup: 0, Final: 0.1, Cooldown: 0}, 0, 1, 1},
		{Schedule{Kind: "linear", Warmup: 20, Final: 0.1, Cooldown: 0}, 4, 10, 0.25}, // warm-up longer than the run
		{Schedule{Kind: "trapezoid", Warmup: 2, Final: 0.5, Cooldown: 4}, 0, 10, 0.5},
		{Schedule{Kind: "trapezoid", Warmup: 2, Final: 0.5, Cooldown: 4}, 5, 10, 1},
		{Schedule{Kind: "trapezoid", Warmup: 2, Final: 0.5, Cooldown: 4}, 6, 10, 0.875},
		{Schedule{Kind: "trapezoid", Warmup: 2, Final: 0.5, Cooldown: 4}, 9, 10, 0.5},
		{Schedule{Kind: "trapezoid", Warmup: 0.1, Final: 0, Cooldown: 0.2}, 89, 100, 0.5},
		{Schedule{Kind: "trapezoid", Warmup: 0.1, Final: 0, Cooldown: 0.2}, 99, 100, 0},
		{Schedule{Kind: "trapezoid", Warmup: 8, Final: 0, Cooldown: 8}, 8, 10, 0.5}, // a cool-down of what the warm-up leaves
		{Schedule{Kind: "trapezoid", Warmup: 0, Final: 0, Cooldown: 1 << 60}, 4, 10, 0.5},
		{Schedule{Kind: "cosine", Warmup: 0, Final: 0.1, Cooldown: 4}, 5, 10, 0.1},
		{Schedule{Kind: "cosine", Warmup: 0, Final: 0.1, Cooldown: 4}, 6, 10, 0.08},
		{Schedule{Kind: "cosine", Warmup: 0, Final: 0.1, Cooldown: 4}, 9, 10, 0.02},
		{Schedule{Kind: "constant", Warmup: 0, Final: 0, Cooldown: 1}, 9, 10, 0.5},
	} {
		if got := c.s.Factor(c.step, c.total); math.Abs(got-c.want) > 1e-12 {
			t.Errorf("%+v at %d of %d: %g, want %g", c.s, c.step, c.total, got, c.want)
		}
	}
}

func newModel(t *testing.T) (kernels.Backend, *model.Weights) {
	t.Helper()
	c, problems := model.Config{Vocab: 7, Layers: 1, Width: 4, Heads: 1, FF: 5, Context: 3}.Resolve(7)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	b := kernels.NewRef64()
	w := model.NewWeights(b, c, true)
	w.Init(b, 1)
	return b, w
}

func fill(b kernels.Buf, f func(i int) float64) {
	for i := range kernels.View[float64](b) {
		kernels.View[float64](b)[i] = f(i)
	}
}

func TestDecayOnMatricesOnly(t *testing.T) {
	b, w := newModel(t)
	c := Default()
	o := New(b, c, w)
	before := append([]float64(nil), kernels.View[float64](w.Master)...)
	fill(w.Master, func(i int) float64 { return before[i] + 0.5 })
	copy(before, kernels.View[float64](w.Master))
	guard := b.Alloc(kernels.F64, 1)
	o.Step(b, w, guard, 0.01/c.LearningRate) // no gradient: only decay moves anything
	for _, p := range w.Params {
		want := 1.0
		if p.Decay {
			want = 1 - 0.01*c.WeightDecay
		}
		for i, v := range kernels.View[float64](p.Master) {
			if math.Abs(v-before[p.Offset+i]*want) > 1e-15 {
				t.Fatalf("%s[%d]: %g became %g, decay %v", p.Name, i, before[p.Offset+i], v, p.Decay)
			}
		}
		if matrix := len(p.Shape) == 2; matrix != p.Decay {
			t.Errorf("%s of shape %v: decay %v", p.Name, p.Shape, p.Decay)
		}
	}
}

func TestFirstStepsByHand(t *testing.T) {
	b, w := newModel(t)
	c := Config{Kind: "adamw", LearningRate: 1, Betas: [2]float64{0.9, 0.99}, Eps: 1e-8, Clip: 1, LayerDecay: 1}
	o := New(b, c, w)
	p := w.ByName("final.norm.weight")
	fill(p.Grad, func(i int) float64 { return []float64{3, 4, 0, 0}[i] })
	guard := b.Alloc(kernels.F64, 2)
	var m, v float64
	x := 1.0
	for step := 1; step <= 3; step++ {
		b.SumSquares(guard, 0, w.Grad, w.Grad.Len(), false)
		o.Step(b, w, guard, 0.1)
		g := 3.0 / 5 // the norm is 5, the limit 1
		m, v = 0.9*m+0.1*g, 0.99*v+0.01*g*g
		x -= 0.1 * m / (1 - math.Pow(0.9, float64(step))) / (math.Sqrt(v/(1-math.Pow(0.99, float64(step)))) + 1e-8)
		if got := kernels.View[float64](p.Master)[0]; math.Abs(got-x) > 1e-12 {
			t.Fatalf("step %d: %.15g, want %.15g", step, got, x)
		}
	}
	if o.Updates != 3 {
		t.Errorf("%d updates", o.Updates)
	}
}

func TestNonFiniteGuardLeavesEveryBit(t *testing.T) {
	for _, bad := range []float64{math.NaN(), math.Inf(1)} {
		for position := range 2 {
			for _, kind := range []string{"adamw", "lamb", "muon"} {
				b, w := newModel(t)
				c := Default()
				c.Kind = kind
				o, average := New(b, c, w), NewEMA(b, EMAConfig{Decay: 0.5}, w)
				average.Begin(b, w)
				fill(w.Grad, func(i int) float64 { return float64(i) })
				fill(o.M, func(i int) float64 { return float64(i) * 0.25 })
				fill(average.Weights.Master, func(i int) float64 { return float64(i) })
				kept := []kernels.Buf{w.Master, o.M, o.V, average.Weights.Master}
				var before [][]float64
				for _, buf := range kept {
					before = append(before, append([]float64(nil), kernels.View[float64](buf)...))
				}
				guard := b.Alloc(kernels.F64, 2)
				kernels.View[float64](guard)[position] = bad
				o.Step(b, w, guard, 0.1)
				average.Update(b, w, guard, o.Updates)
				o.Skip()
				for k, buf := range kept {
					for i, v := range kernels.View[float64](buf) {
						if v != before[k][i] {
							t.Fatalf("%s, guard %v: buffer %d changed at %d", kind, bad, k, i)
						}
					}
				}
				if o.Updates != 0 {
					t.Error("the refused update was counted")
				}
			}
		}
	}
}

func TestValidate(t *testing.T) {
	if p := Default().Validate(); len(p) > 0 {
		t.Error(p)
	}
	if p := (Schedule{Kind: "trapezoid", Warmup: 0.6}).Validate(); len(p) != 1 {
		t.Errorf("want cooldown: %v", p)
	}
	if p := (Schedule{Kind: "cosine", Warmup: 0.6, Cooldown: 0.5}).Validate(); len(p) != 1 {
		t.Errorf("want cooldown: %v", p)
	}
	if p := (Config{LearningRate: -1, Betas: [2]float64{1, 0.9}}).Validate(); len(p) != 3 {
		t.Errorf("want learning_rate, betas and eps: %v", p)
	}
	if p := (Schedule{Warmup: 10.5}).Validate(); len(p) != 1 {
		t.Errorf("want warmup: %v", p)
	}
}
