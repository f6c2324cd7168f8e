package engine

import (
	"errors"
	"os"
	"path/filepath"

	"palimpsest/engine/checkpoint"
	"palimpsest/engine/eval"
	"palimpsest/engine/fault"
	"palimpsest/engine/model"
	"palimpsest/engine/runfile"
	"palimpsest/engine/shard"
	"palimpsest/engine/text"
	"palimpsest/engine/vfs"
	"palimpsest/kernels"
)

// Model is a trained model opened for evaluation or inference.
type Model struct {
	Backend   kernels.Backend
	Config    Config // of the run that trained it
	Weights   *model.Weights
	Tokenizer *text.Tokenizer
	Dir       string // checkpoint folder
	Hash      string // of the weights
	Step      int64
}

// OpenModel opens a checkpoint folder, or of a run folder the best checkpoint, or the newest where none was evaluated. Of a run that keeps
// a moving average of its weights it is the average, which the run's evaluations are about.
// The weights are verified against their hashes and are not trainable.
func OpenModel(path, device string, threads int) (m *Model, err error) {
	c, err := findCheckpoint(path)
	if err != nil {
		return nil, err
	}
	m = &Model{Dir: c.Dir(), Step: c.Step()}
	if m.Config, err = readConfig(c); err != nil {
		return nil, err
	}
	if m.Hash, err = weightsHash(c); err != nil {
		return nil, err
	}
	raw, err := c.Read(TokenizerFile)
	if err != nil {
		return nil, err
	}
	if m.Tokenizer, err = text.Parse(raw); err != nil {
		return nil, fault.Checkpoint.Errorf("%s: %s: %w", c.Dir(), TokenizerFile, err)
	}
	if m.Backend, err = openDevice(device, threads); err != nil {
		return nil, err
	}
	b := m.Backend // m is nil once an error is returned
	defer func() {
		if err != nil {
			b.Close()
		}
	}()
	m.Weights = model.NewWeights(m.Backend, m.Config.Model, false)
	tensors, err := storedWeights(c, m.Config)
	if err != nil {
		return nil, err
	}
	defer tensors.Close()
	if err := restore(m.Backend, tensors, weightsIn(m.Weights)); err != nil {
		return nil, err
	}
	m.Weights.Publish(m.Backend)
	return m, nil
}

// Close gives the device back.
func (m *Model) Close() { m.Backend.Close() }

// findCheckpoint resolves the path of a checkpoint or run folder and verifies what it finds.
func findCheckpoint(path string) (*checkpoint.Checkpoint, error) {
	fs := vfs.OS{}
	if _, err := os.Stat(path); err != nil {
		return nil, fault.Checkpoint.Errorf("%w; hint: give a run folder or one of its checkpoints/step-NNNNNNN", err)
	}
	dir := filepath.Join(path, "checkpoints")
	if ok, err := vfs.Exists(fs, dir); err != nil || !ok {
		c, openErr := checkpoint.Open(fs, path)
		return c, errors.Join(err, openErr)
	}
	best, ok, err := checkpoint.ReadBest(fs, dir)
	if err != nil {
		return nil, err
	}
	entries, err := checkpoint.List(fs, dir)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if ok && e.Step == best.Step {
			return checkpoint.Open(fs, e.Path)
		}
	}
	c, rejected, err := checkpoint.Latest(fs, dir)
	if err != nil {
		return nil, err
	}
	if len(rejected) > 0 {
		return nil, fault.Checkpoint.Errorf("%s; hint: name the checkpoint to use: %s", rejected[0], c.Dir())
	}
	if c == nil {
		return nil, fault.Checkpoint.Errorf("%s has no checkpoint yet", path)
	}
	return c, nil
}

// Evaluate measures the model on held-out documents: those of its run (data == ""), or of another data set made with the same
// tokenizer, all of whose documents count. objective "" means that of the run's last phase; tokens bounds how much is read (0:
// all of it).
func (m *Model) Evaluate(data, objective string, tokens int64) (eval.Loss, error) {
	j, err := m.job(data, objective)
	if err != nil {
		return eval.Loss{}, err
	}
	defer j.close()
	a := model.NewActivations(m.Backend, m.Weights.Config, j.capacity(), false)
	if err := j.fillReference(m.Backend, j.attachReference(m.Backend, a, m.Weights)); err != nil {
		return eval.Loss{}, err
	}
	return j.evaluate(a, m.Weights, len(j.phases)-1, tokens, nil)
}

// checkData refuses a data set of another tokenizer.
func (m *Model) checkData(dir string) error {
	ds, err := shard.Open(dir)
	if err != nil {
		return err
	}
	defer ds.Close()
	return ds.CheckTokenizer(m.Tokenizer.Hash(), m.Tokenizer.Vocab())
}

// job opens the held-out documents of the model's run, or all of another data set, for an objective ("": that of the run's
// last phase).
func (m *Model) job(data, objective string) (_ *job, err error) {
	c := m.Config
	if data != "" && data != c.Data.Train {
		c.Data.Train, c.Data.Valid = data, Held{Dir: data}
	}
	if c.Data.Train == "" {
		return nil, fault.Usage.Errorf("%s was imported and has no documents of its own; hint: --data DIR, made with its tokenizer, %s", m.Dir, filepath.Join(m.Dir, TokenizerFile))
	}
	c.SHAD.Method = "sft" // nothing is weighed here; classes are told apart where there are any
	if objective != "" {
		c.Objective, c.Phases, c.Train.Steps = objective, nil, 1
		if err := runfile.Check(&c); err != nil {
			return nil, err
		}
	}
	if err := m.checkData(c.Data.Train); err != nil {
		return nil, err
	}
	j, err := prepare(c)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			j.close()
		}
	}()
	if err = j.valid.CheckTokenizer(m.Tokenizer.Hash(), m.Tokenizer.Vocab()); err != nil {
		return nil, err
	}
	if !j.hasValid() {
		err = fault.Usage.Errorf("the run held out no documents (data.valid: 0); hint: --data DIR with documents for evaluation")
	}
	return j, nil
}
