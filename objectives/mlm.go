package objectives

import (
	"fmt"

	"palimpsest/kernels"
	"palimpsest/kernels/philox"
)

// mlm is masked language modelling (BERT, arXiv 1810.04805) with dynamic masking (RoBERTa, arXiv 1907.11692): each epoch
// draws its own selection.
//
// The number of selected tokens of a segment with n ordinary ones is floor(p*n + U), U uniform in [0,1): exactly p on
// average, also for short segments, with the least variance. Which ones is a uniform choice without replacement.
type mlm struct {
	Settings
	ordinary []int32 // ids a random replacement may take
}

func newMLM(s Settings) (*mlm, error) {
	if s.Mask.Replace[0] > 0 && s.Vocabulary.Mask < 0 {
		return nil, fmt.Errorf("objective mlm: the tokenizer has no mask token; hint: train one with '<mask>', or set mask.replace: [0, 0.5, 0.5]")
	}
	m := &mlm{Settings: s}
	for id := range int32(s.Vocabulary.Size) {
		if !s.Vocabulary.Special(id) {
			m.ordinary = append(m.ordinary, id)
		}
	}
	if len(m.ordinary) == 0 {
		return nil, fmt.Errorf("objective mlm: the tokenizer has no ordinary tokens")
	}
	return m, nil
}

func (m *mlm) Name() string   { return "mlm" }
func (m *mlm) Cost(n int) int { return n }

// Begin empties the plan and declares its one term.
func (m *mlm) Begin(p *Plan) {
	p.Reset()
	m.term(p)
}

func (m *mlm) term(p *Plan) *Term {
	t := p.term("mlm", CrossEntropy, HeadLM, 1)
	t.Options = m.Loss
	return t
}

// Plan appends a bidirectional segment with its selected tokens replaced; the loss asks for the originals. Special
// tokens are never selected.
func (m *mlm) Plan(doc Document, p *Plan) {
	start := p.segment(doc, kernels.Bidirectional)
	t := m.term(p)
	d := draw(m.Seed, philox.StreamMask, doc)

	eligible := 0
	for _, id := range doc.Tokens {
		if !m.Vocabulary.Special(id) {
			eligible++
		}
	}
	wanted := min(eligible, int(m.Mask.P*float64(eligible)+d.Float64()))
	for i, id := range doc.Tokens { // selection sampling: Knuth, TAOCP 2, 3.4.2, algorithm S
		if wanted == 0 {
			break
		}
		if m.Vocabulary.Special(id) {
			continue
		}
		if d.IntN(eligible) < wanted {
			row := start + i
			t.Rows = append(t.Rows, int32(row))
			t.Targets = append(t.Targets, id)
			p.Tokens[row] = m.replacement(&d, id)
			wanted--
		}
		eligible--
	}
	p.close()
}

func (m *mlm) replacement(d *philox.Draw, id int32) int32 {
	switch u := d.Float64(); {
	case u < m.Mask.Replace[0]:
		return m.Vocabulary.Mask
	case u < m.Mask.Replace[0]+m.Mask.Replace[1]:
		return m.ordinary[d.IntN(len(m.ordinary))]
	}
	return id
}
