package kernels

import "math"

// crossEntropyRef is the oracle of CrossEntropy. hit, nll, loss and weights may be nil.
func crossEntropyRef[T refFloat](logits []T, targets []int32, weights, nll, loss, hit []T, a CrossEntropy) {
	for r := range a.R {
		row := logits[r*a.V:][:a.V]
		y, w := int(targets[r]), 1.0
		if weights != nil {
			w = float64(weights[r])
		}
		var s lossRow
		if y != IgnoreTarget {
			s = lossRowRef(row, y)
		}
		if nll != nil {
			nll[r] = T(s.nll)
		}
		if hit != nil {
			hit[r] = 0
			if y != IgnoreTarget && s.largest == y {
				hit[r] = 1
			}
		}
		silent := y == IgnoreTarget || w == 0
		if loss != nil {
			loss[r] = 0
			if !silent {
				loss[r] = T(w * s.loss(a))
			}
		}
		if a.Grad {
			for j := range row {
				if silent {
					row[j] = 0
				} else {
					row[j] = T(a.GradScale * w * s.gradient(float64(row[j]), j == y, a))
				}
			}
		}
	}
}

// A lossRow is what the loss and gradient of one row need besides its logits.
type lossRow struct {
	lse, nll, mean float64
	largest        int // index of the first largest logit
}

// lossRowRef computes them. The largest term is kept out of the sum of exponentials, so that the loss of a row whose
// target dominates keeps its relative precision.
func lossRowRef[T refFloat](row []T, y int) lossRow {
	s := lossRow{}
	for j, z := range row {
		s.mean += float64(z) / float64(len(row))
		if z > row[s.largest] {
			s.largest = j
		}
	}
	most := float64(row[s.largest])
	var rest float64
	for j, z := range row {
		if j != s.largest {
			rest += math.Exp(float64(z) - most)
		}
	}
	s.lse = most + math.Log1p(rest)
	s.nll = most - float64(row[y]) + math.Log1p(rest)
	return s
}

// loss returns base + ZLoss*lse^2.
func (s lossRow) loss(a CrossEntropy) float64 {
	base := s.nll
	switch {
	case a.Smoothing != 0:
		eps := a.Smoothing
		base = (1-eps)*s.nll + eps*(s.lse-s.mean)
	case a.Focal != 0:
		base = math.Pow(-math.Expm1(-s.nll), a.Focal) * s.nll
	case a.DFT && s.nll < math.Inf(1):
		base = math.Exp(-s.nll) * s.nll
	case a.DFT: // p*log(p) tends to 0
		base = 0
	}
	if a.ZLoss != 0 {
		base += a.ZLoss * s.lse * s.lse
	}
	return base
}

// gradient returns the derivative of loss by the logit z. With p the probability of z, d nll / dz = p - [z is the target].
// For the focal loss it is that times (1-p_y)^g + g*(1-p_y)^(g-1)*p_y*nll.
func (s lossRow) gradient(z float64, target bool, a CrossEntropy) float64 {
	p := math.Exp(z - s.lse)
	d := p
	if target {
		d = math.Expm1(-s.nll)
	}
	switch {
	case a.Smoothing != 0:
		eps := a.Smoothing
		d = p - eps/float64(a.V)
		if target {
			d -= 1 - eps
		}
	case a.Focal != 0:
		g, miss, hit := a.Focal, -math.Expm1(-s.nll), math.Exp(-s.nll)
		factor := math.Pow(miss, g)
		if miss > 0 && hit > 0 { // otherwise the second term tends to 0
			factor += g * math.Pow(miss, g-1) * hit * s.nll
		}
		d *= factor
	case a.DFT:
		d *= math.Exp(-s.nll)
	}
	if a.ZLoss != 0 {
		d += 2 * a.ZLoss * s.lse * p
	}
	return d
}
