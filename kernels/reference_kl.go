package kernels

import (
	"math"

	"palimpsest/engine/fault"
)

// A Pull is what a row's loss asks of the trained model's distribution p; see ReferenceKL.
type Pull uint8

// The pulls. q is the reference's distribution, without the row's target where that is unwanted.
const (
	ForwardKL    Pull = iota + 1 // cross-entropy of p against q
	ReverseKL                    // KL(p || q)
	Likelihood                   // -log p_y of a kept target, +log p_y of an unwanted one
	Unlikelihood                 // -log(1 - p_y), of unwanted targets only (arXiv 1908.04319)
)

// ReferenceKL is targeted negative training (TNT, arXiv 2406.13660): each of R rows of Logits [R,V] with target y is pulled
// to the row of a frozen model's logits in Reference [R,V]. The weight's sign says what y is and its size is the factor c
// of the row's loss: below 0 y is unwanted, and the target distribution q is the reference's without y, above 0 y is kept,
// and q is the reference's; 0, or IgnoreTarget for y, gives exactly zero loss and gradient. Weights absent: all 1. With
// natural logarithms,
//
//	ForwardKL     c * -sum q log p                     dz_j = c (p_j - q_j)
//	ReverseKL     c * KL(p,q~)                         dz_j = c p_j (log p_j - log q~_j - KL)
//	Likelihood    c * -log p_y, unwanted c * log p_y   dz_j = c (p_j - [j=y]), unwanted its opposite
//	Unlikelihood  c * -log(1 - p_y)                    dz_j = c p_y/(1-p_y) ([j=y] - p_j)
//
// Unwanted and Kept choose the pull of either kind of row, so that the paper's variants and baselines are
//
//	TNFF   ForwardKL, ForwardKL     TNFLL  ForwardKL, Likelihood     NL  Likelihood, Likelihood
//	TNRR   ReverseKL, ReverseKL     TNRLL  ReverseKL, Likelihood     UL  Unlikelihood, Likelihood
//	TNRF   ReverseKL, ForwardKL
//
// q~ is q with Eps at the unwanted token: q~_y = Eps, the others (1-Eps) q. All forms are of log-sum-exps over the other
// tokens; nothing is divided by 1 - p_y. Where an unwanted row of Likelihood has log p_y below Floor (0: no floor), its loss
// is c*Floor and its gradient 0.
//
// Switches that follow the published code: EpsPerEntry smooths every target distribution, also that of kept rows, to
// (q + Eps)/(1 + V*Eps) when Unwanted is ReverseKL; ClipUnlikelihood stops at p_y = 1 - 1e-7, where the loss is that and
// the gradient 0; FloorKept applies Floor to kept rows and not to unwanted ones, when Unwanted is Likelihood.
//
// Loss[r] is the row's loss, NLL[r] = -log p_y, KL[r] the divergence without factor and without the constant entropy of q, 0
// where the pull is none (each may be absent). With Grad, Logits is overwritten with GradScale * d(loss)/dz; without it it
// keeps unspecified contents. Reference may be absent when neither pull is a divergence. An unwanted target must not be the
// only token that a model's logits allow.
type ReferenceKL struct {
	Logits, Reference, Targets, Weights, NLL, Loss, KL Buf // Targets int32; Weights, NLL, Loss, KL Master, the rest Compute
	R, V                                               int
	Unwanted, Kept                                     Pull
	Eps, Floor                                         float64
	EpsPerEntry, ClipUnlikelihood, FloorKept           bool
	Grad                                               bool
	GradScale                                          float64
}

// clippedUnlikelihood is -log(1 - p_y) where ClipUnlikelihood stops.
var clippedUnlikelihood = -math.Log(1e-7)

// diverges reports whether the pull reads the reference.
func (p Pull) diverges() bool { return p == ForwardKL || p == ReverseKL }

// perEntry reports whether target distributions are smoothed as the published code does it.
func (a *ReferenceKL) perEntry() bool { return a.EpsPerEntry && a.Unwanted == ReverseKL }

// options checks what does not depend on data.
func (a *ReferenceKL) options() error {
	switch {
	case a.V < 2:
		return fault.Usage.Errorf("%d tokens, want at least 2: one is taken away", a.V)
	case a.Unwanted < ForwardKL || a.Unwanted > Unlikelihood:
		return fault.Usage.Errorf("pull %d of unwanted targets does not exist", a.Unwanted)
	case a.Kept < ForwardKL || a.Kept > Likelihood:
		return fault.Usage.Errorf("pull %d of kept targets, want a divergence or the likelihood", a.Kept)
	case a.Unwanted == ReverseKL && !(a.Eps > 0 && a.Eps < 1):
		return fault.Usage.Errorf("eps is %g, want it in (0,1)", a.Eps)
	case !(a.Floor <= 0) || math.IsInf(a.Floor, 0):
		return fault.Usage.Errorf("floor is %g, want a log-probability, or 0 for none", a.Floor)
	}
	return nil
}

func (a *ReferenceKL) check() {
	c := checkOp("ReferenceKL", "Logits", a.Logits)
	c.dims(0, "R", a.R)
	if err := a.options(); err != nil {
		c.fail("%v", err)
	}
	c.activation("Logits", a.Logits, a.R*a.V)
	if a.Unwanted.diverges() || a.Kept.diverges() {
		c.activation("Reference", a.Reference, a.R*a.V)
		if a.R > 0 && a.Reference.same(a.Logits) {
			c.fail("Reference is Logits, which the gradient overwrites")
		}
	}
	c.index("Targets", a.Targets, a.R)
	optional(c.master, "Weights", a.Weights, a.R)
	optional(c.master, "NLL", a.NLL, a.R)
	optional(c.master, "Loss", a.Loss, a.R)
	optional(c.master, "KL", a.KL, a.R)
	if a.Grad && (math.IsNaN(a.GradScale) || math.IsInf(a.GradScale, 0)) {
		c.fail("GradScale = %g", a.GradScale)
	}
}

// ValidateReferenceKL checks host copies of the op's options and inputs, reference nil where no pull reads it, and names the
// row of what it refuses: targets outside [0,V) that are not IgnoreTarget, weights that are not finite, NaN or +Inf among
// the logits, rows of nothing but -Inf beside the target, and in counting rows a logit of -Inf at the target.
func ValidateReferenceKL[T float32 | float64](logits, reference []T, targets []int32, weights []T, o ReferenceKL) error {
	if err := o.options(); err != nil {
		return err
	}
	if len(logits) != len(targets)*o.V || weights != nil && len(weights) != len(targets) {
		return fault.Data.Errorf("reference KL: %d logits and %d weights for %d targets and %d tokens", len(logits), len(weights), len(targets), o.V)
	}
	models := []struct {
		name   string
		logits []T
	}{{"model", logits}}
	if o.Unwanted.diverges() || o.Kept.diverges() {
		if len(reference) != len(logits) {
			return fault.Data.Errorf("reference KL: %d logits of the reference model, want %d as the trained one's", len(reference), len(logits))
		}
		models = append(models, models[0])
		models[1].name, models[1].logits = "reference", reference
	}
	for r, y := range targets {
		if y == IgnoreTarget {
			continue
		}
		if y < 0 || int(y) >= o.V {
			return fault.Data.Errorf("reference KL: row %d: target %d, want it in [0,%d) or %d", r, y, o.V, IgnoreTarget)
		}
		w := 1.0
		if weights != nil {
			w = float64(weights[r])
		}
		if math.IsNaN(w) || math.IsInf(w, 0) {
			return fault.Data.Errorf("reference KL: row %d: weight %g, want a finite one", r, w)
		}
		if w == 0 {
			continue
		}
		for _, m := range models {
			others := 0
			for j, z := range m.logits[r*o.V : (r+1)*o.V] {
				z := float64(z)
				switch {
				case math.IsNaN(z) || math.IsInf(z, 1):
					return fault.Data.Errorf("reference KL: row %d: logit %d of the %s is %g", r, j, m.name, z)
				case int32(j) == y && math.IsInf(z, -1):
					return fault.Data.Errorf("reference KL: row %d: the target's logit (%d) of the %s is -Inf", r, j, m.name)
				case int32(j) != y && !math.IsInf(z, -1):
					others++
				}
			}
			if others == 0 {
				return fault.Data.Errorf("reference KL: row %d: the %s allows no token but the target %d", r, m.name, y)
			}
		}
	}
	return nil
}
