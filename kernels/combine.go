package kernels

import "math"

// Combine computes, element by element,
//
//	Dst = (A*X + B*Y) / (sqrt(Norm[0]) + Eps)
//
// Norm (float64, a sum of squares that a device computed) may be absent: then nothing is divided. Y may be absent. X and Y
// may be Dst. Guard, float64, may be absent; when any element of it is not finite, nothing is changed. Copy, when given,
// receives Dst in the backend's compute type. It serves moving averages of the weights (Dst = X = average), and with
// the products Muon: its normalisation, the polynomials of its iteration and its update.
type Combine struct {
	Dst, X, Y, Copy, Norm, Guard Buf // Dst, X, Y Master
	A, B, Eps                    float64
}

// Momentum is the heavy ball with the gradient scaled and clipped as in AdamW:
//
//	g = G*scale; m = Beta*m + g; u = m, or g + Beta*m when Nesterov is set
//
// M and U are written, all of G's length; when Guard is not finite M is left as it was and U is zero.
type Momentum struct {
	M, U, G, Guard        Buf
	Beta, GradScale, Clip float64
	Nesterov              bool
}

// LAMB (arXiv 1904.00962) on one parameter tensor: with AdamW's moments and
//
//	u = m/Correction1 / (sqrt(v/Correction2) + Eps) + Decay*p
//	p = p - LR*trust*u
//
// trust = |p|/|u| by Euclidean norms where Decay > 0 and both norms are above 0, and 1 elsewhere: norms and biases have no
// decay and keep Adam's step, as in the published code of LTG-BERT. The ratio is not clamped. Update is room for u. Guard,
// Clip and Copy are AdamW's.
type LAMB struct {
	AdamW
	Update Buf // Master, of P's length
}

// allFinite reports whether every number of a guard is finite; an absent guard holds none.
func allFinite(guard []float64) bool {
	for _, g := range guard {
		if math.IsNaN(g) || math.IsInf(g, 0) {
			return false
		}
	}
	return true
}

// norm returns what Combine divides by.
func (a Combine) norm(squares []float64) float64 {
	if squares == nil {
		return 1
	}
	return math.Sqrt(squares[0]) + a.Eps
}

func (a Combine) check() {
	c := checkOp("Combine", "Dst", a.Dst)
	n := a.Dst.Len()
	c.sameLength("X", a.X, n)
	if !a.Y.Absent() {
		c.sameLength("Y", a.Y, n)
	}
	if !a.Copy.Absent() && a.Copy.Len() != n {
		c.fail("Copy holds %d elements, want %d as Dst", a.Copy.Len(), n)
	}
	for name, b := range map[string]Buf{"Norm": a.Norm, "Guard": a.Guard} {
		if !b.Absent() {
			c.typed(name, b, F64, 1)
		}
	}
	if !(a.Eps >= 0) {
		c.fail("Eps = %g, want it at least 0", a.Eps)
	}
}

func (a Momentum) check() {
	c := checkOp("Momentum", "M", a.M)
	c.sameLength("G", a.G, a.M.Len())
	c.sameLength("U", a.U, a.M.Len())
	c.typed("Guard", a.Guard, F64, 1)
	if !(a.Beta >= 0 && a.Beta < 1) || !(a.Clip >= 0) || !(a.GradScale >= 0) {
		c.fail("Beta = %g, Clip = %g, GradScale = %g, want Beta in [0,1) and the others at least 0", a.Beta, a.Clip, a.GradScale)
	}
}

func (a LAMB) check() {
	a.AdamW.check()
	checkOp("LAMB", "P", a.P).sameLength("Update", a.Update, a.P.Len())
}

// trust returns LAMB's ratio from the squares of both norms.
func (a LAMB) trust(p, u float64) float64 {
	if a.Decay > 0 && p > 0 && u > 0 {
		return math.Sqrt(p) / math.Sqrt(u)
	}
	return 1
}

// sameLength checks that b is of the op's main type and of exactly n elements.
func (c opCheck) sameLength(name string, b Buf, n int) {
	c.activation(name, b, n)
	if b.Len() != n {
		c.fail("%s holds %d elements, want %d", name, b.Len(), n)
	}
}
