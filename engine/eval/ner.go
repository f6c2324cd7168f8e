package eval

import (
	"fmt"

	"palimpsest/engine/model"
	"palimpsest/kernels"
	"palimpsest/objectives"
)

// Packed runs a model over sequences, packed into as few steps as the activations hold. After the forward pass of each step it
// calls step with the sequences [first, last) in it and the row at which each of them begins. Sequences are not empty, and no
// longer than a step or the model's context.
func Packed(a *model.Activations, w *model.Weights, capacity model.Capacity, mask kernels.Mask, sequences [][]int32, step func(first, last int, starts []int32) error) error {
	return packed(a, w, capacity, mask, sequences, sequences, step)
}

// packed is Packed of sequences whose original tokens, before masking, are others.
func packed(a *model.Activations, w *model.Weights, capacity model.Capacity, mask kernels.Mask, sequences, originals [][]int32, step func(first, last int, starts []int32) error) error {
	for from := 0; from < len(sequences); {
		p, to := new(objectives.Plan), from
		var starts []int32
		for to < len(sequences) && len(p.Tokens)+len(sequences[to]) <= capacity.Tokens {
			s := sequences[to]
			starts = append(starts, int32(len(p.Tokens)))
			p.Tokens, p.OriginalTokens = append(p.Tokens, s...), append(p.OriginalTokens, originals[to]...)
			for i := range s {
				p.Pos = append(p.Pos, int32(i), 0)
			}
			p.Segments = append(p.Segments, kernels.Segment{Start: starts[len(starts)-1], End: int32(len(p.Tokens)), Mask: mask})
			to++
		}
		if to == from {
			return fmt.Errorf("sequence %d has %d tokens; a step takes %d", from, len(sequences[from]), capacity.Tokens)
		}
		if err := p.Check(int(w.Config.Vocab), w.Config.Context); err != nil {
			return err
		}
		if err := a.Load(p, model.Step{}); err != nil {
			return err
		}
		a.Forward(w)
		if err := step(from, to, starts); err != nil {
			return err
		}
		from = to
	}
	return nil
}

// TagTokens returns the most probable class of a token head for every token of every sequence; of equal ones the lowest.
// originals are the sequences before they were masked, for heads that read these.
func TagTokens(a *model.Activations, w *model.Weights, capacity model.Capacity, mask kernels.Mask, head string, sequences, originals [][]int32) ([][]byte, error) {
	tags := make([][]byte, len(sequences))
	err := packed(a, w, capacity, mask, sequences, originals, func(first, last int, starts []int32) error {
		n := int(starts[len(starts)-1]) + len(sequences[last-1])
		rows, flat := make([]int32, n), make([]byte, n)
		for i := range rows {
			rows[i] = int32(i)
		}
		for i := first; i < last; i++ {
			tags[i] = flat[starts[i-first]:][:len(sequences[i])]
		}
		return a.HeadLogits(w, head, rows, func(i int, logits []float32) {
			for c, v := range logits {
				if v > logits[flat[i]] {
					flat[i] = byte(c)
				}
			}
		})
	})
	return tags, err
}
