package objectives

import "palimpsest/kernels"

// A Filler rounds the sizes of plans up to few classes, so that a device meets the same shapes from step to step and can replay a
// step as it is. Tokens are filled with documents of their own, which no other sees and which bear no loss; rows of a term with rows
// that have no target. What they add to gradients is exactly zero. Packed steps are nearly full, so that it costs little: at
// most a part in 32 of the tokens and in 128 of the rows that there may be.
type Filler struct {
	Tokens, Rows int // classes are multiples of these
	Capacity     int // tokens and rows that there may be
	Length       int // longest document
}

// NewFiller is for steps of up to capacity tokens, and as many rows, of documents of up to length tokens.
func NewFiller(capacity, length int) *Filler {
	class := func(parts int) int { return max(8, (capacity/parts+7)/8*8) }
	return &Filler{Tokens: class(32), Rows: class(128), Capacity: capacity, Length: length}
}

// Fill fills a plan whose denominators are set. A term whose rows depend on each other - weighed by their losses, aligned - keeps its
// rows: they are walked over in chunks that end with groups and lattices, so that no number of rows makes shapes alike. A term
// without rows stays so.
func (f *Filler) Fill(p *Plan) {
	if len(p.Segments) == 0 {
		return
	}
	mask, live := p.Segments[len(p.Segments)-1].Mask, len(p.Tokens)
	for end := f.up(len(p.Tokens), f.Tokens); len(p.Tokens) < end; {
		start := len(p.Tokens)
		for i := range min(f.Length, end-start) {
			p.Tokens, p.OriginalTokens = append(p.Tokens, 0), append(p.OriginalTokens, 0)
			p.Pos = append(p.Pos, int32(i), 0)
		}
		p.Segments = append(p.Segments, kernels.Segment{Start: int32(start), End: int32(len(p.Tokens)), Mask: mask})
	}
	p.Filled = len(p.Tokens) - live
	p.Ragged = false
	for i := range p.Terms {
		t := &p.Terms[i]
		n := f.up(len(t.Rows), f.Rows)
		if t.Kind == Alignment || t.Options.Reweigh.On() {
			n, p.Ragged = len(t.Rows), p.Ragged || len(t.Rows) > 0
		}
		t.fill(n, len(p.Segments), int32(len(p.Tokens)-1))
	}
}

// up rounds n up to a multiple of class, no further than the capacity; 0 and what is beyond stay.
func (f *Filler) up(n, class int) int {
	return max(n, min((n+class-1)/class*class, f.Capacity))
}

// fill adds rows without a target up to n of them; they belong to the last segment.
func (t *Term) fill(n, segments int, row int32) {
	if t.Filled = n - len(t.Rows); t.Filled > 0 {
		t.Counted = t.Weight() // without the new ones
	}
	for len(t.Rows) < n {
		t.Rows, t.Targets = append(t.Rows, row), append(t.Targets, kernels.IgnoreTarget)
		if len(t.Weights) > 0 {
			t.Weights = append(t.Weights, 0)
		}
	}
	for len(t.Offsets) <= segments {
		t.Offsets = append(t.Offsets, int32(len(t.Rows)))
	}
	t.Offsets[segments] = int32(len(t.Rows))
}
