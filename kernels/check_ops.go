package kernels

import "math"

// The checks of every op's arguments, in the order of Backend; see check.go.

func checkEmbed(out, ids, pos, tokens, positions, types Buf, n, C int) {
	c := checkOp("Embed", "out", out)
	c.dims(0, "n", n)
	c.dims(1, "C", C)
	c.activation("out", out, n*C)
	c.index("ids", ids, n)
	c.table("tokens", tokens, C)
	if !positions.Absent() {
		c.table("positions", positions, C)
		c.index("pos", pos, 2*n)
	}
	optional(c.parameter, "types", types, C)
}

func checkEmbedBackward(dtokens, dpositions, dtypes, dout, ids, pos Buf, n, C int) {
	c := checkOp("EmbedBackward", "dout", dout)
	c.dims(0, "n", n)
	c.dims(1, "C", C)
	c.activation("dout", dout, n*C)
	if !dtokens.Absent() {
		c.master("dtokens", dtokens, C)
		c.table("dtokens", dtokens, C)
		c.index("ids", ids, n)
	}
	if !dpositions.Absent() {
		c.master("dpositions", dpositions, C)
		c.table("dpositions", dpositions, C)
		c.index("pos", pos, 2*n)
	}
	optional(c.master, "dtypes", dtypes, C)
}

func (c opCheck) normKind(k NormKind) {
	if k != LayerNorm && k != RMSNorm {
		c.fail("norm kind %d does not exist", k)
	}
}

func (a AddNorm) check() {
	c := checkOp("AddNorm", "X", a.X)
	c.dims(0, "N", a.N)
	c.dims(1, "C", a.C)
	n := a.N * a.C
	c.activation("X", a.X, n)
	if !a.Delta.Absent() {
		c.activation("Delta", a.Delta, n)
		c.activation("Sum", a.Sum, n)
		c.drop(a.Drop)
	}
	if a.Y.Absent() {
		if a.Delta.Absent() {
			c.fail("Y and Delta are both absent: nothing to do")
		}
		return
	}
	c.activation("Y", a.Y, n)
	c.normKind(a.Kind)
	optional(c.parameter, "Gain", a.Gain, a.C)
	optional(c.parameter, "Bias", a.Bias, a.C)
	optional(c.master, "Rstd", a.Rstd, a.N)
	optional(c.master, "Mean", a.Mean, a.N)
	if a.Kind == LayerNorm && a.Mean.Absent() != a.Rstd.Absent() {
		c.fail("of Mean and Rstd only one is given")
	}
	if !(a.Eps >= 0) {
		c.fail("Eps = %g, want at least 0", a.Eps)
	}
}

func (a NormBackward) check() {
	c := checkOp("NormBackward", "DY", a.DY)
	c.dims(0, "N", a.N)
	c.dims(1, "C", a.C)
	c.normKind(a.Kind)
	c.activation("DSum", a.DSum, a.N*a.C)
	c.activation("DY", a.DY, a.N*a.C)
	c.activation("Sum", a.Sum, a.N*a.C)
	optional(c.parameter, "Gain", a.Gain, a.C)
	optional(c.master, "DGain", a.DGain, a.C)
	optional(c.master, "DBias", a.DBias, a.C)
	c.master("Rstd", a.Rstd, a.N)
	if a.Kind == LayerNorm {
		c.master("Mean", a.Mean, a.N)
	}
	if a.Add && a.DSum.same(a.DY) {
		c.fail("DSum is DY, which Add forbids")
	}
}

func checkLinear(y, x, weight, bias, pre Buf, n, in, out int, act Activation) {
	c := checkOp("Linear", "x", x)
	c.dims(0, "n", n)
	c.dims(1, "in", in, "out", out)
	c.act(act)
	c.activation("y", y, n*out)
	c.activation("x", x, n*in)
	c.parameter("weight", weight, out*in)
	optional(c.parameter, "bias", bias, out)
	optional(c.activation, "pre", pre, n*out)
	if act == None && !pre.Absent() {
		c.fail("pre is given without an activation")
	}
}

func checkLinearBackwardInput(dx, dy, weight, pre Buf, n, in, out int, act Activation, add bool) {
	c := checkOp("LinearBackwardInput", "dy", dy)
	c.dims(0, "n", n)
	c.dims(1, "in", in, "out", out)
	c.act(act)
	c.activation("dx", dx, n*in)
	c.activation("dy", dy, n*out)
	c.parameter("weight", weight, out*in)
	if act == None {
		if !pre.Absent() {
			c.fail("pre is given without an activation")
		}
		return
	}
	c.activation("pre", pre, n*in)
	if add {
		c.fail("add with an activation, want one of them")
	}
}

func checkLinearBackwardWeight(dweight, dbias, dy, x Buf, n, in, out int) {
	c := checkOp("LinearBackwardWeight", "dy", dy)
	c.dims(0, "n", n)
	c.dims(1, "in", in, "out", out)
	c.master("dweight", dweight, out*in)
	optional(c.master, "dbias", dbias, out)
	c.activation("dy", dy, n*out)
	c.activation("x", x, n*in)
}

func checkActivationForward(y, x Buf, n int, act Activation) {
	c := checkOp("ActivationForward", "x", x)
	c.dims(0, "n", n)
	c.act(act)
	c.activation("y", y, n)
	c.activation("x", x, n)
}

func checkActivationBackward(dx, dy, x Buf, n int, act Activation) {
	c := checkOp("ActivationBackward", "x", x)
	c.dims(0, "n", n)
	c.act(act)
	c.activation("dx", dx, n)
	c.activation("dy", dy, n)
	c.activation("x", x, n)
}

func checkGated(y, gate, up Buf, n, F, ld int, act Activation) {
	c := checkOp("Gated", "gate", gate)
	c.gated(n, F, ld, act)
	c.activation("y", y, n*F)
	c.activation("gate", gate, apart(n, F, ld))
	c.activation("up", up, apart(n, F, ld))
}

func checkGatedBackward(dgate, dup, dy, gate, up Buf, n, F, ld int, act Activation) {
	c := checkOp("GatedBackward", "gate", gate)
	c.gated(n, F, ld, act)
	c.activation("dgate", dgate, apart(n, F, ld))
	c.activation("dup", dup, apart(n, F, ld))
	c.activation("dy", dy, n*F)
	c.activation("gate", gate, apart(n, F, ld))
	c.activation("up", up, apart(n, F, ld))
}

func (c opCheck) gated(n, F, ld int, act Activation) {
	c.dims(0, "n", n)
	c.dims(1, "F", F)
	c.act(act)
	if ld < F {
		c.fail("ld = %d, want at least F = %d", ld, F)
	}
}

// apart is the length of n rows of width elements that begin ld elements apart.
func apart(n, width, ld int) int {
	if n == 0 {
		return 0
	}
	return (n-1)*ld + width
}

func (a Rope) check() {
	c := checkOp("Rope", "X", a.X)
	c.dims(0, "N", a.N)
	c.dims(1, "Heads", a.Heads, "D", a.D)
	if a.Axes != 1 && a.Axes != 2 {
		c.fail("Axes = %d, want 1 or 2", a.Axes)
	}
	if a.D%(2*a.Axes) != 0 {
		c.fail("D = %d, want a multiple of %d for Axes = %d", a.D, 2*a.Axes, a.Axes)
	}
	width := a.Heads * a.D
	if a.LD < width {
		c.fail("LD = %d, want at least Heads*D = %d", a.LD, width)
	}
	if a.N > 0 {
		c.activation("X", a.X, (a.N-1)*a.LD+width)
	}
	c.index("Pos", a.Pos, 2*a.N)
	c.master("Table", a.Table, 0)
	if row := a.D / a.Axes; a.Table.Len()%row != 0 {
		c.fail("Table holds %d elements, want whole rows of %d", a.Table.Len(), row)
	}
}

// maxDropKeys is the number of packed rows whose attention probabilities have a counter of their own; see Drop.
const maxDropKeys = 8 << 20

func (c opCheck) attention(segments []Segment, rows, H, K, D int, scale float32, d Drop) {
	c.dims(0, "Rows", rows)
	c.dims(1, "H", H, "K", K, "D", D)
	if H%K != 0 {
		c.fail("H = %d query heads, want a multiple of K = %d key/value heads", H, K)
	}
	if !(scale >= 0) || math.IsInf(float64(scale), 0) {
		c.fail("Scale = %g, want 0 (for 1/sqrt(D)) or a positive number", scale)
	}
	c.drop(d)
	if d.threshold() > 0 && (rows > maxDropKeys || H > 1<<12) {
		c.fail("dropout with %d rows and %d heads, want at most %d and %d", rows, H, maxDropKeys, 1<<12)
	}
	for i, s := range segments {
		if s.Start < 0 || s.End < s.Start || int(s.End) > rows {
			c.fail("segment %d is [%d,%d), want it inside the %d rows", i, s.Start, s.End, rows)
		}
		if s.Mask > Causal || s.Window < 0 {
			c.fail("segment %d has mask %d and window %d", i, s.Mask, s.Window)
		}
	}
}

func (a Attention) check() {
	c := checkOp("Attention", "QKV", a.QKV)
	c.attention(a.Segments, a.Rows, a.H, a.K, a.D, a.Scale, a.Drop)
	if a.From < 0 || a.From > a.Rows {
		c.fail("From = %d, want it in [0,%d]", a.From, a.Rows)
	}
	c.activation("QKV", a.QKV, a.Rows*(a.H+2*a.K)*a.D)
	c.activation("Out", a.Out, a.Rows*a.H*a.D)
	optional(c.master, "LSE", a.LSE, a.H*a.Rows)
}

func (a AttentionBackward) check() {
	c := checkOp("AttentionBackward", "QKV", a.QKV)
	c.attention(a.Segments, a.Rows, a.H, a.K, a.D, a.Scale, a.Drop)
	// Segments of a step come in order; then an overlap, which would make two writers of one row, is cheap to see.
	for i := 1; i < len(a.Segments); i++ {
		if p, s := a.Segments[i-1], a.Segments[i]; s.Start >= p.Start && s.Start < p.End && s.Start < s.End {
			c.fail("segments %d [%d,%d) and %d [%d,%d) overlap", i-1, p.Start, p.End, i, s.Start, s.End)
		}
	}
	n := a.Rows * a.D
	c.activation("QKV", a.QKV, n*(a.H+2*a.K))
	c.activation("DQKV", a.DQKV, n*(a.H+2*a.K))
	c.activation("DOut", a.DOut, n*a.H)
	c.activation("Out", a.Out, n*a.H)
	c.master("LSE", a.LSE, a.H*a.Rows)
}

func checkMaskedSoftmax(p, lse, scores, mask Buf, R, C int) {
	c := checkOp("MaskedSoftmax", "scores", scores)
	c.dims(0, "R", R, "C", C)
	c.activation("p", p, R*C)
	c.activation("scores", scores, R*C)
	c.master("lse", lse, R)
	if !mask.Absent() {
		c.typed("mask", mask, U8, R*C)
	}
}

func checkMaskedSoftmaxBackward(dscores, dp, p Buf, R, C int) {
	c := checkOp("MaskedSoftmaxBackward", "p", p)
	c.dims(0, "R", R, "C", C)
	c.activation("dscores", dscores, R*C)
	c.activation("dp", dp, R*C)
	c.activation("p", p, R*C)
}

func checkGatherRows(out, x, rows Buf, R, C int) {
	c := checkOp("GatherRows", "x", x)
	c.dims(0, "R", R)
	c.dims(1, "C", C)
	c.activation("out", out, R*C)
	c.index("rows", rows, R)
}

func checkScatterAddRows(dst, src, rows Buf, R, C int) {
	c := checkOp("ScatterAddRows", "dst", dst)
	c.dims(0, "R", R)
	c.dims(1, "C", C)
	c.activation("src", src, R*C)
	c.index("rows", rows, R)
}

func (a CrossEntropy) check() {
	c := checkOp("CrossEntropy", "Logits", a.Logits)
	c.dims(0, "R", a.R)
	c.dims(1, "V", a.V)
	c.activation("Logits", a.Logits, a.R*a.V)
	c.index("Targets", a.Targets, a.R)
	optional(c.master, "Weights", a.Weights, a.R)
	optional(c.master, "NLL", a.NLL, a.R)
	optional(c.master, "Loss", a.Loss, a.R)
	optional(c.master, "Hit", a.Hit, a.R)
	if err := validateLossOptions(a.Smoothing, a.ZLoss, a.Focal, a.DFT); err != nil {
		c.fail("%v", err)
	}
	if a.Grad && (math.IsNaN(a.GradScale) || math.IsInf(a.GradScale, 0)) {
		c.fail("GradScale = %g", a.GradScale)
	}
}

func checkDropout(y, x Buf, n, C int, d Drop) {
	c := checkOp("Dropout", "x", x)
	c.dims(0, "n", n)
	c.dims(1, "C", C)
	c.activation("y", y, n*C)
	c.activation("x", x, n*C)
	c.drop(d)
}

func checkAdd(dst, src Buf) {
	checkOp("Add", "dst", dst).activation("src", src, 0)
}

// checkSum serves Sum and SumSquares, named by op.
func checkSum(op string, dst Buf, at int, x Buf, n int) {
	c := checkOp(op, "x", x)
	c.dims(0, "at", at, "n", n)
	c.length("x", x, n)
	c.typed("dst", dst, F64, at+1)
}

func (a AdamW) check() {
	c := checkOp("AdamW", "P", a.P)
	n := a.P.Len()
	for _, b := range []struct {
		name string
		Buf
	}{{"G", a.G}, {"M", a.M}, {"V", a.V}} {
		c.activation(b.name, b.Buf, n)
		if b.Len() != n {
			c.fail("%s holds %d elements, want %d as P", b.name, b.Len(), n)
		}
	}
	if a.Copy.Len() != n && !a.Copy.Absent() {
		c.fail("Copy holds %d elements, want %d as P", a.Copy.Len(), n)
	}
	c.typed("Guard", a.Guard, F64, 1)
	if !(a.Correction1 > 0) || !(a.Correction2 > 0) {
		c.fail("corrections %g and %g, want both above 0", a.Correction1, a.Correction2)
	}
	if !(a.Eps > 0) {
		c.fail("Eps = %g, want it above 0", a.Eps)
	}
	if !(a.Clip >= 0) || !(a.GradScale >= 0) {
		c.fail("Clip = %g and GradScale = %g, want both at least 0", a.Clip, a.GradScale)
	}
}
