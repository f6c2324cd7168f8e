package sweep

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"palimpsest/engine"
	"palimpsest/engine/fault"
	"palimpsest/engine/runfile"
	"palimpsest/engine/signals"
	"palimpsest/engine/vfs"
)

// Options are what a sweep needs beside its sweep file.
type Options struct {
	Sweep   Config
	Base    func(*runfile.Loader)                    // gives a loader that holds the defaults the run file that every trial starts from
	Origin  func(key string) (file string, line int) // where the sweep file gives a key, for messages; may be nil
	Out     string                                   // folder of the sweep
	FS      vfs.FS                                   // nil: the operating system's
	Watch   *signals.Watcher                         // asks to stop, as do signals to the process; may be nil
	Version string                                   // of the program, for the records
	Observe Observer                                 // may be nil
}

// Observer sees a sweep as it goes. Calls come one at a time.
type Observer interface {
	Note(text string)                               // what the user should know
	Begin(s Stage) engine.Observer                  // a run begins or goes on; the result looks on, nil for nobody
	End(s Stage, measured Record, fromRecords bool) // it has come to its rung; fromRecords: in an earlier process
}

// Stage is one run of a trial, up to one of the rungs.
type Stage struct {
	Trial  *Trial
	Seed   uint64
	Rung   int   // from 0
	Step   int64 // at which it is measured
	Number int   // among the runs of this sweep, from 1
	Of     int   // all runs of this sweep
}

// Trial is a point of the sweep.
type Trial struct {
	Number     int               `json:"trial"` // from 1
	Values     map[string]string `json:"values"`
	Left       string            `json:"left_out,omitempty"` // why it does not run
	Steps      int64             `json:"steps,omitempty"`
	Parameters int64             `json:"parameters,omitempty"`

	config engine.Config
	phases []engine.PreviewPhase
}

// Plan is a sweep whose trials were all checked.
type Plan struct {
	Method string   `json:"method"`
	Keys   []string `json:"keys"`
	Trials []Trial  `json:"trials"`
	Seeds  []uint64 `json:"seeds"`           // of the first trial; others count on from their own train.seed
	Rungs  []int64  `json:"rungs,omitempty"` // of halving: steps at which trials are compared
	Runs   int      `json:"runs"`
	Steps  int64    `json:"steps"` // of all runs together
	Notes  []string `json:"notes,omitempty"`
}

// NewPlan lays out the trials and checks every one's configuration against the data, before any of them runs. Everything
// that is wrong is reported at once, as an error of kind fault.Usage.
func NewPlan(o Options) (*Plan, error) {
	c := o.Sweep
	p := &Plan{Method: c.Method, Keys: c.keys(), Notes: c.incomparable()}
	if err := o.checkKeys(); err != nil {
		return nil, err
	}
	n := c.Trials
	if c.Method == "grid" {
		n = c.combinations()
	}
	seen, invalid := map[string]int{}, []string{}
	for i := 1; i <= n; i++ {
		t := Trial{Number: i}
		if c.Method == "grid" {
			t.Values = c.combination(i)
		} else {
			t.Values = c.drawn(i)
		}
		if err := o.admit(&t, seen); fault.Of(err) == fault.Usage {
			t.Left = "invalid: " + err.Error()
			invalid = append(invalid, fmt.Sprintf("trial %d (%s): %v", i, t.Point(), err))
		} else if err != nil {
			return nil, fmt.Errorf("trial %d (%s): %w", i, t.Point(), err)
		}
		p.Trials = append(p.Trials, t)
	}
	if len(invalid) > 0 && !c.SkipInvalid {
		const most = 20
		if more := len(invalid) - most; more > 0 {
			invalid = append(invalid[:most], fmt.Sprintf("and %d more", more))
		}
		return nil, fault.Usage.Errorf("%s\nhint: change keys, or leave such trials out with skip_invalid: true", strings.Join(invalid, "\n"))
	}
	return p, p.layOut(c)
}

// layOut counts the runs and finds the rungs.
func (p *Plan) layOut(c Config) error {
	runs := p.running()
	if len(runs) == 0 {
		return fault.Usage.Errorf("no trial is left to run: %d of %d are left out; the first one is %s",
			len(p.Trials), len(p.Trials), p.Trials[0].Left)
	}
	for k := range c.Seeds {
		p.Seeds = append(p.Seeds, runs[0].seed(k))
	}
	if c.Method != "halving" {
		p.Runs = len(runs) * c.Seeds
		for _, t := range runs {
			p.Steps += t.Steps * int64(c.Seeds)
		}
		return nil
	}
	for _, t := range runs {
		if !slices.Equal(t.phases, runs[0].phases) {
			return fault.Usage.Errorf("halving compares trials at the same step, but trial %d has other phases or another length than trial %d (%d and %d steps); hint: fix train.steps, or phases by steps",
				t.Number, runs[0].Number, t.Steps, runs[0].Steps)
		}
	}
	var err error
	if p.Rungs, err = c.Halving.rungs(runs[0].Steps); err != nil {
		return err
	}
	alive, done := len(runs), int64(0)
	for _, step := range p.Rungs {
		p.Runs += alive * c.Seeds
		p.Steps += int64(alive*c.Seeds) * (step - done)
		alive, done = max(1, alive/c.Halving.Factor), step
	}
	return nil
}

// running lists the trials that are not left out.
func (p *Plan) running() (list []*Trial) {
	for i := range p.Trials {
		if p.Trials[i].Left == "" {
			list = append(list, &p.Trials[i])
		}
	}
	return list
}

// checkKeys checks the run file itself, and that every key exists and takes its values.
func (o *Options) checkKeys() error {
	var base engine.Config
	load := func(config *engine.Config) *runfile.Loader {
		*config = engine.Default()
		l := runfile.New(config)
		o.Base(l)
		return l
	}
	if err := load(&base).Err(); err != nil {
		return err
	}
	var found runfile.Errors
	try := func(place, key string, values ...string) {
		from := "sweep: " + place
		if o.Origin != nil {
			if file, line := o.Origin(place); line > 0 {
				from = fmt.Sprintf("%s:%d", file, line)
			} else if file != "" {
				from = file
			}
		}
		for _, value := range values {
			var config engine.Config
			l := load(&config)
			l.Override(from, key, value)
			var errs runfile.Errors
			if errors.As(l.Err(), &errs) {
				for _, e := range errs {
					if !slices.Contains(found, e) {
						found = append(found, e)
					}
				}
			}
		}
	}
	for _, key := range o.Sweep.keys() {
		try("keys."+key, key, o.Sweep.Keys[key].ends()...)
	}
	for key, value := range o.Sweep.Metric.Under {
		try("metric.under."+key, key, value)
	}
	if len(found) > 0 {
		return fault.Usage.Wrap(found)
	}
	return nil
}

// admit makes a trial's configuration, and opens everything that it names, short of running it. seen are the trials before
// it, by what they compute.
func (o *Options) admit(t *Trial, seen map[string]int) error {
	if slices.Contains(o.Sweep.Skip, t.Number) {
		t.Left = "named by skip"
		return nil
	}
	t.config = engine.Default()
	l := runfile.New(&t.config)
	o.Base(l)
	for _, key := range o.Sweep.keys() {
		l.Override("trial "+fmt.Sprint(t.Number), key, t.Values[key])
	}
	l.Check()
	if t.config.StopAfter != 0 {
		l.Fail("stop_after", "the trials of a sweep run to their end; hint: remove the key")
	}
	if err := l.Err(); err != nil {
		return err
	}
	id := digest(t.config)
	if first := seen[id]; first > 0 {
		t.Left = fmt.Sprintf("the same as trial %d", first)
		return nil
	}
	seen[id] = t.Number
	preview, err := engine.DryRun(engine.Options{Config: t.config, Version: o.Version})
	if err != nil {
		return err
	}
	if preview.Data.HeldOut == 0 {
		return fault.Usage.Errorf("data.valid: no document is held out, so that nothing can be measured; hint: data.valid: 0.05")
	}
	t.Steps, t.Parameters, t.phases = preview.Steps, preview.Parameters, preview.Phases
	return nil
}

// incomparable tells which varied keys change the task that the metric is measured on.
func (c *Config) incomparable() (notes []string) {
	for _, key := range c.keys() {
		section, _, _ := strings.Cut(key, ".")
		if _, set := c.Metric.Under[key]; set || slices.Contains(fixedSections, section) {
			continue
		}
		notes = append(notes, fmt.Sprintf("%s is varied, and every trial is measured under its own %[1]s, which may be another task; hint: metric: {under: {%[1]s: VALUE}} measures all alike",
			key))
	}
	return notes
}

// Point is the values of a trial on one line.
func (t *Trial) Point() string {
	var parts []string
	for key, value := range t.Values {
		parts = append(parts, key+"="+value)
	}
	slices.Sort(parts)
	return strings.Join(parts, " ")
}

// seed is the train.seed of a trial's k-th run, from 0.
func (t *Trial) seed(k int) uint64 { return t.config.Train.Seed + uint64(k) }

// Folder is the run folder of a trial's run, below the sweep's.
func (t *Trial) Folder(seed uint64) string {
	return filepath.Join("trials", fmt.Sprintf("%04d-seed%d", t.Number, seed))
}

// run is the configuration of a trial's run.
func (t *Trial) run(seed uint64) engine.Config {
	c := t.config
	c.Train.Seed = seed
	return c
}

// digest identifies what a run computes: its configuration without what changes no result.
func digest(c engine.Config) string {
	d := engine.Default()
	c.Checkpoint, c.Log, c.Eval.Every, c.StopAfter = d.Checkpoint, d.Log, d.Eval.Every, 0
	c.Data.Threads, c.Train.Device, c.Train.Threads, c.Train.AllowChange = d.Data.Threads, d.Train.Device, d.Train.Threads, nil
	sum := sha256.Sum256(runfile.Marshal(c))
	return hex.EncodeToString(sum[:8])
}
