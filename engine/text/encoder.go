package text

import (
	"unicode/utf8"
)

// maxSegment is the number of bytes of text that are normalized and cut at a time; longer texts are cut between characters.
const maxSegment = 1 << 30

// A model turns a word, a piece of the pre-tokenizer, into tokens.
type model interface {
	// encode appends ids to dst and, for each, its end in word to ends. A token begins where the one before ends; tokens with equal
	// ends all begin where the first of them does.
	encode(e *Encoder, dst, ends []int32, word []byte) ([]int32, []int32)
}

// An Encoder encodes for one goroutine: it holds a bounded cache of words and scratch memory.
type Encoder struct {
	t     *Tokenizer
	words map[string]cached
	ids   []int32 // ids of all cached words
	ends  []int32 // and their ends in the word, except for byte-level BPE
	ranks [shortPiece]uint32
	chain []symbol
	queue queue[candidate]

	source   []byte // the whole text
	cutter   cutter
	rewriter rewriteChain
	repaired view
	wordEnds []int32 // of the tokens of a word
	unigrams unigramScratch
	chars    charBPEScratch

	wantPlaces bool
	places     []place // of all tokens, if they are wanted
}

type cached struct{ start, end int32 } // in Encoder.ids

// A place is the bytes of the source that a token comes from; whole characters, and none when it was made of nothing.
type place struct{ start, end int }

// NewEncoder returns an Encoder of its own for a goroutine that encodes much.
func (t *Tokenizer) NewEncoder() *Encoder {
	return &Encoder{t: t, words: make(map[string]cached)}
}

// Encode appends the ids of text to dst. It adds no special tokens and finds none: "</s>" in text is three characters. Added
// tokens that are not special are found.
func (t *Tokenizer) Encode(dst []int32, text []byte) []int32 {
	e := t.encoders.Get().(*Encoder)
	defer t.encoders.Put(e)
	return e.Encode(dst, text)
}

// EncodeSpecials is Encode, but the names of special tokens in text become those tokens. Use it only for text that the
// user wrote for this purpose (a fill-mask prompt), never for training data.
func (t *Tokenizer) EncodeSpecials(dst []int32, text []byte) []int32 {
	e := t.encoders.Get().(*Encoder)
	defer t.encoders.Put(e)
	return e.EncodeSpecials(dst, text)
}

// Encode is Tokenizer.Encode with this Encoder's cache.
func (e *Encoder) Encode(dst []int32, text []byte) []int32 {
	e.begin(text, false)
	return e.encode(dst, 0, len(text), false)
}

// EncodeSpecials is Tokenizer.EncodeSpecials with this Encoder's cache. Of several names the leftmost counts, then the
// longest.
func (e *Encoder) EncodeSpecials(dst []int32, text []byte) []int32 {
	e.begin(text, false)
	return e.encode(dst, 0, len(text), true)
}

// begin sets the text that encode encodes parts of.
func (e *Encoder) begin(source []byte, places bool) {
	e.source, e.wantPlaces, e.places = source, places, e.places[:0]
}

// encode appends the ids of bytes [from, to) of the source.
func (e *Encoder) encode(dst []int32, from, to int, specials bool) []int32 {
	added := &e.t.added
	if !added.raw.wanted(specials) {
		return e.between(dst, from, to, specials)
	}
	text := e.source[from:to]
	for free, search := 0, 0; free < len(text); {
		m, then := added.next(&added.raw, text, free, search, specials)
		if free < m.from {
			dst = e.between(dst, from+free, from+m.from, specials)
		}
		if m.id >= 0 {
			dst = e.put(dst, m.id, from+m.from, from+m.to)
		}
		free, search = m.to, then
	}
	return dst
}

// put appends an added token.
func (e *Encoder) put(dst []int32, id int32, from, to int) []int32 {
	if e.wantPlaces {
		e.places = append(e.places, place{from, to})
	}
	return append(dst, id)
}

// between encodes a part of the source without added tokens that are not normalized.
func (e *Encoder) between(dst []int32, from, to int, specials bool) []int32 {
	t := e.t
	if t.cover != nil && len(t.rewriters) == 0 && !t.added.normalized.wanted(specials) {
		text := e.source[from:to]
		for i := 0; i < len(text); {
			end := t.cover(text, i)
			n := len(dst)
			dst = e.word(dst, text[i:end])
			if e.wantPlaces {
				e.place(dst[n:], view{text: text}, from, i)
			}
			i = end
		}
		return dst
	}
	for to-from > maxSegment {
		cut := from + maxSegment
		for cut > from+maxSegment-utf8.UTFMax && !utf8.RuneStart(e.source[cut]) {
			cut--
		}
		dst = e.segment(dst, from, cut, specials)
		from = cut
	}
	return e.segment(dst, from, to, specials)
}

// segment normalizes a part of the source and finds the normalized added tokens.
func (e *Encoder) segment(dst []int32, from, to int, specials bool) []int32 {
	t := e.t
	v := view{text: e.source[from:to]}
	if len(t.rewriters) > 0 || t.bpe == nil && !utf8.Valid(v.text) {
		e.repaired.of(v.text)
		v = e.rewriter.apply(e.repaired, t.rewriters)
	}
	if !t.added.normalized.wanted(specials) {
		return e.cut(dst, v, from, piece{0, len(v.text)})
	}
	for free, search := 0, 0; free < len(v.text); {
		m, then := t.added.next(&t.added.normalized, v.text, free, search, specials)
		if free < m.from {
			dst = e.cut(dst, v, from, piece{free, m.from})
		}
		if m.id >= 0 {
			dst = e.put(dst, m.id, e.start(v, from, m.from), e.end(v, from, m.to))
		}
		free, search = m.to, then
	}
	return dst
}

// cut pre-tokenizes a piece of a view and encodes its words.
func (e *Encoder) cut(dst []int32, v view, base int, p piece) []int32 {
	if p.from == p.to {
		return dst
	}
	c := &e.cutter
	c.view, c.base, c.pieces = v, base, append(c.pieces[:0], p)
	for _, s := range e.t.steps {
		s.cut(c)
	}
	for _, p := range c.pieces {
		n := len(dst)
		dst = e.word(dst, c.text[p.from:p.to])
		if e.wantPlaces {
			e.place(dst[n:], c.view, base, p.from)
		}
	}
	return dst
}

// start returns where in the source the character begins that byte i of a view comes from.
func (e *Encoder) start(v view, base, i int) int {
	if v.align != nil {
		i = int(v.align[i])
	}
	return charStart(e.source, base+i)
}

// end returns the end in the source of what the bytes of a view before i come from.
func (e *Encoder) end(v view, base, i int) int {
	at := e.start(v, base, i-1)
	_, size := utf8.DecodeRune(e.source[at:])
	return at + size
}

// place appends the places of the tokens of a word that begins at byte from of a view.
func (e *Encoder) place(ids []int32, v view, base, from int) {
	begin, before := from, from
	for i, id := range ids {
		var end int
		if e.t.bpe != nil {
			end = before + len(e.t.tokens[id])
		} else {
			end = from + int(e.wordEnds[i])
		}
		if end != before {
			begin, before = before, end
		}
		if end == begin { // nothing of the word
			e.places = append(e.places, place{e.start(v, base, from), e.start(v, base, from)})
			continue
		}
		e.places = append(e.places, place{e.start(v, base, begin), e.end(v, base, end)})
	}
}

// word appends the ids of one word; for models other than byte-level BPE, e.wordEnds are their ends in it.
func (e *Encoder) word(dst []int32, p []byte) []int32 {
	t := e.t
	if t.bpe == nil {
		return e.otherWord(dst, p)
	}
	if len(p) == 1 {
		return append(dst, t.bpe.bytes[p[0]])
	}
	if len(p) > shortPiece {
		if t.bpe.ignoreMerges {
			if id, ok := t.bpe.ids[string(p)]; ok {
				return append(dst, id)
			}
		}
		return e.mergeLong(dst, p)
	}
	if c, ok := e.words[string(p)]; ok {
		return append(dst, e.ids[c.start:c.end]...)
	}
	start := len(dst)
	if id, ok := t.bpe.ids[string(p)]; ok && t.bpe.ignoreMerges {
		dst = append(dst, id)
	} else {
		dst = e.mergeShort(dst, p)
	}
	e.remember(p, dst[start:], nil)
	return dst
}

func (e *Encoder) otherWord(dst []int32, p []byte) []int32 {
	if len(p) > shortPiece {
		dst, e.wordEnds = e.t.model.encode(e, dst, e.wordEnds[:0], p)
		return dst
	}
	if c, ok := e.words[string(p)]; ok {
		e.wordEnds = append(e.wordEnds[:0], e.ends[c.start:c.end]...)
		return append(dst, e.ids[c.start:c.end]...)
	}
	start := len(dst)
	dst, e.wordEnds = e.t.model.encode(e, dst, e.wordEnds[:0], p)
	e.remember(p, dst[start:], e.wordEnds)
	return dst
}

// remember puts a word into the cache, which is emptied when it is full.
func (e *Encoder) remember(p []byte, ids, ends []int32) {
	if len(e.words) == cacheWords || len(e.ids)+len(ids) > cacheIDs {
		clear(e.words)
		e.ids, e.ends = e.ids[:0], e.ends[:0]
	}
	e.words[string(p)] = cached{int32(len(e.ids)), int32(len(e.ids) + len(ids))}
	e.ids, e.ends = append(e.ids, ids...), append(e.ends, ends...)
}

// unigramModel and charModel lend the Encoder's scratch memory to their models.
type unigramModel struct{ *unigram }

func (m unigramModel) encode(e *Encoder, dst, ends []int32, word []byte) ([]int32, []int32) {
	return m.unigram.encode(dst, ends, word, &e.unigrams)
}

type charModel struct{ *charBPE }

func (m charModel) encode(e *Encoder, dst, ends []int32, word []byte) ([]int32, []int32) {
	return m.charBPE.encode(dst, ends, word, &e.chars)
}
