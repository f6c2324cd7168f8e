package eval

import (
	"fmt"
	"math"

	"palimpsest/engine/model"
	"palimpsest/kernels"
	"palimpsest/objectives"
)

// A Runner is a causal model with the buffers for a step of it.
type Runner struct {
	Activations *model.Activations
	Weights     *model.Weights
	Capacity    model.Capacity
}

// A Signed is a sequence with a sign for every token: 1 for those that are kept, -1 for unwanted ones, 0 for those that are not asked for.
// The first token is never asked for. The last is asked for and not seen, so that a sequence may be longer than the model's
// context by one.
type Signed struct {
	Tokens []int32
	Signs  []int8
}

// Drift tells how far a model has gone from an old one, teacher-forced over the same sequences.
type Drift struct {
	Kept    int64   `json:"kept_tokens"`
	KL      float64 `json:"kl"`      // mean over kept tokens of KL(old || new), in nats
	OldNLL  float64 `json:"nll_old"` // mean negative log-likelihood of the kept tokens
	NewNLL  float64 `json:"nll_new"`
	OldMass LogMass `json:"mass_old"` // probability of the unwanted tokens where they stand
	NewMass LogMass `json:"mass_new"`
}

// heldLogits bounds the logits of a model that are kept to be compared with another's: 64 MiB.
const heldLogits = 16 << 20

// MeasureDrift compares two models of one vocabulary.
func MeasureDrift(old, new Runner, sequences []Signed) (Drift, error) {
	var d Drift
	V := int(old.Weights.Config.Vocab)
	if v := int(new.Weights.Config.Vocab); v != V {
		return d, fmt.Errorf("vocabularies of %d and %d tokens cannot be compared", V, v)
	}
	err := eachStep(sequences, []Runner{old, new}, func(rows []int32, targets []int32, signs []int8) error {
		per := max(1, heldLogits/V)
		held := make([]float32, min(per, len(rows))*V)
		for from := 0; from < len(rows); from += per {
			to := min(from+per, len(rows))
			if err := old.Activations.Logits(old.Weights, rows[from:to], func(i int, logits []float32) { copy(held[i*V:], logits) }); err != nil {
				return err
			}
			err := new.Activations.Logits(new.Weights, rows[from:to], func(i int, logits []float32) {
				d.add(held[i*V:][:V], logits, targets[from+i], signs[from+i])
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
	if n := float64(d.Kept); n > 0 {
		d.KL, d.OldNLL, d.NewNLL = d.KL/n, d.OldNLL/n, d.NewNLL/n
	}
	return d, err
}

// add counts a row.
func (d *Drift) add(old, new []float32, target int32, sign int8) {
	oldLSE, newLSE := logSumExp(old), logSumExp(new)
	oldLog, newLog := float64(old[target])-oldLSE, float64(new[target])-newLSE
	if sign < 0 {
		d.OldMass.Add(oldLog)
		d.NewMass.Add(newLog)
		return
	}
	kl := 0.0
	for j, z := range old {
		if p := math.Exp(float64(z) - oldLSE); p > 0 {
			kl += p * ((float64(z) - oldLSE) - (float64(new[j]) - newLSE))
		}
	}
	d.Kept++
	d.KL += kl
	d.OldNLL -= oldLog
	d.NewNLL -= newLog
}

// TokenNLL returns the sum of the negative log-likelihoods of all tokens with a sign, and their number.
func TokenNLL(r Runner, sequences []Signed) (sum float64, tokens int64, err error) {
	err = eachStep(sequences, []Runner{r}, func(rows []int32, targets []int32, _ []int8) error {
		return r.Activations.Logits(r.Weights, rows, func(i int, logits []float32) {
			sum -= float64(logits[targets[i]]) - logSumExp(logits)
			tokens++
		})
	})
	return sum, tokens, err
}

// eachStep packs sequences into steps, runs each through all models, and hands out the rows that answer for signed tokens.
func eachStep(sequences []Signed, models []Runner, each func(rows, targets []int32, signs []int8) error) error {
	capacity, context := math.MaxInt, math.MaxInt
	for _, m := range models {
		capacity, context = min(capacity, m.Capacity.Tokens), min(context, m.Weights.Config.Context)
	}
	for from := 0; from < len(sequences); {
		p := new(objectives.Plan)
		var rows, targets []int32
		var signs []int8
		to := from
		for ; to < len(sequences); to++ {
			s, start := sequences[to], int32(len(p.Tokens))
			seen := s.Tokens[:max(0, len(s.Tokens)-1)]
			if len(p.Tokens)+len(seen) > capacity {
				break
			}
			for i := range seen {
				p.Pos = append(p.Pos, int32(i), 0)
				if sign := s.Signs[i+1]; sign != 0 {
					rows, targets, signs = append(rows, start+int32(i)), append(targets, s.Tokens[i+1]), append(signs, sign)
				}
			}
			if p.Tokens = append(p.Tokens, seen...); len(seen) > 0 {
				p.Segments = append(p.Segments, kernels.Segment{Start: start, End: int32(len(p.Tokens)), Mask: kernels.Causal})
			}
		}
		if to == from {
			return fmt.Errorf("sequence %d has %d tokens; a step takes %d", from, len(sequences[from].Tokens), capacity+1)
		}
		from = to
		if len(rows) == 0 {
			continue
		}
		p.OriginalTokens = p.Tokens
		for _, m := range models {
			if err := p.Check(int(m.Weights.Config.Vocab), context); err != nil {
				return err
			}
			if err := m.Activations.Load(p, model.Step{}); err != nil {
				return err
			}
			m.Activations.Forward(m.Weights)
		}
		if err := each(rows, targets, signs); err != nil {
			return err
		}
	}
	return nil
}
