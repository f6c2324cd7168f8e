package kernels

import (
	"math"

	"palimpsest/engine/fault"
)

// Host-side validation of what a user's data can get wrong and what inside an op would only panic or spread NaN. Errors
// name the row.

// validateLossOptions checks the options of a cross-entropy.
func validateLossOptions(smoothing, zloss, focal float64, dft bool) error {
	set := 0
	for _, on := range []bool{smoothing != 0, focal != 0, dft} {
		if on {
			set++
		}
	}
	switch {
	case set > 1:
		return fault.Usage.Errorf("at most one of smoothing (%g), focal (%g) and dft (%v) may be set", smoothing, focal, dft)
	case !(smoothing >= 0 && smoothing < 1):
		return fault.Usage.Errorf("smoothing is %g, want 0 <= smoothing < 1", smoothing)
	case !(zloss >= 0) || math.IsInf(zloss, 0):
		return fault.Usage.Errorf("z-loss is %g, want a number of at least 0", zloss)
	case !(focal >= 0) || math.IsInf(focal, 0):
		return fault.Usage.Errorf("focal exponent is %g, want a number of at least 0", focal)
	}
	return nil
}

// ValidateCrossEntropy checks host copies of a cross-entropy's options and inputs, logits [R,V] with R = len(targets) and
// weights [R] or nil. It refuses options that exclude each other (fault.Usage) and, as fault.Data and with the row's number,
// a target outside [0,V) that is not IgnoreTarget, a weight that is not finite, NaN or +Inf among the logits, a row of
// only -Inf, a target whose logit is -Inf unless the row's weight is 0, and -Inf at all under label smoothing.
func ValidateCrossEntropy[T float32 | float64](logits []T, targets []int32, weights []T, V int, o CrossEntropy) error {
	if err := validateLossOptions(o.Smoothing, o.ZLoss, o.Focal, o.DFT); err != nil {
		return err
	}
	if V < 1 || len(logits) != len(targets)*V {
		return fault.Data.Errorf("cross-entropy: %d logits for %d targets and %d classes, want %d", len(logits), len(targets), V,
			len(targets)*V)
	}
	if weights != nil && len(weights) != len(targets) {
		return fault.Data.Errorf("cross-entropy: %d row weights for %d targets", len(weights), len(targets))
	}
	for r, y := range targets {
		if y == IgnoreTarget {
			continue
		}
		if y < 0 || int(y) >= V {
			return fault.Data.Errorf("cross-entropy: row %d: target %d, want it in [0,%d) or %d", r, y, V, IgnoreTarget)
		}
		w := 1.0
		if weights != nil {
			w = float64(weights[r])
		}
		if math.IsNaN(w) || math.IsInf(w, 0) {
			return fault.Data.Errorf("cross-entropy: row %d: weight %g, want a finite one", r, w)
		}
		finite := 0
		for j, z := range logits[r*V : (r+1)*V] {
			z := float64(z)
			switch {
			case math.IsNaN(z) || math.IsInf(z, 1):
				return fault.Data.Errorf("cross-entropy: row %d: logit %d is %g", r, j, z)
			case !math.IsInf(z, -1):
				finite++
			case o.Smoothing != 0:
				return fault.Data.Errorf("cross-entropy: row %d: logit %d is -Inf, which label smoothing forbids", r, j)
			case int32(j) == y && w != 0:
				return fault.Data.Errorf("cross-entropy: row %d: the target's logit (%d) is -Inf, so its loss is infinite", r, j)
			}
		}
		if finite == 0 {
			return fault.Data.Errorf("cross-entropy: row %d: all logits are -Inf", r)
		}
	}
	return nil
}

// ValidateMaskedSoftmax checks host copies of a masked softmax's inputs, scores [R,C] and mask [R,C] or nil: another number
// of mask entries and NaN or +Inf at a kept place are refused as fault.Data with the row's number.
func ValidateMaskedSoftmax[T float32 | float64](scores []T, mask []uint8, R, C int) error {
	if len(scores) != R*C || mask != nil && len(mask) != R*C {
		return fault.Data.Errorf("masked softmax: %d scores and %d mask entries for %d rows of %d", len(scores), len(mask), R, C)
	}
	for i, s := range scores {
		if kept := mask == nil || mask[i] != 0; kept && (math.IsNaN(float64(s)) || math.IsInf(float64(s), 1)) {
			return fault.Data.Errorf("masked softmax: row %d: score %d is %g at a kept place", i/C, i%C, s)
		}
	}
	return nil
}
