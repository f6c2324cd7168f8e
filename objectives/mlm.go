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
// average, also for short segments, with the least variance. Units (tokens, words or spans) are taken in random order
// until they hold that many. With shares by kind, entities of the bio plane are selected first, floor(p*entities + U) of
// them, and then units of what is left (MSLM, arXiv 2403.18025). Under mask.order: seldom, selection is by score (seldom.go).
type mlm struct {
	Settings
	ordinary []int32 // ids a random replacement may take
	first    int     // index of the first token that may be selected
	specials bool    // special tokens may be selected

	// Memory of one call of Plan:
	list   []unit
	chosen []int32 // by token: 0, or the number of the selected unit that it belongs to, from 1
	starts []bool
	seldom seldom
}

// newMasked makes the masking of the objective of that name.
func newMasked(name string, s Settings) (*mlm, error) {
	if s.Mask.Replace[0] > 0 && s.Vocabulary.Mask < 0 {
		return nil, fmt.Errorf("objective %s: the tokenizer has no mask token; hint: train one with '<mask>', or set mask.replace: [0, 0.5, 0.5]", name)
	}
	m := &mlm{Settings: s}
	for id := range int32(s.Vocabulary.Size) {
		if !s.Vocabulary.Special(id) {
			m.ordinary = append(m.ordinary, id)
		}
	}
	if len(m.ordinary) == 0 {
		return nil, fmt.Errorf("objective %s: the tokenizer has no ordinary tokens", name)
	}
	return m, nil
}

func (m *mlm) Name() string   { return "mlm" }
func (m *mlm) Cost(n int) int { return n }

// Planes names what masking and the loss read of the data set's planes.
func (m *mlm) Planes() []string {
	planes := m.Loss.Reweigh.planes()
	if len(m.Mask.Kinds) > 0 {
		planes = append(planes, planeBIO)
	}
	return m.contextPlane(planes)
}

// Begin empties the plan and declares its one term.
func (m *mlm) Begin(p *Plan) {
	p.Reset()
	m.lmTerm(p, m.Name())
}

// Plan appends a bidirectional segment with its selected tokens replaced; the loss asks for the originals. Special
// tokens and those that are context only are never selected.
func (m *mlm) Plan(doc Document, p *Plan) {
	start := p.segment(doc, kernels.Bidirectional)
	t := m.lmTerm(p, m.Name())
	d := draw(m.Seed, philox.StreamMask, doc)
	m.hide(doc, p, start, &d, func(i int, id int32) { t.ask(start+i, id, doc, i) })
	p.close()
}

// hide selects tokens of a document, whose segment begins at row start, and replaces them in the plan; ask gets every
// selected one with its index, in their order.
func (m *mlm) hide(doc Document, p *Plan, start int, d *philox.Draw, ask func(i int, id int32)) {
	m.choose(doc, p.Progress, d)
	fate, last := 0.0, int32(0)
	for i, id := range doc.Tokens {
		unit := m.chosen[i]
		if unit == 0 {
			continue
		}
		if unit != last || m.Mask.ReplaceBy != "unit" {
			fate, last = d.Float64(), unit
		}
		ask(i, id)
		p.Tokens[start+i] = m.replacement(d, fate, id)
	}
}

// choose fills m.chosen.
func (m *mlm) choose(doc Document, progress float64, d *philox.Draw) {
	if m.Mask.Order == "seldom" {
		m.chooseSeldom(doc, progress, d)
		return
	}
	n, units := len(doc.Tokens), int32(0)
	m.chosen = append(m.chosen[:0], make([]int32, n)...)
	take := func(u unit) {
		units++
		for i := max(u.from, m.first); i < u.to; i++ {
			if m.eligible(doc, i) { // a plane may tag what it should not
				m.chosen[i] = units
			}
		}
	}
	if len(m.Mask.Kinds) > 0 {
		m.list = entities(m.list, doc.Planes[planeBIO])
		number := int(m.Mask.rate(KindEntity, progress)*float64(len(m.list)) + d.Float64())
		for i := range min(number, len(m.list)) {
			j := i + d.IntN(len(m.list)-i)
			m.list[i], m.list[j] = m.list[j], m.list[i]
			take(m.list[i])
		}
	}
	free := func(i int) bool {
		return i >= m.first && m.chosen[i] == 0 && m.eligible(doc, i)
	}
	eligible := 0
	for i := range n {
		if free(i) {
			eligible++
		}
	}
	wanted := min(eligible, int(m.Mask.rate(KindBase, progress)*float64(eligible)+d.Float64()))
	m.list = m.Mask.units(m.list, n, free, m.wordStarts(doc), d)
	if m.compat.Ties {
		chooseWhole(m.list, wanted, d, take)
		return
	}
	choose(m.list, wanted, m.Mask.Unit == "span" && m.Mask.Span.Of != "word", d, take)
}

// eligible reports whether token i may be selected.
func (m *mlm) eligible(doc Document, i int) bool {
	return (m.specials || !m.Vocabulary.Special(doc.Tokens[i])) && !doc.context(i)
}

// wordStarts says which tokens of the document begin a word, where the unit of masking asks for it.
func (m *mlm) wordStarts(doc Document) []bool {
	if m.Mask.Unit != "word" && (m.Mask.Unit != "span" || m.Mask.Span.Of != "word") {
		return nil
	}
	if doc.WordStarts != nil {
		return doc.WordStarts
	}
	m.starts = m.Vocabulary.WordStarts(m.starts[:0], doc.Tokens)
	return m.starts
}

// replacement returns what stands for a selected token whose fate, in [0,1), is drawn.
func (m *mlm) replacement(d *philox.Draw, fate float64, id int32) int32 {
	switch {
	case fate < m.Mask.Replace[0]:
		return m.Vocabulary.Mask
	case fate < m.Mask.Replace[0]+m.Mask.Replace[1]:
		return m.ordinary[d.IntN(len(m.ordinary))]
	}
	return id
}
