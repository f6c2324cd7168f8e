package engine

import (
	"errors"
	"os"
	"path/filepath"

	"palimpsest/engine/checkpoint"
	"palimpsest/engine/fault"
	"palimpsest/engine/model"
	"palimpsest/engine/optim"
	"palimpsest/engine/runfile"
	"palimpsest/engine/shard"
	"palimpsest/engine/vfs"
	"palimpsest/kernels"
	"palimpsest/objectives"
)

// newTrainer opens the data and the device, takes the run folder, and brings the state to where the run goes on.
func newTrainer(o Options) (t *Trainer, err error) {
	t = &Trainer{options: o, fs: o.FS, saved: -1}
	if t.fs == nil {
		t.fs = vfs.OS{}
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, t.close())
			t = nil
		}
	}()
	if t.job, err = prepare(o.Config); err != nil {
		return t, err
	}
	if t.b, err = openDevice(o.Config.Train.Device, o.Config.Train.Threads); err != nil {
		return t, err
	}
	if _, err = t.job.deviceNeed(t.b); err != nil {
		return t, err
	}
	if t.lock, err = checkpoint.LockRun(o.Out); err != nil {
		return t, err
	}
	if s := t.lock.Stale(); s != "" {
		t.say("the run folder was left without an orderly end by %s", s)
	}
	for _, n := range t.job.notes {
		t.say("%s", n)
	}
	for _, n := range t.b.Info().Notes {
		t.say("%s", n)
	}
	c := t.job.config
	t.allocate()
	if err = t.b.Sync(); err != nil {
		return t, err
	}
	t.state = state{Format: stateFormat, Data: hashText(t.job.data), Tokenizer: t.job.tokenizer.Hash(), Device: deviceLine(t.b), Version: o.Version}
	if t.job.reference != nil {
		t.state.Reference = t.job.reference.hash
	}
	if err = t.resume(); err != nil {
		return t, err
	}
	if err = t.job.fillReference(t.b, t.reference); err != nil {
		return t, err
	}
	t.first = t.state.Step
	if err = vfs.WriteAtomic(t.fs, filepath.Join(o.Out, configFile), runfile.Marshal(c)); err != nil {
		return t, fault.Write.Wrap(err)
	}
	if t.record, err = newRecord(t); err != nil {
		return t, err
	}
	if _, ok := t.b.(kernels.Device); ok { // also without graphs, so that these change no bit
		t.job.filler = objectives.NewFiller(c.Data.TokensPerStep, c.Data.Length)
	}
	t.feed, err = t.job.feed(t.state.Step, t.state.Pieces, t.state.Cursor)
	return t, err
}

// allocate takes all memory of a run on its backend.
func (t *Trainer) allocate() {
	c := t.job.config
	t.weights = model.NewWeights(t.b, c.Model, true)
	t.acts = model.NewActivations(t.b, c.Model, t.job.capacity(), true)
	t.reference = t.job.attachReference(t.b, t.acts, t.weights)
	t.opt = optim.New(t.b, c.Optimizer, t.weights)
	t.average = optim.NewEMA(t.b, c.EMA, t.weights)
	t.noise = t.b.Alloc(kernels.F64, 1)
}

// resume loads the checkpoint that the options ask for, or draws initial weights.
func (t *Trainer) resume() error {
	swept, err := checkpoint.Sweep(t.fs, t.checkpoints())
	if err != nil {
		return err
	}
	for _, s := range swept {
		t.say("%s", s)
	}
	var from *checkpoint.Checkpoint
	switch t.options.Resume {
	case "", "auto":
		var rejected []checkpoint.Rejected
		from, rejected, err = checkpoint.Latest(t.fs, t.checkpoints())
		for _, r := range rejected {
			t.say("%s", r)
		}
	case "never":
	default:
		from, err = checkpoint.Open(t.fs, t.options.Resume)
	}
	if err != nil {
		return err
	}
	step := int64(-1)
	if from == nil {
		t.weights.Init(t.b, t.job.config.Train.Seed)
		if path := t.job.config.Train.Init; path != "" {
			if err := t.begin(path); err != nil {
				return err
			}
		}
		if t.average != nil {
			t.average.Begin(t.b, t.weights)
		}
	} else {
		if err := t.load(from); err != nil {
			return err
		}
		step = t.state.Step
		t.say("resuming from %s, step %d of %d", from.Dir(), step, t.job.total)
		if parent, err := filepath.Abs(filepath.Dir(from.Dir())); err == nil && sameFile(parent, t.checkpoints()) {
			t.saved = step
		}
	}
	aside, err := checkpoint.SetAside(t.fs, t.checkpoints(), step)
	for _, path := range aside {
		t.say("set aside as %s: the run goes on from before it", path)
	}
	return err
}

func sameFile(a, b string) bool {
	x, errX := os.Stat(a)
	y, errY := os.Stat(b)
	return errX == nil && errY == nil && os.SameFile(x, y)
}

// close ends everything that newTrainer began. It may follow a failed newTrainer.
func (t *Trainer) close() error {
	var errs []error
	if t.feed != nil {
		errs = append(errs, t.feed.close())
	}
	if t.record != nil {
		errs = append(errs, t.record.close())
	}
	if t.b != nil {
		t.b.Close()
	}
	if t.lock != nil {
		errs = append(errs, t.lock.Unlock())
	}
	if t.job != nil {
		t.job.close()
	}
	return errors.Join(errs...)
}

// hashText identifies a data set's content.
func hashText(ds *shard.Dataset) string {
	text, err := ds.Index().Hash.MarshalText()
	if err != nil {
		return err.Error()
	}
	return string(text)
}
