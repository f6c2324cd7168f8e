package runfile

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// isNumber reports whether text is a number as YAML's core schema writes one, digits optionally grouped by underscores.
func isNumber(text string) bool {
	_, errInt := parseInt(text)
	_, errFloat := parseFloat(text, 64)
	return errInt == nil || errFloat == nil
}

// decimal checks the grammar [+-] digits [. digits] [e [+-] digits] with single underscores between integer digits, and
// returns the text without underscores, whether it has a point or exponent, and whether a digit before it is not zero.
func decimal(text string) (clean string, fractional, nonzero, ok bool) {
	var b strings.Builder
	s := text
	if s != "" && (s[0] == '+' || s[0] == '-') {
		b.WriteByte(s[0])
		s = s[1:]
	}
	digits := 0
	for i := 0; i < len(s) && (isDigit(s[i]) || s[i] == '_'); i++ {
		if s[i] == '_' {
			if i == 0 || i+1 == len(s) || !isDigit(s[i-1]) || !isDigit(s[i+1]) {
				return "", false, false, false
			}
			continue
		}
		nonzero = nonzero || s[i] != '0'
		digits++
		b.WriteByte(s[i])
	}
	s = strings.TrimLeft(s, "0123456789_")
	if strings.HasPrefix(s, ".") {
		fractional = true
		b.WriteByte('.')
		for s = s[1:]; s != "" && isDigit(s[0]); s = s[1:] {
			nonzero = nonzero || s[0] != '0'
			digits++
			b.WriteByte(s[0])
		}
	}
	if digits == 0 {
		return "", false, false, false
	}
	if s != "" && (s[0] == 'e' || s[0] == 'E') {
		fractional = true
		exponent := strings.TrimPrefix(s[1:], "+")
		if exponent == s[1:] {
			exponent = strings.TrimPrefix(s[1:], "-")
		}
		if exponent == "" || strings.Trim(exponent, "0123456789") != "" {
			return "", false, false, false
		}
		b.WriteString(s)
		s = ""
	}
	return b.String(), fractional, nonzero, s == ""
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

var errNotNumber = errors.New("not a number")

// An integer is a sign and a magnitude, so that int64 and uint64 share one parser.
type integer struct {
	negative  bool
	magnitude uint64
}

// parseInt reads 12, 1_000_000, 0x10, 0o17, 0b1 and whole numbers in exponent form up to 2^53 (1e6).
func parseInt(text string) (integer, error) {
	s, negative := strings.CutPrefix(text, "-")
	if !negative {
		s = strings.TrimPrefix(s, "+")
	}
	if len(s) > 2 && s[0] == '0' && strings.ContainsRune("xob", rune(s[1])) {
		base := map[byte]int{'x': 16, 'o': 8, 'b': 2}[s[1]]
		m, err := strconv.ParseUint(s[2:], base, 64)
		if err != nil {
			return integer{}, errNotNumber
		}
		return integer{negative, m}, nil
	}
	clean, fractional, _, ok := decimal(s)
	if !ok || s != "" && (s[0] == '+' || s[0] == '-') {
		return integer{}, errNotNumber
	}
	if fractional {
		f, err := strconv.ParseFloat(clean, 64)
		if err != nil || f != math.Trunc(f) || f > 1<<53 {
			return integer{}, errors.New("not a whole number")
		}
		return integer{negative, uint64(f)}, nil
	}
	if len(clean) > 1 && clean[0] == '0' {
		return integer{}, errors.New("a leading zero is ambiguous: leave it out, or write 0o for an octal number")
	}
	m, err := strconv.ParseUint(clean, 10, 64)
	if err != nil {
		return integer{}, errors.New("beyond 64 bits")
	}
	return integer{negative, m}, nil
}

// parseFloat reads 1, 0.1, .5, 1e-3, 1E4, 1_000.5 and .inf; .nan is no setting.
func parseFloat(text string, bits int) (float64, error) {
	switch strings.ToLower(text) {
	case ".inf", "+.inf":
		return math.Inf(1), nil
	case "-.inf":
		return math.Inf(-1), nil
	}
	clean, _, nonzero, ok := decimal(text)
	if !ok {
		if i, err := parseInt(text); err == nil && i.magnitude < 1<<53 {
			f := float64(i.magnitude)
			if i.negative {
				f = -f
			}
			return f, nil
		}
		return 0, errNotNumber
	}
	f, err := strconv.ParseFloat(clean, bits)
	if err != nil {
		return 0, fmt.Errorf("beyond the range of a %d-bit float", bits)
	}
	if f == 0 && nonzero {
		return 0, fmt.Errorf("too close to zero for a %d-bit float", bits)
	}
	return f, nil
}

// numberHint helps with the usual ways of writing a number that YAML does not know.
func numberHint(text string) string {
	if s, ok := strings.CutSuffix(text, "%"); ok {
		if f, err := parseFloat(strings.TrimSpace(s), 64); err == nil {
			return fmt.Sprintf("; write %s", formatFloat(f/100, 64))
		}
	}
	if s := strings.ReplaceAll(text, ",", ""); s != text && isNumber(s) {
		return fmt.Sprintf("; write %s", s)
	}
	return ""
}

// formatFloat is the shortest decimal that reads back as the same float. It keeps a point and a signed exponent, because
// YAML 1.1 readers take 1e-05 for text.
func formatFloat(f float64, bits int) string {
	switch {
	case math.IsInf(f, 1):
		return ".inf"
	case math.IsInf(f, -1):
		return "-.inf"
	case math.IsNaN(f):
		return ".nan"
	}
	format := byte('e')
	if a := math.Abs(f); f == 0 || a >= 1e-4 && a < 1e9 {
		format = 'f'
	}
	mantissa, exponent, _ := strings.Cut(strconv.FormatFloat(f, format, -1, bits), "e")
	if !strings.Contains(mantissa, ".") {
		mantissa += ".0"
	}
	if exponent != "" {
		mantissa += "e" + exponent
	}
	return mantissa
}
