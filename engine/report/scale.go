package report

import (
	"math"
	"strconv"
)

// A scale maps values to [0,1] along an axis, linearly or by logarithm.
type scale struct {
	lo, hi float64
	log    bool
}

func (s scale) at(v float64) float64 {
	if s.log {
		return (math.Log(v) - math.Log(s.lo)) / (math.Log(s.hi) - math.Log(s.lo))
	}
	return (v - s.lo) / (s.hi - s.lo)
}

// bounds returns the least and greatest finite value; ok is false when there is none.
func bounds(lists ...[]float64) (lo, hi float64, ok bool) {
	lo, hi = math.Inf(1), math.Inf(-1)
	for _, list := range lists {
		for _, v := range list {
			if finite(v) {
				lo, hi = min(lo, v), max(hi, v)
			}
		}
	}
	return lo, hi, lo <= hi
}

// maxValue is the largest magnitude that has a place on an axis; what is beyond is as good as infinite.
const maxValue = 1e150

func finite(f float64) bool { return math.Abs(f) <= maxValue }

// From logRatio on a logarithmic axis shows more than a linear one, until maxRatio, where underflowed values would stretch it.
const (
	logRatio = 30
	maxRatio = 1e30
)

// newScale fits an axis to values between lo and hi with some air; fromZero keeps zero at its foot.
func newScale(lo, hi float64, mayLog, fromZero bool) scale {
	if mayLog && lo > 0 && hi/lo >= logRatio && hi/lo <= maxRatio {
		air := math.Pow(hi/lo, 0.04)
		return scale{lo / air, hi * air, true}
	}
	if fromZero {
		lo = min(lo, 0)
	}
	span := hi - lo
	if !(span > math.Abs(hi)*1e-9) { // a flat curve, or one that is flat as far as a plot can show
		span = max(math.Abs(hi), 1e-12)
		if !fromZero {
			lo -= span / 2
		}
		hi += span / 2
	}
	air := span * 0.06
	if !fromZero || lo < 0 {
		lo -= air
	}
	return scale{lo: lo, hi: hi + air}
}

// A tick is a place on an axis with its label.
type tick struct {
	value float64
	label string
}

// ticks returns about want round values inside the scale.
func (s scale) ticks(want int, label func(float64) string) []tick {
	if s.log {
		return s.logTicks(want, label)
	}
	raw := (s.hi - s.lo) / float64(want)
	power := math.Pow(10, math.Floor(math.Log10(raw)))
	step := 10 * power
	for _, nice := range []float64{1, 2, 2.5, 5} {
		if nice*power >= raw*0.999 {
			step = nice * power
			break
		}
	}
	var out []tick
	for i := math.Ceil(s.lo/step - 1e-9); i*step <= s.hi+step*1e-9 && len(out) < 50; i++ {
		v := i * step
		if math.Abs(v) < step*1e-9 {
			v = 0
		}
		out = append(out, tick{v, label(v)})
	}
	return out
}

func (s scale) logTicks(want int, label func(float64) string) []tick {
	first, last := math.Floor(math.Log10(s.lo)), math.Ceil(math.Log10(s.hi))
	every := max(1, math.Ceil((last-first)/float64(want+1)))
	multiples := []float64{1}
	switch decades := math.Log10(s.hi / s.lo); {
	case decades <= 1.7:
		multiples = []float64{1, 2, 5}
	case decades <= 3:
		multiples = []float64{1, 3}
	}
	var out []tick
	for d := first; d <= last && len(out) < 50; d += every {
		for _, m := range multiples {
			if v := m * math.Pow(10, d); v >= s.lo && v <= s.hi {
				out = append(out, tick{v, label(v)})
			}
		}
	}
	return out
}

// tickText writes a round value as short as it is.
func tickText(f float64) string {
	a := math.Abs(f)
	switch {
	case f == 0:
		return "0"
	case a >= 1e4:
		return trimmed(f)
	case a < 1e-2:
		return exponentText(f)
	}
	return strconv.FormatFloat(roundTo(f, 6), 'f', -1, 64)
}

func exponentText(f float64) string {
	power := math.Floor(math.Log10(math.Abs(f)) + 1e-9)
	mantissa := roundTo(f/math.Pow(10, power), 3)
	return strconv.FormatFloat(mantissa, 'g', -1, 64) + "e" + strconv.Itoa(int(power))
}

// trimmed is quantity without trailing zeros: 20k, 2.5M.
func trimmed(f float64) string {
	for _, unit := range []struct {
		size float64
		name string
	}{{1e12, "T"}, {1e9, "G"}, {1e6, "M"}, {1e3, "k"}} {
		if math.Abs(f) >= unit.size*0.9999 {
			return strconv.FormatFloat(roundTo(f/unit.size, 4), 'f', -1, 64) + unit.name
		}
	}
	return strconv.FormatFloat(roundTo(f, 4), 'f', -1, 64)
}

func percentTick(f float64) string { return strconv.FormatFloat(roundTo(100*f, 4), 'f', -1, 64) + "%" }

// roundTo keeps digits significant digits.
func roundTo(f float64, digits int) float64 {
	rounded, err := strconv.ParseFloat(strconv.FormatFloat(f, 'g', digits, 64), 64)
	if err != nil {
		return f
	}
	return rounded
}
