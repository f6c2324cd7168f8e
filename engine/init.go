package engine

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"palimpsest/engine/checkpoint"
	"palimpsest/engine/fault"
	"palimpsest/engine/model"
	"palimpsest/engine/text"
)

// initPlan is what a run takes from another run's checkpoint: all weights but classification heads that one of them lacks. That
// run's adapters are merged into its weights; those of this one begin anew.
type initPlan struct {
	dir     string
	hash    string // of the weights
	tensors weightSource
	adapted bool     // the checkpoint is of a run with adapters
	fresh   []string // parameters that the checkpoint lacks
	left    []string // tensors that the model lacks
	drawn   []string // of the language model's head, which an import made up and nobody trained
}

// planInit opens a checkpoint, or a run's best or newest one, and compares it with a model. The caller closes tensors.
func planInit(path string, c model.Config, tokenizer string) (p initPlan, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("train.init: %w", err)
			if p.tensors != nil {
				p.tensors.Close()
			}
		}
	}()
	from, err := findCheckpoint(path)
	if err != nil {
		return p, err
	}
	p.dir = from.Dir()
	if p.hash, err = weightsHash(from); err != nil {
		return p, err
	}
	if err := sameTokenizer(from, tokenizer); err != nil {
		return p, err
	}
	config, err := readConfig(from)
	if err != nil {
		return p, err
	}
	p.adapted = config.Adapter.On()
	if from.Has(originFile) && config.Train.Init == "" {
		var o origin
		if err := o.read(from); err != nil {
			return p, err
		}
		p.drawn = slices.DeleteFunc(o.New, besideLM)
	}
	if p.tensors, err = mergedWeights(from, config); err != nil {
		return p, err
	}
	heads := c.Adapter.Heads || !c.Adapter.On()
	c.Adapter = model.Adapter{}
	known := map[string]bool{}
	for _, param := range model.Layout(c).Params {
		known[param.Name] = true
		info, ok := p.tensors.Info(param.Name)
		switch {
		case ok && !slices.Equal(info.Shape, param.Shape):
			return p, fault.Checkpoint.Errorf("%s: tensor %s has shape %v, the model wants %v; hint: give the model section the sizes of that run, or leave it out, and it is taken from there", p.dir, param.Name, info.Shape, param.Shape)
		case !ok && !besideLM(param.Name):
			return p, fault.Checkpoint.Errorf("%s has no tensor %s; hint: only classification heads and a transition head may be new, the rest of the model section must be that of the checkpoint's run", p.dir, param.Name)
		case !ok && !heads:
			return p, fault.Usage.Errorf("%s has no tensor %s, and with adapter.heads: false it would stay as it is drawn; hint: adapter.heads: true", p.dir, param.Name)
		case !ok:
			p.fresh = append(p.fresh, param.Name)
		}
	}
	for _, name := range p.tensors.Names() {
		switch {
		case known[name]:
		case !besideLM(name):
			return p, fault.Checkpoint.Errorf("%s: tensor %s has no place in the model; hint: only classification heads and a transition head may be left behind, the rest of the model section must be that of the checkpoint's run", p.dir, name)
		default:
			p.left = append(p.left, name)
		}
	}
	return p, nil
}

// sameTokenizer refuses a checkpoint that was trained with another tokenizer than the data set's, by their hashes.
func sameTokenizer(from *checkpoint.Checkpoint, tokenizer string) error {
	raw, err := from.Read(TokenizerFile)
	if err != nil {
		return err
	}
	trained, err := text.Parse(raw)
	if err != nil {
		return fault.Checkpoint.Errorf("%s: %s: %w", from.Dir(), TokenizerFile, err)
	}
	if trained.Hash() != tokenizer {
		return fault.Data.Errorf("%s was trained with tokenizer %s, the data set was made with %s; hint: build the data set with the tokenizer of the checkpoint, %s/%s",
			from.Dir(), trained.Hash(), tokenizer, from.Dir(), TokenizerFile)
	}
	return nil
}

// fits refuses adapters on a head that would stay as it was drawn.
func (p *initPlan) fits(c Config) error {
	asksLM := slices.ContainsFunc(c.phaseList(), func(phase Phase) bool { return !classifies(phase.Objective) })
	if !c.Adapter.On() || len(p.drawn) == 0 || !asksLM {
		return nil
	}
	return fault.Usage.Errorf("train.init: %s came without a head of the language model: %s were drawn, and with adapters they would stay so; hint: train them in a run without adapters (adapter.rank: 0) first, and begin with that one",
		p.dir, strings.Join(p.drawn, ", "))
}

// besideLM reports whether a parameter is of a head beside the language model's, which a run may add or leave behind.
func besideLM(name string) bool {
	return strings.HasPrefix(name, model.ClassifierPrefix) || strings.HasPrefix(name, model.LinksPrefix)
}

// adoptModel gives a run that begins with another model's weights the model section of that one, unless it says something of its
// own about the model. Classification heads do not count: those that are named here stay.
func adoptModel(c *Config, tokenizer string) (note string, err error) {
	own := c.Model
	own.Classifiers, own.Adapter = nil, model.Adapter{}
	if c.Train.Init == "" || !reflect.DeepEqual(own, Default().Model) {
		return "", nil
	}
	from, err := findCheckpoint(c.Train.Init)
	if err != nil {
		return "", fmt.Errorf("train.init: %w; hint: a run that has begun is resumed without it by --config RUN/config.yaml", err)
	}
	if err := sameTokenizer(from, tokenizer); err != nil {
		return "", fmt.Errorf("train.init: %w", err)
	}
	theirs, err := readConfig(from)
	if err != nil {
		return "", fmt.Errorf("train.init: %w", err)
	}
	heads := c.Model.Classifiers
	if c.Model = theirs.Model; len(heads) > 0 {
		c.Model.Classifiers = heads
	}
	return "the model section is that of " + from.Dir(), nil
}

// note names what was not taken over.
func (p *initPlan) note() string {
	s := "weights begin as " + p.dir
	if p.adapted {
		s += " with its adapters merged into them"
	}
	if len(p.fresh) > 0 {
		s += "; new: " + strings.Join(p.fresh, ", ")
	}
	if len(p.left) > 0 {
		s += "; left behind: " + strings.Join(p.left, ", ")
	}
	return s
}

// begin replaces initial weights by those of a checkpoint.
func (t *Trainer) begin(path string) error {
	p, err := planInit(path, t.job.config.Model, t.job.tokenizer.Hash())
	if err != nil {
		return err
	}
	defer p.tensors.Close()
	if err := errors.Join(t.job.checkClassModel(p.dir, p.hash), p.fits(t.job.config)); err != nil {
		return err
	}
	for _, param := range t.weights.Params {
		if slices.Contains(p.fresh, param.Name) || model.IsAdapter(param.Name) {
			continue
		}
		values := make([]float32, param.Len())
		if err := p.tensors.ReadFloat32(param.Name, values); err != nil {
			return fault.Checkpoint.Wrap(err)
		}
		if err := finite(param.Name, values); err != nil {
			return fmt.Errorf("train.init: %s: %w", p.dir, err)
		}
		t.b.Upload(param.Master, values)
	}
	t.weights.Publish(t.b)
	t.say("%s", p.note())
	return t.b.Sync()
}
