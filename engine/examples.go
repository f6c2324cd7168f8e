package engine

import (
	"slices"

	"palimpsest/engine/eval"
	"palimpsest/engine/model"
	"palimpsest/engine/report"
	"palimpsest/kernels"
)

// Examples in the log: how many held-out segments, their tokens, and the answers of a mask.
const exampleCount, exampleTokens, exampleAnswers = 4, 96, 5

// logExamples writes what the model answers for masked places of the first held-out documents, at the end of a run.
func (t *Trainer) logExamples(phase int) error {
	j := t.job
	name := j.phases[phase].objective
	if name != "mlm" && name != "mslm" && name != "exlm" || j.vocabulary.Mask < 0 {
		return nil
	}
	next, closing, err := j.heldOut(phase, 1)
	if err != nil {
		return err
	}
	defer closing()
	p, err := next()
	if err != nil {
		return err
	}
	var chosen []kernels.Segment
	var rows []int32
	for _, s := range p.Segments {
		s.End = min(s.End, s.Start+exampleTokens)
		masks := maskRows(p.Tokens, s, j.vocabulary.Mask)
		if len(masks) > 0 && len(chosen) < exampleCount {
			chosen, rows = append(chosen, s), append(rows, masks...)
		}
	}
	if name == "exlm" {
		return t.logExpanded(p)
	}
	if err := t.acts.Load(p, model.Step{}); err != nil {
		return err
	}
	t.acts.Forward(t.judged())
	holes := make(map[int32]report.Hole, len(rows))
	err = t.acts.Logits(t.judged(), rows, func(i int, logits []float32) {
		hole := report.Hole{Expected: j.show(p.OriginalTokens[rows[i]])}
		for _, a := range eval.Best(logits, exampleAnswers) {
			hole.Answers = append(hole.Answers, report.Answer{Token: j.show(a.ID), P: a.Probability})
		}
		holes[rows[i]] = hole
	})
	if err != nil {
		return err
	}
	for _, s := range chosen {
		e := report.Example{Step: t.state.Step, Mask: j.tokenizer.Token(j.vocabulary.Mask)}
		words := slices.DeleteFunc(slices.Clone(p.Tokens[s.Start:s.End]), func(id int32) bool {
			return id != j.vocabulary.Mask && j.vocabulary.Special(id)
		})
		e.Text = string(j.tokenizer.Decode(words))
		for _, row := range maskRows(p.Tokens, s, j.vocabulary.Mask) {
			e.Masks = append(e.Masks, holes[row])
		}
		t.record.log.Write(e)
	}
	return nil
}

// maskRows lists the rows of a segment that hold the mask token.
func maskRows(tokens []int32, s kernels.Segment, mask int32) (rows []int32) {
	for row := s.Start; row < s.End; row++ {
		if tokens[row] == mask {
			rows = append(rows, row)
		}
	}
	return rows
}
