package objectives

import (
	"cmp"
	"math"
	"slices"

	"palimpsest/kernels/philox"
)

// Selection by score, as GPT-BERT's data loader does it: the score of a token is its unit's random number times the softmax, over
// the tokens of the segment, of how often each was selected before, and the lowest max(1, floor(p*n + U)) of n ordinary
// tokens are taken, in the order of (score, position). The reference code keeps the counts in memory; here the selections of
// earlier epochs are drawn again, which is the same at every resume. Two things are not known of them and assumed: that the
// document was masked in each, also where a mix would have had it causal, and under a schedule of mask.p, that epochs are
// evenly spread over the run so far.

// seldom is the memory of one selection.
type seldom struct {
	counts []float64 // by token: earlier selections
	scores []score
}

// A score is that of the token at an index, which belongs to a unit, counted from 1.
type score struct {
	value float64
	index int
	unit  int32
}

// chooseSeldom fills m.chosen.
func (m *mlm) chooseSeldom(doc Document, progress float64, d *philox.Draw) {
	m.seldom.counts = append(m.seldom.counts[:0], make([]float64, len(doc.Tokens))...)
	for epoch := range doc.Epoch {
		earlier := doc
		earlier.Epoch = epoch
		again := draw(m.Seed, philox.StreamMask, earlier)
		m.chooseLowest(earlier, progress*float64(epoch)/float64(doc.Epoch), &again)
		for i, unit := range m.chosen {
			if unit > 0 {
				m.seldom.counts[i]++
			}
		}
	}
	m.chooseLowest(doc, progress, d)
}

// chooseLowest fills m.chosen from the counts at hand.
func (m *mlm) chooseLowest(doc Document, progress float64, d *philox.Draw) {
	m.chosen = append(m.chosen[:0], make([]int32, len(doc.Tokens))...)
	m.list = m.Mask.units(m.list, len(doc.Tokens), func(i int) bool { return i >= m.first && m.eligible(doc, i) }, nil, d)
	counts, scores := m.seldom.counts, m.seldom.scores[:0]
	most := slices.Max(append([]float64{0}, counts...))
	for number, u := range m.list {
		r := d.Float64()
		for i := u.from; i < u.to; i++ { // softmax but for its denominator, which is the same for all
			scores = append(scores, score{r * math.Exp(counts[i]-most), i, int32(number + 1)})
		}
	}
	m.seldom.scores = scores
	slices.SortFunc(scores, func(a, b score) int { return cmp.Or(cmp.Compare(a.value, b.value), cmp.Compare(a.index, b.index)) })
	wanted := min(len(scores), max(1, int(m.Mask.rate(KindBase, progress)*float64(len(scores))+d.Float64())))
	for m.compat.Ties && wanted > 0 && wanted < len(scores) && scores[wanted].value == scores[wanted-1].value {
		wanted++
	}
	for _, s := range scores[:wanted] {
		m.chosen[s.index] = s.unit
	}
}
