package engine

import "palimpsest/objectives"

// maskSums is what the masks of an update of mslm say.
type maskSums struct {
	loss   [3]float64 // plain losses by kind: entity, base, unmasked
	rows   [3]int64
	pieces int64 // documents, or pieces of them
	none   int64 // without a masked entity
}

// Names of measures of mslm, of training: mean losses of tokens by kind, masked tokens a document, and the share of documents
// without a masked entity.
const (
	measureEntityLoss   = "entity_loss"
	measureBaseLoss     = "base_loss"
	measureUnmaskedLoss = "unmasked_loss"
	measureMasked       = "masked_a_document"
	measureNoEntity     = "no_entity_masked"
)

// watchMasks computes the losses of a micro-batch of mslm once more, row by row, where its update is a line of the log.
func (t *Trainer) watchMasks(u *update, p *objectives.Plan) {
	if !t.lineDueAt(u.step + 1) {
		return
	}
	for i := range p.Terms {
		term := &p.Terms[i]
		n := len(term.Kinds)
		if n == 0 {
			continue
		}
		if u.masks == nil {
			u.masks = new(maskSums)
		}
		nll := make([]float64, n)
		if err := t.acts.RowNLL(t.weights, term.Rows[:n], term.Targets[:n], func(row int, v float32) { nll[row] = float64(v) }); err != nil {
			return // a device that failed says so where results are waited for
		}
		u.masks.add(p, term, nll)
	}
}

// add takes the rows of a term.
func (s *maskSums) add(p *objectives.Plan, t *objectives.Term, nll []float64) {
	pieces, with := int64(len(p.Documents)), int64(0)
	for g := range p.Documents {
		entity := false
		from, to := min(int(t.Offsets[g]), len(t.Kinds)), min(int(t.Offsets[g+1]), len(t.Kinds))
		for r := from; r < to; r++ {
			switch t.Kinds[r] {
			case objectives.TokenEntity:
				s.see(0, nll[r])
				entity = true
			case objectives.TokenBase:
				s.see(1, nll[r])
			case objectives.TokenUnmasked:
				s.see(2, nll[r])
			}
		}
		if entity {
			with++
		}
		if from < to && t.Kinds[from] == objectives.TokenPad { // beside the document that it pads
			pieces--
		}
	}
	s.pieces, s.none = s.pieces+pieces, s.none+pieces-with
}

func (s *maskSums) see(kind int, nll float64) {
	s.loss[kind] += nll
	s.rows[kind]++
}

// into adds the figures to the measures of a line.
func (s *maskSums) into(measures map[string]float64) {
	for kind, name := range []string{measureEntityLoss, measureBaseLoss, measureUnmaskedLoss} {
		if n := s.rows[kind]; n > 0 {
			measures[name] = s.loss[kind] / float64(n)
		}
	}
	if s.pieces > 0 {
		measures[measureMasked] = float64(s.rows[0]+s.rows[1]) / float64(s.pieces)
		measures[measureNoEntity] = float64(s.none) / float64(s.pieces)
	}
}
