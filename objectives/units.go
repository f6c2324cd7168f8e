package objectives

import "palimpsest/kernels/philox"

// A unit is a run of tokens [from,to) that is selected as a whole. It never holds a special token.
type unit struct{ from, to int }

// units cuts the free tokens of a text, those that are neither special nor taken, into units of m.Unit. starts says which
// tokens begin a word; it may be nil where no words are asked for.
func (m Mask) units(dst []unit, n int, free func(i int) bool, starts []bool, d *philox.Draw) []unit {
	dst = dst[:0]
	byWord := m.Unit == "word" || m.Unit == "span" && m.Span.Of == "word"
	left := 0 // pieces that the span at hand still takes
	for i := 0; i < n; {
		if !free(i) {
			i, left = i+1, 0
			continue
		}
		end := i + 1
		for byWord && end < n && free(end) && !starts[end] {
			end++
		}
		if left > 0 {
			dst[len(dst)-1].to = end
			left--
		} else {
			dst = append(dst, unit{i, end})
			if m.Unit == "span" {
				left = m.Span.length(d) - 1
			}
		}
		i = end
	}
	return dst
}

// length draws the length of a span.
func (s Span) length(d *philox.Draw) int {
	if s.Kind == "uniform" {
		return s.Min + d.IntN(s.Max-s.Min+1)
	}
	// Geometric from Min on, given that it is at most Max: the chance of each length is (1-P) times that of the one before.
	total, chance := 0.0, 1.0
	for range s.Max - s.Min + 1 {
		total += chance
		chance *= 1 - s.P
	}
	u := d.Float64() * total
	chance = 1
	for length := s.Min; length < s.Max; length++ {
		if u -= chance; u < 0 {
			return length
		}
		chance *= 1 - s.P
	}
	return s.Max
}

// choose selects units in random order until they hold wanted tokens and reports each. A unit that holds more than are
// still wanted ends it: under cut only its first tokens are taken, otherwise the whole unit with the probability that makes
// the number right on average.
func choose(units []unit, wanted int, cut bool, d *philox.Draw, take func(unit)) {
	for i := 0; i < len(units) && wanted > 0; i++ {
		j := i + d.IntN(len(units)-i)
		units[i], units[j] = units[j], units[i]
		u := units[i]
		if n := u.to - u.from; n > wanted {
			if cut {
				u.to = u.from + wanted
			} else if d.IntN(n) >= wanted {
				return
			}
			wanted = 0
		} else {
			wanted -= n
		}
		take(u)
	}
}

// chooseWhole is choose without its last step: the unit that ends it is taken whole, so that more tokens may be selected than
// are wanted.
func chooseWhole(units []unit, wanted int, d *philox.Draw, take func(unit)) {
	for i := 0; i < len(units) && wanted > 0; i++ {
		j := i + d.IntN(len(units)-i)
		units[i], units[j] = units[j], units[i]
		wanted -= units[i].to - units[i].from
		take(units[i])
	}
}

// entities appends the entities of a bio plane: a first token with the further ones of the same type that follow it.
func entities(dst []unit, tags []byte) []unit {
	dst = dst[:0]
	for i := 0; i < len(tags); i++ {
		if first := tags[i]; first != NoLabel && first%2 == 1 {
			u := unit{i, i + 1}
			for u.to < len(tags) && tags[u.to] == first+1 {
				u.to++
			}
			dst = append(dst, u)
		}
	}
	return dst
}
