package text

import (
	"bytes"
	"encoding/binary"
	"unicode/utf8"

	"palimpsest/engine/fault"
)

// A precompiled is SentencePiece's normaliser as a table (precompiled_charsmap; Kudo and Richardson 2018, arXiv
// 1808.06226): a double-array trie (darts-clone) of source strings whose values are positions in a list of replacements.
//
// A unit of the trie packs: bits 0-7 the label, bit 8 "a key ends here", bits 9 and 10-30 the distance to the children
// (times 256 where bit 9 is set), bit 31 a unit that holds a value. A child is at base XOR label, a value at base.
type precompiled struct {
	units        []uint32
	replacements []byte              // NUL-terminated strings
	plain        [utf8.RuneSelf]bool // a cluster of this byte alone is kept
	classes      *graphemeTable
}

// newPrecompiled reads a charsmap: the little-endian size of the trie in bytes, the trie, the replacements. It rejects
// every trie that could lead outside the units or the replacements, so that normalize needs no checks of its own.
func newPrecompiled(charsmap []byte) (*precompiled, error) {
	const hint = "hint: the precompiled_charsmap is damaged; take the tokenizer file from its source again"
	if len(charsmap) < 4 {
		return nil, fault.Data.Errorf("precompiled_charsmap has %d bytes, expected at least 4; %s", len(charsmap), hint)
	}
	size, rest := uint64(binary.LittleEndian.Uint32(charsmap)), charsmap[4:]
	if size%4 != 0 || size == 0 || size > uint64(len(rest)) {
		return nil, fault.Data.Errorf("precompiled_charsmap: a trie of %d bytes, expected a positive multiple of 4 up to %d; %s",
			size, len(rest), hint)
	}
	p := &precompiled{units: make([]uint32, size/4), replacements: rest[size:], classes: graphemes()}
	for i := range p.units {
		p.units[i] = binary.LittleEndian.Uint32(rest[4*i:])
	}
	if !utf8.Valid(p.replacements) {
		return nil, fault.Data.Errorf("precompiled_charsmap: the replacements are not UTF-8; %s", hint)
	}
	if at, ok := p.check(); !ok {
		return nil, fault.Data.Errorf("precompiled_charsmap: unit %d of %d leads outside the trie or the replacements; %s",
			at, len(p.units), hint)
	}
	for b := range p.plain {
		_, found := p.find([]byte{byte(b)})
		p.plain[b] = !found && b != '\r' // "\r\n" is one cluster
	}
	return p, nil
}

func unitBase(at, unit uint32) uint32 { return at ^ unit>>10<<(unit&(1<<9)>>6) }

// check visits all nodes that a text can reach.
func (p *precompiled) check() (at uint32, ok bool) {
	n := uint32(len(p.units))
	seen := make([]bool, n)
	stack := []uint32{0}
	for len(stack) > 0 {
		at = stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		unit := p.units[at]
		base := unitBase(at, unit)
		if base|0xFF >= n { // the trie is padded to whole blocks of 256, so that every label stays inside
			return at, false
		}
		if unit>>8&1 != 0 {
			value := p.units[base] & (1<<31 - 1)
			if value >= uint32(len(p.replacements)) || !utf8.RuneStart(p.replacements[value]) {
				return at, false
			}
		}
		for label := uint32(1); label < 256; label++ {
			child := base ^ label
			if p.units[child]&(1<<31|0xFF) == label && !seen[child] {
				seen[child] = true
				stack = append(stack, child)
			}
		}
	}
	return 0, true
}

// find returns the replacement of the shortest key that text begins with. Hugging Face's reader takes the shortest where
// SentencePiece takes the longest, and drops the rest of the cluster with it.
func (p *precompiled) find(text []byte) (replacement []byte, ok bool) {
	at := unitBase(0, p.units[0])
	for _, c := range text {
		if c == 0 {
			return nil, false
		}
		at ^= uint32(c)
		unit := p.units[at]
		if unit&(1<<31|0xFF) != uint32(c) {
			return nil, false
		}
		at = unitBase(at, unit)
		if unit>>8&1 != 0 {
			replacement = p.replacements[p.units[at]&(1<<31-1):]
			if end := bytes.IndexByte(replacement, 0); end >= 0 {
				replacement = replacement[:end]
			}
			return replacement, true
		}
	}
	return nil, false
}

// longestLookup is the first length in bytes of a cluster that is only looked up by characters.
const longestLookup = 6

// normalize appends the normalised src to dst and, for each byte of it, to align the offset in src of the character it
// comes from. As in Hugging Face's tokenizers, a grapheme cluster under 6 bytes is looked up as a whole, then the
// characters one by one. Invalid bytes stay as they are.
func (p *precompiled) normalize(dst []byte, align []int32, src []byte) ([]byte, []int32) {
	a := aligner{dst: dst, align: align, src: src}
	for i := 0; i < len(src); {
		run := i
		for run < len(src) && src[run] < utf8.RuneSelf && p.plain[src[run]] {
			run++
		}
		if run < len(src) && src[run] >= utf8.RuneSelf {
			run-- // it may belong to the cluster of the last character
		}
		if run > i {
			a.keepASCII(i, run)
			i = run
			continue
		}
		length := p.classes.cluster(src[i:])
		if length < longestLookup {
			if replacement, ok := p.find(src[i : i+length]); ok {
				a.replace(replacement, utf8.RuneCount(src[i:i+length]))
				i += length
				continue
			}
		}
		for end := i + length; i < end; {
			_, n := utf8.DecodeRune(src[i:end])
			if replacement, ok := p.find(src[i : i+n]); ok {
				a.replace(replacement, 1)
			} else {
				a.push(src[i:i+n], 0)
			}
			i += n
		}
	}
	a.flush()
	return a.dst, a.align
}

// An aligner follows how Hugging Face's tokenizers assign source characters to the characters of a transformed text: every
// new character has a change. 0 takes the next source character, 1 takes none and shares the one before, -n takes n
// more. A replacement by nothing is charged to the character before it; at the very beginning there is none, and all that
// follows lags behind, as it does there.
type aligner struct {
	dst        []byte
	align      []int32
	src        []byte
	at         int // in src, the next character to take
	last       int // in src, the one taken last
	size       int // bytes of the last character pushed, whose alignment is still open; 0 at the beginning
	lastChange int
}

// push appends a character with its change and settles the one before.
func (a *aligner) push(char []byte, change int) {
	a.flush()
	a.dst = append(a.dst, char...)
	a.size, a.lastChange = len(char), change
}

// keepASCII pushes src[from:to], all ASCII.
func (a *aligner) keepASCII(from, to int) {
	a.flush()
	if a.at == from && to-from > 1 {
		for ; from < to-1; from++ {
			a.dst = append(a.dst, a.src[from])
			a.align = append(a.align, int32(from))
		}
		a.at, a.last = from, from-1
	}
	for ; from < to; from++ {
		a.push(a.src[from:from+1], 0)
	}
}

// replace pushes a replacement of old source characters.
func (a *aligner) replace(replacement []byte, old int) {
	count := 0
	for i, n := 0, 0; i < len(replacement); i += n {
		_, n = utf8.DecodeRune(replacement[i:])
		change := 0
		if count >= old {
			change = 1
		}
		a.push(replacement[i:i+n], change)
		count++
	}
	if count < old && a.size > 0 {
		a.lastChange -= old - count
	}
}

// flush settles the alignment of the last character pushed.
func (a *aligner) flush() {
	if a.size == 0 {
		return
	}
	from := a.last
	if a.lastChange <= 0 {
		from = a.at
		for range 1 - a.lastChange {
			_, n := utf8.DecodeRune(a.src[a.at:])
			a.last = a.at
			a.at += n
		}
	}
	for range a.size {
		a.align = append(a.align, int32(from))
	}
	a.size = 0
}
