package kernels

import "gorgonia.org/tensor"

// refFloat is what the oracles are generic over. They compute in float64 and round once, when a result is stored.
type refFloat interface{ float32 | float64 }

// widen returns a float64 copy of s; nil stays nil.
func widen[T refFloat](s []T) []float64 {
	if s == nil {
		return nil
	}
	w := make([]float64, len(s))
	for i, v := range s {
		w[i] = float64(v)
	}
	return w
}

// narrow stores s, of dst's length, into dst.
func narrow[T refFloat](dst []T, s []float64) {
	for i, v := range s {
		dst[i] = T(v)
	}
}

// refBackend puts the oracles behind Backend. Ops run at once, on the calling goroutine.
type refBackend[T refFloat] struct{ name string }

// NewRef32 returns the oracles over float32: computed in float64, rounded when stored. Slow; for tests.
func NewRef32() Backend { return refBackend[float32]{"ref32"} }

// NewRef64 returns the oracles over float64. Slow; for tests.
func NewRef64() Backend { return refBackend[float64]{"ref64"} }

func (r refBackend[T]) Info() Info {
	t := dtypeOf[T]()
	return Info{Name: r.name, Device: "host", Products: "plain Go loops", Threads: 1, Compute: t, Master: t,
		Notes: []string{"oracle: exact and slow, for tests"}}
}

func (refBackend[T]) Alloc(t DType, n int) Buf  { return allocHost(t, n) }
func (refBackend[T]) Upload(dst Buf, src any)   { uploadHost(dst, src) }
func (refBackend[T]) Download(dst any, src Buf) { downloadHost(dst, src) }
func (refBackend[T]) DownloadLater(dst []float64, src Buf) func() error {
	return downloadHostLater(dst, src)
}
func (refBackend[T]) Tensor(b Buf, shape ...int) *tensor.Dense { return tensorHost(b, shape) }
func (refBackend[T]) Zero(b Buf)                               { zeroHost(b) }
func (refBackend[T]) Copy(dst, src Buf)                        { copyHost(dst, src) }
func (refBackend[T]) Sync() error                              { return nil }
func (refBackend[T]) Close()                                   {}
func (refBackend[T]) view(b Buf) []T                           { return View[T](b) }

func (r refBackend[T]) Embed(out, ids, pos, tokens, positions, types Buf, n, C int) {
	checkEmbed(out, ids, pos, tokens, positions, types, n, C)
	checkIndices("Embed", "ids", View[int32](ids)[:n], tokens.Len()/C)
	if !positions.Absent() {
		checkPositions("Embed", View[int32](pos), n, 1, positions.Len()/C)
	}
	embedRef(r.view(out), View[int32](ids), View[int32](pos), r.view(tokens), r.view(positions), r.view(types), n, C)
}

func (r refBackend[T]) EmbedBackward(dtokens, dpositions, dtypes, dout, ids, pos Buf, n, C int) {
	checkEmbedBackward(dtokens, dpositions, dtypes, dout, ids, pos, n, C)
	if !dtokens.Absent() {
		checkIndices("EmbedBackward", "ids", View[int32](ids)[:n], dtokens.Len()/C)
	}
	if !dpositions.Absent() {
		checkPositions("EmbedBackward", View[int32](pos), n, 1, dpositions.Len()/C)
	}
	embedBackwardRef(r.view(dtokens), r.view(dpositions), r.view(dtypes), r.view(dout), View[int32](ids), View[int32](pos), n, C)
}

func (r refBackend[T]) AddNorm(a AddNorm) {
	a.check()
	addNormRef(r.view(a.Y), r.view(a.Sum), r.view(a.X), r.view(a.Delta), r.view(a.Gain), r.view(a.Bias), r.view(a.Mean),
		r.view(a.Rstd), a)
}

func (r refBackend[T]) NormBackward(a NormBackward) {
	a.check()
	normBackwardRef(r.view(a.DSum), r.view(a.DGain), r.view(a.DBias), r.view(a.DY), r.view(a.Sum), r.view(a.Gain),
		r.view(a.Mean), r.view(a.Rstd), a)
}

func (r refBackend[T]) Linear(y, x, weight, bias, pre Buf, n, in, out int, act Activation) {
	checkLinear(y, x, weight, bias, pre, n, in, out, act)
	linearRef(r.view(y), r.view(x), r.view(weight), r.view(bias), r.view(pre), n, in, out, act)
}

func (r refBackend[T]) LinearBackwardInput(dx, dy, weight, pre Buf, n, in, out int, act Activation, add bool) {
	checkLinearBackwardInput(dx, dy, weight, pre, n, in, out, act, add)
	linearBackwardInputRef(r.view(dx), r.view(dy), r.view(weight), r.view(pre), n, in, out, act, add)
}

func (r refBackend[T]) LinearBackwardWeight(dweight, dbias, dy, x Buf, n, in, out int) {
	checkLinearBackwardWeight(dweight, dbias, dy, x, n, in, out)
	linearBackwardWeightRef(r.view(dweight), r.view(dbias), r.view(dy), r.view(x), n, in, out)
}

func (r refBackend[T]) ActivationForward(y, x Buf, n int, act Activation) {
	checkActivationForward(y, x, n, act)
	activationRef(r.view(y), r.view(x), n, act)
}

func (r refBackend[T]) ActivationBackward(dx, dy, x Buf, n int, act Activation) {
	checkActivationBackward(dx, dy, x, n, act)
	activationBackwardRef(r.view(dx), r.view(dy), r.view(x), n, act)
}

func (r refBackend[T]) Gated(y, gate, up Buf, n, F, ld int, act Activation) {
	checkGated(y, gate, up, n, F, ld, act)
	gatedRef(r.view(y), r.view(gate), r.view(up), n, F, ld, act)
}

func (r refBackend[T]) GatedBackward(dgate, dup, dy, gate, up Buf, n, F, ld int, act Activation) {
	checkGatedBackward(dgate, dup, dy, gate, up, n, F, ld, act)
	gatedBackwardRef(r.view(dgate), r.view(dup), r.view(dy), r.view(gate), r.view(up), n, F, ld, act)
}

func (r refBackend[T]) Rope(a Rope) {
	a.check()
	checkPositions("Rope", View[int32](a.Pos), a.N, a.Axes, a.Table.Len()/(a.D/a.Axes))
	ropeRef(r.view(a.X), View[int32](a.Pos), r.view(a.Table), a)
}

func (r refBackend[T]) Attention(a Attention) {
	a.check()
	attentionRef(r.view(a.Out), r.view(a.LSE), r.view(a.QKV), a, unrounded)
}

func (r refBackend[T]) AttentionBackward(a AttentionBackward) {
	a.check()
	attentionBackwardRef(r.view(a.DQKV), r.view(a.DOut), r.view(a.QKV), a, unrounded)
}

func (r refBackend[T]) MaskedSoftmax(p, lse, scores, mask Buf, R, C int) {
	checkMaskedSoftmax(p, lse, scores, mask, R, C)
	maskedSoftmaxRef(r.view(p), r.view(lse), r.view(scores), View[uint8](mask), R, C)
}

func (r refBackend[T]) MaskedSoftmaxBackward(dscores, dp, p Buf, R, C int) {
	checkMaskedSoftmaxBackward(dscores, dp, p, R, C)
	maskedSoftmaxBackwardRef(r.view(dscores), r.view(dp), r.view(p), R, C)
}

func (r refBackend[T]) GatherRows(out, x, rows Buf, R, C int) {
	checkGatherRows(out, x, rows, R, C)
	checkIndices("GatherRows", "rows", View[int32](rows)[:R], x.Len()/C)
	gatherRowsRef(r.view(out), r.view(x), View[int32](rows), R, C)
}

func (r refBackend[T]) ScatterAddRows(dst, src, rows Buf, R, C int) {
	checkScatterAddRows(dst, src, rows, R, C)
	checkIndices("ScatterAddRows", "rows", View[int32](rows)[:R], dst.Len()/C)
	scatterAddRowsRef(r.view(dst), r.view(src), View[int32](rows), R, C)
}

func (r refBackend[T]) CrossEntropy(a CrossEntropy) {
	a.check()
	checkTargets(View[int32](a.Targets)[:a.R], a.V)
	crossEntropyRef(r.view(a.Logits), View[int32](a.Targets), r.view(a.Weights), r.view(a.NLL), r.view(a.Loss), r.view(a.Hit), a)
}

func (r refBackend[T]) ReferenceKL(a ReferenceKL) {
	a.check()
	checkTargets(View[int32](a.Targets)[:a.R], a.V)
	referenceKLRef(r.view(a.Logits), r.view(a.Reference), View[int32](a.Targets), r.view(a.Weights), r.view(a.NLL), r.view(a.Loss),
		r.view(a.KL), a)
}

func (r refBackend[T]) Emissions(a Emissions) {
	a.check()
	checkLatticeTargets("Emissions", View[int32](a.Targets), a.Lattices, a.V)
	offsets, _ := matrixOffsets(a.Lattices, a.Mode)
	emissionsRef(r.view(a.Match), r.view(a.LSE), r.view(a.Logits), View[int32](a.Targets), &a, rowOwners(a.Lattices, a.R), offsets, 0, a.R)
}

func (r refBackend[T]) EmissionsBackward(a EmissionsBackward) {
	a.check()
	checkLatticeTargets("EmissionsBackward", View[int32](a.Targets), a.Lattices, a.V)
	offsets, _ := matrixOffsets(a.Lattices, a.Mode)
	emissionsBackwardRef(r.view(a.Logits), r.view(a.DMatch), r.view(a.LSE), View[int32](a.Targets), &a, rowOwners(a.Lattices, a.R), offsets, 0, a.R)
}

func (r refBackend[T]) Alignment(a Alignment) {
	a.check()
	alignmentRef(r.view(a.LogP), r.view(a.Loss), r.view(a.Lost), r.view(a.DMatch), r.view(a.DLogE), r.view(a.Match), r.view(a.LogE),
		r.view(a.Weights), View[int32](a.Targets), &a, 0, len(a.Lattices))
}

func (r refBackend[T]) Links(a Links) {
	a.check()
	linksRef(r.view(a.LogE), r.view(a.LSE), r.view(a.QK), r.view(a.Gate), View[int32](a.Groups), &a, unrounded)
}

func (r refBackend[T]) LinksBackward(a LinksBackward) {
	a.check()
	linksBackwardRef(r.view(a.DQK), r.view(a.DGate), r.view(a.DLogE), r.view(a.QK), r.view(a.Gate), View[int32](a.Groups), &a, unrounded)
}

func (r refBackend[T]) Dropout(y, x Buf, n, C int, d Drop) {
	checkDropout(y, x, n, C, d)
	dropoutRef(r.view(y), r.view(x), n, C, d)
}

func (r refBackend[T]) Add(dst, src Buf) {
	checkAdd(dst, src)
	addRef(r.view(dst), r.view(src))
}

func (r refBackend[T]) Sum(dst Buf, at int, x Buf, n int, add bool) {
	checkSum("Sum", dst, at, x, n)
	store(&View[float64](dst)[at], sumRef(r.view(x)[:n]), add)
}

func (r refBackend[T]) SumSquares(dst Buf, at int, x Buf, n int, add bool) {
	checkSum("SumSquares", dst, at, x, n)
	store(&View[float64](dst)[at], sumSquaresRef(r.view(x)[:n]), add)
}

// store writes v to dst, or adds it.
func store(dst *float64, v float64, add bool) {
	if add {
		v += *dst
	}
	*dst = v
}

func (r refBackend[T]) AdamW(a AdamW) {
	a.check()
	adamWRef(r.view(a.P), r.view(a.G), r.view(a.M), r.view(a.V), r.view(a.Copy), View[float64](a.Guard), a)
}
