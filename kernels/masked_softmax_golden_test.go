package kernels

import (
	"math"
	"strings"
	"testing"
)

type maskedSoftmaxCase struct {
	Name                                    string
	Scores, Mask, Upstream, P, LSE, DScores numbers
}

func TestGoldenMaskedSoftmax(t *testing.T) {
	for _, c := range readGolden[maskedSoftmaxCase](t, "masked_softmax") {
		R := len(c.LSE)
		C := len(c.Scores) / R
		mask := make([]uint8, len(c.Mask))
		for i, m := range c.Mask {
			mask[i] = uint8(m)
		}
		if err := ValidateMaskedSoftmax([]float64(c.Scores), mask, R, C); err != nil {
			t.Errorf("%s: %v", c.Name, err)
		}
		forEachBackend(t, c.Name, func(t *testing.T, b Backend) {
			p, lse := floats(b, filled(R*C, math.NaN())), masters(b, filled(R, math.NaN()))
			b.MaskedSoftmax(p, lse, floats(b, c.Scores), bytesOf(b, mask), R, C)
			check := newGoldenCheck(t, b, c.Scores.largest() >= 80)
			masked := func(i int) bool { return mask[i] == 0 || math.IsInf(c.LSE[i/C], -1) }
			check.values("p", read(b, p), c.P, false)
			check.zeros("p", read(b, p), masked)
			check.values("lse", read(b, lse), c.LSE, false)
			ds := floats(b, filled(R*C, math.NaN()))
			b.MaskedSoftmaxBackward(ds, floats(b, c.Upstream), p, R, C)
			check.values("dscores", read(b, ds), c.DScores, false)
			check.zeros("dscores", read(b, ds), masked)
		})
	}
}

// The inputs that masked_softmax.json lists under "errors".
func TestGoldenMaskedSoftmaxErrors(t *testing.T) {
	nan, inf := math.NaN(), math.Inf(1)
	for _, c := range []struct {
		scores []float64
		mask   []uint8
		want   string
	}{
		{[]float64{0, 0, 0, nan}, nil, "row 1: score 1 is NaN"},
		{[]float64{0, inf, 0, 0}, []uint8{1, 1, 0, 1}, "row 0: score 1 is +Inf"},
		{[]float64{0, 0, 0, 0}, []uint8{1, 1, 0}, "3 mask entries"},
	} {
		if err := ValidateMaskedSoftmax(c.scores, c.mask, 2, 2); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v, want %q", err, c.want)
		}
	}
	if err := ValidateMaskedSoftmax([]float64{nan, 0, -inf, 0}, []uint8{0, 1, 1, 1}, 2, 2); err != nil {
		t.Error(err)
	}
}
