package engine

import (
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"time"

	"palimpsest/engine/checkpoint"
	"palimpsest/engine/eval"
	"palimpsest/engine/fault"
	"palimpsest/engine/model"
	"palimpsest/engine/optim"
	"palimpsest/engine/signals"
	"palimpsest/engine/vfs"
	"palimpsest/kernels"
	"palimpsest/objectives"
)

// Options are what a run needs beside its run file.
type Options struct {
	Config  Config
	Out     string           // run folder
	Resume  string           // "auto", "never" or the path of a checkpoint
	FS      vfs.FS           // nil: the operating system's
	Watch   *signals.Watcher // nil: nobody asks to stop
	Version string           // of the program, for the records
	Observe Observer         // nil: nobody looks on
}

// Trainer is one run. Use Train; the type is what its parts share.
type Trainer struct {
	options   Options
	job       *job
	fs        vfs.FS
	lock      *checkpoint.RunLock
	b         kernels.Backend
	weights   *model.Weights
	acts      *model.Activations
	opt       *optim.Optimizer
	reference *model.Weights // frozen; nil: there are none of its own
	average   *optim.EMA     // nil: none is kept
	noise     kernels.Buf    // float64: sum of squares of the gradient after the first micro-batch
	feed      *feed
	state     state
	record    *record
	pending   *pending                // the last update, while its results are on their way; nil: they are known
	lost      func() (float64, error) // lattices of the update without a path, on their way; nil: it has none

	first       int64 // step at which this process took over
	saved       int64 // step of the newest checkpoint of this run; -1: none
	failedSaves int   // in a row
	graphless   bool  // it was said that the device makes no graphs any more
}

// Train runs a configuration to its end, from where the run folder stands. It returns an error of kind fault.Preempted
// when it was asked to leave and everything is committed.
func Train(o Options) (err error) {
	defer frugal()()
	t, err := newTrainer(o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, t.close()) }()
	return t.run()
}

// run is the loop: an update is planned in the background, computed, applied unless it is not finite, and recorded; once
// in a while the model is evaluated and saved. Results are read back while the next update is computed, unless a line of the
// log, an evaluation or a checkpoint needs them: otherwise nothing waits for the device.
func (t *Trainer) run() error {
	if err := t.evaluate(); err != nil { // an evaluation that was due when the run was left
		return err
	}
	for t.state.Step < t.job.total {
		if t.stopping() {
			return t.leave()
		}
		t.record.start()
		u, err := t.next()
		if err != nil {
			return err
		}
		if u == nil { // asked to stop while waiting
			continue
		}
		t.record.waitedForData()

		t.forwardBackward(u)
		if err := t.settle(); err != nil { // the update before, whose results came meanwhile
			return err
		}
		if err := t.correctMean(u); err != nil {
			return err
		}
		t.apply(u)
		t.record.account(u)
		t.sayGraphs(false)
		if t.logDue() {
			if err := t.settle(); err != nil {
				return err
			}
		}
		if err := t.evaluate(); err != nil {
			return err
		}
		if every := t.job.config.Checkpoint.Every; every > 0 && t.state.Step%every == 0 || t.saveAsked() {
			if err := t.save(); err != nil {
				return err
			}
		}
	}
	if t.evaluationDue() { // asked to stop before or in the last one
		return t.leave()
	}
	t.sayGraphs(true)
	return t.save()
}

// forwardBackward sums the gradients and results of all micro-batches of an update.
func (t *Trainer) forwardBackward(u *update) {
	t.b.Zero(t.weights.Grad)
	t.acts.ResetResults()
	for i, p := range u.plans {
		t.fs.Tick("micro-batch")
		if err := t.acts.Load(p, t.microStep(t.state.Micro)); err != nil {
			panic(err) // the plan was checked and the capacities were made for it
		}
		forward, loss, backward := func() { t.acts.Forward(t.weights) }, func() { t.acts.Loss(t.weights, true) }, func() { t.acts.Backward(t.weights) }
		if p.Ragged { // what comes between the body's two passes differs in its shapes; they are replayed without it
			t.together(forward)
			loss()
			t.together(backward)
		} else {
			t.together(func() { forward(); loss(); backward() })
		}
		t.watchClasses(u, p)
		t.watchMasks(u, p)
		if i == 0 && len(u.plans) > 1 {
			t.b.SumSquares(t.noise, 0, t.weights.Grad, t.weights.Grad.Len(), false)
		}
		t.state.Micro++
	}
	t.lost = t.acts.LostLater()
}

// microStep says how a micro-batch of the run is computed.
func (t *Trainer) microStep(number int64) model.Step {
	return model.Step{Dropout: float32(t.job.config.Train.Dropout), AdapterDropout: float32(t.job.config.Adapter.Dropout), Seed: t.job.config.Train.Seed, Micro: uint32(number)}
}

// pending is an update that is queued, but whose results the host has not seen.
type pending struct {
	u       *update
	rate    float64
	results func() (squares float64, terms []model.TermResult, err error)
	noise   func() (squares float64, err error)
}

// apply updates the parameters, unless gradient or loss are not finite: then weights and moments keep every bit. The
// update counts as applied until settle knows better.
func (t *Trainer) apply(u *update) {
	factor := t.job.factor(u.step)
	if phase := t.job.phases[u.phase]; t.job.config.Optimizer.Reset && u.phase > 0 && u.step == phase.from {
		t.opt.Reset(t.b)
	}
	t.together(func() {
		guard := t.acts.Guard(t.weights)
		t.opt.Step(t.b, t.weights, guard, factor)
		if t.average != nil {
			t.average.Update(t.b, t.weights, guard, t.opt.Updates)
		}
	})
	t.pending = &pending{u, t.opt.Rate(factor), t.acts.ResultsLater(termNames(u.plans[0])), t.noiseLater(u)}
	t.state.Step, t.state.Updates, t.state.Anew, t.state.Cursor = u.step+1, t.opt.Updates, t.opt.Anew, u.after
	t.state.Tokens += u.tokens
	t.state.Pieces += u.pieces
	t.fs.Tick("update")
}

// settle waits for the results of the last update, counts it as applied or dropped, and records it. It must come before the
// next update is applied, whose bias correction depends on the count.
func (t *Trainer) settle() error {
	p := t.pending
	if p == nil {
		return nil
	}
	t.pending = nil
	squares, terms, err := p.results()
	if err != nil {
		return err
	}
	r := stepResult{rate: p.rate}
	r.collect(p.u, squares, terms)
	if c, m := p.u.classes, p.u.masks; c != nil || m != nil {
		if r.measures == nil {
			r.measures = map[string]float64{}
		}
		if c != nil {
			c.into(r.measures)
		}
		if m != nil {
			m.into(r.measures)
		}
	}
	if r.finite() {
		t.state.Streak = 0
		if err := t.measureNoise(p.u, squares, p.noise); err != nil {
			return err
		}
	} else {
		t.opt.Skip()
		t.state.Updates = t.opt.Updates
		t.state.Streak++
		t.state.Skipped++
	}
	t.logStep(p.u, r)
	t.feed.recycle(p.u)
	if t.state.Streak >= t.job.config.Train.MaxNonfinite {
		return fault.Diverged.Errorf("step %d: %d updates in a row were not finite and were dropped; hint: a lower optimizer.learning_rate, a longer schedule.warmup, or optimizer.clip", t.state.Step, t.state.Streak)
	}
	return nil
}

// stepResult is what an update gave, for the log.
type stepResult struct {
	loss, gradNorm, rate float64
	accuracy             *float64 // nil: not counted
	parts, measures      map[string]float64
}

func (r *stepResult) collect(u *update, squares float64, terms []model.TermResult) {
	r.gradNorm, r.parts = math.Sqrt(squares), map[string]float64{}
	hits, counted := 0.0, int64(0)
	for i, res := range terms {
		term := &u.plans[0].Terms[i]
		if len(terms) > 1 && !u.asks(i) { // another objective's turn
			continue
		}
		part := res.Loss / term.Den
		r.parts[res.Name] = part
		r.loss += term.Share * part
		rows := u.rowsOf(i)
		r.measure(term, res, rows)
		if term.Kind == objectives.CrossEntropy && !term.Unwanted {
			hits, counted = hits+res.Hits, counted+rows
		}
	}
	if counted > 0 {
		accuracy := hits / float64(counted)
		r.accuracy = &accuracy
	}
}

// measure adds what the term says beside its loss.
func (r *stepResult) measure(t *objectives.Term, res model.TermResult, rows int64) {
	put := func(name string, sum float64) {
		if r.measures == nil {
			r.measures = map[string]float64{}
		}
		r.measures[name] = sum / float64(rows)
	}
	switch {
	case rows == 0:
	case t.Kind == objectives.Alignment:
		if res.Lost > 0 {
			put(eval.MeasureInvalidRows, res.Lost*float64(rows)) // a number
		}
	case t.Unwanted:
		put(eval.MeasureUnwantedLogP, -res.NLL)
	case t.Kind == objectives.ReferenceKL && t.Pulls.Kept != kernels.Likelihood:
		put(eval.MeasureKL, res.KL)
	}
}

func (r *stepResult) finite() bool {
	s := r.loss + r.gradNorm
	return !math.IsNaN(s) && !math.IsInf(s, 0)
}

func termNames(p *objectives.Plan) []string {
	names := make([]string, len(p.Terms))
	for i := range p.Terms {
		names[i] = p.Terms[i].Name
	}
	return names
}

// evaluate runs the held-out documents when an evaluation is due at this step and was not done, and saves when the result
// is the best of its phase. When asked to stop it leaves at once; the resumed run evaluates.
func (t *Trainer) evaluate() error {
	if !t.evaluationDue() {
		return nil
	}
	if err := t.settle(); err != nil {
		return err
	}
	step := t.state.Step
	phase := phaseAt(t.job.phases, step-1)
	others, err := t.evaluateOthers(phase)
	var loss eval.Loss
	if err == nil {
		loss, err = t.job.evaluate(t.acts, t.judged(), phase, t.job.config.Eval.Tokens, t.stopping)
	}
	if errors.Is(err, eval.ErrInterrupted) {
		return nil
	}
	if err != nil {
		return err
	}
	t.state.Evaluated = step
	for _, o := range others {
		t.logEval(o.index, o.loss)
	}
	t.logEval(phase, loss)
	if step == t.job.total {
		if err := t.logExamples(phase); err != nil {
			return err
		}
	}
	metric, judged := loss.Loss, loss.Loss
	if f1, ok := loss.Measures[eval.MeasureEntityF1]; ok && t.job.config.Eval.Best == "entity_f1" {
		metric, judged = f1, -f1
	}
	if best := t.state.Best; best == nil || best.Phase != phase || judged < best.Loss {
		t.state.Best = &bestLoss{Step: step, Phase: phase, Loss: judged}
		if err := t.save(); err != nil || t.saved != step {
			return err
		}
		if err := checkpoint.SetBest(t.fs, t.checkpoints(), checkpoint.Best{Step: step, Metric: metric}); err != nil {
			t.say("step %d is the best so far, but that could not be recorded, the run goes on: %v", step, err)
		}
	}
	return nil
}

// evaluationDue reports whether the present step is to be evaluated and has not been. Beside those of eval.every the ends of
// phases are, unless these are shorter than that: many short phases would be evaluated all the time.
func (t *Trainer) evaluationDue() bool {
	every, step := t.job.config.Eval.Every, t.state.Step
	due := step == t.job.total || every > 0 && step%every == 0
	if phase := t.job.phases[phaseAt(t.job.phases, step-1)]; every > 0 && step == phase.to && phase.to-phase.from >= every {
		due = true
	}
	return due && step > 0 && t.state.Evaluated != step && t.job.hasValid()
}

// judged returns the weights that evaluations are about: the moving average, where one is kept.
func (t *Trainer) judged() *model.Weights {
	if t.average != nil {
		return t.average.Weights
	}
	return t.weights
}

// evaluate measures a model on the held-out documents of a job.
func (j *job) evaluate(a *model.Activations, w *model.Weights, phase int, tokens int64, stop func() bool) (eval.Loss, error) {
	next, closing, err := j.heldOut(phase, tokens)
	if err != nil {
		return eval.Loss{}, err
	}
	defer closing()
	baseline, err := j.unigram(phase)
	if err != nil {
		return eval.Loss{}, err
	}
	if stop == nil { // the verb eval loss, which has the time
		return eval.RunWithEntropy(a, w, next, baseline, stop)
	}
	return eval.Run(a, w, next, baseline, stop)
}

func (t *Trainer) checkpoints() string { return filepath.Join(t.options.Out, "checkpoints") }

// maxFailedSaves in a row end a run that can no longer keep its work.
const maxFailedSaves = 3

// save commits the present state, unless it is committed already, and deletes checkpoints that are no longer kept. A
// failure ends the run only when it was the last chance, or came too often.
func (t *Trainer) save() error {
	if err := t.settle(); err != nil {
		return err
	}
	if t.saved == t.state.Step {
		return nil
	}
	if err := t.lock.Check(); err != nil {
		return err
	}
	t.state.Seconds = t.record.elapsed()
	contents, err := t.contents()
	if err != nil {
		return err
	}
	started := time.Now()
	if err := checkpoint.Save(t.fs, t.checkpoints(), t.state.Step, contents); err != nil {
		if kind := fault.Of(err); kind == fault.Device || kind == fault.Peer { // nothing can be saved any more
			return err
		}
		t.failedSaves++
		if last := t.state.Step == t.job.total || t.stopping(); last || t.failedSaves >= maxFailedSaves {
			return err
		}
		t.say("checkpoint of step %d failed, the run goes on (failure %d of %d): %v", t.state.Step, t.failedSaves, maxFailedSaves, err)
		return nil
	}
	t.saved, t.failedSaves = t.state.Step, 0
	t.logSave(time.Since(started))
	if _, err := checkpoint.Rotate(t.fs, t.checkpoints(), t.job.config.Checkpoint.Keep, t.state.Step); err != nil {
		t.say("old checkpoints could not be deleted, the run goes on: %v", err)
	}
	return nil
}

func (t *Trainer) stopping() bool {
	after := t.job.config.StopAfter
	return t.options.Watch != nil && t.options.Watch.Stopping() || t.first < after && after <= t.state.Step && t.state.Step < t.job.total
}

func (t *Trainer) saveAsked() bool { return t.options.Watch != nil && t.options.Watch.TakeSave() }

// leave commits and says that the run goes on later.
func (t *Trainer) leave() error {
	if err := t.save(); err != nil {
		return err
	}
	reason := fmt.Sprintf("stop_after: %d", t.job.config.StopAfter)
	if t.options.Watch != nil && t.options.Watch.Stopping() {
		reason = t.options.Watch.Reason()
	}
	return fault.Preempted.Errorf("stopped by %s at step %d of %d; the checkpoint is committed; hint: the same command goes on from there", reason, t.state.Step, t.job.total)
}

// next waits for the next planned update; nil means that the run was asked to stop meanwhile.
func (t *Trainer) next() (*update, error) {
	var stopped <-chan struct{}
	if t.options.Watch != nil {
		stopped = t.options.Watch.Stopped()
	}
	select {
	case u, ok := <-t.feed.updates:
		if !ok {
			return nil, fault.Internal.Errorf("step %d: the planner ended early", t.state.Step)
		}
		if u.err != nil {
			return nil, fmt.Errorf("step %d: %w", u.step, u.err)
		}
		return u, nil
	case <-stopped:
		return nil, nil
	}
}
