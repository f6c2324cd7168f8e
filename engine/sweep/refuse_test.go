package sweep

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"palimpsest/engine"
	"palimpsest/engine/fault"
	"palimpsest/engine/report"
	"palimpsest/engine/runfile"
	"palimpsest/engine/signals"
)

// Everything that is wrong with a sweep file comes out at once.
func TestSweepFileErrors(t *testing.T) {
	c := Default()
	l := runfile.New(&c)
	l.Decode("sweep.yaml", []byte(`
method: grid
trials: 3
seeds: 2
metric: {name: loss, under: {model.layers: 2}}
keys:
  train.seed: {values: [1, 2]}
  a: {uniform: [0, 1]}
  b: {log_uniform: [0, 1], points: 3}
  c: {int: [3, 1]}
  d: {values: [1], int: [1, 2]}
  e: {uniform: [1]}
  f: {valeus: [1]}
`))
	l.Check()
	text := ""
	if err := l.Err(); fault.Of(err) != fault.Usage {
		t.Fatal(err)
	} else {
		text = err.Error()
	}
	for _, part := range []string{
		"sweep.yaml:3: trials: a grid has", "metric.under.model.layers: only keys of the objective", "keys.train.seed: seeds: 2 varies it",
		"keys.a: a grid wants the number of points", "keys.b.log_uniform: a logarithm wants", "keys.c.int: want a least and a greatest",
		"keys.d: want exactly one", "keys.e.uniform: want two numbers", "sweep.yaml:13: keys.f.valeus: unknown key; did you mean values?",
	} {
		if !strings.Contains(text, part) {
			t.Errorf("%q is missing in\n%s", part, text)
		}
	}
	c = Default()
	c.Keys = map[string]Range{"x": {Int: []int64{1, 200}}, "y": {Int: []int64{1, 200}}}
	if err := runfile.Check(&c); err == nil || !strings.Contains(err.Error(), "more than 10000 combinations") {
		t.Error(err)
	}
}

// Wrong keys, values and combinations are refused before anything runs, by name.
func TestRefusals(t *testing.T) {
	data := dataset(t, 60)
	for _, x := range []struct {
		file, add string
		says      []string
	}{
		{"keys: {optimizer.learning_rat: {values: [1, 2]}, mask.p: {values: [0.1, 3]}, model.width: {uniform: [8, 64.5], points: 2}}", "",
			[]string{"sweep.yaml:1: optimizer.learning_rat: unknown key; did you mean learning_rate?", "mask.p: ", "got 3", "model.width: ", "whole number"}},
		{"keys: {mask.p: {values: [0.1]}}\nmetric: {under: {mask.q: 1}}", "", []string{"sweep.yaml:2: mask.q: unknown key"}},
		{"keys: {mask.p: {values: [0.1]}}", "train.stepps=3", []string{"--set train.stepps"}},
		{"keys: {model.width: {values: [16, 18, 20]}, model.heads: {values: [2, 4]}}", "model.kv_heads=0", []string{"trial 2 (model.heads=2 model.width=18): ", "trial 5 (model.heads=4 model.width=18): ", "skip_invalid"}},
		{"keys: {data.length: {values: [16, 64]}}", "", []string{"trial 2 (data.length=64): data.length: 64 exceeds model.context 32"}},
		{"keys: {mask.p: {values: [0.1]}}", "data.valid=0", []string{"no document is held out"}},
		{"keys: {mask.p: {values: [0.1]}}", "stop_after=2", []string{"stop_after"}},
		{"keys: {mask.p: {values: [0.1]}}\nskip: [1]", "", []string{"no trial is left"}},
		{"method: halving\ntrials: 3\nkeys: {train.steps: {int: [20, 30]}}", "", []string{"another length"}},
		{"method: halving\ntrials: 3\nkeys: {mask.p: {uniform: [0.1, 0.3]}}", "train.steps=5", []string{"too short"}},
	} {
		o := options(t, data, x.file)
		base := o.Base
		o.Base = func(l *runfile.Loader) {
			base(l)
			if x.add != "" {
				l.Set(x.add)
			}
		}
		_, err := Run(o)
		if fault.Of(err) != fault.Usage {
			t.Errorf("%s %s: %v", x.file, x.add, err)
			continue
		}
		for _, part := range x.says {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("%s %s: %q is missing in\n%v", x.file, x.add, part, err)
			}
		}
		if _, err := os.Stat(o.Out); err == nil {
			t.Errorf("%s %s: the folder was made", x.file, x.add)
		}
	}
}

// seen notes what a sweep shows.
type seen struct {
	notes []string
	begun []Stage
	done  int // taken from earlier records
	step  func(report.Step)
}

func (s *seen) Note(text string) { s.notes = append(s.notes, text) }
func (s *seen) Begin(stage Stage) engine.Observer {
	s.begun = append(s.begun, stage)
	return watching{s}
}
func (s *seen) End(_ Stage, _ Record, earlier bool) {
	if earlier {
		s.done++
	}
}

type watching struct{ *seen }

func (w watching) Begin(report.Header, int64) {}
func (w watching) Eval(report.Eval)           {}
func (w watching) Saved(int64, time.Duration) {}
func (w watching) Step(s report.Step) {
	if w.step != nil {
		w.step(s)
	}
}

// A sweep that is asked to leave commits, says so with 75, and goes on; later trials and seeds can be added.
func TestStopAndExtend(t *testing.T) {
	o := options(t, dataset(t, 60), "method: random\ntrials: 2\nkeys: {mask.p: {uniform: [0.1, 0.5]}, model.layers: {int: [1, 2]}}\nmetric: {under: {mask.p: 0.2}}")
	straight := o
	mustRun(t, straight)
	want := outcome(t, straight.Out)

	o.Out = filepath.Join(t.TempDir(), "stopped")
	watch := signals.Watch(t.Context())
	defer watch.Close()
	o.Watch = watch
	look := &seen{step: func(s report.Step) {
		if s.Step == 3 {
			watch.Stop()
		}
	}}
	o.Observe = look
	if _, err := Run(o); fault.Of(err) != fault.Preempted || !strings.Contains(err.Error(), "the same command goes on") {
		t.Fatal(err)
	}
	if len(look.begun) != 1 || look.begun[0].Of != 2 {
		t.Errorf("%+v", look.begun)
	}
	if _, err := os.Stat(filepath.Join(o.Out, ResultFile)); err == nil {
		t.Error("a sweep that was left has results")
	}
	look = &seen{}
	o.Watch, o.Observe = nil, look
	mustRun(t, o)
	if got := outcome(t, o.Out); got != want {
		t.Errorf("stopped:\n%s\nstraight:\n%s", got, want)
	}
	if len(look.notes) > 0 && strings.Contains(look.notes[0], "is varied") {
		t.Errorf("measured under one mask.p, and yet: %q", look.notes)
	}

	look = &seen{}
	o.Observe, o.Sweep.Trials, o.Sweep.Seeds = look, 3, 2
	r := mustRun(t, o)
	if len(r.Rows) != 3 || len(look.begun) != 4 || look.done != 2 || r.Rows[0].Std == nil || len(r.Rows[0].Seeds) != 2 {
		t.Errorf("%d runs, %d of earlier: %+v", len(look.begun), look.done, r.Rows)
	}

	// Without its records a sweep reads the trials' logs; nothing is trained again.
	if err := os.Remove(filepath.Join(o.Out, RecordsFile)); err != nil {
		t.Fatal(err)
	}
	look = &seen{}
	o.Observe = look
	if again := mustRun(t, o); len(look.begun) != 0 || *again.Rows[0].Mean != *r.Rows[0].Mean {
		t.Errorf("%d runs were trained again; %v and %v", len(look.begun), *again.Rows[0].Mean, *r.Rows[0].Mean)
	}

	// Another yardstick measures the same models again.
	look = &seen{}
	o.Observe, o.Sweep.Metric.Under = look, map[string]string{"mask.p": "0.4"}
	if other := mustRun(t, o); len(look.begun) != 0 || *other.Rows[0].Mean == *r.Rows[0].Mean {
		t.Errorf("%d runs were trained again; %v and %v", len(look.begun), *other.Rows[0].Mean, *r.Rows[0].Mean)
	}

	// The folder keeps to its sweep.
	o.Sweep.Seed = 5
	if _, err := Run(o); fault.Of(err) != fault.Usage || !strings.Contains(err.Error(), "trial 1 was mask.p=") {
		t.Error(err)
	}
	if err := os.Remove(filepath.Join(o.Out, RecordsFile)); err != nil {
		t.Fatal(err)
	}
	if _, err := Run(o); fault.Of(err) != fault.Usage || !strings.Contains(err.Error(), "trial 1 was mask.p=") {
		t.Error(err)
	}
}

// Diverged trials stand last, invalid and repeated ones are left out and counted.
func TestDivergedAndLeftOut(t *testing.T) {
	o := options(t, dataset(t, 60), `
keys:
  optimizer.learning_rate: {values: [1e30, 1e-3, 1.0e-3, 0.001, 2e-3]}
  data.length: {values: [16, 64]}
skip_invalid: true
skip: [10]
`)
	base := o.Base
	o.Base = func(l *runfile.Loader) {
		base(l)
		l.Set("train.max_nonfinite=1", "schedule.warmup=0", "optimizer.clip=0")
	}
	r := mustRun(t, o)
	if len(r.Rows) != 3 || r.Rows[2].Status != Diverged || r.Rows[2].Values["optimizer.learning_rate"] != "1e30" || r.Rows[0].Status != Done {
		t.Errorf("%+v", r.Rows)
	}
	var left []string
	for _, trial := range r.LeftOut {
		why, _, _ := strings.Cut(trial.Left, ":")
		left = append(left, fmt.Sprintf("%d %s", trial.Number, why))
	}
	if got, want := strings.Join(left, ", "), "3 the same as trial 2, 4 the same as trial 2, 6 invalid, 7 invalid, "+
		"8 the same as trial 7, 9 the same as trial 7, 10 named by skip"; got != want {
		t.Errorf("left out: %s", got)
	}
	page := string(mustRead(t, filepath.Join(o.Out, PageFile)))
	for _, part := range []string{`class="broken"`, "exceeds model.context", "named by skip", "Winner"} {
		if !strings.Contains(page, part) {
			t.Errorf("the page lacks %q", part)
		}
	}
	o.Out = filepath.Join(t.TempDir(), "all")
	o.Sweep.Keys = map[string]Range{"optimizer.learning_rate": {Values: []string{"1e30", "2e30"}}}
	o.Sweep.Skip = nil
	if _, err := Run(o); fault.Of(err) != fault.Diverged || !strings.Contains(err.Error(), "all 2 trials diverged") {
		t.Error(err)
	}
}

// Trials on data that were changed between them are not compared.
func TestChangedData(t *testing.T) {
	data := dataset(t, 60)
	o := options(t, data, "method: random\ntrials: 1\nkeys: {mask.p: {uniform: [0.1, 0.5]}}\nmetric: {under: {mask.p: 0.2}}")
	mustRun(t, o)
	if err := os.RemoveAll(data); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(dataset(t, 80), data); err != nil {
		t.Fatal(err)
	}
	o.Sweep.Trials = 2
	if _, err := Run(o); fault.Of(err) != fault.Data || !strings.Contains(err.Error(), "is not the one of trial 1") {
		t.Error(err)
	}
}
