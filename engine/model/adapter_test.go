package model

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"palimpsest/kernels"
	"palimpsest/kernels/philox"
)

// adapterOn is an adapter of a test's sizes.
func adapterOn(rank int, alpha float64, targets ...string) Adapter {
	a := DefaultAdapter()
	a.Rank, a.Alpha, a.Targets = rank, alpha, targets
	if rank == 3 {
		a.Scaling = "rank_stabilized"
	}
	a.Heads = rank != 1
	if rank == 2 {
		a.Dropout = 0.25
	}
	return a
}

// perturbAdapters gives B, which begins at zero, numbers, so that A has a gradient.
func (w *Weights) perturbAdapters(b kernels.Backend) {
	for i, p := range w.Params {
		if strings.HasSuffix(p.Name, ".lora_b") {
			d, values := philox.New(4, philox.StreamTest, uint64(i), 0), make([]float32, p.Len())
			for e := range values {
				values[e] = float32(0.3 * d.Normal())
			}
			b.Upload(p.Master, values)
		}
	}
	w.Publish(b)
}

// adaptedVariants are those with adapters.
func adaptedVariants() map[string]Config {
	list := map[string]Config{}
	for name, c := range variants() {
		if c.Adapter.On() {
			list[name] = c
		}
	}
	return list
}

// lossOf is the loss of some weights on a fixture's activations.
func (f *fixture) lossOf(t *testing.T, w *Weights) float64 {
	t.Helper()
	own := f.w
	f.w = w
	defer func() { f.w = own }()
	return f.forward(t, false)
}

// A model with new adapters is the model without them, to the bit, and so is what WithoutAdapter shows once they are trained. Only
// a backend that has more digits for an activation within a product than behind it begins with rounding.
func TestAdaptersBeginAsTheBase(t *testing.T) {
	for _, open := range []func() kernels.Backend{kernels.NewRef64, kernels.NewRef32, kernels.NewRefBF16, func() kernels.Backend { return cpuBackend(t) }} {
		b := open()
		for name, c := range adaptedVariants() {
			adapted := newFixture(t, b, c, 0, true)
			plain := c
			plain.Adapter = Adapter{}
			base := newFixture(t, b, plain, 0, true)
			want := base.forward(t, false)
			adapted.w.Init(b, 7)
			adapted.w.perturbDepth(b)
			tolerance := 0.0
			if b.Info().Name == "ref32" && slices.Contains(c.Adapter.Targets, "mlp.up") && !c.gated() {
				tolerance = 1e-6 * want
			}
			if got := adapted.forward(t, false); math.Abs(got-want) > tolerance {
				t.Errorf("%s on %s: the loss begins as %v, that of the base is %v", name, b.Info().Name, got, want)
			}
			adapted.w.perturbAdapters(b)
			if got := adapted.forward(t, false); got == want {
				t.Errorf("%s on %s: adapters change nothing", name, b.Info().Name)
			}
			if got := adapted.lossOf(t, adapted.w.WithoutAdapter()); got != want {
				t.Errorf("%s on %s: without adapters the loss is %v, want %v", name, b.Info().Name, got, want)
			}
			if view := base.w.WithoutAdapter(); view != base.w {
				t.Error("a model without adapters is another one without them")
			}
		}
	}
}

// An adapter's dropout is its own: it changes the loss where adapters do something, in training only, and no draw of the rest.
func TestAdapterDropout(t *testing.T) {
	c := adaptedVariants()["gpt2 adapted"]
	f := newFixture(t, kernels.NewRef64(), c, 0.1, true)
	with := f.forward(t, false)
	if again := f.forward(t, false); again != with {
		t.Errorf("the same step gives %v and %v", with, again)
	}
	f.step.AdapterDropout = 0
	without := f.forward(t, false)
	if with == without {
		t.Error("dropout changes nothing")
	}
	f.step.AdapterDropout = 0.25
	f.w.Init(f.b, 7) // B is zero again
	if got, want := f.forward(t, false), f.lossOf(t, f.w.WithoutAdapter()); got != want {
		t.Errorf("adapters that add nothing: %v, the base: %v", got, want)
	}
}

// What an adapter adds is s B A: a model whose weights have it added gives the same loss.
func TestAdaptersAreLowRankSums(t *testing.T) {
	for name, c := range adaptedVariants() {
		f := newFixture(t, kernels.NewRef64(), c, 0, false)
		want := f.forward(t, false)
		for i := range f.w.Config.Layers {
			for _, target := range c.Adapter.Targets {
				layer := fmt.Sprintf("layers.%d.%s", i, target)
				nameA, nameB := AdapterNames(layer)
				w, a, b := kernels.View[float64](f.w.ByName(layer+".weight").Master), kernels.View[float64](f.w.ByName(nameA).Master), kernels.View[float64](f.w.ByName(nameB).Master)
				in, out := f.w.Config.Adapted(target)
				for o := range out {
					for e := range in {
						for k := range c.Adapter.Rank {
							w[o*in+e] += c.Adapter.Scale() * b[k*out+o] * a[k*in+e]
						}
					}
				}
			}
		}
		if got := f.lossOf(t, f.w.WithoutAdapter()); math.Abs(got-want) > 1e-12*want {
			t.Errorf("%s: merged %.15g, apart %.15g", name, got, want)
		}
	}
}

// A transition head beside adapters has exact gradients where it is trained, and none where it is not.
func TestAdaptersBesideATransitionHead(t *testing.T) {
	for _, heads := range []bool{true, false} {
		c := alignedConfig("hidden+position", "rope2d")
		c.Adapter = adapterOn(2, 3, everyTarget...)
		c.Adapter.Heads = heads
		f := newAligned(t, kernels.NewRef64(), c, alignedPlan(t, alignedSettings(nil), 0, 1, 2), 0)
		f.w.perturbAdapters(f.b)
		f.loss(t, true)
		f.a.Backward(f.w)
		for _, p := range f.w.Params {
			if p.Frozen != !(IsAdapter(p.Name) || heads && strings.HasPrefix(p.Name, LinksPrefix)) || p.Frozen != p.Grad.Absent() {
				t.Fatalf("%s frozen: %v", p.Name, p.Frozen)
			}
			if p.Frozen {
				continue
			}
			const h = 1e-5
			grad, value := kernels.View[float64](p.Grad), kernels.View[float64](p.Master)
			for e := 0; e < len(value); e += 1 + len(value)/3 {
				x := value[e]
				value[e] = x + h
				up := f.loss(t, false)
				value[e] = x - h
				down := f.loss(t, false)
				value[e] = x
				if want := (up - down) / (2 * h); !(math.Abs(grad[e]-want) <= 1e-7*(1+math.Abs(want))) {
					t.Errorf("%s[%d]: gradient %.12g, difference %.12g", p.Name, e, grad[e], want)
				}
			}
		}
	}
}

// What is frozen has no gradient and lies apart from what is trained; the memory is what MemoryBytes says.
func TestAdapterLayout(t *testing.T) {
	for name, c := range adaptedVariants() {
		c = resolved(t, c)
		b := &countingBackend{Backend: kernels.NewRef32()}
		w := NewWeights(b, c, true)
		bytes := b.bytes
		var trained, all int64
		for _, p := range w.Params {
			all += int64(p.Len())
			switch want := !IsAdapter(p.Name) && !(c.Adapter.Heads && strings.HasPrefix(p.Name, ClassifierPrefix)); {
			case p.Frozen != want:
				t.Errorf("%s: %s frozen: %v", name, p.Name, p.Frozen)
			case p.Frozen != p.Grad.Absent():
				t.Errorf("%s: %s has a gradient: %v", name, p.Name, !p.Grad.Absent())
			case !p.Frozen:
				trained += int64(p.Len())
				if p.Offset+p.Len() > w.TrainLen {
					t.Errorf("%s: %s ends at %d of %d", name, p.Name, p.Offset+p.Len(), w.TrainLen)
				}
			}
		}
		if NumParams(c) != all || NumTrained(c) != trained || w.Grad.Len() != w.TrainLen || w.Master.Len() != w.TrainLen {
			t.Errorf("%s: %d of %d, want %d of %d", name, NumTrained(c), NumParams(c), trained, all)
		}
		predicted, _ := MemoryBytes(c, Capacity{Tokens: 8, Rows: 8}, kernels.F32, kernels.F32)
		if moments := 2 * 4 * trained; bytes+moments < predicted || bytes+moments > predicted+int64(len(w.Params))*2*64 {
			t.Errorf("%s: %d bytes of weights, gradients and moments, predicted %d", name, bytes+moments, predicted)
		}
		b.bytes = 0
		fork := w.Fork(b)
		if want := int64(4 * w.TrainLen); b.bytes != want { // beside rotary tables
			if fork.ropeGlobal.Absent() {
				t.Errorf("%s: a fork takes %d bytes, want %d", name, b.bytes, want)
			}
		}
		w.Init(b, 1)
		if first := kernels.View[float32](fork.Params[0].Master); first[0] != kernels.View[float32](w.Params[0].Master)[0] || first[0] == 0 {
			t.Errorf("%s: a fork has frozen weights of its own", name)
		}
	}
}

func TestAdapterInit(t *testing.T) {
	c := resolved(t, Config{Vocab: 20, Layers: 1, Width: 64, Heads: 1, Context: 4, Adapter: adapterOn(16, 16, "attention.qkv", "mlp.down")})
	b := kernels.NewRef32()
	w := NewWeights(b, c, true)
	w.Init(b, 1)
	for name, in := range map[string]float64{"layers.0.attention.qkv": 64, "layers.0.mlp.down": 256} {
		nameA, nameB := AdapterNames(name)
		bound, square := 1/math.Sqrt(in), 0.0
		a := kernels.View[float32](w.ByName(nameA).Master)
		for _, v := range a {
			square += float64(v) * float64(v)
			if math.Abs(float64(v)) > bound {
				t.Fatalf("%s: %g is beyond %g", nameA, v, bound)
			}
		}
		if got, want := math.Sqrt(square/float64(len(a))), bound/math.Sqrt(3); math.Abs(got/want-1) > 0.05 {
			t.Errorf("%s: root mean square %g, want %g", nameA, got, want)
		}
		for _, v := range kernels.View[float32](w.ByName(nameB).Master) {
			if v != 0 {
				t.Fatalf("%s begins with %g", nameB, v)
			}
		}
	}
}

func TestAdapterValidate(t *testing.T) {
	ok := adapterOn(8, 16, "mlp.up")
	for want, change := range map[string]func(*Adapter){
		"":                 func(*Adapter) {},
		"rank: want 0":     func(a *Adapter) { a.Rank = -1 },
		"alpha: ":          func(a *Adapter) { a.Alpha = math.Inf(1) },
		"dropout: want":    func(a *Adapter) { a.Dropout = 1 },
		"targets: nothing": func(a *Adapter) { a.Targets = nil },
		`targets: there is no "attention.q"; known: attention.qkv, `: func(a *Adapter) { a.Targets = []string{"attention.q"} },
		"targets: mlp.up is named twice":                             func(a *Adapter) { a.Targets = []string{"mlp.up", "mlp.up"} },
	} {
		a := ok
		change(&a)
		problems := a.Validate()
		if want == "" && len(problems) > 0 || want != "" && (len(problems) != 1 || !strings.HasPrefix(problems[0].Error(), want)) {
			t.Errorf("want %q: %v", want, problems)
		}
	}
	c := resolved(t, Config{Vocab: 20, Layers: 1, Width: 8, Heads: 4, KVHeads: 1, FF: 6, Context: 4, Adapter: adapterOn(7, 16, everyTarget...)})
	problems := c.CheckAdapter()
	if len(problems) != 2 || !strings.Contains(problems[0].Error(), "rank: 7 is more than mlp.up has, whose weight is [6,8]") {
		t.Error(problems)
	}
	c.Adapter = adapterOn(2, 16, "attention.gate")
	if problems := c.CheckAdapter(); len(problems) != 1 || !strings.HasPrefix(problems[0].Error(), "targets: attention.gate is of models with model.attention.gate") {
		t.Error(problems)
	}
	c.Attention.Gate = on
	if problems := c.CheckAdapter(); len(problems) > 0 {
		t.Error(problems)
	}
	if s := (Adapter{Rank: 4, Alpha: 16}).Scale(); s != 4 {
		t.Error(s)
	}
	if s := (Adapter{Rank: 4, Alpha: 16, Scaling: "rank_stabilized"}).Scale(); s != 8 {
		t.Error(s)
	}
}

// Frozen weights save the products of their gradients; a gate of attention is one more projection.
func TestAdapterFLOPs(t *testing.T) {
	c := resolved(t, Config{Vocab: 11, Layers: 2, Width: 8, Heads: 2, FF: 12, Context: 16, Adapter: adapterOn(2, 3, "mlp.up")})
	p := testPlan()
	p.Terms = p.Terms[:1]
	plain := c
	plain.Adapter = Adapter{}
	N, R := float64(len(p.Tokens)), float64(len(p.Terms[0].Rows))
	body, head := 2.0*2*(8*24+8*8+2*8*12)*N, 2.0*8*11*R
	if got, want := FLOPs(c, p)-FLOPs(plain, p), 3*2*2*2.0*(8+12)*N-body-head; math.Abs(got-want) > 1e-6 {
		t.Errorf("%g more, want %g", got, want)
	}
	gated := plain
	gated.Attention.Gate = on
	if got, want := FLOPs(gated, p)-FLOPs(plain, p), 3*2*2*8.0*8*N; math.Abs(got-want) > 1e-6 {
		t.Errorf("a gate of attention takes %g, want %g", got, want)
	}
}
