package engine

import (
	"io/fs"
	"path/filepath"
	"strings"
	"testing"

	"palimpsest/engine/fault"
	"palimpsest/engine/model"
	"palimpsest/engine/signals"
	"palimpsest/engine/vfs"
	"palimpsest/kernels"
)

// SIGTERM, as its watcher gives it to the run, at every kind of moment: each time one committed checkpoint and exit code 75,
// and the resumed run ends with the bits of one that was left alone. In the middle of an update: TestStopInsideAnUpdate;
// the signal itself: TestSignals.
func TestStopAtEveryMoment(t *testing.T) {
	c := tinyConfig(dataset(t, 200), 8)
	straight := filepath.Join(t.TempDir(), "straight")
	mustTrain(t, Options{Config: c, Out: straight})
	for _, x := range []struct {
		name string
		step string // at which the run must say that it stopped
		run  func(o Options, watch *signals.Watcher) error
	}{
		{"before the first step", "step 0 of 8", func(o Options, watch *signals.Watcher) error {
			watch.Stop()
			return Train(o)
		}},
		{"in an evaluation", "step 4 of 8", func(o Options, watch *signals.Watcher) error {
			evaluating, embedded := false, 0
			o.Observe = &stopping{at: 4, stop: func() { evaluating = true }}
			tr, err := newTrainer(o)
			if err != nil {
				return err
			}
			defer tr.close()
			hook := &embedding{Backend: tr.b, before: func() {
				if evaluating {
					if embedded++; embedded == 2 {
						watch.Stop()
					}
				}
			}}
			tr.b = hook
			*tr.acts = *model.NewActivations(tr.b, tr.job.config.Model, tr.job.capacity(), true)
			return tr.run()
		}},
		{"in a save", "step 4 of 8", func(o Options, watch *signals.Watcher) error {
			o.FS = &creating{part: optimizerFile, do: func() { // twice: the second changes nothing
				watch.Stop()
				watch.Stop()
			}}
			return Train(o)
		}},
		{"while no data comes", "step 0 of 8", func(o Options, watch *signals.Watcher) error {
			tr, err := newTrainer(o)
			if err != nil {
				return err
			}
			defer tr.close()
			tr.feed.updates = make(chan *update) // a disk that does not answer
			go watch.Stop()
			return tr.run()
		}},
	} {
		run := filepath.Join(t.TempDir(), "run")
		watch := signals.Watch(t.Context())
		err := x.run(Options{Config: c, Out: run, Watch: watch}, watch)
		watch.Close()
		wantFault(t, x.name, err, fault.Preempted, "Stop at "+x.step, "the checkpoint is committed")
		mustTrain(t, Options{Config: c, Out: run})
		if a, b := fingerprint(t, straight), fingerprint(t, run); a != b {
			t.Errorf("%s: straight:\n%s\nstopped:\n%s", x.name, a, b)
		}
	}
}

// embedding does something before every micro-batch, of training and of evaluation.
type embedding struct {
	kernels.Backend
	before func()
}

func (e *embedding) Embed(out, ids, pos, tokens, positions, types kernels.Buf, n, C int) {
	e.before()
	e.Backend.Embed(out, ids, pos, tokens, positions, types, n, C)
}

// creating does something when the file of a name is made.
type creating struct {
	vfs.OS
	part string
	do   func()
}

func (f *creating) Create(name string) (vfs.File, error) {
	if strings.HasSuffix(name, f.part) {
		f.do()
	}
	return f.OS.Create(name)
}

// A checkpoint that cannot be committed on leaving is exit code 6, never 75: a scheduler would requeue what is lost.
func TestLeavingWithoutACheckpointIsNoPreemption(t *testing.T) {
	c := tinyConfig(dataset(t, 150), 6)
	c.Eval.Every, c.StopAfter = 0, 3
	run := filepath.Join(t.TempDir(), "run")
	err := Train(Options{Config: c, Out: run, FS: &refusing{after: 3, err: fs.ErrPermission}})
	wantFault(t, "leaving", err, fault.Write, "checkpoint")
}
