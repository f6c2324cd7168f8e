package bench

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"palimpsest/engine"
	"palimpsest/engine/checkpoint"
	"palimpsest/engine/fault"
	"palimpsest/engine/model"
	"palimpsest/engine/optim"
	"palimpsest/kernels"
	"palimpsest/objectives"
)

// Serve is our side of a comparison: it answers the requests of compare_child.go until its input ends.
func Serve(in io.Reader, out io.Writer) error {
	requests, answers := json.NewDecoder(in), json.NewEncoder(out)
	var o *ours
	for {
		var q request
		if err := requests.Decode(&q); err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return fault.Usage.Errorf("a request of bench compare: %w", err)
		}
		r, err := o.answer(q, &o)
		if err != nil {
			r = reply{Error: err.Error()}
		}
		if err := answers.Encode(r); err != nil {
			return fault.Write.Wrap(err)
		}
	}
}

// ours is a case in training.
type ours struct {
	run  *stepper
	plan []*objectives.Plan
}

func (o *ours) answer(q request, to **ours) (reply, error) {
	switch {
	case q.Setup != nil:
		made, r, err := newOurs(q.Setup)
		*to = made
		return r, err
	case o == nil:
		return reply{}, errors.New("steps were asked for before a setup")
	}
	return o.steps(q.Steps)
}

func newOurs(s *setup) (*ours, reply, error) {
	cases, err := CompareCases([]string{s.Case})
	if err != nil {
		return nil, reply{}, err
	}
	k := cases[0]
	c, problems := k.Model.Resolve(k.Vocab)
	if len(problems) > 0 {
		return nil, reply{}, fmt.Errorf("model.%w", problems[0])
	}
	b, err := kernels.Open(s.Device, s.Threads)
	if err != nil {
		return nil, reply{}, err
	}
	objective, err := objectives.New(k.Objective, objectives.Settings{Seed: 1, Mask: objectives.DefaultMask(),
		Vocabulary: objectives.Vocabulary{Size: k.Vocab, BOS: 0, EOS: 1, Pad: 2, Mask: 3, Special: func(id int32) bool { return id < 4 }}})
	if err != nil {
		return nil, reply{}, err
	}
	o := &ours{plan: <-synthetic(objective, k.Vocab, k.Length, k.Length*k.Sequences, 1, 1)}
	p := o.plan[0]
	capacity := model.Capacity{Tokens: len(p.Tokens), Rows: p.Rows()}
	a := s.Optimizer
	o.run = newStepper(b, c, capacity, optim.Config{Kind: "adamw", LearningRate: a.LearningRate, WeightDecay: a.WeightDecay, Betas: a.Betas, Eps: a.Eps,
		Clip: a.Clip, LayerDecay: 1}, 0)
	if err := writeWeights(s.Weights, b, o.run.weights); err != nil {
		return nil, reply{}, err
	}
	info := b.Info()
	t := p.Terms[0]
	return o, reply{Library: "palimpsest", Device: info.Device, Products: info.Products, Precision: info.Compute.String(), Parameters: model.NumParams(c),
		ProductRate: engine.ProductRate(b, 1024, 5),
		batch:       batch{p.Tokens, t.Rows, t.Targets}}, nil
}

// writeWeights writes all parameters in float32 under their own names.
func writeWeights(path string, b kernels.Backend, w *model.Weights) error {
	var tensors []checkpoint.Tensor
	for _, p := range w.Params {
		data := make([]float32, p.Len())
		b.Download(data, p.Master)
		tensors = append(tensors, checkpoint.Tensor{Name: p.Name, DType: checkpoint.F32, Shape: p.Shape, Data: data})
	}
	if err := b.Sync(); err != nil {
		return err
	}
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	return errors.Join(checkpoint.WriteSafetensors(file, tensors, nil), file.Close())
}

// steps trains n steps on the one batch.
func (o *ours) steps(n int) (r reply, err error) {
	p := o.plan[0]
	for range n {
		if err := o.run.update(o.plan, 1); err != nil {
			return r, err
		}
		_, terms, err := o.run.a.Results([]string{p.Terms[0].Name})
		if err != nil {
			return r, err
		}
		r.Losses = append(r.Losses, terms[0].Loss/p.Terms[0].Den)
	}
	r.PeakMemory = peakMemory()
	return r, nil
}

// describe turns a model into the plain numbers of a setup. The PyTorch side knows two architectures.
func (s *setup) describe(k CompareCase) error {
	c, problems := k.Model.Resolve(k.Vocab)
	if len(problems) > 0 {
		return fault.Usage.Errorf("model.%w", problems[0])
	}
	s.Case, s.Length, s.Causal = k.Name, k.Length, k.Objective == "clm"
	s.Layers, s.Width, s.Heads, s.FF, s.Vocab = c.Layers, c.Width, c.Heads, c.FF, int(c.Vocab)
	s.Context, s.Types, s.NormEps = c.Context, c.Types, c.NormEps
	s.GELUTanh, s.PostNorm = strings.HasSuffix(c.MLP, "_tanh"), c.Placement == "post"
	return nil
}
