package eval

import (
	"fmt"
	"math"
	"slices"

	"palimpsest/engine/model"
	"palimpsest/kernels"
	"palimpsest/objectives"
)

// Answer is one candidate for a masked place.
type Answer struct {
	ID          int32
	Probability float64
}

// FillMask returns the top answers for every mask token of each sequence, most probable first. Sequences are packed
// into as few steps as the activations hold; answers[i][m] belongs to the m-th mask of sequences[i].
func FillMask(a *model.Activations, w *model.Weights, capacity model.Capacity, sequences [][]int32, mask int32, top int) (answers [][][]Answer, err error) {
	answers = make([][][]Answer, len(sequences))
	for from := 0; from < len(sequences); {
		p := new(objectives.Plan)
		var rows []int32
		var owners []int
		to := from
		for ; to < len(sequences); to++ {
			s := sequences[to]
			if len(s) > w.Config.Context || len(s) > capacity.Tokens {
				return nil, fmt.Errorf("sequence %d has %d tokens; the model takes %d", to, len(s), min(w.Config.Context, capacity.Tokens))
			}
			masks := 0
			for _, id := range s {
				if id == mask {
					masks++
				}
			}
			if len(p.Tokens)+len(s) > capacity.Tokens || len(rows)+masks > capacity.Rows && len(rows) > 0 {
				break
			}
			if masks > capacity.Rows {
				return nil, fmt.Errorf("sequence %d has %d masks; at most %d are possible", to, masks, capacity.Rows)
			}
			start := len(p.Tokens)
			for i, id := range s {
				if id == mask {
					rows = append(rows, int32(start+i))
					owners = append(owners, to)
				}
				p.Pos = append(p.Pos, int32(i), 0)
			}
			p.Tokens = append(p.Tokens, s...)
			if len(s) > 0 {
				p.Segments = append(p.Segments, kernels.Segment{Start: int32(start), End: int32(len(p.Tokens)), Mask: kernels.Bidirectional})
			}
		}
		p.OriginalTokens = p.Tokens
		if err := p.Check(int(w.Config.Vocab), w.Config.Context); err != nil {
			return nil, err
		}
		if len(rows) > 0 {
			if err := a.Load(p, model.Step{}); err != nil {
				return nil, err
			}
			a.Forward(w)
			err := a.Logits(w, rows, func(i int, logits []float32) {
				answers[owners[i]] = append(answers[owners[i]], Best(logits, top))
			})
			if err != nil {
				return nil, err
			}
		}
		from = to
	}
	return answers, nil
}

// Best returns the k most probable tokens; ties go to the smaller id.
func Best(logits []float32, k int) []Answer {
	ids := make([]int32, len(logits))
	for i := range ids {
		ids[i] = int32(i)
	}
	slices.SortFunc(ids, func(x, y int32) int {
		switch {
		case logits[x] > logits[y]:
			return -1
		case logits[x] < logits[y]:
			return 1
		}
		return int(x - y)
	})
	lse := logSumExp(logits)
	list := make([]Answer, 0, k)
	for _, id := range ids[:min(k, len(ids))] {
		list = append(list, Answer{id, math.Exp(float64(logits[id]) - lse)})
	}
	return list
}
