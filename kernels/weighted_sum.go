package kernels

// WeightedSum computes Y = sum over j < J of Weights[j] * X_j, where X_j are the N elements of X from j*Stride on: the
// depth-weighted average of DenseFormer (arXiv 2402.02622). Weights have the master's type. Y is none of the vectors.
type WeightedSum struct {
	Y, X, Weights Buf
	N, J, Stride  int
}

// WeightedSumBackward adds Weights[j] * DY to DX_j, which lie as X_j do, and the inner product of DY and X_j to DWeights[j].
// DWeights may be absent. DY is none of the vectors.
type WeightedSumBackward struct {
	DX, DWeights, DY, X, Weights Buf
	N, J, Stride                 int
}

func (a WeightedSum) check() {
	c := checkOp("WeightedSum", "Y", a.Y)
	c.vectors(a.N, a.J, a.Stride)
	c.activation("Y", a.Y, a.N)
	c.activation("X", a.X, apart(a.J, a.N, a.Stride))
	c.master("Weights", a.Weights, a.J)
}

func (a WeightedSumBackward) check() {
	c := checkOp("WeightedSumBackward", "DY", a.DY)
	c.vectors(a.N, a.J, a.Stride)
	c.activation("DX", a.DX, apart(a.J, a.N, a.Stride))
	c.activation("DY", a.DY, a.N)
	c.activation("X", a.X, apart(a.J, a.N, a.Stride))
	c.master("Weights", a.Weights, a.J)
	optional(c.master, "DWeights", a.DWeights, a.J)
}

func (c opCheck) vectors(N, J, stride int) {
	c.dims(0, "N", N)
	c.dims(1, "J", J)
	if stride < N {
		c.fail("Stride = %d, want at least N = %d", stride, N)
	}
}
