package objectives

import "math"

// Slope is the derivative of a row's loss by its plain cross-entropy: 1, or the factor of DFT (p) and of focal
// (q^g + g p q^(g-1) nll, with q = 1 - p), by the row's negative log-likelihood.
func (o LossOptions) Slope(nll float64) float64 {
	switch p := math.Exp(-nll); {
	case o.DFT:
		return p
	case o.Focal > 0:
		q := -math.Expm1(-nll)
		if q <= 0 {
			return 0
		}
		return math.Pow(q, o.Focal) + o.Focal*p*math.Pow(q, o.Focal-1)*nll
	}
	return 1
}

// ClassWeight is what the rule gives class 1 of a group of rows with these losses, w_r of RFT, as a constant; ok is false for
// other rules, and for a group that lacks one of both classes.
func (r Reweigh) ClassWeight(losses []float32, classes []uint8) (weight float64, ok bool) {
	var sum, n [2]float64
	for i, c := range classes {
		if c <= 1 {
			sum[c] += float64(losses[i])
			n[c]++
		}
	}
	switch {
	case n[0] == 0 || n[1] == 0:
		return 0, false
	case r.Rule == "fixed":
		return r.Alpha, true
	case r.Rule != "class":
		return 0, false
	}
	if r.Aggregate == "mean" {
		sum[0], sum[1] = sum[0]/n[0], sum[1]/n[1]
	}
	return 1 / (1 + math.Exp((sum[0]-sum[1])/r.Tau)), true
}
