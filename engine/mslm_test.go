package engine

import (
	"bytes"
	"maps"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"palimpsest/engine/eval"
	"palimpsest/engine/fault"
	"palimpsest/engine/model"
	"palimpsest/engine/report"
	"palimpsest/kernels"
	"palimpsest/objectives"
)

// taggedDataset builds shards in which every token "func" is an entity, and every "return" with the one behind it is one of another type.
func taggedDataset(t testing.TB, documents int) string {
	t.Helper()
	tok, err := trained()
	if err != nil {
		t.Fatal(err)
	}
	return datasetWith(t, documents, "bio", func(doc []byte, tokens int) []byte {
		ids := append(tok.Encode([]int32{tok.BOS}, doc), tok.EOS)
		tags := make([]byte, tokens)
		tags[0], tags[tokens-1] = 255, 255
		for i := 1; i+2 < tokens; i++ {
			switch strings.TrimSpace(string(tok.Decode(ids[i : i+1]))) {
			case "func":
				tags[i] = 1
			case "return":
				tags[i], tags[i+1] = 3, 4
				i++
			}
		}
		return tags
	})
}

func mslmConfig(data string, steps int64) Config {
	c := tinyConfig(data, steps)
	c.Objective = "mslm"
	c.Model.Classifiers = []objectives.Head{{Name: "entities", Kind: "detector", Classes: 5}, {Name: "types", Kind: "token", Classes: 2}}
	c.MSLM.ClassWeight, c.MSLM.Static, c.MSLM.LabelWeights = 0.5, false, "balanced"
	return c
}

// 2N steps straight equal N + save + load + N, bit for bit, under every strategy, jointly and in stages.
func TestMSLMResumes(t *testing.T) {
	data := taggedDataset(t, 300)
	for name, change := range map[string]func(*Config){
		"joint": func(*Config) {},
		"pmi":   func(c *Config) { c.MSLM.Strategy = "pmi" },
		"span, by weights": func(c *Config) {
			c.MSLM.Strategy, c.MSLM.Norm, c.MSLM.Weights, c.MSLM.UnmaskedWeight = "span", "weights", "class_balanced", 0
		},
		"in stages": func(c *Config) {
			c.MSLM.DetectionWeight, c.MSLM.ClassWeight, c.Train.Steps = 0, 0, 0
			c.Phases = []Phase{{Objective: "mslm", Steps: 5}, {Objective: "tag", Steps: 5}}
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := mslmConfig(data, 10)
			change(&c)
			straight, parts := filepath.Join(t.TempDir(), "straight"), filepath.Join(t.TempDir(), "parts")
			mustTrain(t, Options{Config: c, Out: straight})
			for _, stop := range []int64{3, 6} {
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

// The log tells the losses of masked entities, of other masked tokens and of the rest apart. Where only one kind has weight, its loss is
// the loss of the language model.
func TestMSLMLogsKinds(t *testing.T) {
	data := taggedDataset(t, 100)
	for name, own := range map[string]string{"entity": measureEntityLoss, "base": measureBaseLoss, "mslm": ""} {
		c := mslmConfig(data, 4)
		c.MSLM.Strategy, c.MSLM.Norm, c.MSLM.Entity, c.Train.Accumulate, c.Data.TokensPerStep = name, "weights", 1, 2, 512
		if c.MSLM.UnmaskedWeight = 0; own == "" {
			c.MSLM.UnmaskedWeight = 1
		}
		run := t.TempDir()
		mustTrain(t, Options{Config: c, Out: run})
		log, err := report.ReadLog(filepath.Join(run, LogFile))
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range log.Steps {
			m := s.Measures
			switch {
			case own != "" && (math.Abs(m[own]-s.LossParts["mslm"]) > 1e-5*m[own] || len(m) != 3):
				t.Errorf("%s, step %d: loss %g, measures %v", name, s.Step, s.LossParts["mslm"], m)
			case own == "" && (len(m) != 5 || !(m[measureUnmaskedLoss] < m[measureBaseLoss])):
				t.Errorf("%s, step %d: measures %v", name, s.Step, m)
			}
			if k, none := m[measureMasked], m[measureNoEntity]; !(k > 0) || (name == "base") != (none == 1) {
				t.Errorf("%s, step %d: %g masked a document, %g without an entity", name, s.Step, k, none)
			}
		}
	}
}

// Held-out text has an F1 of entities, that of 'eval ner' by token, and the best checkpoint can be chosen by it.
func TestBestByEntityF1(t *testing.T) {
	data := taggedDataset(t, 200)
	for _, objective := range []string{"mslm", "tag"} {
		c := mslmConfig(data, 90)
		c.Objective, c.Eval.Best, c.Eval.Tokens, c.Eval.Every, c.Data.Valid.Share = objective, "entity_f1", 0, 30, 0.2
		c.Model.Context, c.Data.TokensPerStep, c.Checkpoint.Keep = 512, 1024, 1 // whole documents
		c.MSLM.Norm, c.MSLM.DetectionWeight, c.MSLM.ClassWeight, c.MSLM.Entity, c.MSLM.Base = "weights", 8, 0, 0.1, 0.05
		c.Train.Accumulate, c.Optimizer.LearningRate, c.Model.Classifiers[0].Kind = 1, 1e-2, "token"
		run := t.TempDir()
		mustTrain(t, Options{Config: c, Out: run})
		log, err := report.ReadLog(filepath.Join(run, LogFile))
		if err != nil {
			t.Fatal(err)
		}
		most := report.Eval{}
		for _, e := range log.Evals {
			if e.Measures[eval.MeasureEntityF1] > most.Measures[eval.MeasureEntityF1] {
				most = e
			}
		}
		m, err := OpenModel(run, "cpu", 2)
		if err != nil {
			t.Fatal(err)
		}
		r, err := m.NER(NEROptions{Unit: UnitToken})
		if f1 := most.Measures[eval.MeasureEntityF1]; err != nil || m.Step != most.Step || !(f1 > 0) || r.Default.Micro.F1 != f1 {
			t.Errorf("%s: F1 %g at step %d, the best checkpoint is of step %d with %g: %v", objective, f1, most.Step, m.Step, r.Default.Micro.F1, err)
		}
		m.Close()
	}
	c := tinyConfig(data, 1)
	if c.Eval.Best = "entity_f1"; len(c.Validate()) != 1 {
		t.Errorf("without entities: %v", c.Validate())
	}
}

// The sums by hand: a padded document with an entity, then one with nothing masked, and a row that a Filler added.
func TestMaskSums(t *testing.T) {
	term := &objectives.Term{Rows: make([]int32, 8), Kinds: []byte("UEEBPUU"), Offsets: []int32{0, 4, 5, 8}}
	var s maskSums
	s.add(&objectives.Plan{Documents: []int64{3, 3, 4}}, term, []float64{1, 2, 4, 5, 9, 2, 3})
	got := map[string]float64{}
	s.into(got)
	want := map[string]float64{measureEntityLoss: 3, measureBaseLoss: 5, measureUnmaskedLoss: 2, measureMasked: 1.5, measureNoEntity: 0.5}
	if !maps.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

// The gradient of the whole objective, all three terms with their weights, against central differences in float64.
func TestMSLMGradient(t *testing.T) {
	s := objectives.Settings{Seed: 3, MSLM: objectives.DefaultMSLM(), Heads: []objectives.Head{{Name: "entities", Kind: "detector", Classes: 5}, {Name: "types", Kind: "token", Classes: 2}},
		Vocabulary: objectives.Vocabulary{Size: 13, EOS: 1, Pad: -1, Mask: 2, Unk: -1, Special: func(id int32) bool { return id < 3 }}}
	s.MSLM.Entity, s.MSLM.Base, s.MSLM.ClassWeight, s.MSLM.Focal, s.MSLM.LabelWeights = 0.6, 0.3, 0.7, 1.5, "balanced"
	docs := []objectives.Document{
		{ID: 1, Tokens: []int32{0, 4, 5, 6, 7, 8, 1}, Planes: map[string][]byte{"bio": {255, 0, 1, 2, 0, 3, 255}}},
		{ID: 2, Tokens: []int32{9, 10, 11, 12, 3}, Planes: map[string][]byte{"bio": {3, 4, 4, 0, 1}}},
	}
	o, err := objectives.New("mslm", s)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := objectives.Prepare(o, objectives.Corpus{Documents: func(yield func(objectives.Document, error) bool) {
		for _, d := range docs {
			if !yield(d, nil) {
				return
			}
		}
	}}); err != nil {
		t.Fatal(err)
	}
	p := new(objectives.Plan)
	o.Begin(p)
	for _, d := range docs {
		o.Plan(d, p)
	}
	objectives.SetDenominators([]*objectives.Plan{p})
	if len(p.Terms) != 3 || slices.Equal(p.Tokens, p.OriginalTokens) || len(p.Terms[2].Rows) == 0 {
		t.Fatalf("the plan is not worth checking: %+v", p)
	}
	c, problems := model.Config{Vocab: 13, Layers: 1, Width: 8, Heads: 2, FF: 12, Context: 8, Positions: "rope", InitStd: 0.3, Classifiers: s.Heads}.Resolve(13)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	b := kernels.NewRef64()
	w, a := model.NewWeights(b, c, true), model.NewActivations(b, c, model.Capacity{Tokens: 12, Rows: 12}, true)
	w.Init(b, 7)
	loss := func(gradient bool) (sum float64) {
		if err := a.Load(p, model.Step{}); err != nil {
			t.Fatal(err)
		}
		a.ResetResults()
		a.Forward(w)
		a.Loss(w, gradient)
		_, terms, err := a.Results(termNames(p))
		if err != nil {
			t.Fatal(err)
		}
		for i, r := range terms {
			sum += p.Terms[i].Share * r.Loss / p.Terms[i].Den
		}
		return sum
	}
	if err := p.Check(13, 8); err != nil {
		t.Fatal(err)
	}
	loss(true)
	a.Backward(w)
	const h = 1e-5
	checked := 0
	for _, param := range w.Params {
		grad, value := kernels.View[float64](param.Grad), kernels.View[float64](param.Master)
		for e := 0; e < len(value); e += 1 + len(value)/9 {
			x := value[e]
			value[e] = x + h
			up := loss(false)
			value[e] = x - h
			down := loss(false)
			value[e] = x
			want := (up - down) / (2 * h)
			if diff := math.Abs(grad[e] - want); diff > 1e-7*(1+math.Abs(want)) {
				t.Errorf("%s[%d]: gradient %.12g, difference %.12g", param.Name, e, grad[e], want)
			}
			checked++
		}
	}
	if checked < 50 {
		t.Errorf("only %d elements were checked", checked)
	}
}

// A model that detects entities is measured by exact match and by sensitivity, and both agree with each other.
func TestMSLMIsMeasured(t *testing.T) {
	data := taggedDataset(t, 600)
	c := mslmConfig(data, 150)
	c.Model.Classifiers[0].Kind = "token" // a detector that reads the original tokens answers masked text as it does unmasked text
	c.MSLM.ClassWeight, c.MSLM.DetectionWeight, c.Data.Valid.Share, c.Eval.Every = 0, 4, 0.2, 0
	c.MSLM.Norm, c.MSLM.UnmaskedWeight, c.MSLM.LabelWeights = "weights", 1, "balanced"
	run, n := t.TempDir(), new(notes)
	mustTrain(t, Options{Config: c, Out: run, Observe: n})
	if !n.has("are masked in entities") || !n.has("w_e") {
		t.Errorf("notes %q", n.lines)
	}
	m, err := OpenModel(run, "cpu", 2)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	lines := 0
	r, err := m.NER(NEROptions{Unit: UnitToken, Each: func(words, tags, answers []string) error {
		if len(words) != len(tags) || len(words) != len(answers) {
			t.Fatal("columns of different lengths")
		}
		lines += len(words)
		return nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	if r.Head != "entities" || r.Default.Types[0].F1 < 0.5 || r.Default.Words != int64(lines) || r.Strict.Types[0].Support != r.Default.Types[0].Support || r.Leaky {
		t.Errorf("%+v", r)
	}
	s, err := m.Sensitivity("", "", 0)
	if err != nil {
		t.Fatal(err)
	}
	support := r.Default.Types[0].Support + r.Default.Types[1].Support
	if s.Entities != support || s.Domain.Tokens != support+r.Default.Types[1].Support || s.Heads == nil || s.Heads.Seen.Entities+s.Heads.Unseen.Entities != support || s.Heads.Unknown.Entities != 0 {
		t.Errorf("%d entities, %+v, %+v", support, s, s.Heads)
	}
	if s.Domain.Confidence <= 0 || s.Domain.Confidence >= 1 || s.Heads.Seen.Recall < r.Default.Micro.Recall-0.2 {
		t.Errorf("%+v, %+v", s.Domain, s.Heads)
	}
	loss, err := m.Evaluate("", "", 0)
	if err != nil || loss.Rows == 0 || loss.Loss <= loss.NLL {
		t.Errorf("%+v, %v", loss, err)
	}
	m.Config.MSLM.Compat.EvalMasked = true // the authors' evaluation, which shows where entities are
	leaky, err := m.NER(NEROptions{Unit: UnitToken})
	if err != nil || !leaky.Leaky || len(leaky.Notes) < 2 || leaky.Default.Micro == r.Default.Micro {
		t.Errorf("%+v, %v", leaky, err)
	}
	m.Config.MSLM.Compat.EvalMasked = false
	other := dataset(t, 50)
	if _, err := m.NER(NEROptions{Data: other}); fault.Of(err) != fault.Data || !strings.Contains(err.Error(), "no plane bio") {
		t.Errorf("without tags: %v", err)
	}
	if _, err := m.NER(NEROptions{Head: "names"}); fault.Of(err) != fault.Usage || !strings.Contains(err.Error(), "entities") {
		t.Errorf("another head: %v", err)
	}
}

// Under --first-subword, later parts of words have no tag: those of entities are masked with them, the others are ordinary tokens.
func TestSensitivityKnowsLaterParts(t *testing.T) {
	tok, err := trained()
	if err != nil {
		t.Fatal(err)
	}
	measured := tagged{m: &Model{Tokenizer: tok}}
	tokens := []int32{tok.BOS, 260, 261, 262, 263, 264, 265, 266, tok.EOS}
	tags := []byte{255, 0, 255, 1, 255, 2, 0, 255, 255}
	if got := measured.outside(tokens, tags); !slices.Equal(got, []bool{false, true, true, false, false, false, true, true, false}) {
		t.Errorf("outside: %v", got)
	}
	if got := measured.entities(tokens, tags); len(got) != 1 || got[0] != [2]int{3, 6} {
		t.Errorf("entities: %v", got)
	}
	if got := measured.outside(tokens, bytes.Repeat([]byte{255}, 9)); slices.Contains(got, true) {
		t.Errorf("without tags: %v", got)
	}
}

// Words of a file of tagged sentences are what white space sets apart, whatever the tokenizer makes of them.
func TestWordsByUnit(t *testing.T) {
	tok, err := trained()
	if err != nil {
		t.Fatal(err)
	}
	measured := tagged{m: &Model{Tokenizer: tok}}
	tokens := append(tok.Encode([]int32{tok.BOS}, []byte("APC2, f(x)  of-5")), tok.EOS)
	tags := make([]byte, len(tokens))
	tags[0], tags[len(tags)-1] = 255, 255
	for unit, want := range map[string]string{
		UnitSpace: "APC2, f(x) of-5",
		UnitWord:  "APC 2 , f ( x ) of - 5",
	} {
		var words []string
		for _, w := range measured.words(tokens, tags, unit) {
			words = append(words, strings.TrimSpace(string(tok.Decode(tokens[w.from:w.to]))))
		}
		if got := strings.Join(strings.Fields(strings.Join(words, " ")), " "); got != want {
			t.Errorf("%s: %q, want %q", unit, got, want)
		}
	}
	if got := len(measured.words(tokens, tags, UnitToken)); got != len(tokens)-2 || !measured.keepsSpaces() {
		t.Errorf("%d tokens of %d", got, len(tokens)-2)
	}
}

// What cannot be trained on is refused before the first step, with its place, and nothing is left in the run folder's checkpoints.
func TestMSLMRefusesBadData(t *testing.T) {
	good := taggedDataset(t, 60)
	outside := datasetWith(t, 60, "bio", func(_ []byte, tokens int) []byte { return make([]byte, tokens) })
	inside := datasetWith(t, 60, "bio", func(_ []byte, tokens int) []byte {
		return append(bytes.Repeat([]byte{0}, tokens-1), 2)
	})
	for name, c := range map[string]struct {
		data   string
		change func(*Config)
		kind   fault.Kind
		parts  []string
	}{
		"no plane":      {dataset(t, 60), nil, fault.Data, []string{"no plane \"bio\"", "data annotate"}},
		"no entity":     {outside, nil, fault.Data, []string{"tagged B"}},
		"I without B":   {inside, nil, fault.Data, []string{"document 0", "follows 0"}},
		"unknown tag":   {good, func(c *Config) { c.Model.Classifiers[0].Classes = 3 }, fault.Data, []string{"document", "token", "3 classes"}},
		"no head":       {good, func(c *Config) { c.Model.Classifiers = nil }, fault.Usage, []string{"model.classifiers"}},
		"small step":    {good, func(c *Config) { c.Data.TokensPerStep = 48 }, fault.Usage, []string{"data.tokens_per_step", "96"}},
		"nothing to do": {good, func(c *Config) { c.MSLM.Strategy, c.MSLM.Base = "base", 1e-12 }, fault.Data, []string{"nothing would be masked"}},
	} {
		config := mslmConfig(c.data, 4)
		if c.change != nil {
			c.change(&config)
		}
		err := Train(Options{Config: config, Out: t.TempDir()})
		if fault.Of(err) != c.kind {
			t.Errorf("%s: %v, want kind %v", name, err, c.kind)
			continue
		}
		for _, part := range c.parts {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("%s: %v, want %q", name, err, part)
			}
		}
	}
}

// The dry run shows masks, labels and weights of all terms of a row.
func TestMSLMPreview(t *testing.T) {
	p, err := DryRun(Options{Config: mslmConfig(taggedDataset(t, 100), 4)})
	if err != nil {
		t.Fatal(err)
	}
	masked, detected := false, false
	for _, s := range p.Batch.Examples {
		for _, token := range s.Tokens {
			masked = masked || token.Original != "" && token.Term == "mslm" && token.Weight > 0
			for _, a := range token.Also {
				detected = detected || a.Term == "detection" && strings.HasPrefix(a.Target, "entities ") && a.Weight > 0
			}
		}
	}
	if !masked || !detected || len(p.Batch.Terms) != 3 || !strings.Contains(strings.Join(p.Notes, "\n"), "w_e") {
		t.Errorf("masked %v, detected %v, terms %+v, notes %q", masked, detected, p.Batch.Terms, p.Notes)
	}
}
