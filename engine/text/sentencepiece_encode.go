package text

import "unicode/utf8"

// A charBPEScratch is the memory of one goroutine's encode: symbols of the segment at hand and a bounded cache of
// segments. The zero value is ready for use, with one model.
type charBPEScratch struct {
	ids    []int32 // symbols of the segment
	widths []int32 // bytes of each
	words  map[string]cached
	cache  []charToken // tokens of all cached segments
	out    []charToken
	pairs  []uint32 // rank of each symbol with the next
	chain  []symbol
	queue  queue[candidate]
}

// A charToken is a token with the bytes of text that it covers.
type charToken struct{ id, width int32 }

// encode appends the ids of text to dst and the end of each, as a byte offset in text, to ends; a token begins where
// the one before ends. A byte that is not UTF-8 counts as a character without a token. Ends lag behind the text after
// an unknown character that vanished for want of an unknown token, as they do in Hugging Face's tokenizers, and an
// unknown character comes after the byte tokens that follow it.
func (m *charBPE) encode(dst, ends []int32, text []byte, s *charBPEScratch) ([]int32, []int32) {
	if id, ok := m.vocab[string(text)]; ok && len(text) > 0 {
		return append(dst, id), append(ends, int32(len(text)))
	}
	e := charEncoder{charBPE: m, charBPEScratch: s, dst: dst, ends: ends, text: text, plain: true}
	e.symbols()
	e.flush()
	if cap(s.ids) > keptScratch {
		*s = charBPEScratch{words: s.words, cache: s.cache}
	}
	return e.dst, e.ends
}

type charEncoder struct {
	*charBPE
	*charBPEScratch
	dst, ends []int32
	text      []byte
	end       int32 // of the last token
	from, to  int   // the segment in text, while it is plain
	plain     bool  // the segment consists of characters that have tokens
}

// symbols turns the text into symbols and flushes a segment at every cut.
func (e *charEncoder) symbols() {
	unknown := int32(0) // bytes of the unknown character or run that waits
	for i, n := 0, 0; i < len(e.text); i += n {
		r := rune(e.text[i])
		n = 1
		if r >= utf8.RuneSelf {
			r, n = utf8.DecodeRune(e.text[i:])
		}
		id := int32(-1)
		if r != utf8.RuneError || n > 1 {
			id = e.chars.id(r)
		}
		switch {
		case id >= 0:
			if unknown > 0 {
				e.odd(e.unk, unknown)
				unknown = 0
			}
			e.add(id, int32(n), i)
		case e.spells(e.text[i : i+n]):
			for _, b := range e.text[i : i+n] {
				e.odd(e.bytes[b], 1)
			}
		case e.unk >= 0:
			if unknown > 0 && !e.fuseUnk {
				e.odd(e.unk, unknown)
				unknown = 0
			}
			unknown += int32(n)
		default:
			e.plain = false // the text of the segment has a character more than its symbols
		}
	}
	if unknown > 0 {
		e.odd(e.unk, unknown)
	}
}

// spells tells whether all bytes have tokens.
func (e *charEncoder) spells(char []byte) bool {
	for _, b := range char {
		if e.bytes[b] < 0 {
			return false
		}
	}
	return true
}

// add appends a character at a place in text to the segment, after a cut if there is one.
func (e *charEncoder) add(id, width int32, at int) {
	if last := len(e.ids) - 1; last >= 0 && e.cuts && e.meets.rank(e.ids[last], id) == noRank {
		e.flush()
	}
	if len(e.ids) == 0 {
		e.from, e.plain = at, true
	}
	e.ids, e.widths = append(e.ids, id), append(e.widths, width)
	e.to = at + int(width)
}

// odd is add for a symbol that is no character of the text.
func (e *charEncoder) odd(id, width int32) {
	e.add(id, width, 0)
	e.plain = false
}

// flush merges the segment and appends its tokens.
func (e *charEncoder) flush() {
	if len(e.ids) == 1 {
		e.end += e.widths[0]
		e.dst, e.ends = append(e.dst, e.ids[0]), append(e.ends, e.end)
	} else if len(e.ids) > 1 {
		e.append(e.tokens())
	}
	e.ids, e.widths = e.ids[:0], e.widths[:0]
}

func (e *charEncoder) append(tokens []charToken) {
	for _, t := range tokens {
		e.end += t.width
		e.dst, e.ends = append(e.dst, t.id), append(e.ends, e.end)
	}
}

// tokens returns those of the segment, from the cache if they are there.
func (e *charEncoder) tokens() []charToken {
	if !e.plain || e.to-e.from > shortPiece {
		e.merge()
		return e.out
	}
	word := e.text[e.from:e.to]
	if c, ok := e.words[string(word)]; ok {
		return e.cache[c.start:c.end]
	}
	e.merge()
	if e.words == nil {
		e.words = make(map[string]cached)
	}
	if len(e.words) == cacheWords || len(e.cache)+len(e.out) > cacheIDs {
		clear(e.words)
		e.cache = e.cache[:0]
	}
	e.words[string(word)] = cached{int32(len(e.cache)), int32(len(e.cache) + len(e.out))}
	e.cache = append(e.cache, e.out...)
	return e.out
}

// merge turns the symbols of the segment into tokens: the lowest rank first, of equal ranks the leftmost.
func (e *charEncoder) merge() {
	e.out = e.out[:0]
	if len(e.ids) <= shortPiece {
		e.mergeShort()
	} else {
		e.mergeLong()
	}
}

// mergeShort is quadratic in the number of symbols.
func (e *charEncoder) mergeShort() {
	ids, widths := e.ids, e.widths
	ranks := e.pairs[:0] // ranks[i] is that of ids[i], ids[i+1]
	for i := range len(ids) - 1 {
		ranks = append(ranks, e.ranks.rank(ids[i], ids[i+1]))
	}
	e.pairs = ranks
	for {
		best, at := noRank, 0
		for i, r := range ranks {
			if r < best {
				best, at = r, i
			}
		}
		if best == noRank {
			break
		}
		ids[at], widths[at] = e.made[best], widths[at]+widths[at+1]
		ids = append(ids[:at+1], ids[at+2:]...)
		widths = append(widths[:at+1], widths[at+2:]...)
		ranks = append(ranks[:at], ranks[at+1:]...)
		if at > 0 {
			ranks[at-1] = e.ranks.rank(ids[at-1], ids[at])
		}
		if at < len(ranks) {
			ranks[at] = e.ranks.rank(ids[at], ids[at+1])
		}
	}
	for i, id := range ids {
		e.out = append(e.out, charToken{id, widths[i]})
	}
}

// mergeLong gives the same tokens in O(n log n): a heap of candidates over a linked list, as for bytes.
func (e *charEncoder) mergeLong() {
	chain, q, widths := e.chain[:0], e.queue[:0], e.widths
	for i, id := range e.ids {
		chain = append(chain, symbol{i - 1, i + 1, id, noRank})
	}
	chain[len(chain)-1].next = -1
	rankAt := func(i int) bool {
		next := chain[i].next
		if next < 0 {
			chain[i].rank = noRank
			return false
		}
		chain[i].rank = e.ranks.rank(chain[i].id, chain[next].id)
		return chain[i].rank != noRank
	}
	for i := range chain {
		if rankAt(i) {
			q = append(q, candidate(chain[i].rank)<<40|candidate(i))
		}
	}
	q.heapify()
	for len(q) > 0 {
		c := q.pop()
		rank, i := uint32(c>>40), int(c&(1<<40-1))
		s := &chain[i]
		if s.rank != rank {
			continue
		}
		widths[i] += widths[s.next]
		gone := &chain[s.next]
		s.id, s.next = e.made[rank], gone.next
		gone.rank = noRank
		if s.next >= 0 {
			chain[s.next].prev = i
		}
		if rankAt(i) {
			q.push(candidate(s.rank)<<40 | candidate(i))
		}
		if prev := s.prev; prev >= 0 && rankAt(prev) {
			q.push(candidate(chain[prev].rank)<<40 | candidate(prev))
		}
	}
	for i := 0; i >= 0; i = chain[i].next {
		e.out = append(e.out, charToken{chain[i].id, widths[i]})
	}
	e.chain, e.queue = chain, q
}
