package text

import (
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// A cover cuts a text into pieces that follow each other without a gap: it returns the end of the one that begins at text[i],
// i < len(text), in time proportional to the characters looked at.
type cover func(text []byte, i int) int

// A knownPattern is a regular expression of published tokenizers that is followed by hand.
type knownPattern struct {
	name, regex string
	cover       cover
}

const (
	gpt2Regex   = `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`
	llama3Regex = `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`
	qwen2Regex  = `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`
	o200kRegex  = `[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|` +
		`[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|` +
		`\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+`
)

// knownPatterns lists the regular expressions that Split can have, by their exact text.
var knownPatterns = []knownPattern{
	{"GPT-2", gpt2Regex, pieceEnd},
	{"GPT-2", `'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`, pieceEnd},
	{"LLaMA-3, cl100k", llama3Regex, llama3End},
	{"Qwen2", qwen2Regex, qwen2End},
	{"o200k", o200kRegex, o200kEnd},
}

func llama3End(text []byte, i int) int { return cl100kEnd(text, i, 3) }
func qwen2End(text []byte, i int) int  { return cl100kEnd(text, i, 1) }

// cl100kEnd follows llama3Regex, with digits in groups of at most that many.
func cl100kEnd(text []byte, i, digits int) int {
	if text[i] == '\'' {
		if n := anyContraction(text[i+1:]); n > 0 {
			return i + 1 + n
		}
	}
	kind, size := classAt(text, i)
	switch {
	case kind == letter:
		return runEnd(text, i+size, letter)
	case kind == number:
		return numberEnd(text, i+size, digits)
	}
	if c := text[i]; c != '\r' && c != '\n' && i+size < len(text) {
		if next, n := classAt(text, i+size); next == letter {
			return runEnd(text, i+size+n, letter)
		}
	}
	return symbolsEnd(text, i, kind, size, "\r\n")
}

// symbolsEnd follows what the younger patterns end with: ` ?[^\s\p{L}\p{N}]+[ENDS]*|\s*[\r\n]+|\s+(?!\S)|\s+`; kind and size
// are those of the character at i, which is not a letter or number.
func symbolsEnd(text []byte, i int, kind class, size int, ends string) int {
	end := i
	if text[i] == ' ' && i+1 < len(text) {
		if kind, size = classAt(text, i+1); kind == other {
			end++
		} else {
			kind = space
		}
	}
	if kind == space {
		return lineSpaceEnd(text, i)
	}
	end = runEnd(text, end+size, other)
	for end < len(text) && (text[end] == ends[0] || text[end] == ends[1] || len(ends) > 2 && text[end] == ends[2]) {
		end++
	}
	return end
}

// runEnd returns the end of the characters of one class from text[i] on.
func runEnd(text []byte, i int, kind class) int {
	for i < len(text) {
		k, n := classAt(text, i)
		if k != kind {
			break
		}
		i += n
	}
	return i
}

// numberEnd returns the end of a group of digits, one of which is before text[i].
func numberEnd(text []byte, i, most int) int {
	for n := 1; n < most && i < len(text); n++ {
		k, size := classAt(text, i)
		if k != number {
			break
		}
		i += size
	}
	return i
}

// lineSpaceEnd follows `\s*[\r\n]+|\s+(?!\S)|\s+`: up to the last end of a line, if the white space holds one.
func lineSpaceEnd(text []byte, i int) int {
	end, last, line := i, i, 0
	for end < len(text) {
		k, n := classAt(text, end)
		if k != space {
			break
		}
		last = end
		end += n
		if c := text[last]; c == '\r' || c == '\n' {
			line = end
		}
	}
	switch {
	case line > 0:
		return line
	case end < len(text) && last > i:
		return last
	}
	return end
}

// anyContraction is contraction for either case; the letter s has a third form, U+017F.
func anyContraction(s []byte) int {
	if len(s) == 0 {
		return 0
	}
	switch s[0] | 0x20 {
	case 's', 't', 'm', 'd':
		return 1
	case 'r', 'v':
		if len(s) > 1 && s[1]|0x20 == 'e' {
			return 2
		}
	case 'l':
		if len(s) > 1 && s[1]|0x20 == 'l' {
			return 2
		}
	}
	if len(s) > 1 && s[0] == 0xC5 && s[1] == 0xBF {
		return 2
	}
	return 0
}

// Sets of characters in o200kRegex.
const (
	startsWord = 1 << iota // [\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]
	endsWord               // [\p{Ll}\p{Lm}\p{Lo}\p{M}]
	mayPrecede             // [^\r\n\p{L}\p{N}]
)

func o200kSets(r rune) int {
	switch {
	case r < utf8.RuneSelf:
		switch {
		case 'a' <= r && r <= 'z':
			return endsWord
		case 'A' <= r && r <= 'Z':
			return startsWord
		case '0' <= r && r <= '9' || r == '\r' || r == '\n':
			return 0
		}
		return mayPrecede
	case unicode.Is(unicode.Ll, r) || unicode.Is(recentLower, r):
		return endsWord
	case unicode.Is(unicode.Lu, r) || unicode.Is(unicode.Lt, r) || unicode.Is(recentUpper, r):
		return startsWord
	case unicode.IsMark(r) || unicode.Is(recentMark, r):
		return startsWord | endsWord | mayPrecede
	}
	switch classOf(r) {
	case letter:
		return startsWord | endsWord
	case number:
		return 0
	}
	return mayPrecede
}

// o200kEnd follows o200kRegex.
func o200kEnd(text []byte, i int) int {
	r, size := utf8.DecodeRune(text[i:])
	sets := o200kSets(r)
	// The first alternative asks for an end of a word, the second is content with a start; each is tried behind a
	// character that may precede, then at i.
	withStart := 0
	if sets&mayPrecede != 0 {
		end, whole := o200kWord(text, i+size)
		if whole {
			return end
		}
		withStart = end
	}
	if sets&(startsWord|endsWord) != 0 {
		end, whole := o200kWord(text, i)
		if whole || withStart == 0 {
			return end
		}
	}
	if withStart > 0 {
		return withStart
	}
	kind, size := classAt(text, i)
	if kind == number {
		return numberEnd(text, i+size, 3)
	}
	return symbolsEnd(text, i, kind, size, "\r\n/")
}

// o200kWord matches a word at text[i]: whole when it has characters that end one, otherwise of those that start one only;
// end is 0 when there are none.
func o200kWord(text []byte, i int) (end int, whole bool) {
	at, both := i, 0 // both: end of the last character that may start and end a word
	sets, size := 0, 0
	for at < len(text) {
		var r rune
		r, size = utf8.DecodeRune(text[at:])
		if sets = o200kSets(r); sets&startsWord == 0 {
			break
		}
		at += size
		if sets&endsWord != 0 {
			both = at
		}
	}
	if at < len(text) && sets&endsWord != 0 {
		for at < len(text) {
			r, size := utf8.DecodeRune(text[at:])
			if o200kSets(r)&endsWord == 0 {
				break
			}
			at += size
		}
		return withContraction(text, at), true
	}
	if both > 0 {
		return withContraction(text, both), true
	}
	if at == i {
		return 0, false
	}
	return withContraction(text, at), false
}

func withContraction(text []byte, end int) int {
	if end < len(text) && text[end] == '\'' {
		if n := anyContraction(text[end+1:]); n > 0 {
			return end + 1 + n
		}
	}
	return end
}

// knownPatternNames lists whose patterns are known.
func knownPatternNames() string {
	var names []string
	for _, k := range knownPatterns {
		if !slices.Contains(names, k.name) {
			names = append(names, k.name)
		}
	}
	return strings.Join(names, "; ")
}
