package text

import (
	"math"
	"strconv"
	"strings"
	"sync"

	"palimpsest/engine/fault"
)

// powersOfTen are 1e0 to 1e308, each the nearest float64.
var powersOfTen = sync.OnceValue(func() *[309]float64 {
	var p [309]float64
	for i := range p {
		p[i], _ = strconv.ParseFloat("1e"+strconv.Itoa(i), 64)
	}
	return &p
})

// parseScore reads a JSON number (a json.Number's text) as serde_json does in its default mode, which Hugging Face's
// tokenizers use: the digits that fit 64 bits, as a float64, times or divided by a power of ten. That is often one unit
// in the last place beside the nearest float64, and one unit decides between paths of equal score.
func parseScore(number string) (float64, error) {
	bad := func() (float64, error) {
		return 0, fault.Data.Errorf("the score %.40q is not a JSON number in the range of float64", number)
	}
	if f, err := strconv.ParseFloat(number, 64); err != nil || math.IsNaN(f) || math.IsInf(f, 0) {
		return bad()
	}
	digits, power, _ := strings.Cut(strings.ToLower(number), "e")
	digits, negative := strings.CutPrefix(digits, "-")
	whole, fraction, _ := strings.Cut(digits, ".")
	var significand uint64
	full := false
	add := func(digit byte) bool {
		d := uint64(digit - '0')
		if digit < '0' || digit > '9' {
			return false
		}
		full = full || significand > (math.MaxUint64-d)/10
		if !full {
			significand = significand*10 + d
		}
		return true
	}
	exponent := 0
	for i := range len(whole) {
		if !add(whole[i]) {
			return bad()
		}
		if full {
			exponent++
		}
	}
	full = false // what overflowed before the point may go on after it, as in serde_json
	for i := range len(fraction) {
		if !add(fraction[i]) {
			return bad()
		}
		if full {
			break
		}
		exponent--
	}
	if power != "" {
		e, err := strconv.Atoi(power)
		if err != nil { // beyond all float64, and ParseFloat was content: zero
			return 0, nil
		}
		exponent += e
	}
	f, tens := float64(significand), powersOfTen()
	for exponent < -308 && f != 0 {
		f /= 1e308
		exponent += 308
	}
	switch {
	case f == 0:
	case exponent > 308:
		return bad()
	case exponent >= 0:
		f *= tens[exponent]
	default:
		f /= tens[-exponent]
	}
	if math.IsInf(f, 0) {
		return bad()
	}
	if negative {
		f = -f
	}
	return f, nil
}
