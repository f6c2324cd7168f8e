package engine

import (
	"slices"

	"palimpsest/engine/eval"
	"palimpsest/engine/fault"
	"palimpsest/engine/model"
	"palimpsest/objectives"
)

// FillMask returns the top answers for every mask token of texts, most probable first: answers[i][m] belongs to the m-th mask of
// texts[i]. Models that exlm trained answer with the states on the best path through a text's graph.
func (m *Model) FillMask(texts [][]int32, top int) (answers [][][]eval.Answer, err error) {
	if !slices.Contains(m.Config.Trained(), "exlm") {
		context := m.Config.Model.Context
		capacity := model.Capacity{Tokens: max(context, 1024), Rows: max(context, 1024)}
		return eval.FillMask(model.NewActivations(m.Backend, m.Config.Model, capacity, false), m.Weights, capacity, texts, m.Tokenizer.Mask, top)
	}
	err = m.overLattices(texts, texts, func(a *model.Activations, p *objectives.Plan) error {
		list, err := eval.FillLattices(a, m.Weights, p, m.Tokenizer.Mask, top)
		answers = append(answers, list...)
		return err
	})
	return answers, err
}

// Recall returns the log-probabilities of targets at the one mask of each text, from what the states of the mask say together; nil
// for models that exlm did not train.
func (m *Model) Recall() func(texts, targets [][]int32) ([][]float64, error) {
	if !slices.Contains(m.Config.Trained(), "exlm") {
		return nil
	}
	return func(texts, targets [][]int32) (logP [][]float64, err error) {
		err = m.overLattices(texts, texts, func(a *model.Activations, p *objectives.Plan) error {
			part, err := eval.RecallLattices(a, m.Weights, p, m.Tokenizer.Mask, targets[len(logP):])
			logP = append(logP, part...)
			return err
		})
		return logP, err
	}
}

// Align aligns what was masked in texts with the states of their graphs, along the likeliest path. Places count the begin token that
// a text lacks.
func (m *Model) Align(texts, originals [][]int32) (aligned []eval.AlignedText, err error) {
	switch {
	case !slices.Contains(m.Config.Trained(), "exlm"):
		return nil, fault.Usage.Errorf("%s was not trained by exlm: its texts have no graph of states", m.Dir)
	case !m.Config.EXLM.Linked():
		return nil, fault.Usage.Errorf("%s was trained with exlm.dag: none: states have no links, and each token's emit it alone", m.Dir)
	}
	err = m.overLattices(texts, originals, func(a *model.Activations, p *objectives.Plan) error {
		list, err := eval.AlignLattices(a, m.Weights, p)
		aligned = append(aligned, list...)
		return err
	})
	return aligned, err
}

// overLattices calls f with the texts, packed as exlm sees them. originals are the texts before they were masked, where that is
// known, else the texts.
func (m *Model) overLattices(texts, originals [][]int32, f func(a *model.Activations, p *objectives.Plan) error) error {
	plans, err := m.expandedPlans(texts, originals)
	if err != nil || len(plans) == 0 {
		return err
	}
	var capacity model.Capacity
	for _, p := range plans {
		capacity.Tokens = max(capacity.Tokens, len(p.Tokens))
		for _, l := range p.Terms[0].Lattices {
			capacity.States = max(capacity.States, int(l.End-l.Start))
		}
	}
	capacity.Rows = capacity.Tokens
	a := model.NewActivations(m.Backend, m.Weights.Config, capacity, false)
	for _, p := range plans {
		if err := f(a, p); err != nil {
			return err
		}
	}
	return nil
}

// expandedStep is about how many rows of expanded texts are run together.
const expandedStep = 4096

// expandedPlans lays texts with masks out as exlm does, one behind the other.
func (m *Model) expandedPlans(texts, originals [][]int32) (plans []*objectives.Plan, err error) {
	o, err := objectives.New("exlm", objectives.Settings{Vocabulary: vocabularyOf(m.Tokenizer), EXLM: m.Config.EXLM, Mask: m.Config.Mask, Held: true})
	if err != nil {
		return nil, fault.Usage.Wrap(err)
	}
	c := m.Weights.Config
	places := m.Config.EXLM.MaxPositions
	if m.Config.EXLM.Rope == "1d" {
		places = min(places, c.Context)
	}
	for i, ids := range texts {
		if len(plans) == 0 || len(plans[len(plans)-1].Tokens) > expandedStep {
			p := new(objectives.Plan)
			o.Begin(p)
			plans = append(plans, p)
		}
		p := plans[len(plans)-1]
		before := len(p.Tokens)
		objectives.PlanMasked(o, ids, originals[i], p)
		if n := len(p.Tokens) - before; n > places {
			return nil, fault.Data.Errorf("text %d: %d tokens are %d places when its masks are expanded, and the model takes %d; hint: shorter lines, or fewer masks", i+1, len(ids), n, places)
		}
	}
	for _, p := range plans {
		objectives.SetDenominators([]*objectives.Plan{p})
		if err := p.Check(int(c.Vocab), c.Context); err != nil {
			return nil, fault.Data.Wrap(err)
		}
	}
	return plans, nil
}
