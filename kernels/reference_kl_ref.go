package kernels

import "math"

// referenceKLRef is the oracle of ReferenceKL. reference, weights, nll, loss and kl may be nil.
func referenceKLRef[T refFloat](logits, reference []T, targets []int32, weights, nll, loss, kl []T, a ReferenceKL) {
	put := func(to []T, r int, v float64) {
		if to != nil {
			to[r] = T(v)
		}
	}
	for r := range a.R {
		row := logits[r*a.V:][:a.V]
		y, w := int(targets[r]), 1.0
		if weights != nil {
			w = float64(weights[r])
		}
		if y == IgnoreTarget || w == 0 {
			put(nll, r, 0)
			put(loss, r, 0)
			put(kl, r, 0)
			if a.Grad {
				clear(row)
			}
			continue
		}
		s := pullRow{z: widen(row), y: y}
		if reference != nil {
			s.ref = widen(reference[r*a.V:][:a.V])
		}
		value, divergence := s.pull(&a, w < 0)
		put(nll, r, s.lse-s.z[y])
		put(loss, r, math.Abs(w)*value)
		put(kl, r, divergence)
		if a.Grad {
			for j := range row {
				row[j] = T(a.GradScale * math.Abs(w) * s.grad[j])
			}
		}
	}
}

// A pullRow is one row of both models.
type pullRow struct {
	z, ref      []float64
	y           int
	others, lse float64 // log-sum-exp of z without y, and of all
	grad        []float64
}

// lseWithout returns the log-sum-exp of z without element y, and of all.
func lseWithout(z []float64, y int) (others, all float64) {
	most := math.Inf(-1)
	for j, v := range z {
		if j != y {
			most = max(most, v)
		}
	}
	sum := 0.0
	for j, v := range z {
		if j != y && v != math.Inf(-1) {
			sum += math.Exp(v - most)
		}
	}
	if sum == 0 {
		return math.Inf(-1), z[y]
	}
	others = most + math.Log(sum)
	return others, logAddExp(others, z[y])
}

// logAddExp returns log(e^a + e^b).
func logAddExp(a, b float64) float64 {
	most, least := max(a, b), min(a, b)
	if math.IsInf(most, -1) {
		return most
	}
	return most + math.Log1p(math.Exp(least-most))
}

// pull sets grad and returns the loss without factor and the divergence.
func (s *pullRow) pull(a *ReferenceKL, unwanted bool) (loss, kl float64) {
	s.others, s.lse = lseWithout(s.z, s.y)
	s.grad = make([]float64, len(s.z))
	pull := a.Kept
	if unwanted {
		pull = a.Unwanted
	}
	nll := s.lse - s.z[s.y]
	if nll < 1 { // the same without cancellation
		nll = math.Log1p(math.Exp(s.others - s.z[s.y]))
	}
	switch {
	case pull == ForwardKL:
		return s.forward(s.target(a, unwanted))
	case pull == ReverseKL:
		loss = s.reverse(s.target(a, unwanted))
		return loss, loss
	case pull == Unlikelihood:
		loss = math.Log1p(math.Exp(s.z[s.y] - s.others)) // lse - others
		if s.z[s.y]-s.others > 700 {
			loss = s.z[s.y] - s.others
		}
		if a.ClipUnlikelihood && loss > clippedUnlikelihood {
			return clippedUnlikelihood, 0
		}
		hit := math.Exp(s.z[s.y] - s.lse)
		for j, z := range s.z {
			s.grad[j] = -hit * math.Exp(z-s.others)
		}
		s.grad[s.y] = hit
		return loss, 0
	case unwanted: // Likelihood
		if a.Floor != 0 && !a.FloorKept && -nll < a.Floor {
			return a.Floor, 0
		}
		s.likelihood()
		for j := range s.grad {
			s.grad[j] = -s.grad[j]
		}
		return -nll, 0
	case a.perEntry():
		logq := make([]float64, len(s.z))
		for j := range logq {
			logq[j] = math.Inf(-1)
		}
		logq[s.y] = 0
		loss, _ = s.forward(smoothed(logq, a.Eps))
		return loss, 0
	case a.Floor != 0 && a.FloorKept && a.Unwanted == Likelihood && -nll < a.Floor:
		return -a.Floor, 0
	}
	s.likelihood()
	return nll, 0
}

// likelihood sets the gradient of -log p_y.
func (s *pullRow) likelihood() {
	for j, z := range s.z {
		s.grad[j] = math.Exp(z - s.lse)
	}
	s.grad[s.y] = -math.Exp(s.others - s.lse)
}

// target returns the logarithms of the distribution to go to.
func (s *pullRow) target(a *ReferenceKL, unwanted bool) []float64 {
	others, all := lseWithout(s.ref, s.y)
	logq := make([]float64, len(s.ref))
	for j, z := range s.ref {
		if logq[j] = z - all; unwanted {
			logq[j] = z - others
		}
	}
	if unwanted {
		logq[s.y] = math.Inf(-1)
	}
	switch {
	case a.perEntry():
		return smoothed(logq, a.Eps)
	case unwanted && a.Unwanted == ReverseKL:
		for j := range logq {
			logq[j] += math.Log1p(-a.Eps)
		}
		logq[s.y] = math.Log(a.Eps)
	}
	return logq
}

// smoothed adds eps to every probability.
func smoothed(logq []float64, eps float64) []float64 {
	for j, l := range logq {
		logq[j] = math.Log(math.Exp(l)+eps) - math.Log1p(float64(len(logq))*eps)
	}
	return logq
}

func (s *pullRow) forward(logq []float64) (loss, kl float64) {
	for j, z := range s.z {
		p, q := math.Exp(z-s.lse), math.Exp(logq[j])
		s.grad[j] = p - q
		if q != 0 {
			loss -= q * (z - s.lse)
			kl += q * (logq[j] - (z - s.lse))
		}
	}
	return loss, kl
}

func (s *pullRow) reverse(logq []float64) (kl float64) {
	for j, z := range s.z {
		if p := math.Exp(z - s.lse); p != 0 {
			kl += p * (z - s.lse - logq[j])
		}
	}
	for j, z := range s.z {
		if p := math.Exp(z - s.lse); p != 0 {
			s.grad[j] = p * (z - s.lse - logq[j] - kl)
		}
	}
	return kl
}
