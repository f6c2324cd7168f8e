package engine

import (
	"bytes"
	"errors"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"palimpsest/engine/eval"
	"palimpsest/engine/fault"
	"palimpsest/engine/model"
	"palimpsest/engine/report"
	"palimpsest/engine/shad"
	"palimpsest/engine/shard"
	"palimpsest/engine/text"
	"palimpsest/kernels"
	"palimpsest/objectives"
)

// instructions builds a data set whose documents are prompt, at most 20 tokens or a half, and response.
func instructions(t testing.TB, documents int) string {
	t.Helper()
	return datasetWith(t, documents, objectives.PlaneLoss, func(_ []byte, tokens int) []byte {
		prompt := min(20, tokens/2)
		return append(make([]byte, prompt), bytes.Repeat([]byte{1}, tokens-prompt)...)
	})
}

// classed is instructions with classes: every third token id is boilerplate.
func classed(t testing.TB, documents int) string {
	t.Helper()
	dir := instructions(t, documents)
	addClasses(t, dir, func(id int32) byte {
		return map[bool]byte{true: objectives.ClassBoilerplate, false: objectives.ClassReasoning}[id%3 == 0]
	})
	return dir
}

func addClasses(t testing.TB, dir string, class func(id int32) byte) {
	t.Helper()
	if _, err := shard.PutPlane(dir, shard.Plane{Name: objectives.PlaneClass, Provenance: "test"}, shard.PlaneOptions{Read: []string{objectives.PlaneLoss}, Replace: true}, func(d shard.Document) ([]byte, error) {
		plane := make([]byte, len(d.Tokens))
		for i, id := range d.Tokens {
			if plane[i] = objectives.NoTokenClass; d.Planes[objectives.PlaneLoss][i] == 1 {
				plane[i] = class(id)
			}
		}
		return plane, nil
	}); err != nil {
		t.Fatal(err)
	}
}

func rftConfig(data string, steps int64) Config {
	c := tinyConfig(data, steps)
	c.Objective = "rft"
	return c
}

// base trains the model that SHAD starts from.
func base(t testing.TB, data string, steps int64) string {
	t.Helper()
	c := tinyConfig(data, steps)
	c.Objective, c.Data.LossPlane, c.Data.Packing = "clm", false, "whole"
	run := filepath.Join(t.TempDir(), "base")
	mustTrain(t, Options{Config: c, Out: run})
	return run
}

// The gradient of the whole objective against central differences in float64: through the weights, and with weights as constants
// against the derivative of the losses under these constants.
func TestRFTGradient(t *testing.T) {
	docs := []objectives.Document{
		{ID: 1, Tokens: []int32{0, 4, 5, 6, 7, 8, 1}, Planes: map[string][]byte{"loss": {0, 0, 1, 1, 1, 1, 1}, "class": {255, 255, 0, 1, 0, 1, 1}}},
		{ID: 2, Tokens: []int32{9, 10, 11, 12, 3}, Planes: map[string][]byte{"loss": {0, 1, 1, 1, 1}, "class": {255, 0, 1, 255, 0}}},
		{ID: 3, Tokens: []int32{9, 3, 2}, Planes: map[string][]byte{"loss": {0, 1, 1}, "class": {255, 1, 1}}},
	}
	for name, change := range map[string]func(*objectives.SHAD){
		"rft, through the weights":      func(s *objectives.SHAD) { s.Detach = false },
		"rft, sums through the weights": func(s *objectives.SHAD) { s.Detach, s.Agg = false, "sum" },
		"rft, batch, through":           func(s *objectives.SHAD) { s.Detach, s.Scope = false, "batch" },
		"rft, detached":                 func(*objectives.SHAD) {},
		"random, detached":              func(s *objectives.SHAD) { s.Method = "random" },
		"alpha":                         func(s *objectives.SHAD) { s.Method, s.Alpha = "alpha", 0.7 },
		"sft":                           func(s *objectives.SHAD) { s.Method = "sft" },
		"rho1, without a reference":     func(s *objectives.SHAD) { s.Method = "rho1" },
		"dft":                           func(s *objectives.SHAD) { s.Method = "dft" },
		"focal":                         func(s *objectives.SHAD) { s.Method = "focal" },
	} {
		t.Run(name, func(t *testing.T) {
			s := objectives.Settings{Seed: 3, SHAD: objectives.DefaultSHAD(), Loss: objectives.DefaultLoss(), Context: true, Classes: true}
			s.SHAD.Tau = 1
			change(&s.SHAD)
			o, err := objectives.New("rft", s)
			if err != nil {
				t.Fatal(err)
			}
			p := new(objectives.Plan)
			o.Begin(p)
			for _, d := range docs {
				o.Plan(d, p)
			}
			p.Terms[0].NeedsReference = false
			objectives.SetDenominators([]*objectives.Plan{p})
			if err := p.Check(13, 8); err != nil {
				t.Fatal(err)
			}
			checkRFTGradient(t, p, strings.Contains(name, "detached") || s.SHAD.Method == "dft")
		})
	}
}

func checkRFTGradient(t *testing.T, p *objectives.Plan, detached bool) {
	c, problems := model.Config{Vocab: 13, Layers: 1, Width: 8, Heads: 2, FF: 12, Context: 8, Positions: "rope", InitStd: 0.3}.Resolve(13)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	b := kernels.NewRef64()
	w, a := model.NewWeights(b, c, true), model.NewActivations(b, c, model.Capacity{Tokens: 16, Rows: 16}, true)
	w.Init(b, 7)
	term := &p.Terms[0]
	nll, weights := make([]float32, len(term.Rows)), make([]float32, len(term.Rows))
	loss := func(p *objectives.Plan, gradient bool) float64 {
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
		return terms[0].Loss / p.Terms[0].Den
	}
	loss(p, true)
	a.RowValues(0, nll, weights)
	a.Backward(w)
	judged := p
	if detached { // the same rows with what the weights are here
		constant := *term
		constant.Options, constant.RowClasses, constant.Weights = objectives.DefaultLoss(), nil, make([]float32, len(weights))
		for r := range weights {
			constant.Weights[r] = float32(float64(weights[r]) * term.Options.Slope(float64(nll[r])))
		}
		other := *p
		other.Terms = []objectives.Term{constant}
		judged = &other
	}
	tolerance := 1e-7
	if detached {
		tolerance = 1e-6 // constants travel as float32
	}
	const h = 1e-5
	for _, param := range w.Params {
		grad, value := kernels.View[float64](param.Grad), kernels.View[float64](param.Master)
		for e := 0; e < len(value); e += 1 + len(value)/7 {
			x := value[e]
			value[e] = x + h
			up := loss(judged, false)
			value[e] = x - h
			down := loss(judged, false)
			value[e] = x
			want := (up - down) / (2 * h)
			if diff := math.Abs(grad[e] - want); diff > tolerance*(1+math.Abs(want)) {
				t.Errorf("%s[%d]: gradient %.12g, difference %.12g", param.Name, e, grad[e], want)
			}
		}
	}
}

// 2N steps straight equal N + save + load + N, bit for bit, and the log tells both classes apart.
func TestRFTResumes(t *testing.T) {
	data := classed(t, 150)
	model := base(t, data, 2)
	for name, change := range map[string]func(*Config){
		"rft":           func(*Config) {},
		"through, sums": func(c *Config) { c.SHAD.Detach, c.SHAD.Agg, c.SHAD.Scope, c.SHAD.Tau = false, "sum", "batch", 2000 },
		"random":        func(c *Config) { c.SHAD.Method = "random" },
		"rho1":          func(c *Config) { c.SHAD.Method, c.Train.Init = "rho1", model },
	} {
		t.Run(name, func(t *testing.T) {
			c := rftConfig(data, 6)
			c.Train.Accumulate, c.Eval.Every = 2, 4
			change(&c)
			straight, parts := filepath.Join(t.TempDir(), "straight"), filepath.Join(t.TempDir(), "parts")
			mustTrain(t, Options{Config: c, Out: straight})
			c.StopAfter = 3
			if err := Train(Options{Config: c, Out: parts}); fault.Of(err) != fault.Preempted {
				t.Fatalf("stop_after: %v", err)
			}
			c.StopAfter = 0
			mustTrain(t, Options{Config: c, Out: parts})
			if a, b := fingerprint(t, straight), fingerprint(t, parts); a != b {
				t.Errorf("straight:\n%s\nin parts:\n%s", a, b)
			}
			log, err := report.ReadLog(filepath.Join(parts, LogFile))
			if err != nil {
				t.Fatal(err)
			}
			for _, s := range log.Steps {
				m := s.Measures
				if !(m[eval.MeasureBoilerplate] > 0) || !(m[eval.MeasureReasoning] > 0) || !(m[measureShare] > 0.1 && m[measureShare] < 0.6) || !(m[measureEffective] >= 1) || !(m[measureWeight] > 0 && m[measureWeight] < 1) {
					t.Errorf("step %d: %v", s.Step, m)
				}
			}
			for _, e := range log.Evals {
				if b, r := e.Measures[eval.MeasureBoilerplate], e.Measures[eval.MeasureReasoning]; !(min(b, r) < e.Loss && e.Loss < max(b, r)) {
					t.Errorf("held out at step %d: loss %g, classes %g and %g", e.Step, e.Loss, b, r)
				}
				b, okB := e.Measures[eval.MeasureBoilerplateAccuracy]
				r, okR := e.Measures[eval.MeasureReasoningAccuracy]
				if !okB || !okR || !(min(b, r)-1e-12 <= *e.Accuracy && *e.Accuracy <= max(b, r)+1e-12) {
					t.Errorf("held out at step %d: accuracy %g, classes %g and %g", e.Step, *e.Accuracy, b, r)
				}
			}
		})
	}
}

// The figures of the log by hand, as the worked example of the paper's formulas has them.
func TestClassSums(t *testing.T) {
	s := objectives.DefaultSHAD()
	s.Tau = 1
	term := &objectives.Term{Options: s.Loss(objectives.DefaultLoss()), Watched: []uint8{0, 0, 1, 1, 0, 255}, RowClasses: []uint8{0, 0, 1, 1, 0, 255}, Rows: make([]int32, 6), Offsets: []int32{0, 6}}
	var sums classSums
	sums.add(term, []float32{0.3, 0.1, 1.4, 2.2, 0.5, 9}, []float32{0.0608085, 0.0608085, 0.4087872, 0.4087872, 0.0608085, 0})
	got := map[string]float64{}
	sums.into(got)
	total, squares := 3*0.0608085+2*0.4087872, 3*0.0608085*0.0608085+2*0.4087872*0.4087872
	for name, want := range map[string]float64{eval.MeasureBoilerplate: 0.3, eval.MeasureReasoning: 1.8, measureShare: 0.6, measureWeight: 0.817574476, measureEffective: total * total / squares} {
		if math.Abs(got[name]-want) > 1e-6 {
			t.Errorf("%s is %g, want %g", name, got[name], want)
		}
	}
}

// What cannot be trained on is refused before the first step, with its place.
func TestRFTRefuses(t *testing.T) {
	good := classed(t, 60)
	one, wrong := instructions(t, 60), instructions(t, 60)
	addClasses(t, one, func(int32) byte { return 0 })
	addClasses(t, wrong, func(int32) byte { return 7 })
	for name, c := range map[string]struct {
		data   string
		change func(*Config)
		kind   fault.Kind
		parts  []string
	}{
		"no classes":           {instructions(t, 60), nil, fault.Data, []string{"no plane class", "shad run"}},
		"one class":            {one, nil, fault.Data, []string{"100.0 % are boilerplate", "shad.threshold"}},
		"unknown class":        {wrong, nil, fault.Data, []string{"document 0, token", "class 7"}},
		"rho1 alone":           {good, func(c *Config) { c.SHAD.Method = "rho1" }, fault.Usage, []string{"train.init", "reference.model"}},
		"a rule of its own":    {good, func(c *Config) { c.Loss.Reweigh.Rule = "softmax" }, fault.OK, nil}, // by the run file's check, below
		"dft with smoothing":   {good, func(c *Config) { c.SHAD.Method, c.Loss.Smoothing = "dft", 0.1 }, fault.Usage, []string{"shad.method dft", "smoothing"}},
		"held out without one": {good, func(c *Config) { c.Data.Valid = Held{Dir: instructions(t, 30)} }, fault.Data, []string{`no plane "class"`}},
	} {
		config := rftConfig(c.data, 4)
		if c.change != nil {
			c.change(&config)
		}
		if c.kind == fault.OK {
			if problems := config.Validate(); len(problems) != 1 || problems[0].Key != "loss.reweigh.rule" {
				t.Errorf("%s: %v", name, problems)
			}
			continue
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

// The dry run shows the class of every token that is asked for.
func TestRFTPreview(t *testing.T) {
	p, err := DryRun(Options{Config: rftConfig(classed(t, 100), 4)})
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]int{}
	for _, s := range p.Batch.Examples {
		for _, token := range s.Tokens {
			if (token.Class != "") != (token.Term == "rft") {
				t.Errorf("%+v", token)
			}
			seen[token.Class]++
		}
	}
	if seen[objectives.TermBoilerplate] == 0 || seen[objectives.TermReasoning] == 0 || !strings.Contains(strings.Join(p.Notes, "\n"), "response tokens") {
		t.Errorf("%v, notes %q", seen, p.Notes)
	}
}

// All stages, each straight and interrupted, with the same result.
func TestSHADStages(t *testing.T) {
	data := instructions(t, 300)
	model, dir := base(t, data, 30), t.TempDir()
	in := func(name string) string { return filepath.Join(dir, name) }

	shuffle := ShuffleOptions{Data: data, Fraction: 0.1, Seed: 4, Out: in("shuffled")}
	s, err := Shuffle(shuffle)
	if err != nil || s.Pairs != 300 || s.Sampled != 30 || s.Written+s.Dropped != 30 || s.Before {
		t.Fatalf("%+v, %v", s, err)
	}
	checkShuffled(t, data, shuffle)
	if again, err := Shuffle(shuffle); err != nil || !again.Before || again.Written != s.Written {
		t.Errorf("%+v, %v", again, err)
	}
	left := shuffle
	left.Out = in("left")
	os.MkdirAll(left.Out, 0o755)
	for name, content := range map[string]string{"UNFINISHED": "", "00000.tok.zst.tmp": "x", TokenizerFile: "{}"} {
		os.WriteFile(filepath.Join(left.Out, name), []byte(content), 0o644)
	}
	if _, err := Shuffle(left); err != nil {
		t.Fatal(err)
	}
	if a, b := filesOf(t, shuffle.Out), filesOf(t, left.Out); a != b {
		t.Error("an interrupted shuffle gave another data set")
	}
	os.Remove(stageFile(left.Out))
	if _, err := Shuffle(left); fault.Of(err) != fault.Usage || !strings.Contains(err.Error(), "exists already") {
		t.Error(err)
	}

	config := tinyConfig(data, 0)
	config.Data.TokensPerStep, config.Train.Accumulate, config.Checkpoint.Every = 768, 1, 0
	config.Optimizer.LearningRate, config.Schedule.Warmup = 3e-3, 0
	tune := TuneOptions{Config: config, Model: model, Data: shuffle.Out, Epochs: 3, Out: in("tuned")}
	straight, err := Tune(tune)
	if err != nil || straight.Correct == nil || straight.CorrectPairs != 200 || !(straight.Shuffled[1] < straight.Shuffled[0]) {
		t.Fatalf("%+v, %v", straight, err)
	}
	parts := tune
	parts.Out, parts.Config.StopAfter = in("parts"), 4
	if _, err := Tune(parts); fault.Of(err) != fault.Preempted {
		t.Fatal(err)
	}
	parts.Config.StopAfter = 0
	resumed, err := Tune(parts)
	if err != nil || resumed.Shuffled != straight.Shuffled || *resumed.Correct != *straight.Correct {
		t.Errorf("%+v, %v, want %+v", resumed, err, straight)
	}
	if a, b := fingerprint(t, tune.Out), fingerprint(t, parts.Out); a != b {
		t.Error("interrupted tuning gave another model")
	}
	if again, err := Tune(parts); err != nil || !again.Before || again.Shuffled != straight.Shuffled {
		t.Errorf("%+v, %v", again, err)
	}
	other := tune
	other.Epochs = 2
	if _, err := Tune(other); fault.Of(err) != fault.Usage || !strings.Contains(err.Error(), `epochs was "3", is "2"`) {
		t.Error(err)
	}

	score := ScoreOptions{Config: config, Model: model, Data: data, Out: in("scores"), HTML: in("page.html")}
	half, err := ScoreClasses(score) // two jobs
	if err != nil || half.Model == nil || half.Tuned != nil || half.Summary != nil || !strings.Contains(strings.Join(half.Notes, " "), "--tuned") {
		t.Fatalf("%+v, %v", half, err)
	}
	score.Model, score.Tuned = "", tune.Out
	full, err := ScoreClasses(score)
	if err != nil || full.Summary == nil || full.Boilerplate == 0 || full.Reasoning == 0 || full.Before || len(full.Top[0]) == 0 {
		t.Fatalf("%+v, %v", full, err)
	}
	if page, err := os.ReadFile(score.HTML); err != nil || strings.Count(string(page), `class="reasoning" title=`) < 20 {
		t.Errorf("the page has %d reasoning tokens, %v", strings.Count(string(page), `class="reasoning" title=`), err)
	}
	interruptedLosses(t, data, model, config, filepath.Join(score.Out, lossesOfModel))
	checkPlane(t, data, score.Out, full.Summary)
	if again, err := ScoreClasses(score); err != nil || !again.Before {
		t.Errorf("%+v, %v", again, err)
	}
	score.Config.SHAD.Threshold = 0.1
	if _, err := ScoreClasses(score); fault.Of(err) != fault.Usage || !strings.Contains(err.Error(), "--replace") {
		t.Error(err)
	}
	score.Replace = true
	if stricter, err := ScoreClasses(score); err != nil || stricter.Boilerplate <= full.Boilerplate {
		t.Errorf("%+v, %v", stricter, err)
	}
	trainsOn(t, data, model, tune.Out)
	badScores(t, score, model)
}

// checkShuffled holds the shuffled pairs against the originals.
func checkShuffled(t *testing.T, data string, o ShuffleOptions) {
	t.Helper()
	prompts, responses := map[string]string{}, map[string]bool{}
	read := func(dir string, each func(prompt, response string)) {
		ds, tok, err := openResponses(dir)
		if err != nil {
			t.Fatal(err)
		}
		defer ds.Close()
		for i := range ds.Documents() {
			d, err := ds.Document(i, objectives.PlaneLoss)
			if err != nil {
				t.Fatal(err)
			}
			p, err := split("document", d.Tokens, d.Planes[objectives.PlaneLoss], tok)
			if err != nil {
				t.Fatal(err)
			}
			each(string(tok.Decode(p.prompt)), string(tok.Decode(p.response)))
		}
	}
	read(data, func(prompt, response string) { prompts[prompt], responses[response] = response, true })
	n := 0
	read(o.Out, func(prompt, response string) {
		if own, ok := prompts[prompt]; !ok || own == response || !responses[response] {
			t.Errorf("prompt %q has %q, its own is %q", prompt, response, own)
		}
		n++
	})
	if n < 28 {
		t.Errorf("%d pairs", n)
	}
}

// filesOf joins the shards of a data set.
func filesOf(t *testing.T, dir string) string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "*.zst"))
	if err != nil || len(names) == 0 {
		t.Fatalf("%d files, %v", len(names), err)
	}
	var all strings.Builder
	for _, name := range append(names, filepath.Join(dir, "index.json")) {
		raw, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		all.WriteString(filepath.Base(name))
		all.Write(raw)
	}
	return all.String()
}

// interruptedLosses scores in parts, asked to stop after every few steps, and compares the file with the straight one.
func interruptedLosses(t *testing.T, data, path string, c Config, straight string) {
	t.Helper()
	m, err := OpenModel(path, c.Train.Device, c.Train.Threads)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	ds, _, err := openResponses(data)
	if err != nil {
		t.Fatal(err)
	}
	defer ds.Close()
	name, stops := filepath.Join(t.TempDir(), "nll"), 0
	for {
		s, err := newLossScorer(m, c.Data.Length, c.Data.TokensPerStep)
		if err != nil {
			t.Fatal(err)
		}
		steps := 0
		_, err = s.losses(ds, name, func() bool { steps++; return steps == 6 }, func(int64) {})
		if err == nil {
			break
		}
		if stops++; fault.Of(err) != fault.Preempted || stops > 50 {
			t.Fatal(err)
		}
	}
	for _, ext := range []string{".f32", ".json"} {
		a, errA := os.ReadFile(straight + ext)
		b, errB := os.ReadFile(name + ext)
		if err := errors.Join(errA, errB); err != nil || !bytes.Equal(a, b) {
			t.Errorf("%s differs after %d interruptions, %v", ext, stops, err)
		}
	}
	if stops < 2 {
		t.Errorf("only %d interruptions", stops)
	}
}

// checkPlane computes the classes of some documents again from the losses.
func checkPlane(t *testing.T, data, scores string, s *shad.Summary) {
	t.Helper()
	ds, _, err := openResponses(data)
	if err != nil {
		t.Fatal(err)
	}
	defer ds.Close()
	var counts [2]int64
	readers := [2]*shad.LossReader{}
	for i, name := range []string{lossesOfModel, lossesOfTuned} {
		if readers[i], err = shad.ReadLosses(filepath.Join(scores, name)); err != nil {
			t.Fatal(err)
		}
		defer readers[i].Close()
	}
	for id := range ds.Documents() {
		d, err := ds.Document(id, objectives.PlaneLoss, objectives.PlaneClass)
		if err != nil {
			t.Fatal(err)
		}
		at, _ := responses(d, readers[0].Length)
		base, errA := readers[0].Next(nil, len(at))
		tuned, errB := readers[1].Next(nil, len(at))
		if err := errors.Join(errA, errB); err != nil {
			t.Fatal(err)
		}
		for i, class := range d.Planes[objectives.PlaneClass] {
			want := byte(objectives.NoTokenClass)
			if len(at) > 0 && at[0] == i {
				if want = objectives.ClassBoilerplate; tuned[0] > base[0] {
					want = objectives.ClassReasoning
				}
				counts[want]++
				at, base, tuned = at[1:], base[1:], tuned[1:]
			}
			if class != want {
				t.Fatalf("document %d, token %d: class %d, want %d", id, i, class, want)
			}
		}
	}
	if counts != [2]int64{s.Boilerplate, s.Reasoning} {
		t.Errorf("%v, want %+v", counts, s)
	}
}

// trainsOn begins a run with the model of the classes, and is refused with another, or when the plane is of other tokens.
func trainsOn(t *testing.T, data, model, other string) {
	t.Helper()
	c := rftConfig(data, 2)
	c.Train.Init, c.Model = model, Default().Model
	run := filepath.Join(t.TempDir(), "run")
	mustTrain(t, Options{Config: c, Out: run})
	log, err := report.ReadLog(filepath.Join(run, LogFile))
	if err != nil || log.Classes == nil || log.Classes.Boilerplate == 0 || len(log.Classes.Bins) < 10 {
		t.Fatalf("%+v, %v", log, err)
	}
	page := filepath.Join(run, "report.html")
	if err := report.WriteHTML(page, []*report.Run{log}); err != nil {
		t.Fatal(err)
	}
	raw, _ := os.ReadFile(page)
	for _, want := range []string{"Loss by class", "Effective number of tokens", "Weight of reasoning", "Classes of response tokens", `class="reasoning" style="--p: `} {
		if !bytes.Contains(raw, []byte(want)) {
			t.Errorf("the report lacks %q", want)
		}
	}
	m, err := OpenModel(run, "cpu", 2)
	if err != nil {
		t.Fatal(err)
	}
	own, errOwn := m.Evaluate("", "", 0)
	plain, errPlain := m.Evaluate(instructions(t, 30), "", 0)
	m.Close()
	if err := errors.Join(errOwn, errPlain); err != nil || own.Measures[eval.MeasureReasoning] == 0 || plain.Measures[eval.MeasureReasoning] != 0 || plain.Rows == 0 {
		t.Errorf("held out %+v, without classes %+v, %v", own, plain, err)
	}
	c.Train.Init = other
	for _, try := range []func(Options) error{Train, func(o Options) error { _, err := DryRun(o); return err }} {
		if err := try(Options{Config: c, Out: t.TempDir()}); fault.Of(err) != fault.Data || !strings.Contains(err.Error(), "shad.any_model") {
			t.Errorf("another model: %v", err)
		}
	}
	random := c
	random.Train.Init, random.Model = "", rftConfig(data, 2).Model
	if _, err := DryRun(Options{Config: random}); fault.Of(err) != fault.Data || !strings.Contains(err.Error(), "begins with random weights") {
		t.Errorf("no model: %v", err)
	}
	c.SHAD.AnyModel = true
	mustTrain(t, Options{Config: c, Out: filepath.Join(t.TempDir(), "run")})
	c.SHAD.AnyModel, c.Train.Init, c.SHAD.Method = false, model, "regex"
	if err := Train(Options{Config: c, Out: t.TempDir()}); fault.Of(err) != fault.Usage || !strings.Contains(err.Error(), "from patterns") {
		t.Errorf("regex: %v", err)
	}
	c.SHAD.Method = "rft"
	for key, change := range map[string]func(*objectives.SHAD){"shad.threshold: 9": func(s *objectives.SHAD) { s.Threshold = 9 }, "shad.deadzone: 0.5": func(s *objectives.SHAD) { s.Deadzone = 0.5 }, "shad.smooth: word": func(s *objectives.SHAD) { s.Smooth = "word" }} {
		c := c
		change(&c.SHAD)
		if err := Train(Options{Config: c, Out: t.TempDir()}); fault.Of(err) != fault.Usage || !strings.Contains(err.Error(), key) || !strings.Contains(err.Error(), "shad score --replace") {
			t.Errorf("classes made otherwise: %v, want %q", err, key)
		}
	}
	// The provenance of these classes on another data set's tokens.
	ds, err := shard.Open(data)
	if err != nil {
		t.Fatal(err)
	}
	planes := ds.Index().Planes
	ds.Close()
	stolen := instructions(t, 40)
	if _, err := shard.AddPlane(stolen, planes[0], func(d shard.Document) ([]byte, error) { return make([]byte, len(d.Tokens)), nil }); err != nil {
		t.Fatal(err)
	}
	c.Data.Train, c.SHAD.Method = stolen, "rft"
	if err := Train(Options{Config: c, Out: t.TempDir()}); fault.Of(err) != fault.Data || !strings.Contains(err.Error(), "was made for data") {
		t.Errorf("another data set: %v", err)
	}
}

// badScores are the refusals of scoring.
func badScores(t *testing.T, o ScoreOptions, model string) {
	t.Helper()
	equal := o
	equal.Data, equal.Model, equal.Tuned, equal.Out, equal.HTML = instructions(t, 30), model, model, t.TempDir(), ""
	if _, err := ScoreClasses(equal); fault.Of(err) != fault.Data || !strings.Contains(err.Error(), "the tuned model equals the model") {
		t.Errorf("equal models: %v", err)
	}
	strict := equal
	strict.Out, strict.StrictLength, strict.Config.Data.Length = t.TempDir(), true, 16
	if _, err := ScoreClasses(strict); fault.Of(err) != fault.Data || !strings.Contains(err.Error(), "--strict-length") {
		t.Errorf("strict: %v", err)
	}
	strict.StrictLength = false
	strict.Tuned = ""
	if r, err := ScoreClasses(strict); err != nil || r.Model.Cut == 0 || !strings.Contains(strings.Join(r.Notes, "\n"), "are longer than the 16 tokens") {
		t.Errorf("cut: %+v, %v", r, err)
	}
	strict.Config.Data.Length, strict.Tuned, strict.Model = 0, o.Tuned, ""
	if _, err := ScoreClasses(strict); fault.Of(err) != fault.Data || !strings.Contains(err.Error(), "length of the model is 16") {
		t.Errorf("another length: %v", err)
	}
	strict.Data = instructions(t, 31)
	strict.Tuned = ""
	if _, err := ScoreClasses(strict); fault.Of(err) != fault.Data || !strings.Contains(err.Error(), "has the losses of data") {
		t.Errorf("another data set: %v", err)
	}
	bare := o
	bare.Data = dataset(t, 30)
	if _, err := ScoreClasses(bare); fault.Of(err) != fault.Data || !strings.Contains(err.Error(), "no plane loss") {
		t.Errorf("no responses: %v", err)
	}
	masked := equal
	masked.Out = t.TempDir()
	c := tinyConfig(equal.Data, 2)
	run := filepath.Join(t.TempDir(), "mlm")
	mustTrain(t, Options{Config: c, Out: run})
	masked.Model = run
	if _, err := ScoreClasses(masked); fault.Of(err) != fault.Usage || !strings.Contains(err.Error(), "was not trained for text that goes on") {
		t.Errorf("a masked model: %v", err)
	}
}

// Records become shuffled records, or a data set with their tokenizer; bad ones are refused with file and line.
func TestShuffleRecords(t *testing.T) {
	dir := t.TempDir()
	file := func(name string, lines ...string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(strings.Join(lines, "\n")+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	good := file("good.jsonl", `{"question":"one <b>?","answer":"1"}`, `{"question":"two?","answer":"2\nmore"}`, `{"question":"three?","answer":"3"}`)
	fields := map[string]string{"prompt": "question", "completion": "answer"}
	o := ShuffleOptions{Records: text.ReaderOptions{Paths: []string{good}, Fields: fields}, Fraction: 1, Seed: 3, Out: filepath.Join(dir, "out.jsonl")}
	r, err := Shuffle(o)
	if err != nil || r.Pairs != 3 || r.Written != 3 {
		t.Fatalf("%+v, %v", r, err)
	}
	raw, _ := os.ReadFile(o.Out)
	if lines := strings.Split(strings.TrimSpace(string(raw)), "\n"); len(lines) != 3 || !strings.Contains(string(raw), `"prompt":"one <b>?"`) || !strings.Contains(string(raw), `2\nmore"`) ||
		strings.Contains(string(raw), `{"completion":"1","prompt":"one`) {
		t.Errorf("%s", raw)
	}
	if again, err := Shuffle(o); err != nil || !again.Before {
		t.Errorf("%+v, %v", again, err)
	}
	tok, err := trained()
	if err != nil {
		t.Fatal(err)
	}
	set := o
	set.Tokenizer, set.Encode, set.Out = tok, text.EncodeOptions{BOS: tok.BOS, EOS: tok.EOS}, filepath.Join(dir, "set")
	if r, err := Shuffle(set); err != nil || r.Written != 3 || r.Tokens == 0 {
		t.Errorf("%+v, %v", r, err)
	}
	if ds, _, err := openResponses(set.Out); err != nil || ds.Documents() != 3 {
		t.Errorf("%v", err)
	}
	for name, c := range map[string]struct {
		path  string
		kind  fault.Kind
		parts []string
	}{
		"no response":    {file("a.jsonl", `{"question":"x","answer":"y"}`, `{"question":"x"}`), fault.Data, []string{"a.jsonl:2", `no field "answer"`}},
		"empty response": {file("b.jsonl", `{"question":"x","answer":""}`), fault.Data, []string{"b.jsonl:1", `"answer" is empty`}},
		"blank response": {file("c.jsonl", `{"question":"x","answer":" "}`), fault.Data, []string{"c.jsonl:1", "response is empty"}},
		"empty prompt":   {file("d.jsonl", `{"question":"","answer":"y"}`), fault.Data, []string{"d.jsonl:1", "prompt is empty"}},
		"one pair":       {file("e.jsonl", `{"question":"x","answer":"y"}`), fault.Data, []string{"at least 2 pairs", "there are 1"}},
		"equal":          {file("f.jsonl", `{"question":"x","answer":"y"}`, `{"question":"z","answer":"y"}`), fault.Data, []string{"of 2 pairs 0", "shuffle_fraction"}},
		"standard input": {"-", fault.Usage, []string{"cannot be read twice"}},
	} {
		bad := o
		bad.Records.Paths, bad.Out = []string{c.path}, filepath.Join(dir, "bad.jsonl")
		_, err := Shuffle(bad)
		if fault.Of(err) != c.kind {
			t.Errorf("%s: %v", name, err)
			continue
		}
		for _, part := range c.parts {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("%s: %v, want %q", name, err, part)
			}
		}
	}
}
