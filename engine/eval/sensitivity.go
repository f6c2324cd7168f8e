package eval

import (
	"math"

	"palimpsest/engine/model"
	"palimpsest/kernels"
)

// A Masked sequence has mask tokens at Places, where Targets stood.
type Masked struct {
	Tokens  []int32
	Places  []int
	Targets []int32
}

// Recovery is how well masked tokens are recovered: means over tokens.
type Recovery struct {
	Tokens       int64   `json:"tokens"`
	Accuracy     float64 `json:"accuracy"`   // share whose first choice is right
	Confidence   float64 `json:"confidence"` // probability of the right token
	CrossEntropy float64 `json:"cross_entropy"`
}

// Recover runs masked sequences through the language model's head.
func Recover(a *model.Activations, w *model.Weights, capacity model.Capacity, mask kernels.Mask, list []Masked) (r Recovery, err error) {
	sequences := make([][]int32, len(list))
	for i, m := range list {
		sequences[i] = m.Tokens
	}
	err = Packed(a, w, capacity, mask, sequences, func(first, last int, starts []int32) error {
		var rows, targets []int32
		for i := first; i < last; i++ {
			for k, place := range list[i].Places {
				rows, targets = append(rows, starts[i-first]+int32(place)), append(targets, list[i].Targets[k])
			}
		}
		return a.Logits(w, rows, func(i int, logits []float32) {
			best := 0
			for id, v := range logits {
				if v > logits[best] {
					best = id
				}
			}
			nll := logSumExp(logits) - float64(logits[targets[i]])
			r.add(Recovery{1, 0, math.Exp(-nll), nll})
			if int32(best) == targets[i] {
				r.Accuracy++
			}
		})
	})
	r.mean()
	return r, err
}

// see adds a distribution over the vocabulary.
func (r *Recovery) see(p []float64, target int32) {
	best := 0
	for id, q := range p {
		if q > p[best] {
			best = id
		}
	}
	q := p[target]
	r.add(Recovery{1, 0, q, -math.Log(math.Max(q, math.SmallestNonzeroFloat64))})
	if int32(best) == target {
		r.Accuracy++
	}
}

// mean divides the sums by their tokens.
func (r *Recovery) mean() {
	n := math.Max(1, float64(r.Tokens))
	r.Accuracy, r.Confidence, r.CrossEntropy = r.Accuracy/n, r.Confidence/n, r.CrossEntropy/n
}

// add sums up; the means are made at the end.
func (r *Recovery) add(s Recovery) {
	r.Tokens += s.Tokens
	r.Accuracy += s.Accuracy
	r.Confidence += s.Confidence
	r.CrossEntropy += s.CrossEntropy
}
