package kernels

import "math"

// A Rule turns the losses of a group of rows into their weights; see Reweigh.
type Rule uint8

// The rules. In a group with losses l and d = l - reference, over its n counted rows, with q = 1/n, or 1 under Sum:
//
//	Uniform   w = q                                                        L = q*sum(l)
//	Softmax   w = n*q * s, s = softmax(d/Tau)                              L = sum(w*l)
//	TopShare  w = 1/k (1 under Sum) for the k = max(1, ceil(Share*n)) rows of largest d, ties to the lower row, else 0
//	          L = sum(w*l)                                                 Rho-1, arXiv 2404.07965
//	ByClass   two classes c with means (sums) L_c of l and D_c of d over their n_c rows: f = softmax(D/Tau),
//	          w = f_c/n_c (f_c under Sum)   L = sum(f_c*L_c)               RFT, arXiv 2412.14780
//	FixedClass  the same with f_1 = Alpha, f_0 = 1 - Alpha
//	Sigmoid   x = q*sum(d), w = q*Scale*sigmoid(Slope*x)                   L = Scale/Slope * log(1 + exp(Slope*x))
//	          NPO, arXiv 2404.05868, is Scale = -2, Slope = -beta under Sum
//
// When one of two classes is empty the other has f = 1.
const (
	Uniform Rule = iota + 1
	Softmax
	TopShare
	ByClass
	FixedClass
	Sigmoid
)

// Reweigh writes the weights of rows from their losses, group by group, so that sum(weights * gradient of the row's
// loss) is the gradient of the group's loss L and sum(Shares) = L. Group g is rows [Offsets[g], Offsets[g+1]) of all
// buffers; rows outside of every group are left alone. Weights of Softmax and ByClass are constants in the gradient
// unless Through is set: then w is multiplied by 1 + (l - L)/Tau, or f_c by 1 + (L_c - L)/Tau, as the derivative of L says
// (for Softmax with L = sum(s*l)).
//
// Classes, one byte a row, says with 0 and 1 which class a row is of; rows of other values do not count: weight and
// share are 0. It may be absent (all count) but for ByClass and FixedClass. Reference and Shares may be absent.
// A group without counted rows gets zeros. Sums are float64, in the order of rows.
type Reweigh struct {
	Weights, Shares, Losses, Reference, Classes, Offsets Buf // Offsets int32 [G+1], Classes uint8, the rest Master
	G                                                    int
	Rule                                                 Rule
	Sum, Through                                         bool
	Tau, Alpha, Share, Slope, Scale                      float64
}

func (a Reweigh) check() {
	c := checkOp("Reweigh", "Losses", a.Losses)
	c.dims(0, "G", a.G)
	c.index("Offsets", a.Offsets, a.G+1)
	c.activation("Weights", a.Weights, 0)
	optional(c.activation, "Reference", a.Reference, 0)
	optional(c.activation, "Shares", a.Shares, 0)
	if !a.Classes.Absent() {
		c.typed("Classes", a.Classes, U8, 0)
	}
	switch {
	case a.Rule < Uniform || a.Rule > Sigmoid:
		c.fail("rule %d does not exist", a.Rule)
	case (a.Rule == Softmax || a.Rule == ByClass) && !(a.Tau > 0):
		c.fail("Tau = %g, want it above 0", a.Tau)
	case a.Rule == TopShare && !(a.Share > 0 && a.Share <= 1):
		c.fail("Share = %g, want it in (0,1]", a.Share)
	case a.Rule == FixedClass && !(a.Alpha >= 0 && a.Alpha <= 1):
		c.fail("Alpha = %g, want it in [0,1]", a.Alpha)
	case a.Rule == Sigmoid && (a.Slope == 0 || math.IsNaN(a.Slope+a.Scale) || math.IsInf(a.Slope, 0) || math.IsInf(a.Scale, 0)):
		c.fail("Slope = %g and Scale = %g, want finite numbers and a slope that is not 0", a.Slope, a.Scale)
	case (a.Rule == ByClass || a.Rule == FixedClass) && a.Classes.Absent():
		c.fail("Classes is absent")
	}
}

// checkGroups panics unless offsets ascend within the rows that all buffers hold.
func (a Reweigh) checkGroups(offsets []int32) {
	rows := min(a.Losses.Len(), a.Weights.Len())
	for _, b := range []Buf{a.Shares, a.Reference, a.Classes} {
		if !b.Absent() {
			rows = min(rows, b.Len())
		}
	}
	for g, at := range offsets {
		if at < 0 || int(at) > rows || g > 0 && at < offsets[g-1] {
			opCheck{op: "Reweigh"}.fail("Offsets[%d] = %d, want them to ascend in [0,%d]", g, at, rows)
		}
	}
}

func checkScaleRows(x, scales Buf, R, C int) {
	c := checkOp("ScaleRows", "x", x)
	c.dims(0, "R", R)
	c.dims(1, "C", C)
	c.activation("x", x, R*C)
	c.master("scales", scales, R)
}
