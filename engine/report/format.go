package report

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// decimals writes a loss: four decimals, which is what one compares by eye.
func decimals(f float64) string {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return strconv.FormatFloat(f, 'g', -1, 64)
	}
	if a := math.Abs(f); a >= 1e5 || a != 0 && a < 1e-3 {
		return short(f)
	}
	return strconv.FormatFloat(f, 'f', 4, 64)
}

// short writes three significant digits: 0.0123, 1.50e-05, 12300.
func short(f float64) string {
	if a := math.Abs(f); a != 0 && a < 1e-3 || a >= 1e6 && !math.IsInf(f, 0) {
		mantissa, exponent, _ := strings.Cut(strconv.FormatFloat(f, 'e', 2, 64), "e")
		sign := strings.TrimPrefix(exponent[:1], "+")
		return mantissa + "e" + sign + strings.TrimLeft(exponent[1:], "0")
	}
	if math.Abs(f) >= 1000 {
		return strconv.FormatFloat(f, 'f', 0, 64)
	}
	return strconv.FormatFloat(f, 'g', 3, 64)
}

// quantity writes 950, 12.3k, 4.56M, 1.20G.
func quantity(f float64) string { return scaled(f, "") }

// scaled puts gap between the number and the SI prefix, for a unit to follow.
func scaled(f float64, gap string) string {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return short(f)
	}
	for _, unit := range []struct {
		size float64
		name string
	}{{1e15, "P"}, {1e12, "T"}, {1e9, "G"}, {1e6, "M"}, {1e3, "k"}} {
		if math.Abs(f) >= unit.size*0.9995 {
			return threeDigits(f/unit.size) + gap + unit.name
		}
	}
	return threeDigits(f) + gap
}

func threeDigits(f float64) string {
	switch a := math.Abs(f); {
	case a >= 100 || a == math.Trunc(a):
		return strconv.FormatFloat(f, 'f', 0, 64)
	case a >= 10:
		return strconv.FormatFloat(f, 'f', 1, 64)
	}
	return strconv.FormatFloat(f, 'f', 2, 64)
}

func percent(f float64) string {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return short(f)
	}
	return strconv.FormatFloat(100*f, 'f', 1, 64) + "%"
}

// Bytes writes a number of bytes with three digits and a unit.
func Bytes(n int64) string {
	f := float64(n)
	for _, unit := range []string{"B", "KiB", "MiB", "GiB"} {
		if math.Abs(f) < 1024 {
			return threeDigits(f) + " " + unit
		}
		f /= 1024
	}
	return threeDigits(f) + " TiB"
}

// duration writes 42s, 3m12s, 5h07m, 2d03h.
func duration(seconds float64) string {
	if math.IsNaN(seconds) || seconds < 0 || seconds > 1e9 {
		return "?"
	}
	d := time.Duration(seconds * float64(time.Second)).Round(time.Second)
	s, m, h := int(d.Seconds())%60, int(d.Minutes())%60, int(d.Hours())
	switch {
	case h >= 48:
		return fmt.Sprintf("%dd%02dh", h/24, h%24)
	case h > 0:
		return fmt.Sprintf("%dh%02dm", h, m)
	case m > 0:
		return fmt.Sprintf("%dm%02ds", m, s)
	}
	return fmt.Sprintf("%ds", s)
}
