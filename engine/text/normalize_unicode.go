package text

import (
	"slices"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// unicodeForms are the normalization forms of UAX #15 by name.
var unicodeForms = map[string]unicodeForm{
	"NFC": {norm.NFC, norm.NFD, true}, "NFD": {norm.NFD, norm.NFD, false},
	"NFKC": {norm.NFKC, norm.NFKD, true}, "NFKD": {norm.NFKD, norm.NFKD, false},
}

// A unicodeForm normalizes; what is normal already is copied. Elsewhere it follows the algorithm of UAX #15 character by
// character, since offsets need to know what became of each. In tokenizers a character of the result is tagged with the
// change of the number of characters that it stands for: 0 for the first of a decomposition, 1 for the others, and the sum less one for
// a composition. Tags are read in the order of the result, so marks that were put in order keep the offsets of the
// old order.
type unicodeForm struct {
	form, decomposed norm.Form
	composes         bool
}

type taggedRune struct {
	r      rune
	class  uint8
	change int
}

func (f unicodeForm) rewrite(dst *view, src view) {
	var runes []taggedRune
	for i := 0; i < len(src.text); {
		if n := f.form.QuickSpan(src.text[i:]); n > 0 {
			dst.take(src, i, i+n)
			i += n
			continue
		}
		// What follows is not normal up to the next boundary, and may be one segment with what comes then.
		n := f.form.NextBoundary(src.text[i:], true)
		if n <= 0 {
			n = len(src.text) - i
		}
		runes = f.normal(runes[:0], src.text[i:i+n])
		replay(dst, src.part(i, i+n), runes)
		i += n
	}
}

// normal returns the normal form of a segment with tags.
func (f unicodeForm) normal(runes []taggedRune, text []byte) []taggedRune {
	var hangul [9]byte
	pending := 0 // start of the marks that are to be put in order
	for i := 0; i < len(text); {
		p := f.decomposed.Properties(text[i:])
		size := max(1, p.Size())
		parts := p.Decomposition()
		switch r, _ := utf8.DecodeRune(text[i:]); {
		case hangulFirst <= r && r <= hangulLast:
			parts = jamo(hangul[:0], r)
		case parts != nil && unicode.Is(kept, r):
			parts = nil
		}
		if parts == nil {
			parts = text[i : i+size]
		}
		for change := 0; len(parts) > 0; change = 1 {
			r, n := utf8.DecodeRune(parts)
			class := f.decomposed.Properties(parts).CCC()
			if class == 0 {
				inOrder(runes[pending:])
				pending = len(runes)
			}
			runes = append(runes, taggedRune{r, class, change})
			if class == 0 {
				pending = len(runes)
			}
			parts = parts[n:]
		}
		i += size
	}
	inOrder(runes[pending:])
	if f.composes {
		return composed(runes)
	}
	return runes
}

// Hangul syllables are decomposed by arithmetic (The Unicode Standard, section 3.12).
const (
	hangulFirst, hangulLast       = 0xAC00, 0xD7A3
	firstL, firstV, beforeT       = 0x1100, 0x1161, 0x11A7
	trailing, vowelsTimesTrailing = 28, 588
)

// kept has the characters that Hugging Face's tokenizers, whose tables are of an older Unicode, does not decompose.
var kept = &unicode.RangeTable{
	R16: []unicode.Range16{{0x32FF, 0x32FF, 1}, {0xA7F2, 0xA7F4, 1}, {0xAB69, 0xAB69, 1}},
	R32: []unicode.Range32{{0x10781, 0x107BA, 1}, {0x11938, 0x11938, 1}, {0x1E030, 0x1E06D, 1}, {0x1F16C, 0x1F16C, 1}, {0x1FBF0, 0x1FBF9, 1}},
}

func jamo(dst []byte, r rune) []byte {
	i := r - hangulFirst
	dst = utf8.AppendRune(dst, firstL+i/vowelsTimesTrailing)
	dst = utf8.AppendRune(dst, firstV+i%vowelsTimesTrailing/trailing)
	if t := i % trailing; t > 0 {
		dst = utf8.AppendRune(dst, beforeT+t)
	}
	return dst
}

func inOrder(marks []taggedRune) {
	slices.SortStableFunc(marks, func(a, b taggedRune) int { return int(a.class) - int(b.class) })
}

// composed composes in place: a character joins the last starter unless one of its class or higher stands between.
func composed(runes []taggedRune) []taggedRune {
	out := runes[:0]
	starter, last := -1, -1 // index of the starter in out; class before, -1 right behind the starter
	for _, c := range runes {
		if starter >= 0 && (last < 0 || last < int(c.class)) {
			if r, ok := composePair(out[starter].r, c.r); ok {
				out[starter].r = r
				out[starter].change += c.change - 1
				continue
			}
		}
		if c.class == 0 {
			starter, last = len(out), -1
		} else if starter >= 0 {
			last = int(c.class)
		}
		out = append(out, c)
	}
	return out
}

// composePair returns the primary composite of two characters.
func composePair(a, b rune) (rune, bool) {
	var buffer, out [16]byte
	pair := utf8.AppendRune(utf8.AppendRune(buffer[:0], a), b)
	both := norm.NFC.Append(out[:0], pair...)
	r, size := utf8.DecodeRune(both)
	return r, size == len(both)
}

// replay gives every character the offset that follows from the tags before it.
func replay(dst *view, src view, runes []taggedRune) {
	at := 0
	skip := func() {
		if at < len(src.text) {
			_, size := utf8.DecodeRune(src.text[at:])
			at += size
		}
	}
	for _, c := range runes {
		if c.change > 0 {
			dst.add(c.r, src.align[max(0, at-1)])
			continue
		}
		dst.add(c.r, src.align[min(at, len(src.align)-1)])
		for range 1 - c.change {
			skip()
		}
	}
}
