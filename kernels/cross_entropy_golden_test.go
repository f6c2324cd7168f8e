package kernels

import (
	"math"
	"strings"
	"testing"

	"palimpsest/engine/fault"
)

type crossEntropyCase struct {
	Name           string
	Ignore         int32
	LabelSmoothing float64  `json:"label_smoothing"`
	ZLoss          float64  `json:"z_loss"`
	FocalGamma     *float64 `json:"focal_gamma"`
	DFT            bool
	Norm           string
	Logits         numbers
	Targets        []int32
	RowWeights     numbers `json:"row_weights"`
	NLL            numbers
	RowLoss        numbers `json:"row_loss"`
	Loss           float64
	DLogits        numbers
}

// denominator returns what the case divides the sum of its rows by; 0 means that loss and gradient are 0.
func (c crossEntropyCase) denominator(t *testing.T) float64 {
	rows, weights := 0.0, 0.0
	for r, y := range c.Targets {
		if y != c.Ignore {
			rows++
			weights += c.RowWeights[r]
		}
	}
	den, ok := map[string]float64{"sum": 1, "mean_rows": rows, "mean_weights": weights}[c.Norm]
	if !ok {
		t.Fatalf("norm %q", c.Norm)
	}
	return den
}

func TestGoldenCrossEntropy(t *testing.T) {
	cases := readGolden[crossEntropyCase](t, "weighted_ce")
	for _, c := range cases {
		if c.RowWeights == nil {
			c.RowWeights = filled(len(c.Targets), 1)
		}
		den := c.denominator(t)
		inverse := 0.0
		if den != 0 {
			inverse = 1 / den
		}
		targets := append([]int32(nil), c.Targets...)
		for r, y := range targets {
			if y == c.Ignore {
				targets[r] = IgnoreTarget
			}
		}
		R := len(targets)
		op := CrossEntropy{R: R, V: len(c.Logits) / R, Smoothing: c.LabelSmoothing, ZLoss: c.ZLoss, DFT: c.DFT, Grad: true,
			GradScale: inverse}
		if c.FocalGamma != nil {
			op.Focal = *c.FocalGamma
		}
		if err := ValidateCrossEntropy([]float64(c.Logits), targets, c.RowWeights, op.V, op); err != nil {
			t.Errorf("%s: %v", c.Name, err)
		}
		forEachBackend(t, c.Name, func(t *testing.T, b Backend) {
			a := op
			a.Logits, a.Targets, a.Weights = floats(b, c.Logits), integers(b, targets), masters(b, c.RowWeights)
			a.NLL, a.Loss = masters(b, filled(R, math.NaN())), masters(b, filled(R, math.NaN()))
			b.CrossEntropy(a)
			total := b.Alloc(F64, 1)
			b.Sum(total, 0, a.Loss, R, false)
			check := newGoldenCheck(t, b, c.Logits.largest() >= 80 || c.RowLoss.largest() > 100)
			nll, loss, dlogits := read(b, a.NLL), read(b, a.Loss), read(b, a.Logits)
			check.values("nll", nll, c.NLL, false)
			check.values("row_loss", loss, c.RowLoss, false)
			check.values("dlogits", dlogits, c.DLogits, false)
			check.values("loss", []float64{read(b, total)[0] * inverse}, []float64{c.Loss}, false)
			silent := func(r int) bool { return targets[r] == IgnoreTarget || c.RowWeights[r] == 0 }
			check.zeros("nll", nll, func(r int) bool { return targets[r] == IgnoreTarget })
			check.zeros("row_loss", loss, silent)
			check.zeros("dlogits", dlogits, func(i int) bool { return silent(i / op.V) })
		})
	}
}

// The inputs that weighted_ce.json lists under "errors".
func TestGoldenCrossEntropyErrors(t *testing.T) {
	inf, nan := math.Inf(-1), math.NaN()
	good := []float64{0.5, -1, 2, 0, 0.25, -0.5}
	for _, c := range []struct {
		name    string
		logits  []float64
		targets []int32
		weights []float64
		options CrossEntropy
		want    string
	}{
		{"target too large", good, []int32{0, 3}, nil, CrossEntropy{}, "row 1: target 3"},
		{"negative target", good, []int32{-1, 0}, nil, CrossEntropy{}, "row 0: target -1"},
		{"smoothing and focal", good, []int32{0, 0}, nil, CrossEntropy{Smoothing: 0.1, Focal: 2}, "at most one"},
		{"focal and dft", good, []int32{0, 0}, nil, CrossEntropy{Focal: 2, DFT: true}, "at most one"},
		{"smoothing of 1", good, []int32{0, 0}, nil, CrossEntropy{Smoothing: 1}, "smoothing is 1"},
		{"negative focal", good, []int32{0, 0}, nil, CrossEntropy{Focal: -1}, "focal exponent is -1"},
		{"NaN z-loss", good, []int32{0, 0}, nil, CrossEntropy{ZLoss: nan}, "z-loss is NaN"},
		{"NaN logit", []float64{0, 0, 0, 0, nan, 0}, []int32{0, 0}, nil, CrossEntropy{}, "row 1: logit 1 is NaN"},
		{"row of -inf", []float64{0, 0, 0, inf, inf, inf}, []int32{0, 0}, []float64{1, 0}, CrossEntropy{},
			"row 1: all logits"},
		{"target's logit -inf", []float64{inf, 0, 0, 0, 0, 0}, []int32{0, 0}, []float64{0.5, 1}, CrossEntropy{},
			"row 0: the target's logit"},
		{"-inf with smoothing", []float64{0, 0, 0, 0, 0, inf}, []int32{0, 0}, nil, CrossEntropy{Smoothing: 0.1}, "row 1: logit 2 is -Inf"},
		{"NaN weight", good, []int32{0, 0}, []float64{1, nan}, CrossEntropy{}, "row 1: weight NaN"},
		{"too few logits", good[:5], []int32{0, 0}, nil, CrossEntropy{}, "5 logits"},
		{"too few weights", good, []int32{0, 0}, []float64{1}, CrossEntropy{}, "1 row weights"},
	} {
		err := ValidateCrossEntropy(c.logits, c.targets, c.weights, 3, c.options)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
		if kind := fault.Of(err); kind != fault.Data && kind != fault.Usage {
			t.Errorf("%s: error of kind %d", c.name, kind)
		}
	}
	// Allowed: -inf away from the target, and under the target where the weight is 0 or the row is ignored.
	allowed := []float64{0, inf, 0, inf, 0, 0, inf, 0, 0}
	if err := ValidateCrossEntropy(allowed, []int32{0, 0, IgnoreTarget}, []float64{1, 0, 1}, 3, CrossEntropy{}); err != nil {
		t.Error(err)
	}
}
