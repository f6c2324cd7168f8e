package text

import (
	"sync"
	"unicode/utf8"
)

// A graphemeClass is what the rules of grapheme clusters (UAX #29) need to know of a code point. The tables are those
// of Unicode 16, as in tokenizers 0.22: clusters decide what the normaliser drops, so a newer Unicode would disagree.
type graphemeClass uint8

const (
	graphemeOther graphemeClass = iota
	graphemeCR
	graphemeLF
	graphemeControl
	graphemeExtend    // also InCB=Extend
	graphemeLinker    // Extend and InCB=Linker
	graphemeNonJoiner // Extend, but neither InCB=Extend nor a linker: U+200C alone
	graphemeZWJ
	graphemeRegional
	graphemePrepend
	graphemeSpacing
	graphemeL
	graphemeV
	graphemeT
	graphemeLV
	graphemeLVT
	graphemePictograph
	graphemeConsonant
)

// graphemeLinkers are the code points with InCB=Linker.
var graphemeLinkers = []rune{0x94D, 0x9CD, 0xACD, 0xB4D, 0xC4D, 0xD4D}

const graphemePage = 128

// A graphemeTable finds the class of a code point in two steps; pages of equal content share one block.
type graphemeTable struct {
	pages  [(utf8.MaxRune + 1) / graphemePage]uint16
	blocks [][graphemePage]graphemeClass
}

func (t *graphemeTable) class(r rune) graphemeClass {
	return t.blocks[t.pages[uint32(r)/graphemePage]][uint32(r)%graphemePage]
}

// graphemes is the table of all code points, made on first use.
var graphemes = sync.OnceValue(func() *graphemeTable {
	all := make([]graphemeClass, utf8.MaxRune+1)
	for _, set := range []struct {
		class  graphemeClass
		ranges [][2]rune
	}{
		{graphemeControl, graphemeControls}, {graphemeExtend, graphemeExtends}, {graphemePrepend, graphemePrepends},
		{graphemeSpacing, graphemeSpacings}, {graphemePictograph, graphemePictographs}, {graphemeConsonant, graphemeConsonants},
		{graphemeL, graphemeJamoL}, {graphemeV, graphemeJamoV}, {graphemeT, graphemeJamoT},
		{graphemeRegional, [][2]rune{{0x1F1E6, 0x1F1FF}}}, {graphemeZWJ, [][2]rune{{0x200D, 0x200D}}},
		{graphemeNonJoiner, [][2]rune{{0x200C, 0x200C}}},
		{graphemeCR, [][2]rune{{'\r', '\r'}}}, {graphemeLF, [][2]rune{{'\n', '\n'}}},
	} {
		for _, lohi := range set.ranges {
			for r := lohi[0]; r <= lohi[1]; r++ {
				all[r] = set.class
			}
		}
	}
	for _, r := range graphemeLinkers {
		all[r] = graphemeLinker
	}
	for r := 0xAC00; r <= 0xD7A3; r++ { // Hangul syllables: a multiple of 28 has no trailing consonant
		all[r] = graphemeLVT
		if (r-0xAC00)%28 == 0 {
			all[r] = graphemeLV
		}
	}
	t := &graphemeTable{}
	seen := map[[graphemePage]graphemeClass]uint16{}
	for p := range t.pages {
		block := [graphemePage]graphemeClass(all[p*graphemePage:])
		at, ok := seen[block]
		if !ok {
			at = uint16(len(t.blocks))
			seen[block] = at
			t.blocks = append(t.blocks, block)
		}
		t.pages[p] = at
	}
	return t
})

// cluster returns the length in bytes of the extended grapheme cluster that text begins with. An invalid byte is a cluster
// of its own, unless marks follow. text must not be empty.
func (t *graphemeTable) cluster(text []byte) (length int) {
	r, n := utf8.DecodeRune(text)
	before := t.class(r)
	length = n
	regionals := 0                             // regional indicators before this place, in a row
	pictograph := before == graphemePictograph // Extended_Pictographic Extend* was seen before a ZWJ
	joined := false                            // and the ZWJ is the last character
	consonant := before == graphemeConsonant   // a consonant was seen, then only linkers and InCB=Extend
	linked := false                            // among them a linker
	if before == graphemeRegional {
		regionals = 1
	}
	for length < len(text) {
		r, n = utf8.DecodeRune(text[length:])
		after := t.class(r)
		if !joins(before, after, joined, consonant && linked, regionals) {
			break
		}
		length += n
		joined = pictograph && after == graphemeZWJ
		switch after {
		case graphemeExtend, graphemeLinker, graphemeNonJoiner:
		default:
			pictograph = after == graphemePictograph
		}
		switch after {
		case graphemeLinker:
			linked = true
		case graphemeExtend, graphemeZWJ:
		default:
			consonant, linked = after == graphemeConsonant, false
		}
		if after == graphemeRegional {
			regionals++
		} else {
			regionals = 0
		}
		before = after
	}
	return length
}

// joins applies the rules GB3 to GB999 between two neighbours.
func joins(before, after graphemeClass, joined, linked bool, regionals int) bool {
	switch before {
	case graphemeCR:
		return after == graphemeLF
	case graphemeLF, graphemeControl:
		return false
	}
	switch after {
	case graphemeCR, graphemeLF, graphemeControl:
		return false
	case graphemeExtend, graphemeLinker, graphemeNonJoiner, graphemeZWJ, graphemeSpacing: // GB9, GB9a
		return true
	}
	switch before {
	case graphemePrepend: // GB9b
		return true
	case graphemeL: // GB6
		return after == graphemeL || after == graphemeV || after == graphemeLV || after == graphemeLVT
	case graphemeLV, graphemeV: // GB7
		return after == graphemeV || after == graphemeT
	case graphemeLVT, graphemeT: // GB8
		return after == graphemeT
	}
	switch after {
	case graphemeConsonant: // GB9c
		return linked
	case graphemePictograph: // GB11
		return joined
	case graphemeRegional: // GB12, GB13
		return regionals%2 == 1
	}
	return false
}
