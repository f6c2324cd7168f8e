package engine

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"palimpsest/engine/eval"
	"palimpsest/engine/model"
	"palimpsest/engine/report"
	"palimpsest/engine/runfile"
	"palimpsest/kernels"
)

// Observer sees a run as it goes, for a person at a terminal. Calls come from the training goroutine, one at a time.
type Observer interface {
	Note(text string) // what the user should know
	Begin(h report.Header, first int64)
	Step(s report.Step)
	Eval(e report.Eval)
	Saved(step int64, took time.Duration)
}

// LogFile is the name of the log in a run folder.
const LogFile = "log.jsonl"

// EventFolder is the name of the folder of TensorBoard event files in a run folder.
const EventFolder = "tb"

// flopRule says how FLOP/s and MFU are counted.
const flopRule = "forward + backward = 3 x forward, of a frozen reference 1 x; 2 a weight and token, 2 a head weight and loss row, 4 C a pair of tokens that attend (causal: half the pairs); MFU against the rate of a large product in the device's type of activations, measured at the start"

// record keeps the log of a run and its clock.
type record struct {
	t      *Trainer
	log    *report.Log
	events *report.Events
	peak   float64 // FLOP/s of a large product, measured at the start
	began  time.Time
	before float64     // seconds of earlier processes
	norms  kernels.Buf // float64: squares by layer

	// Since the last step line, without evaluations and checkpoints:
	tokens        int64
	flops         float64
	waited, spent time.Duration
	mark          time.Time // up to when time is counted
}

// start begins to count time.
func (r *record) start() { r.mark = time.Now() }

// lap counts the time since the last mark.
func (r *record) lap() (d time.Duration) {
	now := time.Now()
	d, r.mark = now.Sub(r.mark), now
	r.spent += d
	return d
}

// waitedForData counts a lap as waiting for the planner.
func (r *record) waitedForData() { r.waited += r.lap() }

// account counts the work of an update.
func (r *record) account(u *update) {
	r.tokens += u.tokens
	for _, p := range u.plans {
		r.flops += r.t.job.flops(p)
	}
	r.lap()
}

// newRecord opens the log behind the state that the run stands at.
func newRecord(t *Trainer) (*record, error) {
	c := t.job.config
	names := make([]string, len(t.job.phases))
	for i, p := range t.job.phases {
		names[i] = p.objective
	}
	r := &record{t: t, peak: measurePeak(t.b), before: t.state.Seconds}
	header := report.Header{
		Objective: strings.Join(names, ", "), Seed: c.Train.Seed, Device: deviceLine(t.b), Parameters: model.NumParams(c.Model), Steps: t.job.total,
		Versions: map[string]string{"palimpsest": t.options.Version, "go": runtime.Version(), "data": t.state.Data, "tokenizer": t.state.Tokenizer},
		FLOPRule: flopRule, Configuration: runfile.JSON(c), Time: time.Now().UTC().Format(time.RFC3339),
	}
	var err error
	r.log, err = report.OpenLog(filepath.Join(t.options.Out, LogFile), t.state.Step, header, t.note)
	if err != nil {
		return nil, err
	}
	r.events = report.OpenEvents(filepath.Join(t.options.Out, EventFolder), t.state.Step, t.note)
	if t.options.Observe != nil {
		t.options.Observe.Begin(header, t.state.Step)
	}
	r.began = time.Now()
	if o := t.job.classes; o != nil && t.state.Step == 0 {
		r.log.Write(o.line())
	}
	return r, nil
}

func (r *record) elapsed() float64 {
	if r == nil {
		return 0
	}
	return r.before + time.Since(r.began).Seconds()
}

func (r *record) close() error {
	r.events.Close()
	return r.log.Close()
}

// say tells the user something, on the screen and in the log once it is open.
func (t *Trainer) say(format string, args ...any) { t.note(fmt.Sprintf(format, args...)) }

func (t *Trainer) note(text string) {
	if t.record != nil && t.record.log != nil {
		t.record.log.Write(report.Note{Step: t.state.Step, Text: text})
	}
	if t.options.Observe != nil {
		t.options.Observe.Note(text)
	}
}

// lineDue and normsDue report whether the log has a line, and one with norms, at the present step; logDue, whether any.
func (t *Trainer) lineDue() bool { return t.lineDueAt(t.state.Step) }

func (t *Trainer) lineDueAt(step int64) bool {
	return step%t.job.config.Log.Every == 0 || step == t.job.total
}

func (t *Trainer) normsDue() bool {
	every := t.job.config.Log.NormsEvery
	return every > 0 && t.state.Step%every == 0
}

func (t *Trainer) logDue() bool { return t.lineDue() || t.normsDue() }

// logStep writes what is due of the present step, whose update that was.
func (t *Trainer) logStep(u *update, s stepResult) {
	r, step := t.record, t.state.Step
	if t.normsDue() {
		t.logNorms()
	}
	r.lap()
	if !s.finite() {
		t.say("step %d was not finite (loss %g, gradient norm %g): the update was dropped; documents %s", step, s.loss, s.gradNorm, documentsOf(u))
	}
	if !t.lineDue() && s.finite() {
		return
	}
	seconds := max(r.spent.Seconds(), 1e-9)
	line := report.Step{
		Step: step, Epoch: t.epoch(), Phase: t.job.phases[u.phase].objective, Loss: s.loss, LossParts: s.parts, Measures: s.measures, Accuracy: s.accuracy, GradNorm: s.gradNorm,
		LR: s.rate, Tokens: t.state.Tokens, Bare: u.bare, Skipped: t.state.Skipped, TokensPerS: float64(r.tokens) / seconds, FLOPsPerS: r.flops / seconds,
		DataWait: r.waited.Seconds() / seconds, MemoryBytes: residentBytes(), DeviceBytes: t.deviceBytes(), Seconds: r.elapsed(),
	}
	if r.peak > 0 {
		mfu := line.FLOPsPerS / r.peak
		line.MFU = &mfu
	}
	r.tokens, r.flops, r.waited, r.spent = 0, 0, 0, 0
	r.log.Write(line)
	r.events.Step(line)
	if n := t.state.Noise; n != nil {
		r.log.Write(n.line(step))
	}
	if t.options.Observe != nil {
		t.options.Observe.Step(line)
	}
}

// epoch is how often the training tokens have been seen.
func (t *Trainer) epoch() float64 { return float64(t.state.Tokens) / t.job.trainTokens() }

// documentsOf lists the first documents of an update, to find what made it go wrong.
func documentsOf(u *update) string {
	const most = 16
	var ids []string
	for _, p := range u.plans {
		for _, id := range p.Documents {
			if len(ids) == most {
				return strings.Join(ids, " ") + " ..."
			}
			ids = append(ids, strconv.FormatInt(id, 10))
		}
	}
	return strings.Join(ids, " ")
}

func (t *Trainer) logEval(phase int, l eval.Loss) {
	line := report.Eval{Step: t.state.Step, Phase: t.job.evaluators[phase].name, Loss: l.Loss, Accuracy: &l.Accuracy, Perplexity: l.Perplexity, Rows: l.Rows,
		BaselineAccuracy: &l.BaselineAccuracy, BaselineLoss: &l.BaselineLoss, Measures: l.Measures, Seconds: t.record.elapsed()}
	if !l.Plain() {
		line.NLL = &l.NLL
	}
	t.record.log.Write(line)
	t.record.events.Eval(line)
	if t.options.Observe != nil {
		t.options.Observe.Eval(line)
	}
}

func (t *Trainer) logSave(took time.Duration) {
	if t.options.Observe != nil {
		t.options.Observe.Saved(t.state.Step, took)
	}
}

// residentBytes is the memory that the process holds, where the system tells.
func residentBytes() int64 {
	data, err := os.ReadFile("/proc/self/statm")
	if err == nil {
		if fields := strings.Fields(string(data)); len(fields) > 1 {
			if pages, err := strconv.ParseInt(fields[1], 10, 64); err == nil {
				return pages * int64(os.Getpagesize())
			}
		}
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.Sys)
}
