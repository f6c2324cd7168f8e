package text

import (
	"unicode"
	"unicode/utf8"
)

// A class sorts characters the way GPT-2's pre-tokenizer does.
type class uint8

const (
	other  class = iota // [^\s\p{L}\p{N}], and every byte that is not part of valid UTF-8
	letter              // \p{L}
	number              // \p{N}
	space               // \s, the Unicode property White_Space
)

var asciiClass = func() (table [utf8.RuneSelf]class) {
	for c := range table {
		table[c] = classOf(rune(c))
	}
	return table
}()

// firstRecent is the first character that the tables of recent characters can have: Go's Unicode may be older than that of
// the library whose tokens are to be the same.
const firstRecent = 0x870

func classOf(r rune) class {
	switch {
	case unicode.IsLetter(r):
		return letter
	case unicode.IsNumber(r):
		return number
	case unicode.IsSpace(r):
		return space
	case r < firstRecent:
		return other
	case unicode.Is(recentLetter, r):
		return letter
	case unicode.Is(recentNumber, r):
		return number
	}
	return other
}

// classAt returns the class and the byte length of the character at text[i]. An invalid byte is a character of its own:
// it decodes to U+FFFD, a symbol.
func classAt(text []byte, i int) (class, int) {
	if c := text[i]; c < utf8.RuneSelf {
		return asciiClass[c], 1
	}
	r, size := utf8.DecodeRune(text[i:])
	return classOf(r), size
}

// pieceEnd returns the end of the pre-token that begins at text[i], i < len(text): what the pattern of GPT-2 (Radford et
// al. 2019) matches there,
//
//	's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
//
// Merges never cross the end of a piece. The pattern matches everything somewhere, so the pieces cover the text. It takes
// time proportional to the characters looked at, at most one more than the piece has.
func pieceEnd(text []byte, i int) int {
	if text[i] == '\'' {
		if n := contraction(text[i+1:]); n > 0 {
			return i + 1 + n
		}
	}
	start := i
	if text[i] == ' ' && i+1 < len(text) {
		start++
	}
	kind, size := classAt(text, start)
	if kind == space {
		return spaceEnd(text, i)
	}
	end := start + size
	for end < len(text) {
		k, n := classAt(text, end)
		if k != kind {
			break
		}
		end += n
	}
	return end
}

// contraction returns the length of an English contraction's ending at the start of s, which follows an apostrophe.
func contraction(s []byte) int {
	if len(s) == 0 {
		return 0
	}
	switch s[0] {
	case 's', 't', 'm', 'd':
		return 1
	case 'r', 'v':
		if len(s) > 1 && s[1] == 'e' {
			return 2
		}
	case 'l':
		if len(s) > 1 && s[1] == 'l' {
			return 2
		}
	}
	return 0
}

// spaceEnd ends a run of white space: the last character of the run is left to the word that follows, unless it is the
// only one or the text ends there.
func spaceEnd(text []byte, i int) int {
	end, last := i, i
	for end < len(text) {
		k, n := classAt(text, end)
		if k != space {
			if last > i {
				return last
			}
			return end
		}
		last = end
		end += n
	}
	return end
}
