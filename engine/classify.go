package engine

import (
	"errors"
	"io"
	"slices"

	"palimpsest/engine/eval"
	"palimpsest/engine/fault"
	"palimpsest/engine/model"
	"palimpsest/engine/shard"
	"palimpsest/objectives"
)

// classifies reports whether an objective learns a classification head.
func classifies(objective string) bool { return objective == "classify" || objective == "tag" }

// planes lists what the objectives of all phases read beside the tokens.
func (j *job) planes() (names []string) {
	for _, o := range j.objectives {
		names = append(names, objectives.PlanesOf(o)...)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// classBaseline counts the classes of the training documents, the first few millions of tokens of them.
func (j *job) classBaseline(phase int) (*eval.Unigram, error) {
	c := shard.StreamConfig{Seed: j.config.Data.Seed, Epochs: 1, Split: j.split(shard.Train), Planes: j.planes()}
	next, closing, err := planned(j.data, c, j.packing(), j.evaluators[phase].objective, int(j.config.Model.Vocab), j.config.Model.Context, baselineTokens)
	if err != nil {
		return nil, err
	}
	defer closing()
	var u *eval.Unigram
	for {
		p, err := next()
		if errors.Is(err, io.EOF) {
			return u, nil
		}
		if err != nil {
			return nil, err
		}
		t := &p.Terms[0] // the only one
		if u == nil {
			u = eval.NewUnigram(t.Classes)
		}
		u.Observe(t.Targets, nil)
	}
}

// Classify measures a classification head on held-out documents: those of the model's run (data == ""), or of another data
// set made with the same tokenizer, all of whose documents count. objective is "classify", "tag" or "" for that of the run's
// last phase; tokens bounds how much is read (0: all of it).
func (m *Model) Classify(data, objective string, tokens int64) (eval.Classification, error) {
	j, err := m.job(data, objective)
	if err != nil {
		return eval.Classification{}, err
	}
	defer j.close()
	phase := len(j.phases) - 1
	if name := j.phases[phase].objective; !classifies(name) {
		return eval.Classification{}, fault.Usage.Errorf("the run's last objective is %s, which has no classes; hint: --objective classify or tag, of a model with model.classifiers", name)
	}
	next, closing, err := j.heldOut(phase, tokens)
	if err != nil {
		return eval.Classification{}, err
	}
	defer closing()
	a := model.NewActivations(m.Backend, m.Weights.Config, j.capacity(), false)
	return eval.Classify(a, m.Weights, next, nil)
}
