package text

import (
	"math/bits"

	"palimpsest/engine/fault"
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

// A byteBPE is byte-pair encoding over bytes (Sennrich, Haddow and Birch 2016; Radford et al. 2019).
type byteBPE struct {
	tokens       [][]byte         // id -> bytes
	ids          map[string]int32 // bytes -> id, ordinary tokens; used with ignoreMerges
	bytes        [256]int32       // byte -> id
	merges       []merge          // by rank
	ranks        pairTable
	ignoreMerges bool // a word that is a token becomes that token, whatever the merges say
}

// A merge replaces the neighbours left, right by the token made.
type merge struct{ left, right, made int32 }

// newByteBPE checks what encoding relies on: every byte has a token, and merges join ordinary tokens to ordinary tokens, each
// pair once. A merge's result is longer than its parts, hence no cycle of merges can exist.
func newByteBPE(tokens [][]byte, special []bool, ids map[string]int32, merges []merge) (*byteBPE, error) {
	m := &byteBPE{tokens: tokens, ids: ids, merges: merges}
	for b := range m.bytes {
		id, ok := ids[string([]byte{byte(b)})]
		if !ok {
			return nil, fault.Data.Errorf("no token for byte 0x%02X (%q): byte-level BPE needs all 256", b, byteRune[b])
		}
		m.bytes[b] = id
	}
	m.ranks = newPairTable(len(merges))
	for rank, g := range merges {
		for _, id := range [...]int32{g.left, g.right, g.made} {
			if special[id] {
				return nil, fault.Data.Errorf("merge %d uses the special token %q", rank, tokens[id])
			}
		}
		if string(tokens[g.made]) != string(tokens[g.left])+string(tokens[g.right]) {
			return nil, fault.Data.Errorf("merge %d makes %q of %q and %q", rank, tokens[g.made], tokens[g.left], tokens[g.right])
		}
		if first := m.ranks.rank(g.left, g.right); first != noRank {
			return nil, fault.Data.Errorf("merges %d and %d both join %q and %q", first, rank, tokens[g.left], tokens[g.right])
		}
		m.ranks.insert(g.left, g.right, uint32(rank))
	}
	return m, nil
}

// mergeShort merges the lowest rank, leftmost first, until no pair has one. Quadratic in len(p) <= shortPiece.
func (e *Encoder) mergeShort(dst []int32, p []byte) []int32 {
	t, start := e.t.bpe, len(dst)
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
	t := e.t.bpe
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
