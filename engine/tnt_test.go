package engine

import (
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"palimpsest/engine/fault"
	"palimpsest/engine/model"
	"palimpsest/engine/report"
	"palimpsest/engine/runfile"
	"palimpsest/engine/text"
	"palimpsest/kernels"
	"palimpsest/objectives"
)

// frequent is the most frequent token of the corpus.
var frequent = sync.OnceValues(func() (best int32, err error) {
	docs, err := corpus()
	if err != nil {
		return 0, err
	}
	tok, err := trained()
	if err != nil {
		return 0, err
	}
	counts := make([]int, tok.Vocab())
	for _, d := range docs[:200] {
		for _, id := range tok.Encode(nil, d) {
			if counts[id]++; counts[id] > counts[best] {
				best = id
			}
		}
	}
	return best, nil
})

// signedDataset builds shards whose first tokens are prompts, and in which the most frequent token is unwanted.
func signedDataset(t testing.TB, documents int) string {
	t.Helper()
	tok, err := trained()
	if err != nil {
		t.Fatal(err)
	}
	unwanted, err := frequent()
	if err != nil {
		t.Fatal(err)
	}
	return datasetWith(t, documents, objectives.PlaneSign, func(doc []byte, tokens int) []byte {
		ids := append(tok.Encode([]int32{tok.BOS}, doc), tok.EOS)
		signs := make([]byte, tokens)
		for i := min(4, tokens); i < tokens; i++ {
			if signs[i] = objectives.SignKeep; ids[i] == unwanted {
				signs[i] = objectives.SignUnwanted
			}
		}
		return signs
	})
}

// beginning trains a model that the runs of a test begin with and are compared to.
func beginning(t testing.TB, data string, change func(*Config)) string {
	t.Helper()
	c := tinyConfig(data, 20)
	c.Objective, c.Eval.Every, c.Log.Every = "clm", 0, 20
	if change != nil {
		change(&c)
	}
	run := filepath.Join(t.TempDir(), "beginning")
	mustTrain(t, Options{Config: c, Out: run})
	return run
}

// tntConfig goes on from a model.
func tntConfig(data, init string, steps int64) Config {
	c := tinyConfig(data, steps)
	c.Objective, c.Train.Init, c.Model = "tnt", init, Default().Model
	c.Optimizer.LearningRate, c.Train.Accumulate, c.Train.Dropout = 1e-3, 2, 0
	return c
}

// pairOf is a small causal model with a frozen one beside it, and an update of two micro-batches over signed documents.
type pairOf struct {
	b     kernels.Backend
	w, r  *model.Weights
	a     *model.Activations
	plans []*objectives.Plan
}

func newPair(t *testing.T, name string, s objectives.Settings, change func(*model.Config)) *pairOf {
	t.Helper()
	s.Loss = objectives.DefaultLoss()
	s.Vocabulary = objectives.Vocabulary{Size: 11}
	o, err := objectives.New(name, s)
	if err != nil {
		t.Fatal(err)
	}
	c := model.Config{Vocab: 11, Layers: 2, Width: 8, Heads: 2, FF: 12, Context: 16, Positions: "rope", InitStd: 0.4}
	if change != nil {
		change(&c)
	}
	c, problems := c.Resolve(11)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	b := kernels.NewRef64()
	f := &pairOf{b: b, w: model.NewWeights(b, c, true), r: model.NewWeights(b, c, false), a: model.NewActivations(b, c, model.Capacity{Tokens: 32, Rows: 32}, true),
		plans: []*objectives.Plan{new(objectives.Plan), new(objectives.Plan)}}
	f.w.Init(b, 3)
	f.r.Init(b, 4)
	f.a.SetReference(f.r, false)
	for i, p := range f.plans {
		o.Begin(p)
		for id := range int64(4) {
			doc := objectives.Document{ID: id, Planes: map[string][]byte{}}
			for k := range 4 + int32(id) {
				doc.Tokens = append(doc.Tokens, (k*5+int32(id)*3+int32(i))%11)
				doc.Planes[objectives.PlaneSign] = append(doc.Planes[objectives.PlaneSign], []byte{0, 1, 255, 1, 1, 255, 0}[(int(k)+i)%7])
			}
			o.Plan(doc, p)
		}
	}
	objectives.SetDenominators(f.plans)
	for _, p := range f.plans {
		if err := p.Check(11, 16); err != nil {
			t.Fatal(err)
		}
	}
	return f
}

// run returns the loss of the update, with gradient it also fills the gradients.
func (f *pairOf) run(t *testing.T, gradient bool) (sum float64) {
	t.Helper()
	f.a.ResetResults()
	if gradient {
		f.b.Zero(f.w.Grad)
	}
	for _, p := range f.plans {
		if err := f.a.Load(p, model.Step{}); err != nil {
			t.Fatal(err)
		}
		f.a.Forward(f.w)
		f.a.Loss(f.w, gradient)
		if gradient {
			f.a.Backward(f.w)
		}
	}
	_, terms, err := f.a.Results(termNames(f.plans[0]))
	if err != nil {
		t.Fatal(err)
	}
	for i, r := range terms {
		sum += f.plans[0].Terms[i].Share * r.Loss / f.plans[0].Terms[i].Den
	}
	return sum
}

// checkGradient compares the gradient with central differences.
func (f *pairOf) checkGradient(t *testing.T) {
	t.Helper()
	f.run(t, true)
	const h = 1e-5
	checked := 0
	for _, p := range f.w.Params {
		grad, value := kernels.View[float64](p.Grad), kernels.View[float64](p.Master)
		for e := 0; e < len(value); e += 1 + len(value)/6 {
			x := value[e]
			value[e] = x + h
			up := f.run(t, false)
			value[e] = x - h
			down := f.run(t, false)
			value[e] = x
			want := (up - down) / (2 * h)
			if math.Abs(grad[e]-want) > 2e-7*(1+math.Abs(want)) {
				t.Errorf("%s[%d]: gradient %.12g, difference %.12g", p.Name, e, grad[e], want)
			}
			checked++
		}
	}
	if checked < 80 {
		t.Errorf("only %d elements were checked", checked)
	}
}

var tntVariants = []string{"TNFF", "TNRR", "TNRF", "TNFLL", "TNRLL", "NL", "UL"}

// The whole objective, both terms over two micro-batches against a frozen reference, by central differences in float64.
func TestTNTGradient(t *testing.T) {
	for _, variant := range tntVariants {
		for _, compat := range []bool{false, true} {
			t.Run(fmt.Sprint(variant, compat), func(t *testing.T) {
				s := objectives.Settings{TNT: objectives.DefaultTNT()}
				s.TNT.Variant, s.TNT.Alpha, s.TNT.Eps = variant, objectives.AutoFactor{Value: 3, Given: true}, 1e-3
				if compat {
					s.TNT.Reduce, s.TNT.Compat.EpsPerEntry = "sum", true
				}
				newPair(t, "tnt", s, nil).checkGradient(t)
			})
		}
	}
}

// NPO and SimNPO with their retain terms against central differences, and against the published formulas.
func TestNPOGradient(t *testing.T) {
	for _, variant := range []string{"npo", "simnpo"} {
		for _, retain := range []string{"none", "ce", "kl"} {
			t.Run(variant+" "+retain, func(t *testing.T) {
				s := objectives.Settings{NPO: objectives.NPO{Variant: variant, Beta: 0.7, Gamma: 0.35, Retain: retain, RetainWeight: 0.4}}
				f := newPair(t, "npo", s, nil)
				f.checkGradient(t)
				want, documents := 0.0, 0.0
				for _, p := range f.plans {
					likelihood := func(w *model.Weights) (rows []float64) {
						if err := f.a.Load(p, model.Step{}); err != nil {
							t.Fatal(err)
						}
						f.a.Forward(w)
						term := &p.Terms[0]
						if err := f.a.RowNLL(w, term.Rows, term.Targets, func(_ int, nll float32) { rows = append(rows, -float64(nll)) }); err != nil {
							t.Fatal(err)
						}
						return rows
					}
					own, frozen := likelihood(f.w), likelihood(f.r)
					offsets := p.Terms[0].Offsets
					for g := 1; g < len(offsets); g++ {
						ratio, mean := 0.0, 0.0
						for r := offsets[g-1]; r < offsets[g]; r++ {
							ratio += own[r] - frozen[r]
							mean += own[r] / float64(offsets[g]-offsets[g-1])
						}
						if offsets[g] == offsets[g-1] {
							continue
						}
						documents++
						if variant == "npo" {
							want += 2 / 0.7 * math.Log(1+math.Exp(0.7*ratio))
						} else {
							want += -2 / 0.7 * math.Log(1/(1+math.Exp(0.7*mean+0.35)))
						}
					}
				}
				for _, p := range f.plans {
					p.Terms = p.Terms[:1]
				}
				if got := f.run(t, false); documents < 6 || math.Abs(got-want/documents) > 1e-6*math.Abs(got) {
					t.Errorf("loss %.9g, the formula gives %.9g over %g documents", got, want/documents, documents)
				}
			})
		}
	}
}

// The losses of a reference of a shape of its own are subtracted as those of one of the same shape.
func TestRulesSubtractTheReference(t *testing.T) {
	s := objectives.Settings{NPO: objectives.DefaultNPO()}
	f := newPair(t, "npo", s, func(c *model.Config) { c.Placement, c.EmbedNorm = "post", model.FlagOf(true) })
	before := f.run(t, false)
	c, problems := model.Config{Vocab: 11, Layers: 1, Width: 12, Heads: 3, FF: 8, Context: 20, Positions: "learned", PositionOffset: 2, InitStd: 0.4}.Resolve(11)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	other := model.NewWeights(f.b, c, false)
	other.Init(f.b, 9)
	f.a.SetReference(other, false)
	if after := f.run(t, false); after == before {
		t.Error("another reference gives the same loss")
	}
	f.checkGradient(t)
}

// A frozen model that is the trained one gives no drift; with shared dropout also where dropout is on, and without it not.
func TestReferenceSharesDropout(t *testing.T) {
	for name, change := range map[string]func(*model.Config){
		"pre": nil, "post": func(c *model.Config) { c.Placement = "post" }, "relative": func(c *model.Config) { c.Positions, c.Buckets, c.Placement = "relative", 4, "normformer" },
	} {
		f := newPair(t, "tnt", objectives.Settings{TNT: objectives.DefaultTNT()}, change)
		f.r.Init(f.b, 3)
		for _, shared := range []bool{true, false} {
			f.a.SetReference(f.r, shared)
			f.a.ResetResults()
			p := f.plans[0]
			if err := f.a.Load(p, model.Step{Dropout: 0.3, Seed: 5, Micro: 7}); err != nil {
				t.Fatal(err)
			}
			f.a.Forward(f.w)
			f.a.Loss(f.w, true)
			_, terms, err := f.a.Results(termNames(p))
			if err != nil {
				t.Fatal(err)
			}
			if kl := terms[1].KL; shared != (math.Abs(kl) < 1e-12) {
				t.Errorf("%s: shared %t: KL %g", name, shared, kl)
			}
		}
	}
	f := newPair(t, "tnt", objectives.Settings{TNT: objectives.DefaultTNT()}, nil)
	bare := model.NewActivations(f.b, f.w.Config, model.Capacity{Tokens: 32, Rows: 32}, false)
	if err := bare.Load(f.plans[0], model.Step{}); err == nil || !strings.Contains(err.Error(), "reference") {
		t.Errorf("without a reference: %v", err)
	}
}

// 2N steps straight equal N + save + load + N, bit for bit, with the reference opened again.
func TestTNTResumes(t *testing.T) {
	data := signedDataset(t, 150)
	init := beginning(t, data, nil)
	for name, change := range map[string]func(*Config){
		"TNFF":                     func(c *Config) { c.Train.Dropout, c.Reference.ShareDropout = 0.1, true },
		"TNRF, sum, a named model": func(c *Config) { c.TNT.Variant, c.TNT.Reduce, c.Reference.Model = "TNRF", "sum", c.Train.Init },
		"NPO, average":             func(c *Config) { c.Objective, c.EMA.Decay = "npo", 0.9 },
		"TNRLL, without adapters":  func(c *Config) { c.TNT.Variant, c.Adapter.Rank, c.Reference.Provider = "TNRLL", 4, "adapter_off" },
	} {
		t.Run(name, func(t *testing.T) {
			c := tntConfig(data, init, 6)
			c.Eval.Tokens = 0
			change(&c)
			straight, parts := filepath.Join(t.TempDir(), "straight"), filepath.Join(t.TempDir(), "parts")
			mustTrain(t, Options{Config: c, Out: straight})
			for _, stop := range []int64{2, 4} {
				c.StopAfter = stop
				if err := Train(Options{Config: c, Out: parts}); fault.Of(err) != fault.Preempted {
					t.Fatalf("stop_after %d: %v", stop, err)
				}
			}
			c.StopAfter = 0
			mustTrain(t, Options{Config: c, Out: parts})
			if a, b := fingerprint(t, straight), fingerprint(t, parts); a != b {
				t.Errorf("straight:\n%s\nin parts:\n%s", a, b)
			}
			log, err := report.ReadLog(filepath.Join(straight, LogFile))
			if err != nil {
				t.Fatal(err)
			}
			openedModelHas(t, straight, log.Evals[len(log.Evals)-1])
		})
	}
}

// Another reference than the run's is refused when it goes on.
func TestTNTRefusesAnotherReference(t *testing.T) {
	data := signedDataset(t, 200)
	first, second := beginning(t, data, nil), beginning(t, data, func(c *Config) { c.Train.Seed = 2 })
	c := tntConfig(data, first, 4)
	c.Reference.Model, c.StopAfter = first, 2
	run := filepath.Join(t.TempDir(), "run")
	if err := Train(Options{Config: c, Out: run}); fault.Of(err) != fault.Preempted {
		t.Fatal(err)
	}
	c.Reference.Model, c.StopAfter = second, 0
	if err := Train(Options{Config: c, Out: run}); fault.Of(err) != fault.Checkpoint && fault.Of(err) != fault.Usage || !strings.Contains(err.Error(), "reference: was ") {
		t.Errorf("another reference: %v", err)
	}
}

// Targeted training takes the unwanted tokens' probability and leaves the rest nearer to the old model than unlikelihood and
// negative likelihood do: mass at y falls for all, drift is least for TNFF.
func TestTNTTakesProbability(t *testing.T) {
	data := signedDataset(t, 400)
	init := beginning(t, data, func(c *Config) { c.Train.Steps = 60 })
	measure := func(variant string, steps int64) map[string]float64 {
		c := tntConfig(data, init, steps)
		c.TNT.Variant, c.Eval.Tokens, c.Eval.Every = variant, 0, 0
		run := filepath.Join(t.TempDir(), "run")
		mustTrain(t, Options{Config: c, Out: run})
		log, err := report.ReadLog(filepath.Join(run, LogFile))
		if err != nil {
			t.Fatal(err)
		}
		if s := log.Steps[0]; s.Measures["unwanted_log_p"] >= 0 || s.Accuracy != nil || len(s.LossParts) != 2 || math.Abs(s.LossParts["kept"]+s.LossParts["unwanted"]-s.Loss) > 1e-9 {
			t.Errorf("%s: first line %+v", variant, s)
		}
		return log.Evals[len(log.Evals)-1].Measures
	}
	drift := map[string]float64{}
	before := measure("TNFF", 1)
	if before["kl"] < 0 || before["kl"] > 0.01 || before["unwanted_rows"] < 5 {
		t.Fatalf("after one step: %v", before)
	}
	for _, variant := range []string{"TNFF", "UL", "NL"} {
		m := measure(variant, 25)
		t.Logf("%s: %v", variant, m)
		if m["unwanted_log_p"] > before["unwanted_log_p"]-0.1 || m["kl"] <= 0 {
			t.Errorf("%s: %v, before %v", variant, m, before)
		}
		drift[variant] = m["kl"]
	}
	if !(drift["TNFF"] < drift["UL"] && drift["TNFF"] < drift["NL"]) {
		t.Errorf("drift %v", drift)
	}
}

// The dry run shows signs as weights, the reference's memory and work, and what is trained.
func TestTNTPreview(t *testing.T) {
	data := signedDataset(t, 200)
	init := beginning(t, data, nil)
	p, err := DryRun(Options{Config: tntConfig(data, init, 4)})
	if err != nil {
		t.Fatal(err)
	}
	var weights []float64
	for _, s := range p.Batch.Examples {
		for _, token := range s.Tokens {
			if token.Term != "" && !slices.Contains(weights, token.Weight) {
				weights = append(weights, token.Weight)
			}
		}
	}
	slices.Sort(weights)
	notes := strings.Join(p.Notes, "\n")
	if !slices.Equal(weights, []float64{-10, 1}) || p.Memory.Reference == 0 || !strings.Contains(notes, "the reference is "+init) || !strings.Contains(notes, "tnt: TNFF with alpha 10") {
		t.Errorf("weights %v, memory %+v, notes %s", weights, p.Memory, notes)
	}
	plain := tntConfig(data, init, 4)
	plain.Objective = "clm"
	q, err := DryRun(Options{Config: plain})
	if err != nil || q.Memory.Reference != 0 || p.FLOPs < q.FLOPs {
		t.Errorf("%v: %+v, %g FLOP with and %g without a reference", err, q.Memory, p.FLOPs, q.FLOPs)
	}
}

// Options out of range are refused with their key.
func TestTNTRefusesBadOptions(t *testing.T) {
	for _, set := range []string{"tnt.eps=1", "tnt.alpha=-1", "tnt.nl_floor=2", "tnt.variant=TNFR", "tnt.reduce=max", "npo.beta=0", "npo.retain_weight=-1",
		"reference.provider=other", "reference.cache=rows", "reference.top_k=-1"} {
		c := Default()
		l := runfile.New(&c)
		l.Set("data.train=shards", set)
		l.Check()
		key, _, _ := strings.Cut(set, "=")
		if err := l.Err(); fault.Of(err) != fault.Usage || !strings.Contains(err.Error(), key) {
			t.Errorf("%s: %v", set, err)
		}
	}
}

// What cannot be trained on is refused before the first step, with its place.
func TestTNTRefusesBadInput(t *testing.T) {
	data := signedDataset(t, 100)
	init := beginning(t, data, nil)
	constant := func(sign byte) string {
		return datasetWith(t, 60, objectives.PlaneSign, func(_ []byte, tokens int) []byte { return slices.Repeat([]byte{sign}, tokens) })
	}
	foreign := beginning(t, data, nil)
	other, _, err := text.Train(func(yield func([]byte, error) bool) { yield([]byte("another text, other tokens"), nil) }, text.TrainOptions{Vocab: 280})
	if err != nil {
		t.Fatal(err)
	}
	otherJSON, err := other.JSON()
	if err != nil {
		t.Fatal(err)
	}
	rewrite(t, foreign, 20, func(name string, data []byte) []byte {
		if name == TokenizerFile {
			return otherJSON
		}
		return data
	})
	for name, x := range map[string]struct {
		change func(*Config)
		kind   fault.Kind
		says   []string
	}{
		"no plane":                         {func(c *Config) { c.Data.Train = dataset(t, 60) }, fault.Data, []string{`no plane "sign", none at all`, "data annotate"}},
		"nothing unwanted":                 {func(c *Config) { c.Data.Train = constant(1) }, fault.Data, []string{"0 are unwanted and"}},
		"nothing kept":                     {func(c *Config) { c.Data.Train = constant(255) }, fault.Data, []string{"are unwanted and 0 to keep"}},
		"a sign of 2":                      {func(c *Config) { c.Data.Train = constant(2) }, fault.Data, []string{"document 0, token 0: sign 2"}},
		"no reference":                     {func(c *Config) { c.Train.Init, c.Model = "", tinyConfig(data, 1).Model }, fault.Usage, []string{"objective tnt", "train.init"}},
		"no such reference":                {func(c *Config) { c.Reference.Model = data + "-none" }, fault.Checkpoint, []string{"reference.model", "-none"}},
		"other tokenizer":                  {func(c *Config) { c.Reference.Model = foreign }, fault.Data, []string{"reference.model", "was trained with tokenizer", "the data set was made with"}},
		"a beginning of another tokenizer": {func(c *Config) { c.Train.Init = foreign }, fault.Data, []string{"train.init", "was trained with tokenizer", "the data set was made with"}},
		"short context": {func(c *Config) {
			c.Model, c.Reference.Model = model.Config{Layers: 2, Width: 32, Heads: 2, FF: 64, Context: 64, Positions: "rope"}, init
		}, fault.Usage, []string{"sees 48 tokens"}},
		"no adapters":   {func(c *Config) { c.Reference.Provider = "adapter_off" }, fault.Usage, []string{"adapter_off", "adapter.rank"}},
		"cut negatives": {func(c *Config) { c.TNT.StrictLength, c.Data.Long, c.Data.Length = true, "cut", 12 }, fault.Data, []string{"unwanted tokens are not trained", "strict_length"}},
		"a rule":        {func(c *Config) { c.Loss.Reweigh.Rule = "top" }, fault.Usage, []string{"loss.reweigh.rule"}},
	} {
		c := tntConfig(data, init, 4)
		x.change(&c)
		run := filepath.Join(t.TempDir(), "run")
		err := Train(Options{Config: c, Out: run})
		if fault.Of(err) != x.kind {
			t.Errorf("%s: %v, want kind %v", name, err, x.kind)
			continue
		}
		for _, part := range x.says {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("%s: %v, want %q", name, err, part)
			}
		}
		if saved, _ := filepath.Glob(filepath.Join(run, "checkpoints", "step-*")); len(saved) > 0 {
			t.Errorf("%s: a step was taken", name)
		}
	}
}

// Options of losses that no term reads are not ignored in silence; with another objective beside tnt some term reads them.
func TestTNTRefusesLossesOfOthers(t *testing.T) {
	c := Default()
	c.Objective = "tnt"
	c.Loss.Smoothing, c.Loss.ZLoss, c.Loss.Focal, c.Loss.DFT = 0.1, 0.01, 0, true
	keys := func() (list []string) {
		for _, p := range c.Validate() {
			if strings.Contains(p.Message, "losses of its own") {
				list = append(list, p.Key)
			}
		}
		return list
	}
	if got := keys(); !slices.Equal(got, []string{"loss.smoothing", "loss.z_loss", "loss.dft"}) {
		t.Errorf("%v", got)
	}
	c.Phases = []Phase{{Objective: "clm", Steps: 1}, {Objective: "tnt", Steps: 1}}
	if got := keys(); got != nil {
		t.Errorf("beside clm: %v", got)
	}
}
