package model

import (
	"fmt"
	"math"
	"runtime"
	"slices"
	"testing"

	"palimpsest/kernels"
	"palimpsest/kernels/philox"
	"palimpsest/objectives"
)

// everyTarget are the adapted layers of a model without a gate.
var everyTarget = Config{}.AdapterTargets()

// variants cover every choice of the configuration at a size where float64 finite differences take milliseconds.
func variants() map[string]Config {
	small := func(c Config) Config {
		c.Vocab, c.Layers, c.Context = 11, max(2, c.Layers), 16
		c.Classifiers = []objectives.Head{{Name: "tags", Kind: "token", Classes: 3}, {Name: "topic", Kind: "sequence", Classes: 13}}
		if c.Width == 0 {
			c.Width, c.Heads, c.FF = 8, 2, 12
		}
		c.InitStd = 0.3
		return c
	}
	detector := func(meta string, c Config) Config {
		c = small(c)
		c.Classifiers[0].Kind, c.Classifiers[0].Meta = "detector", meta
		return c
	}
	return map[string]Config{
		"detector":         detector("", Config{MLP: "gelu", Positions: "rope"}),
		"detector alone":   detector("false", Config{Placement: "post", MLP: "gelu", Positions: "rope"}),
		"detector adapted": detector("", Config{MLP: "gelu", Positions: "rope", Adapter: adapterOn(2, 3, "attention.qkv")}),
		"gpt2":             small(Config{MLP: "gelu_tanh", Positions: "learned"}),
		"llama":            small(Config{Norm: "rmsnorm", MLP: "swiglu", Positions: "rope", Bias: off, Tied: off}),
		"llama grouped":    small(Config{Norm: "rmsnorm", MLP: "swiglu", Positions: "rope", Bias: off, Width: 16, Heads: 4, KVHeads: 2, FF: 8}),
		"bert":             small(Config{Placement: "post", EmbedNorm: on, Types: 2, Transform: on, HeadBias: on, MLP: "gelu"}),
		"post rope":        small(Config{Placement: "post", Positions: "rope", MLP: "geglu", Layers: 3}),
		// Every choice of its own, and the families that join them.
		"no affine":  small(Config{Affine: off, Positions: "rope", MLP: "gelu"}),
		"normformer": small(Config{Placement: "normformer", Positions: "rope", MLP: "gelu", Layers: 3}),
		"modernbert": small(Config{Norm: "layernorm", MLP: "geglu", Positions: "rope", Bias: off, EmbedNorm: on, FirstNorm: off, Transform: on, HeadBias: on,
			Layers: 4, Attention: Attention{Window: 2, GlobalEvery: 3, LocalBase: 100}}),
		"roberta":   small(Config{Placement: "post", EmbedNorm: on, Types: 1, PositionOffset: 2, Transform: on, HeadBias: on, MLP: "gelu"}),
		"ltg-bert":  small(Config{Placement: "normformer", Affine: off, Positions: "relative", Buckets: 4, MLP: "geglu_tanh", MLPBias: off, EmbedNorm: on, Transform: on, HeadAct: "gelu", HeadBias: on, HeadDrop: on, InitScale: "depth"}),
		"gated":     small(Config{Placement: "post", Positions: "rope", MLP: "gelu", Attention: Attention{Gate: on}}),
		"subln":     small(Config{Placement: "subln", Positions: "rope", MLP: "gelu", Layers: 3}),
		"depth":     small(Config{Norm: "rmsnorm", MLP: "swiglu", Positions: "rope", Bias: off, EmbedNorm: on, FirstNorm: off, DepthWeighting: on, Layers: 3}),
		"gpt-bert":  small(gptBERTVariant),
		"relative":  small(Config{Placement: "post", Positions: "relative", Buckets: 4, Bias: off, Width: 16, Heads: 4, KVHeads: 2, FF: 8, Attention: Attention{Window: 4}}),
		"exlm":      small(Config{Positions: "rope2d", MLP: "gelu", Transform: on, HeadBias: on, InitScale: "none"}),
		"one layer": small(Config{Layers: 1, Positions: "none", HeadBias: on}),

		"gpt2 adapted":       small(Config{MLP: "gelu_tanh", Positions: "learned", Adapter: adapterOn(2, 3, everyTarget...)}),
		"llama adapted":      small(Config{Norm: "rmsnorm", MLP: "swiglu", Positions: "rope", Bias: off, Tied: off, Width: 16, Heads: 4, KVHeads: 2, FF: 8, Adapter: adapterOn(3, 3, everyTarget...)}),
		"bert adapted":       small(Config{Placement: "post", EmbedNorm: on, Types: 2, Transform: on, HeadBias: on, MLP: "gelu", Adapter: adapterOn(1, 0.5, "mlp.down", "attention.qkv")}),
		"modernbert adapted": small(Config{MLP: "geglu", Positions: "rope", Bias: off, EmbedNorm: on, FirstNorm: off, Transform: on, Adapter: adapterOn(2, 5, "mlp.up", "attention.proj")}),
		"ltg-bert adapted":   small(Config{Placement: "normformer", Affine: off, Positions: "relative", Buckets: 4, MLP: "geglu_tanh", EmbedNorm: on, Adapter: adapterOn(2, 3, everyTarget...)}),
		"gpt-bert adapted":   small(adaptedTo(gptBERTVariant, AdapterTargets...)),
		"depth adapted":      small(Config{Placement: "subln", Positions: "rope", MLP: "gelu", DepthWeighting: on, Attention: Attention{Gate: on}, Adapter: adapterOn(2, 3, "attention.gate")}),
		"relative adapted":   small(Config{Placement: "normformer", Positions: "relative", Buckets: 4, MLP: "gelu", Width: 16, Heads: 4, KVHeads: 2, FF: 8, Adapter: adapterOn(2, 2, "attention.qkv")}),
		"mlp adapted":        small(Config{Placement: "post", Positions: "relative", Buckets: 4, MLP: "gelu", Adapter: adapterOn(2, 3, "mlp.up")}),
	}
}

// gptBERTVariant has all that GPT-BERT adds to LTG-BERT.
var gptBERTVariant = Config{Placement: "subln", Affine: off, Positions: "relative", Buckets: 4, MLP: "geglu_tanh", MLPBias: off, EmbedNorm: on, Transform: on,
	HeadAct: "gelu", HeadBias: on, HeadDrop: on, InitScale: "depth", Attention: Attention{Gate: on}, DepthWeighting: on}

func adaptedTo(c Config, targets ...string) Config {
	c.Adapter = adapterOn(2, 3, targets...)
	return c
}

func resolved(t *testing.T, c Config) Config {
	t.Helper()
	c, problems := c.Resolve(int(c.Vocab))
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	return c
}

// testPlan packs a causal, a bidirectional, and a one-token segment, with weights on some rows.
func testPlan() *objectives.Plan {
	s := objectives.Settings{Seed: 3, Mask: objectives.Mask{P: 0.5, Unit: "token", Replace: [3]float64{0.6, 0.2, 0.2}},
		Vocabulary: objectives.Vocabulary{Size: 11, BOS: 0, EOS: 1, Pad: -1, Mask: 2, Special: func(id int32) bool { return id < 3 }}}
	s.Classify = objectives.DefaultClassify()
	s.Heads = []objectives.Head{{Name: "tags", Kind: "token", Classes: 3}, {Name: "topic", Kind: "sequence", Classes: 13}}
	clm, _ := objectives.New("clm", s)
	mlm, _ := objectives.New("mlm", s)
	tag, _ := objectives.New("tag", s)
	classify, _ := objectives.New("classify", s)
	p := new(objectives.Plan)
	d := philox.New(1, philox.StreamTest, 0, 0)
	planes := map[string][]byte{"bio": {2, 255, 0}, "label": {12, 0, 0}}
	for i, n := range []int{5, 1, 6, 3, 3} {
		tokens := make([]int32, n)
		for j := range tokens {
			tokens[j] = int32(3 + d.IntN(8))
		}
		objective := []objectives.Objective{clm, clm, mlm, tag, classify}[i]
		objective.Plan(objectives.Document{ID: int64(i), Tokens: tokens, Planes: planes}, p)
	}
	p.Terms[1].Weights = make([]float32, len(p.Terms[1].Rows))
	for i := range p.Terms[1].Weights {
		p.Terms[1].Weights[i] = float32(i) * 0.5
	}
	p.Terms[0].Options.ZLoss, p.Terms[1].Options.Smoothing = 0.01, 0.1
	p.Terms[0].Share = 0.7
	for i := range p.Pos[:10] { // copies, as ExLM's second axis counts them
		if i%2 == 1 {
			p.Pos[i] = int32(i % 5)
		}
	}
	objectives.SetDenominators([]*objectives.Plan{p})
	return p
}

type fixture struct {
	b    kernels.Backend
	w    *Weights
	a    *Activations
	plan *objectives.Plan
	step Step
}

func newFixture(t *testing.T, b kernels.Backend, c Config, dropout float32, train bool) *fixture {
	c = resolved(t, c)
	f := &fixture{b: b, w: NewWeights(b, c, true), a: NewActivations(b, c, Capacity{Tokens: 20, Rows: 20}, train), plan: testPlan(),
		step: Step{Dropout: dropout, Seed: 5, Micro: 2}}
	if dropout > 0 {
		f.step.AdapterDropout = float32(c.Adapter.Dropout)
	}
	f.w.Init(b, 7)
	f.w.perturbAdapters(b)
	f.w.perturbDepth(b)
	return f
}

func (f *fixture) forward(t *testing.T, gradient bool) float64 {
	t.Helper()
	if err := f.plan.Check(int(f.w.Config.Vocab), f.w.Config.Context); err != nil {
		t.Fatal(err)
	}
	if err := f.a.Load(f.plan, f.step); err != nil {
		t.Fatal(err)
	}
	f.a.ResetResults()
	f.a.Forward(f.w)
	f.a.Loss(f.w, gradient)
	_, terms, err := f.a.Results([]string{"clm", "mlm", "tag", "classify"})
	if err != nil {
		t.Fatal(err)
	}
	loss := 0.0
	for i, r := range terms {
		loss += f.plan.Terms[i].Share * r.Loss / f.plan.Terms[i].Den
	}
	return loss
}

// The whole backward pass against central differences in float64, for every parameter of every variant, with and without
// dropout (whose mask is a function of its site, so it is the same at both points).
func TestGradientsOfEveryParameter(t *testing.T) {
	const h = 1e-5
	for name, c := range variants() {
		for _, dropout := range []float32{0, 0.3} {
			t.Run(fmt.Sprintf("%s dropout %g", name, dropout), func(t *testing.T) {
				f := newFixture(t, kernels.NewRef64(), c, dropout, true)
				f.forward(t, true)
				f.a.Backward(f.w)
				for _, p := range f.w.Params {
					if p.Frozen {
						continue
					}
					grad, value := kernels.View[float64](p.Grad), kernels.View[float64](p.Master)
					for e := 0; e < len(value); e += 1 + len(value)/7 { // a sample of every tensor
						x := value[e]
						value[e] = x + h
						up := f.forward(t, false)
						value[e] = x - h
						down := f.forward(t, false)
						value[e] = x
						// Truncation of the difference is h^2 = 1e-10 times a third derivative of order one, rounding 1e-16/h = 1e-11.
						want := (up - down) / (2 * h)
						if diff := math.Abs(grad[e] - want); diff > 1e-7*(1+math.Abs(want)) {
							t.Errorf("%s[%d]: gradient %.12g, difference %.12g", p.Name, e, grad[e], want)
						}
					}
				}
			})
		}
	}
}

// Every implementation computes the same loss and gradients as the float64 oracle.
func TestBackendsAgree(t *testing.T) {
	for name, c := range variants() {
		want := newFixture(t, kernels.NewRef64(), c, 0.2, true)
		wantLoss := want.forward(t, true)
		want.a.Backward(want.w)
		got := newFixture(t, cpuBackend(t), c, 0.2, true)
		gotLoss := got.forward(t, true)
		got.a.Backward(got.w)
		if math.Abs(gotLoss-wantLoss) > 2e-5*math.Abs(wantLoss) {
			t.Errorf("%s: loss %g, oracle %g", name, gotLoss, wantLoss)
		}
		for i, p := range got.w.Params {
			if p.Frozen {
				continue
			}
			g, w := kernels.View[float32](p.Grad), kernels.View[float64](want.w.Params[i].Grad)
			scale := 0.0
			for _, v := range w {
				scale = max(scale, math.Abs(v))
			}
			for e := range g { // float32 sums through the whole depth: relative to the tensor's largest gradient
				if diff := math.Abs(float64(g[e]) - w[e]); diff > 1e-4*scale+2e-6 {
					t.Errorf("%s: %s[%d] gradient %g, oracle %g (largest %g)", name, p.Name, e, g[e], w[e], scale)
					break
				}
			}
		}
	}
}

func cpuBackend(t *testing.T) kernels.Backend {
	t.Helper()
	b, err := kernels.Open("cpu", 2)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	return b
}

// Buffers without a backward pass are shared between layers; that must not change the result.
func TestEvaluationEqualsTrainingForward(t *testing.T) {
	for name, c := range variants() {
		c.Layers = 5
		train, eval := newFixture(t, kernels.NewRef64(), c, 0, true), newFixture(t, kernels.NewRef64(), c, 0, false)
		if a, b := train.forward(t, true), eval.forward(t, false); a != b {
			t.Errorf("%s: loss %v in training, %v in evaluation", name, a, b)
		}
	}
}

// A document's hidden state does not depend on what it is packed with.
func TestPackingDoesNotLeak(t *testing.T) {
	for name, c := range variants() {
		f := newFixture(t, kernels.NewRef64(), c, 0, false)
		f.forward(t, false)
		C := f.w.Config.Width
		packed := append([]float64(nil), kernels.View[float64](f.a.hidden)[6*C:12*C]...)
		alone := new(objectives.Plan)
		alone.Tokens, alone.OriginalTokens, alone.Pos = f.plan.Tokens[6:], f.plan.OriginalTokens[6:], f.plan.Pos[12:]
		alone.Segments = []kernels.Segment{{Start: 0, End: 6, Mask: kernels.Bidirectional}}
		if err := f.a.Load(alone, f.step); err != nil {
			t.Fatal(err)
		}
		f.a.Forward(f.w)
		for i, v := range kernels.View[float64](f.a.hidden)[:6*C] {
			if math.Abs(v-packed[i]) > 1e-12 {
				t.Fatalf("%s: element %d is %g alone, %g packed", name, i, v, packed[i])
			}
		}
	}
}

// Other tokens in a segment change no bit of what stands before them in a causal one, and none of another segment.
func TestTokensChangeOnlyWhatSeesThem(t *testing.T) {
	for _, b := range []kernels.Backend{kernels.NewRef64(), cpuBackend(t)} {
		for name, c := range variants() {
			f := newFixture(t, b, c, 0, false)
			C := f.w.Config.Width
			hidden := func() []float32 {
				f.forward(t, false)
				values := make([]float32, len(f.plan.Tokens)*C)
				f.a.Hidden(values)
				return values
			}
			before := hidden()
			for _, s := range f.plan.Segments {
				row := s.Start + (s.End-s.Start)/2 // and those behind it
				tokens := slices.Clone(f.plan.Tokens)
				for r := row; r < s.End; r++ {
					f.plan.Tokens[r] = 3 + (f.plan.Tokens[r]-2)%8
				}
				after := hidden()
				copy(f.plan.Tokens, tokens)
				for r := range int32(len(tokens)) {
					same := slices.Equal(before[int(r)*C:int(r+1)*C], after[int(r)*C:int(r+1)*C])
					blind := r < s.Start || r >= s.End || r < row && s.Mask == kernels.Causal
					if blind && !same {
						t.Errorf("%s, %s: tokens from %d on in segment %v changed row %d", b.Info().Name, name, row, s, r)
					}
					if r == row && same {
						t.Errorf("%s, %s: another token at row %d changes nothing", b.Info().Name, name, r)
					}
				}
			}
		}
	}
}

func TestMemoryEstimateEqualsAllocations(t *testing.T) {
	for _, name := range []string{"bert", "gpt-bert"} {
		memoryEstimateEqualsAllocations(t, resolved(t, variants()[name]))
	}
}

func memoryEstimateEqualsAllocations(t *testing.T, c Config) {
	t.Helper()
	counting := &countingBackend{Backend: kernels.NewRef32()}
	NewWeights(counting, c, true)
	weights := counting.bytes
	counting.bytes = 0
	NewActivations(counting, c, Capacity{Tokens: 100, Rows: 30}, true)
	wantWeights, wantActivations := MemoryBytes(c, Capacity{Tokens: 100, Rows: 30}, kernels.F32, kernels.F32)
	if counting.bytes != wantActivations {
		t.Errorf("activations: %d bytes allocated, %d predicted", counting.bytes, wantActivations)
	}
	// Two moments are the optimiser's; tensors are aligned to 64 bytes.
	if 2*weights < wantWeights || 2*weights > wantWeights+int64(64*4*100) {
		t.Errorf("weights and gradients: %d bytes allocated, %d predicted with moments", weights, wantWeights)
	}
}

type countingBackend struct {
	kernels.Backend
	bytes int64
}

func (c *countingBackend) Alloc(t kernels.DType, n int) kernels.Buf {
	c.bytes += int64(t.Size()) * int64(n)
	return c.Backend.Alloc(t, n)
}

func TestLoadRefusesWhatDoesNotFit(t *testing.T) {
	c := resolved(t, variants()["gpt2"])
	b := kernels.NewRef32()
	a := NewActivations(b, c, Capacity{Tokens: 8, Rows: 14}, false)
	if a.Load(testPlan(), Step{}) == nil {
		t.Error("12 tokens in a capacity of 8")
	}
	p := testPlan()
	p.Terms[0].Head = "entities"
	if NewActivations(b, c, Capacity{Tokens: 14, Rows: 14}, false).Load(p, Step{}) == nil {
		t.Error("a term on a head that the model does not have")
	}
}

func TestTensorsAreHandlesOverTheParameters(t *testing.T) {
	c := resolved(t, variants()["llama"])
	b := kernels.NewRef32()
	w := NewWeights(b, c, true)
	w.Init(b, 1)
	p := w.ByName("layers.1.mlp.up.weight")
	if s := p.Tensor.Shape(); s[0] != 24 || s[1] != 8 {
		t.Errorf("shape %v", s)
	}
	p.Tensor.Data().([]float32)[3] = 42
	if kernels.View[float32](p.Master)[3] != 42 {
		t.Error("the tensor does not share the parameter's memory")
	}
}

// Decoding with a cache gives what one pass over the whole sequence gives.
func TestDecoderEqualsOnePass(t *testing.T) {
	for name, c := range variants() {
		f := newFixture(t, kernels.NewRef64(), c, 0, false)
		tokens := []int32{3, 4, 5, 6, 7, 8, 9, 3}
		whole := &objectives.Plan{Tokens: tokens, OriginalTokens: tokens, Segments: []kernels.Segment{{Start: 0, End: 8, Mask: kernels.Causal}}}
		for i := range tokens {
			whole.Pos = append(whole.Pos, int32(i), 0)
		}
		if err := f.a.Load(whole, Step{}); err != nil {
			t.Fatal(err)
		}
		f.a.Forward(f.w)
		var want [][]float32
		if err := f.a.Logits(f.w, []int32{4, 5, 6, 7}, func(_ int, l []float32) { want = append(want, append([]float32(nil), l...)) }); err != nil {
			t.Fatal(err)
		}
		chunks := [][]int32{tokens[:5], tokens[5:6], tokens[6:7], tokens[7:]}
		check := func(d *Decoder, at []int, tails []Tail) { // at: chunk of each tail
			t.Helper()
			err := d.Extend(tails, func(i int, got []float32) {
				for v := range got {
					if w := want[at[i]][v]; math.Abs(float64(got[v]-w)) > 1e-6 { // logits travel as float32
						t.Fatalf("%s, %d sequences: logit %d behind token %d of sequence %d is %g, in one pass %g", name, d.Sequences(), v, 4+at[i], tails[i].Sequence, got[v], w)
					}
				}
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		one := NewDecoder(f.b, f.w, 1, 8, 5)
		for range 2 {
			one.Truncate(0, 0)
			for i, chunk := range chunks {
				check(one, []int{i}, []Tail{{0, chunk}})
			}
		}
		// Side by side, the second a step behind, in any order, and one that begins again meanwhile.
		three := NewDecoder(f.b, f.w, 3, 8, 11)
		check(three, []int{0, 0}, []Tail{{2, chunks[0]}, {0, chunks[0]}})
		check(three, []int{1, 0, 1}, []Tail{{0, chunks[1]}, {1, chunks[0]}, {2, chunks[1]}})
		three.Truncate(2, 0)
		check(three, []int{0, 2, 1}, []Tail{{2, chunks[0]}, {0, chunks[2]}, {1, chunks[1]}})
		check(three, []int{2, 3, 1}, []Tail{{1, chunks[2]}, {0, chunks[3]}, {2, chunks[1]}})
		if a, b, c := three.Len(0), three.Len(1), three.Len(2); a != 8 || b != 7 || c != 6 {
			t.Errorf("%s: %d, %d and %d tokens in the caches", name, a, b, c)
		}
		none := func(int, []float32) {}
		if one.Extend([]Tail{{0, make([]int32, 6)}}, none) == nil || three.Extend([]Tail{{1, make([]int32, 1)}, {2, make([]int32, 3)}}, none) == nil {
			t.Error("more tokens than a call may bring, or a sequence may have")
		}
	}
}

// Initial values have the stated distribution and do not depend on how many processors drew them.
func TestInitIsAFunctionOfTheSeed(t *testing.T) {
	c := resolved(t, Config{Vocab: 3000, Layers: 1, Width: 64, Heads: 1, Context: 4}) // the embedding takes three chunks
	b := kernels.NewRef32()
	draw := func(workers int, seed uint64) *Weights {
		defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(workers))
		w := NewWeights(b, c, false)
		w.Init(b, seed)
		return w
	}
	one, three, other := draw(1, 5), draw(3, 5), draw(1, 6)
	same := 0
	for i, v := range kernels.View[float32](one.Master) {
		if v != kernels.View[float32](three.Master)[i] {
			t.Fatalf("element %d: %g with one worker, %g with three", i, v, kernels.View[float32](three.Master)[i])
		}
		if v == kernels.View[float32](other.Master)[i] && v != 0 && v != 1 {
			same++
		}
	}
	if same > 10 {
		t.Errorf("%d drawn elements are equal under another seed", same)
	}
	var sum, square, most float64
	embed := kernels.View[float32](one.ByName("embed.tokens.weight").Master)
	for _, v := range embed {
		sum += float64(v)
		square += float64(v) * float64(v)
		most = max(most, math.Abs(float64(v)))
	}
	n := float64(len(embed))
	// A normal cut at 3 sd has a variance of 0.973.
	if sd := math.Sqrt(square / n); math.Abs(sd/c.InitStd-0.9866) > 0.01 || math.Abs(sum/n) > 0.001 || most > 3*c.InitStd*1.0001 || most < 2.9*c.InitStd {
		t.Errorf("standard deviation %g, mean %g, largest %g", sd, sum/n, most)
	}
	for _, v := range kernels.View[float32](one.ByName("final.norm.weight").Master) {
		if v != 1 {
			t.Fatalf("gain %g", v)
		}
	}
}
