package objectives

import (
	"math"

	"palimpsest/kernels/philox"
)

// choose fills m.kinds with the kind of every token of a document.
//
//   - mslm: floor(entity*n + U) of the n entities, masked whole (kind E), then every other ordinary token with probability base
//     (kind B), also inside entities that were not chosen. entity and base are its two halves.
//   - span: starts, the first tokens of words, in random order; from each 1 to span_max tokens, until exactly
//     ceil(base * ordinary tokens) are masked. A span that touches a masked token is passed over.
//   - pmi: see collocations.mask, with the same budget.
func (m *mslm) choose(doc Document) {
	d := m.draws(doc)
	m.kinds = m.kinds[:0]
	ordinary := 0
	for i := range doc.Tokens {
		kind := byte(TokenUnmasked)
		if doc.context(i) {
			kind = TokenContext
		} else if m.ordinary(doc, i) {
			ordinary++
		}
		m.kinds = append(m.kinds, kind)
	}
	free := func(i int) bool { return m.kinds[i] == TokenUnmasked && m.ordinary(doc, i) }
	take := func(u unit, kind byte) {
		for i := u.from; i < u.to; i++ {
			if free(i) || kind == TokenEntity && m.kinds[i] == TokenUnmasked && doc.Tokens[i] == m.Vocabulary.Unk { // under mslm_unk_special
				m.kinds[i] = kind
			}
		}
	}
	entity, base := m.MSLM.rates()
	budget := int(math.Ceil(base * float64(ordinary)))
	switch m.MSLM.Strategy {
	case "span":
		m.spans(doc, budget, free, take, &d)
		return
	case "pmi":
		m.collocations.mask(doc, m.wordStarts(doc), budget, free, take, &d)
		return
	}
	if entity > 0 {
		m.list = m.entitiesOf(m.list, doc)
		share := entity * float64(len(m.list))
		number := int(share)
		if !m.MSLM.Compat.Floor {
			number = int(share + d.Float64())
		}
		for i := range min(number, len(m.list)) {
			j := i + d.IntN(len(m.list)-i)
			m.list[i], m.list[j] = m.list[j], m.list[i]
			take(m.list[i], TokenEntity)
		}
	}
	if base > 0 {
		for i := range doc.Tokens {
			if free(i) && d.Float64() < base {
				m.kinds[i] = TokenBase
			}
		}
	}
}

// ordinary reports whether a token may be masked. The unknown token is an ordinary one.
func (m *mslm) ordinary(doc Document, i int) bool {
	id := doc.Tokens[i]
	if id == m.Vocabulary.Unk && id >= 0 {
		return !m.MSLM.Compat.UnkSpecial
	}
	return !m.Vocabulary.Special(id)
}

// entitiesOf appends the entities of a document: a token tagged B with the tokens tagged I of the same type that follow it. A
// later part of a word that has no tag of its own belongs to the token before it. With repair, an I that cannot go on
// with an entity begins one.
func (m *mslm) entitiesOf(dst []unit, doc Document) []unit {
	dst = dst[:0]
	tags := doc.Planes[planeBIO]
	open := byte(0) // tag that goes on with the entity at hand; 0: there is none
	for i := 0; i < len(tags) && i < len(doc.Tokens); i++ {
		tag := tags[i]
		switch {
		case tag == NoLabel && open != 0 && !m.Vocabulary.Special(doc.Tokens[i]), tag != 0 && tag != NoLabel && tag == open:
			dst[len(dst)-1].to = i + 1
		case tag != NoLabel && tag%2 == 1:
			dst, open = append(dst, unit{i, i + 1}), tag+1
		case tag != NoLabel && tag != 0 && m.MSLM.Repair:
			dst, open = append(dst, unit{i, i + 1}), tag
		default:
			open = 0
		}
	}
	return dst
}

// spans masks budget tokens in spans.
func (m *mslm) spans(doc Document, budget int, free func(int) bool, take func(unit, byte), d *philox.Draw) {
	starts := m.wordStarts(doc)
	m.list = m.list[:0]
	for i := range doc.Tokens {
		if starts[i] && free(i) {
			m.list = append(m.list, unit{i, i + 1})
		}
	}
	for k := 0; k < len(m.list) && budget > 0; k++ {
		j := k + d.IntN(len(m.list)-k)
		m.list[k], m.list[j] = m.list[j], m.list[k]
		u := m.list[k]
		u.to = min(u.from+min(1+d.IntN(m.MSLM.SpanMax), budget), len(doc.Tokens))
		whole := true
		for i := u.from; i < u.to && whole; i++ {
			if !m.ordinary(doc, i) || m.kinds[i] == TokenContext { // the end of the text
				u.to = i
			} else {
				whole = free(i)
			}
		}
		if whole {
			take(u, TokenBase)
			budget -= u.to - u.from
		}
	}
}

// wordStarts says which tokens of the document begin a word.
func (m *mslm) wordStarts(doc Document) []bool {
	if doc.WordStarts != nil {
		return doc.WordStarts
	}
	m.starts = m.Vocabulary.WordStarts(m.starts[:0], doc.Tokens)
	return m.starts
}
