package text

import "unicode/utf8"

// A Span is the half-open range [Start, End) of code points that a token covers.
type Span struct{ Start, End int }

// EncodeOffsets is Encode with the place of every token in text, counted in Unicode code points from 0. A byte that is
// not part of valid UTF-8 counts as one code point; a token that holds only part of a code point covers all of it, so
// neighbours can overlap. What a normalizer removed, and white space between words, belongs to no token. Tokens that
// cover the marks of one character in another order than the text has them may go back.
func (t *Tokenizer) EncodeOffsets(text []byte) ([]int32, []Span) { return t.encodeOffsets(text, false) }

// EncodeSpecialsOffsets is EncodeOffsets with the special tokens found as by EncodeSpecials.
func (t *Tokenizer) EncodeSpecialsOffsets(text []byte) ([]int32, []Span) {
	return t.encodeOffsets(text, true)
}

func (t *Tokenizer) encodeOffsets(text []byte, specials bool) ([]int32, []Span) {
	e := t.encoders.Get().(*Encoder)
	defer t.encoders.Put(e)
	e.begin(text, true)
	ids := e.encode(nil, 0, len(text), specials)
	return ids, e.spans()
}

// spans counts the places of the tokens in code points.
func (e *Encoder) spans() []Span {
	spans := make([]Span, len(e.places))
	c := pointCounter{text: e.source}
	for i, p := range e.places {
		spans[i] = Span{c.at(p.start), c.at(p.end)}
	}
	return spans
}

// A pointCounter turns offsets in bytes, of characters' starts, into code points. It walks from one to the next.
type pointCounter struct {
	text         []byte
	bytes, point int
}

func (c *pointCounter) at(offset int) int {
	for c.bytes < offset {
		size := 1
		if c.text[c.bytes] >= utf8.RuneSelf {
			_, size = utf8.DecodeRune(c.text[c.bytes:])
		}
		c.bytes += size
		c.point++
	}
	for c.bytes > offset {
		_, size := utf8.DecodeLastRune(c.text[:c.bytes])
		c.bytes -= size
		c.point--
	}
	return c.point
}
