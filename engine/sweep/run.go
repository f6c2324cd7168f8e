package sweep

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"

	"palimpsest/engine"
	"palimpsest/engine/checkpoint"
	"palimpsest/engine/fault"
	"palimpsest/engine/report"
	"palimpsest/engine/runfile"
	"palimpsest/engine/signals"
	"palimpsest/engine/vfs"
)

// sweeper is a sweep at work.
type sweeper struct {
	Options
	plan *Plan
	book *book
	runs int
}

// Run runs a sweep to its end, from where its folder stands, and writes its results there: sweep.json, a page with plots,
// the report that compares the best runs, and best.yaml, a run file. It returns an error of kind fault.Preempted when it
// was asked to leave and everything is committed, fault.Diverged when every trial diverged.
func Run(o Options) (_ *Result, err error) {
	if o.FS == nil {
		o.FS = vfs.OS{}
	}
	s := &sweeper{Options: o}
	if s.plan, err = NewPlan(o); err != nil {
		return nil, err
	}
	lock, err := checkpoint.LockRun(o.Out)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, lock.Unlock()) }()
	if s.book, err = openBook(o.FS, o.Out); err != nil {
		return nil, err
	}
	for _, note := range s.plan.Notes {
		s.note("%s", note)
	}
	rows, err := s.climb()
	if err != nil {
		return nil, err
	}
	result := newResult(&o, s.plan, rows)
	return result, result.write(&o, s.plan)
}

func (s *sweeper) note(format string, args ...any) {
	if s.Observe != nil {
		s.Observe.Note(fmt.Sprintf(format, args...))
	}
}

// climb measures all trials, rung by rung, and returns them ranked: those that came farther before those that were stopped.
func (s *sweeper) climb() (ranked []Row, err error) {
	alive, rungs := s.plan.running(), s.plan.Rungs
	if len(rungs) == 0 {
		rungs = []int64{0} // every trial's own end
	}
	var diverged []Row
	for rung, step := range rungs {
		var rows []Row
		for _, t := range alive {
			row, err := s.trial(t, rung, step)
			if err != nil {
				return nil, err
			}
			rows = append(rows, row)
		}
		rank(rows, s.Sweep.Metric)
		if rung == len(rungs)-1 {
			ranked = append(rows, ranked...)
			break
		}
		on := s.Sweep.Halving.promoted(rows)
		alive = slices.DeleteFunc(alive, func(t *Trial) bool { return !on[t.Number] })
		rows = slices.DeleteFunc(rows, func(r Row) bool { return on[r.Trial] })
		for i := range rows {
			if rows[i].Status == Done {
				rows[i].Status = Stopped
			}
		}
		ranked = append(rows, ranked...)
		if len(alive) == 0 {
			break
		}
	}
	ranked = slices.DeleteFunc(ranked, func(r Row) bool {
		if r.Status == Diverged {
			diverged = append(diverged, r)
		}
		return r.Status == Diverged
	})
	return append(ranked, diverged...), nil
}

// trial measures all seeds of a trial at a rung.
func (s *sweeper) trial(t *Trial, rung int, step int64) (Row, error) {
	if step == 0 {
		step = t.Steps
	}
	var records []Record
	for k := range s.Sweep.Seeds {
		s.runs++
		r := Stage{Trial: t, Seed: t.seed(k), Rung: rung, Step: step, Number: s.runs, Of: s.plan.Runs}
		record, err := s.measure(r)
		if err != nil {
			return Row{}, fmt.Errorf("trial %d, seed %d (%s): %w", t.Number, r.Seed, t.Point(), err)
		}
		records = append(records, record)
	}
	return newRow(t, records, s.Sweep.Metric), nil
}

// measure brings a run to its rung, unless an earlier process did, and records what was measured there.
func (s *sweeper) measure(r Stage) (Record, error) {
	config := r.Trial.run(r.Seed)
	record := Record{Trial: r.Trial.Number, Seed: r.Seed, Rung: r.Rung, Step: r.Step, Status: Done, Values: r.Trial.Values,
		Under: s.Sweep.Metric.Under, Digest: digest(config)}
	if old := s.book.find(&record); old != nil {
		if old.Digest != record.Digest {
			return record, otherSweep(s.book.path, &record, old.Values)
		}
		s.end(r, *old, true)
		return *old, s.sameData(old, config.Data.Train)
	}
	dir := filepath.Join(s.Out, r.Trial.Folder(r.Seed))
	if err := claim(s.FS, dir, &record); err != nil {
		return record, err
	}
	log, err := readLog(dir)
	if err != nil { // what a kill left: the engine sets it aside
		s.note("%v", err)
	}
	whole, err := s.reached(dir, r.Step)
	if err != nil {
		return record, err
	}
	if evalAt(log, r.Step) == nil || !whole {
		if s.Watch != nil && s.Watch.Stopping() {
			return record, fault.Preempted.Errorf("stopped by %s before it began; hint: the same command goes on from there", s.Watch.Reason())
		}
		broken, err := s.train(r, config, dir)
		if err != nil {
			return record, err
		}
		if broken {
			record.Status = Diverged
		}
		if log, err = readLog(dir); err != nil {
			return record, err
		}
	}
	if err := s.fill(&record, log, config, dir); err != nil {
		return record, err
	}
	if err := s.sameData(&record, config.Data.Train); err != nil {
		return record, err
	}
	if err := s.book.add(record); err != nil {
		return record, err
	}
	s.end(r, record, false)
	return record, nil
}

// reached says whether a run's newest checkpoint is at a step or beyond, so that nothing is lost by not running it.
func (s *sweeper) reached(dir string, step int64) (bool, error) {
	dir = filepath.Join(dir, "checkpoints")
	if ok, err := vfs.Exists(s.FS, dir); err != nil || !ok {
		return false, err
	}
	entries, err := checkpoint.List(s.FS, dir)
	return slices.ContainsFunc(entries, func(e checkpoint.Entry) bool { return e.Step >= step }), err
}

func (s *sweeper) end(r Stage, record Record, fromRecords bool) {
	if s.Observe != nil {
		s.Observe.End(r, record, fromRecords)
	}
}

// sameData refuses to compare runs on data that were changed between them.
func (s *sweeper) sameData(r *Record, train string) error {
	for i := range s.book.records {
		old := &s.book.records[i]
		if _, varied := s.Sweep.Keys["data.train"]; !varied && old.Data != r.Data {
			return fault.Data.Errorf("the data set %s is not the one of trial %d: was %s, is %s; hint: start another sweep (--out)",
				train, old.Trial, old.Data, r.Data)
		}
	}
	return nil
}

// train lets the engine run up to a rung: as a preempted run is left, so that the next process or rung goes on with the same
// bits. broken says that the run diverged.
//
// The engine is asked to stop by what it shows, the evaluation at the rung, and not by stop_after: a run that was killed
// between its last update and that evaluation stands at the step already, where stop_after would let it run on.
func (s *sweeper) train(r Stage, c engine.Config, dir string) (broken bool, err error) {
	c.Checkpoint.Keep = 1
	c.Log.Every = min(c.Log.Every, r.Step)
	if r.Step < r.Trial.Steps && (c.Eval.Every == 0 || r.Step%c.Eval.Every != 0) {
		c.Eval.Every = r.Step
	}
	watch, release := s.watch()
	defer release()
	g := &gauge{step: r.Step, last: r.Step == r.Trial.Steps, stop: watch.Stop}
	if s.Observe != nil {
		g.next = s.Observe.Begin(r)
	}
	err = engine.Train(engine.Options{Config: c, Out: dir, FS: s.FS, Watch: watch, Version: s.Version, Observe: g})
	switch {
	case g.broken || fault.Of(err) == fault.Diverged:
		return true, nil
	case g.measured && (err == nil || fault.Of(err) == fault.Preempted):
		return false, nil
	case err == nil || g.beyond:
		return false, fault.Checkpoint.Errorf("%s is beyond step %d, and its log lacks the evaluation there; hint: delete the folder, and the trial runs again", dir, r.Step)
	case fault.Of(err) == fault.Preempted || fault.Of(err) == fault.Write: // no fault of the trial's
		return false, err
	}
	return false, fmt.Errorf("%w\nhint: 'skip: [%d]' in the sweep file leaves this trial out", err, r.Trial.Number)
}

// watch makes a watcher for one run, which the sweep can stop without being stopped itself.
func (s *sweeper) watch() (w *signals.Watcher, release func()) {
	ctx, cancel := context.WithCancelCause(context.Background())
	if s.Watch != nil {
		go func() {
			select {
			case <-s.Watch.Stopped():
				cancel(errors.New(s.Watch.Reason()))
			case <-ctx.Done():
			}
		}()
	}
	w = signals.Watch(ctx)
	return w, func() {
		w.Close()
		cancel(nil)
	}
}

// gauge looks at a run for the sweep and passes on what it sees.
type gauge struct {
	next engine.Observer
	step int64 // of the rung
	last bool  // it is the end of the run
	stop func()

	measured, broken, beyond bool
}

// fill reads from the log what a run gave, and measures it anew where the metric asks for another task.
func (s *sweeper) fill(r *Record, log *report.Run, c engine.Config, dir string) error {
	var rates []float64
	if log != nil {
		r.Data = log.Header.Versions["data"]
		for _, line := range log.Steps {
			if line.Step <= r.Step {
				rates, r.Seconds = append(rates, line.TokensPerS), line.Seconds
			}
		}
	}
	if slices.Sort(rates); len(rates) > 0 {
		r.TokensPerS = rates[len(rates)/2]
	}
	if r.Status == Diverged {
		return nil
	}
	e := evalAt(log, r.Step)
	if e == nil {
		return fault.Data.Errorf("%s: the log lacks the evaluation at step %d, which was made; hint: is the disk full?", dir, r.Step)
	}
	r.Seconds = e.Seconds
	loss, accuracy := e.Loss, e.Accuracy
	if len(r.Under) > 0 {
		var err error
		if loss, accuracy, err = s.measureUnder(r, c, dir); err != nil {
			return err
		}
	}
	if !finite(loss) || accuracy != nil && !finite(*accuracy) {
		r.Status = Diverged
		return nil
	}
	r.Loss, r.Accuracy = &loss, accuracy
	if p := math.Exp(loss); finite(p) {
		r.Perplexity = &p
	}
	if r.metric(s.Sweep.Metric) == nil {
		return fault.Usage.Errorf("metric.name: the evaluation has no %s", s.Sweep.Metric.Name)
	}
	return nil
}

// measureUnder evaluates the checkpoint of a rung on the task that the sweep file sets for all trials.
func (s *sweeper) measureUnder(r *Record, c engine.Config, dir string) (loss float64, accuracy *float64, err error) {
	path := filepath.Join(dir, "checkpoints", fmt.Sprintf("step-%07d", r.Step))
	m, err := engine.OpenModel(path, c.Train.Device, c.Train.Threads)
	if err != nil {
		return 0, nil, fmt.Errorf("%w; hint: metric.under measures the checkpoint of the step; delete %s, and the trial runs again", err, dir)
	}
	defer m.Close()
	objective, set := "", []string{}
	for key, value := range r.Under {
		if key == "objective" {
			objective = value
		}
		set = append(set, key+"="+value)
	}
	slices.Sort(set)
	if err := runfile.Set(&m.Config, set); err != nil {
		return 0, nil, err
	}
	e, err := m.Evaluate("", objective, c.Eval.Tokens)
	return e.Loss, &e.Accuracy, err
}

// readLog reads the log of a run folder, nil when it has none yet.
func readLog(dir string) (*report.Run, error) {
	path := filepath.Join(dir, engine.LogFile)
	if info, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) || err == nil && info.Size() == 0 {
		return nil, nil
	}
	log, err := report.ReadLog(path)
	if err != nil {
		return nil, err
	}
	return log, nil
}

// evalAt is the evaluation at a step, nil when there is none.
func evalAt(log *report.Run, step int64) *report.Eval {
	if log != nil {
		for i := range slices.Backward(log.Evals) { // behind those of other objectives of the run
			if log.Evals[i].Step == step {
				return &log.Evals[i]
			}
		}
	}
	return nil
}

func finite(f float64) bool { return !math.IsNaN(f) && !math.IsInf(f, 0) }
