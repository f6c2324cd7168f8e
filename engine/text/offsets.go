package text

import "unicode/utf8"

// A Span is the half-open range [Start, End) of code points that a token covers.
type Span struct{ Start, End int }

// EncodeOffsets is Encode with the place of every token in text, counted in Unicode code points from 0. A byte that is
// not part of valid UTF-8 counts as one code point; a token that holds only part of a code point covers all of it, so
// neighbours can overlap.
func (t *Tokenizer) EncodeOffsets(text []byte) ([]int32, []Span) {
	ids := t.Encode(nil, text)
	return ids, t.offsets(ids, text)
}

// EncodeSpecialsOffsets is EncodeOffsets with the special tokens found as by EncodeSpecials.
func (t *Tokenizer) EncodeSpecialsOffsets(text []byte) ([]int32, []Span) {
	ids := t.EncodeSpecials(nil, text)
	return ids, t.offsets(ids, text)
}

// offsets walks text and tokens together; the tokens' bytes join to text.
func (t *Tokenizer) offsets(ids []int32, text []byte) []Span {
	spans := make([]Span, len(ids))
	point, pointEnd := -1, 0 // the current code point and the byte after it
	reach := func(byteEnd int) int {
		for pointEnd < byteEnd {
			_, size := utf8.DecodeRune(text[pointEnd:])
			pointEnd += size
			point++
		}
		return point
	}
	at := 0
	for i, id := range ids {
		spans[i].Start = reach(at + 1)
		at += len(t.tokens[id])
		spans[i].End = reach(at) + 1
	}
	return spans
}
