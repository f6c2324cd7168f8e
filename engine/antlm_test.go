package engine

import (
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"palimpsest/engine/checkpoint"
	"palimpsest/engine/fault"
	"palimpsest/engine/model"
	"palimpsest/engine/report"
	"palimpsest/engine/runfile"
	"palimpsest/engine/shard"
	"palimpsest/kernels"
	"palimpsest/objectives"
)

// mixed is a run of five phases over one trainer: causal, mixed by document, masked next token, and the first two again.
func mixed(c *Config) {
	c.Phases = []Phase{{Objective: "clm", Steps: 2}, {Mix: map[string]float64{"mntp": 3, "clm": 1}, Steps: 3}}
	c.Repeat, c.Train.Steps = 2, 0
	c.Mask.Unit, c.Mask.ReplaceBy, c.Mask.Schedule = "span", "unit", objectives.MaskSchedule{Kind: "linear", Final: 0.05}
	c.Loss.ZLoss = 1e-4
}

// A run that is left before, at and behind its phase switches, and inside mixed steps, ends with the bits of one that is not.
func TestMixedRunsResume(t *testing.T) {
	data := dataset(t, 400)
	for name, change := range map[string]func(*Config){
		"by row, phases repeated": mixed,
		"by document": func(c *Config) {
			mixed(c)
			c.AntLM.By, c.Mask.Order = "document", "seldom"
		},
		"moments and rates by phase": func(c *Config) {
			mixed(c)
			c.Optimizer.Reset, c.Schedule.Restart, c.EMA.Decay = true, true, 0.9
		},
		"by step": func(c *Config) { c.Objective, c.AntLM.By = "antlm", "step" },
		"by batch, three modes": func(c *Config) {
			c.Objective, c.AntLM = "antlm", objectives.AntLM{By: "batch", Mix: map[string]float64{"clm": 1, "mlm": 2, "mntp": 2}}
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := tinyConfig(data, 9)
			change(&c)
			straight, parts := filepath.Join(t.TempDir(), "straight"), filepath.Join(t.TempDir(), "parts")
			mustTrain(t, Options{Config: c, Out: straight})
			for _, stop := range []int64{1, 2, 4, 5} {
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

// The learning rate does not know phases, every evaluation is of every objective of the run, the phase's own last, and parts
// of the loss are those of the modes at hand.
func TestPhasesShareOneSchedule(t *testing.T) {
	c := tinyConfig(dataset(t, 300), 0)
	mixed(&c)
	c.Eval.Every, c.Eval.Tokens = 5, 0
	run, plain := filepath.Join(t.TempDir(), "run"), filepath.Join(t.TempDir(), "plain")
	mustTrain(t, Options{Config: c, Out: run})
	c.Phases, c.Repeat, c.Objective, c.Train.Steps, c.Mask, c.Eval.Others = nil, 1, "clm", 10, objectives.DefaultMask(), false
	mustTrain(t, Options{Config: c, Out: plain})
	log, err := report.ReadLog(filepath.Join(run, LogFile))
	if err != nil {
		t.Fatal(err)
	}
	one, err := report.ReadLog(filepath.Join(plain, LogFile))
	if err != nil {
		t.Fatal(err)
	}
	phases := ""
	for i, s := range log.Steps {
		if s.LR != one.Steps[i].LR {
			t.Errorf("step %d: rate %g, without phases %g", s.Step, s.LR, one.Steps[i].LR)
		}
		phases += s.Phase + " "
		loss := 0.0
		for name, part := range s.LossParts {
			loss += part * map[string]map[string]float64{"clm": {"clm": 1}, "antlm": {"clm": 0.25, "mntp": 0.75}}[s.Phase][name]
		}
		if math.Abs(loss-s.Loss) > 1e-9 || s.Phase == "antlm" && len(s.LossParts) != 2 {
			t.Errorf("step %d: loss %g of %v", s.Step, s.Loss, s.LossParts)
		}
	}
	if want := strings.Repeat("clm clm antlm antlm antlm ", 2); phases != want {
		t.Errorf("phases %s, want %s", phases, want)
	}
	var evals []string
	for _, e := range log.Evals {
		evals = append(evals, fmt.Sprintf("%d %s", e.Step, e.Phase))
	}
	if want := []string{"5 clm", "5 mntp", "5 antlm", "10 clm", "10 mntp", "10 antlm"}; !slices.Equal(evals, want) {
		t.Errorf("evaluations %q, want %q", evals, want)
	}
	openedModelHas(t, run, log.Evals[len(log.Evals)-1])
}

// A switch touches neither moments nor count nor rate: up to it, a run is that of the first objective alone. The two ablations
// change just that: the moments of the first step behind a switch are of one gradient, and every phase has the whole schedule.
func TestSwitchesKeepTheOptimizer(t *testing.T) {
	c := tinyConfig(dataset(t, 200), 6)
	c.Objective, c.Eval.Every, c.Eval.Others, c.StopAfter = "clm", 0, false, 3
	c.Data.Packing = "whole"
	switched := c
	switched.Phases, switched.Train.Steps = []Phase{{Objective: "clm", Steps: 3}, {Objective: "mlm", Steps: 3}}, 0
	partly := func(c Config, steps int64) string {
		t.Helper()
		run := filepath.Join(t.TempDir(), "run")
		c.StopAfter = steps
		if err := Train(Options{Config: c, Out: run}); fault.Of(err) != fault.Preempted {
			t.Fatal(err)
		}
		return run
	}
	if one, two := fingerprint(t, partly(c, 3)), fingerprint(t, partly(switched, 3)); one != two {
		t.Errorf("without a switch\n%s\nbefore one\n%s", one, two)
	}
	ofOneGradient := func(c Config) bool { // v = (1-b2) g^2 and m = (1-b1) g
		t.Helper()
		f, err := checkpoint.OpenSafetensors(filepath.Join(partly(c, 4), "checkpoints", "step-0000004", optimizerFile))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		const name = "layers.0.mlp.up.weight"
		m, v := make([]float32, 64*32), make([]float32, 64*32)
		for prefix, values := range map[string][]float32{"m.": m, "v.": v} {
			if err := f.ReadFloat32(prefix+name, values); err != nil {
				t.Fatal(err)
			}
		}
		b := c.Optimizer.Betas
		for i := range m {
			g := float64(m[i]) / (1 - b[0])
			if want := (1 - b[1]) * g * g; math.Abs(float64(v[i])-want) > 1e-4*want {
				return false
			}
		}
		return true
	}
	if ofOneGradient(switched) {
		t.Error("a switch forgets the moments")
	}
	switched.Optimizer.Reset, switched.Schedule.Restart = true, true
	if !ofOneGradient(switched) {
		t.Error("optimizer.reset keeps moments")
	}
	switched.StopAfter = 0
	run := filepath.Join(t.TempDir(), "run")
	mustTrain(t, Options{Config: switched, Out: run})
	log, err := report.ReadLog(filepath.Join(run, LogFile))
	if err != nil {
		t.Fatal(err)
	}
	for i, s := range log.Steps {
		if want := switched.Optimizer.LearningRate * switched.Schedule.Factor(int64(i%3), 3); s.LR != want {
			t.Errorf("step %d: rate %g, want %g", s.Step, s.LR, want)
		}
	}
}

// The end of a phase is evaluated, so that the report can tell phases apart, but not where these are shorter than eval.every.
func TestPhasesAreEvaluatedAtTheirEnds(t *testing.T) {
	c := tinyConfig(dataset(t, 200), 0)
	c.Phases = []Phase{{Objective: "clm", Steps: 5}, {Objective: "mlm", Steps: 2}, {Objective: "clm", Steps: 6}}
	c.Eval.Every, c.Eval.Others = 4, false
	run := filepath.Join(t.TempDir(), "run")
	mustTrain(t, Options{Config: c, Out: run})
	log, err := report.ReadLog(filepath.Join(run, LogFile))
	if err != nil {
		t.Fatal(err)
	}
	var steps []int64
	for _, e := range log.Evals {
		steps = append(steps, e.Step)
	}
	if want := []int64{4, 5, 8, 12, 13}; !slices.Equal(steps, want) {
		t.Errorf("evaluated at %v, want %v", steps, want)
	}
}

// The whole objective against central differences in float64: an update of two micro-batches with causal and masked documents,
// shares and denominators over both, z-loss and label smoothing.
func TestGradientOfAntLM(t *testing.T) {
	s := objectives.Settings{Seed: 5, Mask: objectives.DefaultMask(), Loss: objectives.DefaultLoss(), AntLM: objectives.AntLM{By: "document",
		Mix: map[string]float64{"clm": 1, "mlm": 1, "mntp": 2}},
		Vocabulary: objectives.Vocabulary{Size: 11, BOS: 0, EOS: 1, Pad: -1, Mask: 2, Special: func(id int32) bool { return id < 3 }}}
	s.Mask.P, s.Loss.ZLoss, s.Loss.Smoothing = 0.5, 0.01, 0.1
	o, err := objectives.New("antlm", s)
	if err != nil {
		t.Fatal(err)
	}
	plans := []*objectives.Plan{new(objectives.Plan), new(objectives.Plan)}
	for i, p := range plans {
		o.Begin(p)
		for id := range int64(7) {
			tokens := []int32{0}
			for k := range 2 + int32(id)%4 {
				tokens = append(tokens, 3+(k*5+int32(id)+int32(i))%8)
			}
			o.Plan(objectives.Document{ID: 7*int64(i) + id, Tokens: append(tokens, 1)}, p)
		}
	}
	objectives.SetDenominators(plans)
	for i := range plans[0].Terms {
		if plans[0].Terms[i].Den < 3 {
			t.Fatalf("term %s has %g rows; the test means to have some of every mode", plans[0].Terms[i].Name, plans[0].Terms[i].Den)
		}
	}
	c, problems := model.Config{Vocab: 11, Layers: 2, Width: 8, Heads: 2, FF: 12, Context: 16, Positions: "rope", InitStd: 0.3}.Resolve(11)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	b := kernels.NewRef64()
	w, a := model.NewWeights(b, c, true), model.NewActivations(b, c, model.Capacity{Tokens: 64, Rows: 64}, true)
	w.Init(b, 3)
	loss := func(gradient bool) (sum float64) {
		a.ResetResults()
		for _, p := range plans {
			if err := a.Load(p, model.Step{}); err != nil {
				t.Fatal(err)
			}
			a.Forward(w)
			a.Loss(w, gradient)
			if gradient {
				a.Backward(w)
			}
		}
		_, terms, err := a.Results(termNames(plans[0]))
		if err != nil {
			t.Fatal(err)
		}
		for i, r := range terms {
			sum += plans[0].Terms[i].Share * r.Loss / plans[0].Terms[i].Den
		}
		return sum
	}
	b.Zero(w.Grad)
	loss(true)
	const h = 1e-5
	for _, p := range w.Params {
		grad, value := kernels.View[float64](p.Grad), kernels.View[float64](p.Master)
		for e := 0; e < len(value); e += 1 + len(value)/9 {
			x := value[e]
			value[e] = x + h
			up := loss(false)
			value[e] = x - h
			down := loss(false)
			value[e] = x
			want := (up - down) / (2 * h)
			if math.Abs(grad[e]-want) > 1e-7*(1+math.Abs(want)) {
				t.Errorf("%s[%d]: gradient %.12g, difference %.12g", p.Name, e, grad[e], want)
			}
		}
	}
}

// What a run file gets wrong about phases and mixtures is refused with exit code 2, before the run folder exists.
func TestBadMixturesAreRefused(t *testing.T) {
	data := dataset(t, 60)
	for name, x := range map[string]struct {
		change func(*Config)
		says   []string
	}{
		"no length":        {func(c *Config) { c.Phases = []Phase{{Objective: "clm"}} }, []string{"phases.0", "either steps or epochs"}},
		"two lengths":      {func(c *Config) { c.Phases = []Phase{{Objective: "clm", Steps: 1, Epochs: 1}} }, []string{"phases.0", "either steps or epochs"}},
		"nothing in sum":   {func(c *Config) { c.Phases = []Phase{{Objective: "clm", Steps: 2}, {Objective: "mlm", Epochs: 0}} }, []string{"phases.1", "above 0"}},
		"unknown":          {func(c *Config) { c.Phases = []Phase{{Objective: "cml", Steps: 1}} }, []string{"phases.0.objective", `"cml"`, "mntp, antlm"}},
		"no objective":     {func(c *Config) { c.Phases = []Phase{{Steps: 1}} }, []string{"phases.0.objective", "none is named", "mntp, antlm"}},
		"empty mix":        {func(c *Config) { c.Phases = []Phase{{Mix: map[string]float64{"clm": 0}, Steps: 1}} }, []string{"phases.0.mix", "above 0"}},
		"negative share":   {func(c *Config) { c.Phases = []Phase{{Mix: map[string]float64{"clm": 1, "mlm": -1}, Steps: 1}} }, []string{"phases.0.mix", "-1"}},
		"unknown part":     {func(c *Config) { c.AntLM.Mix = map[string]float64{"tag": 1} }, []string{"antlm.mix", "clm, mlm, mntp"}},
		"mix of clm":       {func(c *Config) { c.Phases = []Phase{{Objective: "clm", Mix: map[string]float64{"mlm": 1}, Steps: 1}} }, []string{"phases.0.mix", "hint"}},
		"nothing repeated": {func(c *Config) { c.Repeat = 2 }, []string{"repeat", "no phases"}},
	} {
		c := tinyConfig(data, 0)
		x.change(&c)
		err := runfile.Check(&c)
		for _, part := range x.says {
			if err == nil || !strings.Contains(err.Error(), part) {
				t.Errorf("%s: %v; want %q", name, err, part)
			}
		}
	}
	for name, x := range map[string]struct {
		change func(*Config)
		kind   fault.Kind
		says   string
	}{
		"another sum":     {func(c *Config) { mixed(c); c.Train.Steps = 11 }, fault.Usage, "train.steps is 11, but the phases add up to 10"},
		"endless":         {func(c *Config) { mixed(c); c.Repeat = 4096 }, fault.Usage, "repeat: 4096 times 2 phases"},
		"far too long":    {func(c *Config) { mixed(c); c.Phases[1].Steps = math.MaxInt64 }, fault.Usage, "phases.1: the phases add up to more than 2^41"},
		"nothing to mask": {func(c *Config) { c.Objective, c.Mask.P, c.Train.Accumulate, c.Data.TokensPerStep = "mntp", 1e-9, 1, 64 }, fault.Data, "bears a loss; hint: a larger mask.p"},
	} {
		c := tinyConfig(data, 0)
		x.change(&c)
		run := filepath.Join(t.TempDir(), "run")
		if err := Train(Options{Config: c, Out: run}); fault.Of(err) != x.kind || !strings.Contains(err.Error(), x.says) {
			t.Errorf("%s: %v; want %q", name, err, x.says)
		}
		if saved, _ := filepath.Glob(filepath.Join(run, "checkpoints", "step-*")); len(saved) > 0 {
			t.Errorf("%s: a step was taken: %v", name, saved)
		}
	}
	c := tinyConfig(data, 0)
	mixed(&c)
	c.StopAfter = 3
	run := filepath.Join(t.TempDir(), "run")
	if err := Train(Options{Config: c, Out: run}); fault.Of(err) != fault.Preempted {
		t.Fatal(err)
	}
	c.Phases[1].Mix = map[string]float64{"mntp": 2, "clm": 1}
	err := Train(Options{Config: c, Out: run})
	if fault.Of(err) != fault.Usage || !strings.Contains(err.Error(), "another run:\n  phases.1: was antlm steps 3 epochs 0 mix map[clm:1 mntp:3], is ") {
		t.Errorf("another schedule: %v", err)
	}
	c.Phases, c.StopAfter, c.Train.AllowChange = append(c.Phases, Phase{Objective: "mlm", Steps: 1}), 4, []string{"phases.1"}
	if err := Train(Options{Config: c, Out: run}); fault.Of(err) != fault.Usage || !strings.Contains(err.Error(), "another run:\n  phases.2: was not there, is mlm steps 1") {
		t.Errorf("a longer schedule: %v", err)
	}
	c.Train.AllowChange = []string{"phases"}
	if err := Train(Options{Config: c, Out: run}); fault.Of(err) != fault.Preempted {
		t.Errorf("allowed by its section: %v", err)
	}
}

// An epoch is one pass over the training documents, also where whole ones do not fill steps and long ones are cut.
func TestEpochsArePasses(t *testing.T) {
	c := tinyConfig(dataset(t, 300), 0)
	c.Phases, c.Train.Steps, c.Train.Accumulate = []Phase{{Objective: "mlm", Epochs: 3}}, 0, 1
	for _, long := range []string{"cut", "split"} {
		c.Data.Long, c.Data.Length, c.Data.TokensPerStep = long, 24, 56
		j, err := prepare(c)
		if err != nil {
			t.Fatal(err)
		}
		f, err := j.feed(0, 0, shard.Cursor{})
		if err != nil {
			t.Fatal(err)
		}
		steps := [4]int64{} // that begin in an epoch
		for u := range f.updates {
			if u.err != nil {
				t.Fatal(u.err)
			}
			steps[min(u.epoch, 3)]++
		}
		for epoch, n := range steps { // documents in another order fill steps a little otherwise
			if want := [4]int64{j.total / 3, j.total / 3, j.total / 3, 0}[epoch]; n < want-j.total/30 || n > want+j.total/30 {
				t.Errorf("%s: %d of %d steps begin in epoch %d, want about %d", long, n, j.total, epoch, want)
			}
		}
		if j.pass.fill > 0.95 || (j.pass.kept < 0.9) != (long == "cut") {
			t.Errorf("%s: the test means to have steps that are not full, and long documents: %+v", long, j.pass)
		}
		if err := f.close(); err != nil {
			t.Error(err)
		}
		j.close()
	}
}

// What bears no loss is counted in the log.
func TestDocumentsWithoutALossAreCounted(t *testing.T) {
	c := tinyConfig(dataset(t, 200), 2)
	c.Mask.P, c.Eval.Every = 0.01, 0
	run := filepath.Join(t.TempDir(), "run")
	mustTrain(t, Options{Config: c, Out: run})
	log, err := report.ReadLog(filepath.Join(run, LogFile))
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range log.Steps {
		if s.Bare < 2 { // of some twenty, most of less than a hundred tokens
			t.Errorf("step %d: %d documents without a loss", s.Step, s.Bare)
		}
	}
}
