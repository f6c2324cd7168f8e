package engine

import (
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"palimpsest/engine/eval"
	"palimpsest/engine/fault"
	"palimpsest/engine/model"
	"palimpsest/engine/report"
	"palimpsest/engine/shard"
	"palimpsest/kernels"
	"palimpsest/objectives"
)

// exlmConfig is a run of a model of 2 layers and 32 wide.
func exlmConfig(data string, steps int64) Config {
	c := tinyConfig(data, steps)
	c.Objective, c.Data.Length, c.Mask.P = "exlm", 46, 0.3
	c.Model.Positions, c.Model.Context = "", 64
	return c
}

// 2N steps straight equal N + save + load + N, bit for bit, with all kinds of graphs; also of texts that stand several times.
func TestEXLMResumes(t *testing.T) {
	data := dataset(t, 300)
	for name, change := range map[string]func(*Config){
		"dense":  func(c *Config) { c.EMA.Decay = 0.9 },
		"sparse": func(c *Config) { c.EXLM.DAG, c.EXLM.K, c.EXLM.LinkFeatures = "sparse", 2, "hidden" },
		"none":   func(c *Config) { c.EXLM.DAG, c.EXLM.Blank, c.EXLM.Rope = "none", "pad", "1d"; c.Model.Context = 192 },
		"rmlm":   func(c *Config) { c.Objective, c.RMLM.K = "rmlm", 3; c.Model.Context = 192 },
	} {
		t.Run(name, func(t *testing.T) {
			c := exlmConfig(data, 5)
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
		})
	}
}

// A model learns, is evaluated over the same masked tokens as one that mlm trains, fills masks by its best path, and goes on as a
// classifier whose texts keep the states of their ends.
func TestEXLMLearns(t *testing.T) {
	data := datasetWith(t, 400, "label", func(doc []byte, tokens int) []byte {
		label := make([]byte, tokens)
		if strings.Contains(string(doc), "func ") {
			label[0] = 1
		}
		return label
	})
	c := exlmConfig(data, 40)
	c.Data.TokensPerStep, c.Train.Accumulate, c.Eval.Every, c.Eval.Tokens, c.Optimizer.LearningRate = 512, 1, 0, 0, 8e-3
	run := t.TempDir()
	mustTrain(t, Options{Config: c, Out: run})
	log, err := report.ReadLog(filepath.Join(run, LogFile))
	if err != nil {
		t.Fatal(err)
	}
	first, last := log.Steps[0], log.Steps[len(log.Steps)-1]
	if !(last.Loss < first.Loss-0.8) || last.Accuracy != nil || last.Measures[eval.MeasureInvalidRows] != 0 {
		t.Errorf("loss %g to %g", first.Loss, last.Loss)
	}
	if len(log.Examples) == 0 || len(log.Examples[0].Masks) == 0 || len(log.Examples[0].Masks[0].Answers) != exampleAnswers || strings.Count(log.Examples[0].Text, "<mask>") != len(log.Examples[0].Masks) {
		t.Errorf("examples %+v", log.Examples)
	}
	m, err := OpenModel(run, "cpu", 2)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	expanded, err := m.Evaluate("", "", 0)
	if err != nil {
		t.Fatal(err)
	}
	plain, err := m.Evaluate("", "mlm", 0)
	if err != nil {
		t.Fatal(err)
	}
	if expanded.Rows != plain.Rows || expanded.Tokens != plain.Tokens || math.Abs(expanded.BaselineLoss-plain.BaselineLoss) > 1e-9 {
		t.Errorf("exlm is measured on %d masked of %d tokens (unigram %g), mlm on %d of %d (%g)", expanded.Rows, expanded.Tokens, expanded.BaselineLoss, plain.Rows, plain.Tokens, plain.BaselineLoss)
	}
	if h := expanded.Measures[eval.MeasureEntropy]; !(h > 1 && h < math.Log(600)) || !(plain.Measures[eval.MeasureEntropy] > 0) || !(expanded.NLL < math.Log(600)-0.5) || !(expanded.Loss < expanded.NLL) {
		t.Errorf("%+v", expanded)
	}
	mask := m.Tokenizer.Mask
	texts := [][]int32{append(m.Tokenizer.Encode(nil, []byte("return ")), mask), {mask, mask}, m.Tokenizer.Encode(nil, []byte("func"))}
	answers, err := m.FillMask(texts, 3)
	if err != nil || len(answers) != 3 || len(answers[0]) != 1 || len(answers[1]) != 2 || len(answers[2]) != 0 {
		t.Fatalf("%v: %v", err, answers)
	}
	for _, list := range append(answers[0], answers[1]...) {
		if len(list) != 3 || !(list[0].Probability >= list[1].Probability && list[1].Probability >= list[2].Probability && list[2].Probability > 0 && list[0].Probability < 1) {
			t.Errorf("answers %v", list)
		}
	}
	if _, err := m.FillMask([][]int32{slices.Repeat([]int32{mask}, 600)}, 1); fault.Of(err) != fault.Data {
		t.Errorf("2,408 places: %v", err)
	}

	everything := make([]int32, m.Tokenizer.Vocab())
	for id := range everything {
		everything[id] = int32(id)
	}
	said, err := m.Recall()([][]int32{{90, mask, 91}, {mask, 90}}, [][]int32{everything, {70, 71}})
	sum := 0.0
	for _, logP := range said[0] {
		sum += math.Exp(logP)
	}
	if err != nil || math.Abs(sum-1) > 1e-6 || len(said[1]) != 2 || !(said[1][0] < 0) {
		t.Errorf("%v: all tokens have the probability %g; %v", err, sum, said[1])
	}
	aligned, err := m.Align([][]int32{{90, mask, 91, mask}, {90, 91}}, [][]int32{{90, 70, 91, 71}, {90, 91}})
	if err != nil || len(aligned) != 2 || len(aligned[0].Path) != 4 || len(aligned[1].Path) != 2 || !(aligned[0].LogP >= aligned[0].BestLogP) {
		t.Fatalf("%v: %+v", err, aligned)
	}
	if s := aligned[0].Path[1]; s.Target != 70 || s.Place != 2 || s.States != 4 || !(s.Share > 0 && s.Share <= 1) {
		t.Errorf("%+v", s)
	}
	states, err := m.Outputs([]int32{m.Tokenizer.BOS, 90, mask}, false)
	if want := []int32{0, 0, 0, 0, 1, 2, 2, 2, 2}; err != nil || !slices.Equal(states.Places, want) || len(states.Hidden) != 9*32 || slices.Equal(states.Hidden[:32], states.Hidden[32:64]) {
		t.Errorf("%v: rows of %v", err, states.Places)
	}
	if single, err := m.Outputs([]int32{m.Tokenizer.BOS, 90, mask}, true); err != nil || single.Places != nil || len(single.Hidden) != 3*32 {
		t.Errorf("%v: %d numbers of one state a token", err, len(single.Hidden))
	}

	tuned := Default()
	tuned.Objective, tuned.Data, tuned.Train, tuned.Train.Init = "classify", c.Data, c.Train, run
	tuned.Model.Classifiers = []objectives.Head{{Name: "topic", Kind: "sequence", Classes: 2}}
	tuned.Train.Steps, tuned.Log.Every, tuned.Eval.Every, tuned.Checkpoint.Every, tuned.Data.Length = 10, 1, 0, 0, 0
	p, err := DryRun(Options{Config: tuned})
	if err != nil {
		t.Fatal(err)
	}
	if s := p.Batch.Examples[0]; s.Tokens[0].Input != "<s>" || s.Tokens[3].Input != "<s>" || s.Tokens[4].Input == "<s>" || s.Tokens[0].Term != "classify" || s.Tokens[1].Term != "" {
		t.Errorf("%+v", s.Tokens[:5])
	}
	out, n := t.TempDir(), new(notes)
	mustTrain(t, Options{Config: tuned, Out: out, Observe: n})
	classifier, err := OpenModel(out, "cpu", 2)
	if err != nil {
		t.Fatal(err)
	}
	defer classifier.Close()
	if s, err := classifier.Classify("", "", 0); err != nil || s.Rows == 0 || classifier.Config.Model.Links.States != 4 {
		t.Errorf("%v: %+v", err, s)
	}
}

// The picture of a batch shows every state with its token and number, and what the graph asks.
func TestEXLMDryRun(t *testing.T) {
	data := dataset(t, 200)
	for dag, want := range map[string]string{"dense": "every path from the first to the last state", "none": "emit it alone"} {
		c := exlmConfig(data, 10)
		c.EXLM.DAG, c.EXLM.Blank = dag, "pad"
		p, err := DryRun(Options{Config: c})
		if err != nil {
			t.Fatal(err)
		}
		states, shown := 0, p.Batch.Examples[0]
		for i, token := range shown.Tokens {
			if token.Term == "" {
				continue
			}
			number := states%4 + 1
			if !strings.HasSuffix(token.Target, " "+string(rune('0'+number))+"/4") || token.Term != "exlm" || !(token.Weight > 0 && token.Weight <= 0.5) ||
				token.Original != "" && !strings.HasPrefix(token.Target, token.Original) {
				t.Errorf("%s: token %d: %+v", dag, i, token)
			}
			states++
		}
		if states < 8 || !strings.Contains(shown.Graph, want) || p.Batch.Terms[0].Den < float64(p.Batch.Segments) {
			t.Errorf("%s: %d states, %q, %+v", dag, states, shown.Graph, p.Batch.Terms)
		}
		if p.FLOPs <= 0 || p.Memory.Activations <= 0 || !strings.Contains(p.Config, "states: 4") {
			t.Errorf("%s: %g FLOP, %+v", dag, p.FLOPs, p.Memory)
		}
	}
}

// Settings that cannot work end before the first step, with key, value and the way out.
func TestEXLMRefusals(t *testing.T) {
	data := dataset(t, 100)
	masked := maskedDataset(t)
	for _, x := range []struct {
		want   string
		kind   fault.Kind
		change func(*Config)
	}{
		{"exlm.rope: 2d does not go with model.positions: learned", fault.Usage, func(c *Config) { c.Model.Positions = "learned" }},
		{"exlm.dag: none does not go with model.links.features: hidden", fault.Usage, func(c *Config) { c.EXLM.DAG, c.Model.Links.Features = "none", "hidden" }},
		{"exlm.link_features", fault.Usage, func(c *Config) { c.Model.Links.Features = "hidden" }},
		{"exlm.k: 4 does not go with model.links.states: 2", fault.Usage, func(c *Config) { c.Model.Links.States = 2 }},
		{"exlm.link_heads: 4", fault.Usage, func(c *Config) { c.EXLM.LinkHeads, c.Model.Links.Heads = 4, 2 }},
		{"exlm.link_heads: width 32 is not a multiple of 5", fault.Usage, func(c *Config) { c.EXLM.LinkHeads = 5 }},
		{"multiple of 4, not 2", fault.Usage, func(c *Config) { c.Model.Heads = 16 }},
		{"data.packing: cut", fault.Usage, func(c *Config) { c.Data.Packing = "cut" }},
		{"up to 96, and exlm.max_positions is 64", fault.Usage, func(c *Config) { c.EXLM.MaxPositions = 64 }},
		{"data.tokens_per_step: 6 is not enough", fault.Usage, func(c *Config) { c.Data.TokensPerStep, c.Data.Length = 6, 0 }},
		{"and model.context is 64", fault.Usage, func(c *Config) { c.EXLM.Rope = "1d" }},
		{"up to 34 positions, and model.context is 32; hint: data.length: 30", fault.Usage, func(c *Config) { c.Model.Context, c.Data.Length = 32, 32 }},
		{"model.context: 8 is not enough for a text of one token, which takes 21 positions", fault.Usage, func(c *Config) { c.Model.Context, c.Data.Length, c.EXLM.K = 8, 4, 20 }},
		{"data.length: 40 exceeds model.context 32", fault.Usage, func(c *Config) { c.Model.Context, c.Data.Length = 32, 40 }},
		{"no unknown (exlm.blank: unk) token", fault.Usage, func(c *Config) { c.EXLM.DAG = "none" }},
		{"neither smoothing", fault.Usage, func(c *Config) { c.Loss.Smoothing = 0.1 }},
		{"is the mask token", fault.Data, func(c *Config) { c.Data.Train = masked }},
	} {
		c := exlmConfig(data, 3)
		x.change(&c)
		if err := c.check(); err != nil {
			if x.kind != fault.Usage || !strings.Contains(err.Error(), x.want) {
				t.Errorf("%s: %v", x.want, err)
			}
			continue
		}
		if _, err := DryRun(Options{Config: c}); fault.Of(err) != x.kind || !strings.Contains(err.Error(), x.want) {
			t.Errorf("%s: %v", x.want, err)
		}
	}
}

// Without data.length, texts are as long as their positions and rows have room.
func TestEXLMLength(t *testing.T) {
	data := dataset(t, 100)
	for _, x := range []struct {
		name   string
		change func(*Config)
		want   int
		note   string
	}{
		{"ends", func(c *Config) { c.Model.Context = 32 }, 30, "those of 30 tokens fit model.context: 32"},
		{"rows", func(c *Config) { c.EXLM.MaxPositions = 64 }, 29, "fit exlm.max_positions: 64"},
		{"one axis", func(c *Config) { c.EXLM.Rope, c.Model.Context = "1d", 64 }, 29, "fit model.context: 64"},
		{"no ends", func(c *Config) { c.EXLM.ExpandSpecials, c.Model.Context = false, 32 }, 32, ""},
	} {
		c := exlmConfig(data, 3)
		c.Data.Length = 0
		x.change(&c)
		p, err := DryRun(Options{Config: c})
		if err != nil {
			t.Errorf("%s: %v", x.name, err)
		} else if !strings.Contains(p.Config, fmt.Sprintf("length: %d\n", x.want)) || !strings.Contains(strings.Join(p.Notes, "\n"), x.note) {
			t.Errorf("%s: not %d tokens; %q", x.name, x.want, p.Notes)
		}
	}
}

// check is what a run file's loader finds.
func (c *Config) check() error {
	for _, p := range c.Validate() {
		return fault.Usage.Errorf("%s: %s", p.Key, p.Message)
	}
	return nil
}

// maskedDataset has a text that holds the mask token.
func maskedDataset(t *testing.T) string {
	t.Helper()
	tok, err := trained()
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "data")
	w, err := shard.Create(dir, shard.WriterOptions{TokenizerHash: tok.Hash(), Vocab: tok.Vocab(), BOS: tok.BOS, EOS: tok.EOS})
	if err != nil {
		t.Fatal(err)
	}
	for range 50 {
		if err := w.AppendWith([]int32{tok.BOS, 80, tok.Mask, 90, tok.EOS}, nil); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := tok.Save(filepath.Join(dir, TokenizerFile)); err != nil {
		t.Fatal(err)
	}
	return dir
}

// Too many texts without a path end the run with the first of them; few are left out of the mean, whose gradient is made right.
func TestEXLMTextsWithoutAPath(t *testing.T) {
	c := exlmConfig(dataset(t, 100), 5)
	c.Eval.Every, c.Data.Valid.Share, c.Model.HeadBias = 0, 0, model.FlagOf(true)
	tr, err := newTrainer(Options{Config: c, Out: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer tr.close()
	bias := make([]float32, tr.job.tokenizer.Vocab())
	bias[tr.job.tokenizer.EOS] = float32(math.Inf(-1)) // which every text asks for
	tr.b.Upload(tr.weights.ByName("head.lm.bias").Master, bias)
	tr.weights.Publish(tr.b)
	err = tr.run()
	if fault.Of(err) != fault.Diverged || !strings.Contains(err.Error(), "have no path") || !strings.Contains(err.Error(), "the first is of document") {
		t.Errorf("%v", err)
	}

	plans := []*objectives.Plan{{Terms: []objectives.Term{{Name: "exlm", Kind: objectives.Alignment, Lattices: make([]kernels.Lattice, 150), Den: 400}}},
		{Terms: []objectives.Term{{Name: "exlm", Kind: objectives.Alignment, Lattices: make([]kernels.Lattice, 250), Den: 400}}}}
	ones := make([]float32, tr.weights.Grad.Len())
	for i := range ones {
		ones[i] = 1
	}
	tr.b.Upload(tr.weights.Grad, ones)
	tr.lost = func() (float64, error) { return 4, nil }
	if err := tr.correctMean(&update{plans: plans}); err != nil {
		t.Fatal(err)
	}
	if g := kernels.View[float32](tr.weights.Grad); math.Abs(float64(g[7])-400.0/396) > 1e-6 || math.Abs(plans[1].Terms[0].Den-396) > 1e-9 {
		t.Errorf("gradient times %g, denominator %g", g[7], plans[1].Terms[0].Den)
	}
	var r stepResult
	plans[0].Terms[0].Rows, plans[0].Terms[0].Share = []int32{0}, 1
	r.collect(&update{plans: plans[:1]}, 1, []model.TermResult{{Name: "exlm", Loss: 792, Lost: 4}})
	if math.Abs(r.loss-2) > 1e-9 || r.measures[eval.MeasureInvalidRows] != 4 {
		t.Errorf("loss %g, %v", r.loss, r.measures)
	}
}

// Masked entities are recovered as exlm masks them: the means are those of one text at a time, by what fill-mask reads. What reads one
// state a token says so.
func TestEXLMSensitivity(t *testing.T) {
	c := exlmConfig(taggedDataset(t, 60), 20)
	run := t.TempDir()
	mustTrain(t, Options{Config: c, Out: run})
	m, err := OpenModel(run, "cpu", 2)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if note := m.Unexpanded(); !strings.Contains(note, "4 states for masked, begin and end tokens") {
		t.Errorf("%q", note)
	}
	other := c
	other.Train.Init, other.Model, other.EXLM.K = run, Default().Model, 2
	if p, err := DryRun(Options{Config: other}); err != nil || !strings.Contains(strings.Join(p.Notes, "\n"), "exlm.k is 2, the model was trained with 4 states") || !strings.Contains(p.Config, "states: 2") {
		t.Errorf("another number of states: %v", err)
	}
	repeated := &Model{Config: c}
	repeated.Config.Objective, repeated.Config.RMLM.K = "rmlm", 3
	if note := repeated.Unexpanded(); !strings.Contains(note, "every token 3 times") {
		t.Errorf("%q", note)
	}
	s, err := m.Sensitivity(c.Data.Train, "", 0)
	if err != nil {
		t.Fatal(err)
	}
	if s.Entities == 0 || s.Domain.Tokens < s.Entities || s.Ordinary.Tokens == 0 || !(s.Domain.Confidence > 0 && s.Domain.Confidence < 1) || len(s.Notes) == 0 {
		t.Errorf("%+v", s)
	}

	tg := &tagged{m: m}
	list := []eval.Masked{tg.masked([]int32{m.Tokenizer.BOS, 70, 71, 72, 73, 74, m.Tokenizer.EOS}, []int{2, 3}), tg.masked([]int32{80, 81, 82, 83}, []int{1}), tg.masked([]int32{90, 91, 92}, []int{0, 2})}
	recoverAll, length := tg.recoverer()
	all, err := recoverAll(list)
	if err != nil || all.Tokens != 5 || length != 46 {
		t.Fatalf("%+v, length %d: %v", all, length, err)
	}
	confidence := 0.0
	for i := range list {
		one, err := recoverAll(list[i : i+1])
		if err != nil {
			t.Fatal(err)
		}
		confidence += one.Confidence * float64(one.Tokens) / 5
	}
	if math.Abs(confidence-all.Confidence) > 1e-6 {
		t.Errorf("confidence %g, text by text %g", all.Confidence, confidence)
	}
}

// A tagger that begins with a model of exlm is measured on texts whose ends have as many states as when it was tuned.
func TestEXLMTagger(t *testing.T) {
	data := taggedDataset(t, 300)
	c := exlmConfig(data, 5)
	c.Eval.Every, c.Data.Valid.Share = 0, 0.2
	run := t.TempDir()
	mustTrain(t, Options{Config: c, Out: run})
	c.Objective, c.Train.Init, c.Train.Steps, c.Train.Accumulate, c.Optimizer.LearningRate = "tag", run, 60, 1, 5e-3
	c.Model, c.Data.Length, c.EXLM = Default().Model, 0, objectives.DefaultEXLM()
	c.Model.Classifiers = []objectives.Head{{Name: "entities", Kind: "token", Classes: 5}}
	c.Data.TokensPerStep = 512
	tuned := t.TempDir()
	mustTrain(t, Options{Config: c, Out: tuned})
	m, err := OpenModel(tuned, "cpu", 2)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if e := m.endStates(); e.K != 4 || e.Flat || !strings.Contains(m.Unexpanded(), "was tuned with 4 states") {
		t.Errorf("%+v, %q", e, m.Unexpanded())
	}
	expanded, err := m.NER(NEROptions{Unit: UnitToken})
	if err != nil {
		t.Fatal(err)
	}
	rows, err := m.Classify("", "", 0)
	if err != nil {
		t.Fatal(err)
	}
	if f := expanded.Default.Types[0].F1; !(f > 0.2) || rows.Rows == 0 {
		t.Errorf("F1 %g of %d entities; %d rows", f, expanded.Default.Types[0].Support, rows.Rows)
	}
	if d := expanded.Default; d.Words != rows.Rows || math.Abs(d.Accuracy-rows.Accuracy) > 0.005 { // long documents are cut elsewhere
		t.Errorf("%d tokens are tagged, %g right; of %d rows %g", d.Words, d.Accuracy, rows.Rows, rows.Accuracy)
	}
}
