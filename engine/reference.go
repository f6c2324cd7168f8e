package engine

import (
	"fmt"
	"reflect"

	"palimpsest/engine/checkpoint"
	"palimpsest/engine/fault"
	"palimpsest/engine/model"
	"palimpsest/kernels"
	"palimpsest/objectives"
)

// Reference is the run file's section on the frozen model that some objectives compare with the one that is trained.
type Reference struct {
	Model        string `yaml:"model" doc:"run folder or checkpoint of the frozen model; empty: the weights that the run begins with, those of train.init"`
	Provider     string `yaml:"provider" enum:"frozen,adapter_off,cached" doc:"frozen: a second set of weights; adapter_off: the trained model without its adapters, which needs no weights of its own; cached: its logits, computed before by 'train --cache-reference'"`
	Cache        string `yaml:"cache" doc:"folder of the logits under provider: cached"`
	TopK         int    `yaml:"top_k" min:"0" doc:"logits that are kept of a row in the cache, the rest of the mass being spread as the trained model does: an approximation; 0: all"`
	ShareDropout bool   `yaml:"share_dropout" doc:"the reference has the dropout of the trained model, so that both begin equal; false: none"`
}

// DefaultReference is the model that the run begins with.
func DefaultReference() Reference { return Reference{Provider: "frozen"} }

// Validate returns what is wrong, each message beginning with the key.
func (r Reference) Validate() (problems []error) {
	if r.Provider == "adapter_off" && r.Model != "" {
		problems = append(problems, fmt.Errorf("model: under provider: adapter_off the reference is the trained model without its adapters; hint: leave model out"))
	}
	cached := r.Provider == "cached"
	switch {
	case cached && r.Cache == "":
		problems = append(problems, fmt.Errorf("cache: provider: cached needs the folder of the logits"))
	case !cached && (r.Cache != "" || r.TopK > 0):
		problems = append(problems, fmt.Errorf("cache: cache and top_k go together with provider: cached"))
	case cached && r.ShareDropout:
		problems = append(problems, fmt.Errorf("share_dropout: cached logits have no dropout"))
	}
	return problems
}

// referenceModel is the frozen model of a job.
type referenceModel struct {
	Reference
	dir    string
	hash   string // of the weights; "" where they are in the run's own checkpoints
	from   *checkpoint.Checkpoint
	run    Config       // that trained it
	config model.Config // without adapters
	rows   *cachedRows  // nil: the model itself runs
}

// hasReference reports whether the run names weights that can be its reference.
func (c *Config) hasReference() bool { return c.Reference.Model != "" || c.Train.Init != "" }

// usesReference reports whether an objective of the run, or its evaluation, asks for a reference.
func (j *job) usesReference() (objective string, uses bool) {
	for _, o := range j.objectives {
		if objectives.NeedsReference(o) {
			return o.Name(), true
		}
	}
	for _, e := range j.evaluators {
		if objectives.NeedsReference(e.objective) {
			return e.name, true
		}
	}
	return "", false
}

// openReference opens and checks the reference model, where the run uses one.
func (j *job) openReference() error {
	objective, uses := j.usesReference()
	if !uses {
		return nil
	}
	c := &j.config
	r := &referenceModel{Reference: c.Reference, config: c.Model}
	r.config.Adapter = model.Adapter{}
	if r.Provider == "adapter_off" {
		if !c.Adapter.On() {
			return fault.Usage.Errorf("reference.provider: adapter_off, but the run has no adapters; hint: adapter.rank, or provider: frozen")
		}
		j.reference = r
		j.note("the reference is the model without its adapters")
		return nil
	}
	key, path := "reference.model", r.Model
	if path == "" {
		key, path = "reference.model is open, train.init", c.Train.Init
	}
	if path == "" {
		return fault.Usage.Errorf("the objective %s compares the model with a frozen reference, and the run has none; hint: --set train.init=MODEL, a run or an imported model that it begins with, or reference.model", objective)
	}
	if err := r.open(path, j); err != nil {
		return fmt.Errorf("%s: %w", key, err)
	}
	if r.Provider == "cached" {
		return r.openCache(j)
	}
	j.reference = r
	j.note("the reference is %s, weights %s, frozen", r.dir, r.hash)
	return nil
}

// openCache opens the reference's logits.
func (r *referenceModel) openCache(j *job) (err error) {
	if err := j.config.checkCached(int(j.config.Model.Vocab)); err != nil {
		return err
	}
	if r.rows, err = openRows(r.Cache, rowsMeta{Format: rowsFormat, Weights: r.hash, Tokenizer: j.tokenizer.Hash(), Vocab: int(j.config.Model.Vocab), TopK: r.TopK}); err != nil {
		return err
	}
	j.reference = r
	j.note("the reference is %s, weights %s, as %d rows of logits in %s", r.dir, r.hash, r.rows.meta.Rows, r.Cache)
	if r.TopK > 0 {
		j.note("reference.top_k: of a row the %d likeliest tokens are kept; the mass of the others is spread over them as the trained model does, which is an approximation", r.TopK)
	}
	return nil
}

// open finds a checkpoint and compares it with the job.
func (r *referenceModel) open(path string, j *job) (err error) {
	if r.from, err = findCheckpoint(path); err != nil {
		return err
	}
	r.dir = r.from.Dir()
	if r.hash, err = weightsHash(r.from); err != nil {
		return err
	}
	if err := sameTokenizer(r.from, j.tokenizer.Hash()); err != nil {
		return err
	}
	if r.run, err = readConfig(r.from); err != nil {
		return err
	}
	r.config = r.run.Model
	r.config.Adapter = model.Adapter{}
	trained := j.config.Model
	switch {
	case r.config.Vocab != trained.Vocab:
		return fault.Usage.Errorf("%s has a vocabulary of %d, the trained model one of %d (tokenizer %s of both)", r.dir, r.config.Vocab, trained.Vocab, j.tokenizer.Hash())
	case r.config.Context < j.config.Data.Length:
		return fault.Usage.Errorf("%s sees %d tokens, data.length is %d; hint: --set data.length=%d", r.dir, r.config.Context, j.config.Data.Length, r.config.Context)
	case r.ShareDropout && !sameBody(r.config, trained):
		return fault.Usage.Errorf("reference.share_dropout: %s is of another shape than the trained model; hint: share_dropout: false", r.dir)
	}
	return nil
}

// sameBody reports whether two models differ in their classification heads at most.
func sameBody(a, b model.Config) bool {
	a.Classifiers, a.Adapter, a.Preset = nil, model.Adapter{}, ""
	b.Classifiers, b.Adapter, b.Preset = nil, model.Adapter{}, ""
	return reflect.DeepEqual(a, b)
}

// attachReference allocates the job's reference beside the activations of a model with the weights w. The weights that it
// returns are still to be filled; they are nil where there are none of its own.
func (j *job) attachReference(b kernels.Backend, a *model.Activations, w *model.Weights) *model.Weights {
	r := j.reference
	switch {
	case r == nil:
		return nil
	case r.rows != nil:
		a.SetReferenceRows(r.rows)
		return nil
	case r.Provider == "adapter_off":
		a.SetReference(w.WithoutAdapter(), r.ShareDropout)
		return nil
	}
	frozen := model.NewWeights(b, r.config, false)
	a.SetReference(frozen, r.ShareDropout)
	return frozen
}

// fillReference reads the reference's weights; w nil is a reference without weights of its own.
func (j *job) fillReference(b kernels.Backend, w *model.Weights) error {
	if w == nil {
		return nil
	}
	tensors, err := mergedWeights(j.reference.from, j.reference.run)
	if err != nil {
		return err
	}
	defer tensors.Close()
	if err := restore(b, tensors, weightsIn(w)); err != nil {
		return fmt.Errorf("reference: %s: %w", j.reference.dir, err)
	}
	w.Publish(b)
	return b.Sync()
}

// referenceBytes is the memory that the reference takes.
func (j *job) referenceBytes(compute, master kernels.DType) int64 {
	r := j.reference
	if r == nil {
		return 0
	}
	if r.rows != nil {
		const perRow = 64 // of the index
		return r.rows.meta.Rows*perRow + model.ReferenceRowBytes(j.config.Model, j.capacity(), compute, r.TopK > 0)
	}
	weights, activations := model.ReferenceBytes(j.config.Model, r.config, j.capacity(), compute, master)
	if r.Provider == "adapter_off" {
		weights = 0
	}
	return weights + activations
}

// flops counts one micro-batch of training, with the reference where it runs.
func (j *job) flops(p *objectives.Plan) float64 {
	f := model.FLOPs(j.config.Model, p)
	if j.reference != nil && j.reference.rows == nil {
		f += model.ReferenceFLOPs(j.reference.config, p)
	}
	return f
}
