package text

import (
	"regexp"
	"strings"
	"testing"
)

const whiteSpace = `\t\n\v\f\r \x{85}\x{A0}\x{1680}\x{2000}-\x{200A}\x{2028}\x{2029}\x{202F}\x{205F}\x{3000}`

var (
	refPiece = regexp.MustCompile(`^(?:'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^` + whiteSpace + `\p{L}\p{N}]+)`)
	refSpace = regexp.MustCompile(`^[` + whiteSpace + `]`)
)

// refPieceEnd follows the pattern literally; only the look-ahead is done by hand, by giving characters back.
func refPieceEnd(text []byte, i int) int {
	if m := refPiece.FindIndex(text[i:]); m != nil {
		return i + m[1]
	}
	ends := []int{}
	for end := i; ; {
		m := refSpace.FindIndex(text[end:])
		if m == nil {
			break
		}
		end += m[1]
		ends = append(ends, end)
	}
	for j := len(ends) - 1; j >= 0; j-- {
		if rest := text[ends[j]:]; len(rest) == 0 || refSpace.Match(rest) {
			return ends[j]
		}
	}
	return ends[len(ends)-1]
}

func pieces(text []byte, end func([]byte, int) int) []string {
	var all []string
	for i := 0; i < len(text); {
		j := end(text, i)
		all = append(all, string(text[i:j]))
		i = j
	}
	return all
}

func TestPieces(t *testing.T) {
	for in, want := range map[string]string{
		"Hello world":           "Hello| world",
		"don't can'T we'll":     "don|'t| can|'|T| we|'ll",
		"a  b   c":              "a| | b|  | c",
		"x \n\n y":              "x| \n\n| y",
		"end  ":                 "end|  ",
		"'s 'sx ''s":            "'s| '|sx| ''|s",
		"it's!'s":               "it|'s|!'|s",
		"abc123 456...7":        "abc|123| 456|...|7",
		"e\u0301 天地。 ½x":        "e|\u0301| 天地|。| ½|x",
		"\u00a0\u00a0a\u00a0":   "\u00a0|\u00a0|a|\u00a0",
		" \xff\xfe ok \xe2\x82": " \xff\xfe| ok| \xe2\x82",
		" ":                     " ",
		"' ":                    "'| ",
	} {
		equal(t, in, pieces([]byte(in), pieceEnd), strings.Split(want, "|"))
	}
}

func TestPiecesEqualThePattern(t *testing.T) {
	d := draw(1)
	alphabets := [][]string{
		units(" \n\t'strevmldab1½. \u00a0\u3000é天😀\u0301"), units(sample), allBytes(),
		{" ", "  ", "'", "'ll", "'re", "'ve", "'d", "a", "é", "\xc3", "1", "!", "\r\n", "\u2028"},
	}
	for i := range 4000 {
		text := randomText(d, alphabets[i%len(alphabets)], 1+d.IntN(40))
		equal(t, string(text), pieces(text, pieceEnd), pieces(text, refPieceEnd))
	}
}
