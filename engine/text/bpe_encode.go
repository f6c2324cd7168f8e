package text

import (
	"bytes"
	"math/bits"
)

const (
	noRank = ^uint32(0)

	// shortPiece is the number of bytes up to which a piece is cached, and scanning for the lowest rank beats a heap.
	shortPiece = 64
	// cacheWords and cacheIDs bound the cache of an Encoder to a few megabytes.
	cacheWords = 1 << 16
	cacheIDs   = 1 << 19
	// keptScratch is the largest scratch, in symbols, that an Encoder keeps for the next long piece.
	keptScratch = 1 << 16
)

// A pairTable maps pairs of ids to ranks: open addressing with linear probing, at most half full.
type pairTable struct {
	slots []pairSlot
	shift uint
}

type pairSlot struct {
	pair uint64
	rank uint32 // noRank marks a free slot
}

func pairKey(left, right int32) uint64 { return uint64(uint32(left))<<32 | uint64(uint32(right)) }

func newPairTable(n int) pairTable {
	size := bits.Len(uint(2*n + 1))
	p := pairTable{make([]pairSlot, 1<<size), uint(64 - size)}
	for i := range p.slots {
		p.slots[i].rank = noRank
	}
	return p
}

// slot returns where the pair is or belongs. The multiplier is 2^64 divided by the golden ratio (Knuth, TAOCP 6.4).
func (p *pairTable) slot(pair uint64) *pairSlot {
	i := pair * 0x9E3779B97F4A7C15 >> p.shift
	for {
		s := &p.slots[i]
		if s.rank == noRank || s.pair == pair {
			return s
		}
		i = (i + 1) & uint64(len(p.slots)-1)
	}
}

func (p *pairTable) rank(left, right int32) uint32 { return p.slot(pairKey(left, right)).rank }

func (p *pairTable) insert(left, right int32, rank uint32) {
	pair := pairKey(left, right)
	*p.slot(pair) = pairSlot{pair, rank}
}

// An Encoder encodes for one goroutine: it holds a bounded cache of words and scratch memory.
type Encoder struct {
	t      *Tokenizer
	words  map[string]cached
	ids    []int32 // ids of all cached words
	ranks  [shortPiece]uint32
	chain  []symbol
	queue  queue[candidate]
	lookup []int // next position of every special token, for EncodeSpecials
}

type cached struct{ start, end int32 } // in Encoder.ids

// NewEncoder returns an Encoder of its own for a goroutine that encodes much.
func (t *Tokenizer) NewEncoder() *Encoder {
	return &Encoder{t: t, words: make(map[string]cached)}
}

// Encode appends the ids of text to dst. It adds no special tokens and finds none: "</s>" in text is three characters.
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
	for i := 0; i < len(text); {
		end := pieceEnd(text, i)
		dst = e.piece(dst, text[i:end])
		i = end
	}
	return dst
}

// EncodeSpecials is Tokenizer.EncodeSpecials with this Encoder's cache. Of several names the leftmost counts, then the
// longest.
func (e *Encoder) EncodeSpecials(dst []int32, text []byte) []int32 {
	specials := e.t.order
	e.lookup = e.lookup[:0]
	for range specials {
		e.lookup = append(e.lookup, -1)
	}
	for at := 0; at < len(text); {
		next, found := len(text), int32(-1)
		for i, id := range specials {
			if e.lookup[i] < at {
				e.lookup[i] = len(text)
				if n := bytes.Index(text[at:], e.t.tokens[id]); n >= 0 {
					e.lookup[i] = at + n
				}
			}
			longer := found >= 0 && e.lookup[i] == next && len(e.t.tokens[id]) > len(e.t.tokens[found])
			if e.lookup[i] < next || longer {
				next, found = e.lookup[i], id
			}
		}
		dst = e.Encode(dst, text[at:next])
		at = next
		if found >= 0 {
			dst = append(dst, found)
			at += len(e.t.tokens[found])
		}
	}
	return dst
}

// piece appends the ids of one pre-token.
func (e *Encoder) piece(dst []int32, p []byte) []int32 {
	if len(p) == 1 {
		return append(dst, e.t.bytes[p[0]])
	}
	if len(p) > shortPiece {
		return e.mergeLong(dst, p)
	}
	if c, ok := e.words[string(p)]; ok {
		return append(dst, e.ids[c.start:c.end]...)
	}
	start := len(dst)
	dst = e.mergeShort(dst, p)
	made := dst[start:]
	if len(e.words) == cacheWords || len(e.ids)+len(made) > cacheIDs {
		clear(e.words)
		e.ids = e.ids[:0]
	}
	e.words[string(p)] = cached{int32(len(e.ids)), int32(len(e.ids) + len(made))}
	e.ids = append(e.ids, made...)
	return dst
}

// mergeShort merges the lowest rank, leftmost first, until no pair has one. Quadratic in len(p) <= shortPiece.
func (e *Encoder) mergeShort(dst []int32, p []byte) []int32 {
	t, start := e.t, len(dst)
	for _, b := range p {
		dst = append(dst, t.bytes[b])
	}
	ids := dst[start:]
	ranks := e.ranks[:len(ids)-1] // ranks[i] is that of ids[i], ids[i+1]
	for i := range ranks {
		ranks[i] = t.ranks.rank(ids[i], ids[i+1])
	}
	for {
		best, at := noRank, 0
		for i, r := range ranks {
			if r < best {
				best, at = r, i
			}
		}
		if best == noRank {
			return dst[:start+len(ids)]
		}
		ids[at] = t.merges[best].made
		copy(ids[at+1:], ids[at+2:])
		ids = ids[:len(ids)-1]
		copy(ranks[at:], ranks[at+1:])
		ranks = ranks[:len(ranks)-1]
		if at > 0 {
			ranks[at-1] = t.ranks.rank(ids[at-1], ids[at])
		}
		if at < len(ranks) {
			ranks[at] = t.ranks.rank(ids[at], ids[at+1])
		}
	}
}

// A symbol is a link in the chain of a long piece; ends of the chain have prev or next -1.
type symbol struct {
	prev, next int
	id         int32
	rank       uint32 // of the pair of this symbol and the next; noRank for one that is gone
}

// A candidate for merging packs rank (24 bits) and position of the left symbol (40 bits), so that lower ranks come
// first and then positions further left.
type candidate uint64

func (c candidate) before(d candidate) bool { return c < d }

// mergeLong gives the same ids as mergeShort in O(n log n): a heap of candidates over a linked list. A candidate whose
// rank is no longer that of its symbol is stale and dropped.
func (e *Encoder) mergeLong(dst []int32, p []byte) []int32 {
	t := e.t
	chain, q := e.chain[:0], e.queue[:0]
	for i, b := range p {
		chain = append(chain, symbol{i - 1, i + 1, t.bytes[b], noRank})
	}
	chain[len(chain)-1].next = -1
	rankAt := func(i int) bool {
		next := chain[i].next
		if next < 0 {
			chain[i].rank = noRank
			return false
		}
		chain[i].rank = t.ranks.rank(chain[i].id, chain[next].id)
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
		gone := &chain[s.next]
		s.id, s.next = t.merges[rank].made, gone.next
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
		dst = append(dst, chain[i].id)
	}
	e.chain, e.queue = chain, q
	if len(chain) > keptScratch {
		e.chain, e.queue = nil, nil
	}
	return dst
}
