package text

import (
	"cmp"
	"math"
	"slices"
)

// A pieceTrie finds the pieces that a text begins with: a double array (Aoe 1989) in which the child of node n by a
// byte c is unit base(n) XOR c, if that unit's owner is n. Blocks of 256 units are complete, so no index leaves them.
type pieceTrie struct {
	units []trieUnit
}

type trieUnit struct {
	base  uint32
	owner uint32 // index of the parent, or noOwner
	id    int32  // of the piece that ends here, or -1
}

const (
	noOwner = math.MaxUint32
	// trieTries bounds the search for a place for the children of one node.
	trieTries = 256
)

// lookup returns the id of a piece, or -1.
func (t *pieceTrie) lookup(piece []byte) int32 {
	at := uint32(0)
	for _, c := range piece {
		next := t.units[at].base ^ uint32(c)
		if t.units[next].owner != at {
			return -1
		}
		at = next
	}
	return t.units[at].id
}

// newPieceTrie holds all pieces but the empty one; of equal pieces the last counts.
func newPieceTrie(pieces []string) pieceTrie {
	order := make([]int32, 0, len(pieces))
	for i, p := range pieces {
		if p != "" {
			order = append(order, int32(i))
		}
	}
	slices.SortStableFunc(order, func(a, b int32) int { return cmp.Compare(pieces[a], pieces[b]) })
	b := trieBuilder{pieces: pieces, order: order}
	b.grow()
	b.take(0, noOwner)
	level := []trieSpan{{0, 0, 0, len(order)}}
	for len(level) > 0 {
		var below []trieSpan
		for _, span := range level {
			below = b.place(below, span)
		}
		level = below
	}
	return pieceTrie{b.units}
}

// A trieBuilder places nodes breadth first, so that the many nodes with one child fill the holes that the others left.
type trieBuilder struct {
	pieces []string
	order  []int32 // of the pieces, sorted
	units  []trieUnit
	ring   []trieLink // of free units; link 0 is its head, unit i has link i+1
	starts []int
}

type trieLink struct{ prev, next uint32 }

// A trieSpan is a node whose children are to be placed: the pieces order[from:to] share its first depth bytes.
type trieSpan struct {
	node     uint32
	depth    int
	from, to int
}

// grow adds a block of free units.
func (b *trieBuilder) grow() {
	if b.ring == nil {
		b.ring = []trieLink{{0, 0}}
	}
	for range 256 {
		b.units = append(b.units, trieUnit{owner: noOwner, id: -1})
		at, last := uint32(len(b.ring)), b.ring[0].prev
		b.ring = append(b.ring, trieLink{last, 0})
		b.ring[last].next = at
		b.ring[0].prev = at
	}
}

const taken = math.MaxUint32 // both links of a unit that is no longer free

func (b *trieBuilder) free(unit uint32) bool { return b.ring[unit+1].next != taken }

func (b *trieBuilder) take(unit, owner uint32) {
	l := b.ring[unit+1]
	b.ring[l.prev].next, b.ring[l.next].prev = l.next, l.prev
	b.ring[unit+1] = trieLink{taken, taken}
	b.units[unit].owner = owner
}

// place finds room for the children of a node and appends those that have children to below.
func (b *trieBuilder) place(below []trieSpan, s trieSpan) []trieSpan {
	for s.from < s.to && len(b.pieces[b.order[s.from]]) == s.depth {
		b.units[s.node].id = b.order[s.from]
		s.from++
	}
	if s.from == s.to {
		return below
	}
	label := func(i int) uint32 { return uint32(b.pieces[b.order[i]][s.depth]) }
	b.starts = append(b.starts[:0], s.from)
	for i := s.from + 1; i < s.to; i++ {
		if label(i) != label(i-1) {
			b.starts = append(b.starts, i)
		}
	}
	base := b.room(label)
	b.units[s.node].base = base
	for i, from := range b.starts {
		to := s.to
		if i+1 < len(b.starts) {
			to = b.starts[i+1]
		}
		child := base ^ label(from)
		b.take(child, s.node)
		below = append(below, trieSpan{child, s.depth + 1, from, to})
	}
	return below
}

// room returns a base at which the units of the labels at starts are free. One label fits anywhere; more are tried at
// the free units added last, then get a new block.
func (b *trieBuilder) room(label func(int) uint32) uint32 {
	first := label(b.starts[0])
	if len(b.starts) == 1 && b.ring[0].next != 0 {
		return (b.ring[0].next - 1) ^ first
	}
	link := b.ring[0].prev
	for range trieTries {
		if link == 0 {
			break
		}
		base := (link - 1) ^ first
		fits := true
		for _, i := range b.starts[1:] {
			if !b.free(base ^ label(i)) {
				fits = false
				break
			}
		}
		if fits {
			return base
		}
		link = b.ring[link].prev
	}
	b.grow()
	return uint32(len(b.units)-256) ^ first
}
