package kernels

import "fmt"

// The naive bfloat16 computation: what a straightforward implementation over bfloat16 tensors and float32 masters gives.
// Every op computes like the oracles from the rounded values that its buffers hold, and rounds what it writes to a buffer
// of the compute type. Where a chain of plain ops would write an intermediate tensor, that is rounded too: a product
// before its activation or before it is added, dropout before the residual, the residual's sum before the norm, and in
// attention the scores, the probabilities before and after dropout, and their gradients. It is the yardstick of the
// ratio by which bfloat16 backends are judged (compliance_test.go) and of training in bfloat16.

// refBF16 wraps the float32 oracles: inputs are widened, which is exact, and outputs rounded when the op is done.
type refBF16 struct {
	refBackend[float32]
	pending []rounded
}

// A rounded output is waiting in float32.
type rounded struct{ to, from Buf }

// NewRefBF16 returns the naive bfloat16 computation with float32 masters. Slow; for tests and as a yardstick.
func NewRefBF16() Backend { return &refBF16{refBackend: refBackend[float32]{"refbf16"}} }

func (r *refBF16) Info() Info {
	return Info{Name: r.name, Device: "host", Products: "plain Go loops, rounded to bfloat16", Threads: 1, Compute: BF16, Master: F32,
		Notes: []string{"naive bfloat16: the yardstick of bfloat16 devices, slow, for tests"}}
}

func (*refBF16) Alloc(t DType, n int) Buf {
	if t != BF16 {
		return allocHost(t, n)
	}
	if n < 0 {
		panic(fmt.Sprintf("kernels: Alloc: %d elements", n))
	}
	return hostBF16(make([]uint16, n))
}

func (*refBF16) Upload(dst Buf, src any) {
	if dst.Type() != BF16 {
		uploadHost(dst, src)
		return
	}
	switch s := src.(type) {
	case []float32:
		intoBF16("Upload", viewBF16(dst), s)
	case []float64:
		intoBF16("Upload", viewBF16(dst), s)
	default:
		panic(fmt.Sprintf("kernels: Upload: cannot take a %T into bfloat16", src))
	}
}

func (*refBF16) Download(dst any, src Buf) {
	if src.Type() != BF16 {
		downloadHost(dst, src)
		return
	}
	switch d := dst.(type) {
	case []float32:
		outOfBF16("Download", d, viewBF16(src))
	case []float64:
		outOfBF16("Download", d, viewBF16(src))
	default:
		panic(fmt.Sprintf("kernels: Download: cannot fill a %T from bfloat16", dst))
	}
}

func (*refBF16) Zero(b Buf) {
	if b.Type() != BF16 {
		zeroHost(b)
		return
	}
	clear(viewBF16(b))
}

func (*refBF16) Copy(dst, src Buf) {
	if dst.Type() != BF16 {
		copyHost(dst, src)
		return
	}
	d, s := viewBF16(dst), viewBF16(src)
	if len(s) > len(d) {
		panic(fmt.Sprintf("kernels: Copy: %d elements into %d", len(s), len(d)))
	}
	copy(d, s)
}

// wide returns a float32 copy of a bfloat16 buffer, and any other buffer as it is.
func (r *refBF16) wide(b Buf) Buf {
	if b.Type() != BF16 {
		return b
	}
	w := make([]float32, b.Len())
	outOfBF16("", w, viewBF16(b))
	return HostBuf(w)
}

// written is wide for a buffer that the op writes: done rounds the copy back. It starts with what the buffer holds, for
// ops that add or leave elements alone.
func (r *refBF16) written(b Buf) Buf {
	w := r.wide(b)
	if b.Type() == BF16 {
		r.pending = append(r.pending, rounded{b, w})
	}
	return w
}

// done rounds what the op wrote.
func (r *refBF16) done() {
	for _, p := range r.pending {
		intoBF16("", viewBF16(p.to), View[float32](p.from))
	}
	r.pending = r.pending[:0]
}

// temporary returns a bfloat16 intermediate of n elements.
func (*refBF16) temporary(n int) Buf { return hostBF16(make([]uint16, n)) }

func (r *refBF16) Embed(out, ids, pos, tokens, positions, types Buf, n, C int) {
	checkEmbed(out, ids, pos, tokens, positions, types, n, C)
	r.refBackend.Embed(r.written(out), ids, pos, r.wide(tokens), r.wide(positions), r.wide(types), n, C)
	r.done()
}

func (r *refBF16) EmbedBackward(dtokens, dpositions, dtypes, dout, ids, pos Buf, n, C int) {
	checkEmbedBackward(dtokens, dpositions, dtypes, dout, ids, pos, n, C)
	r.refBackend.EmbedBackward(dtokens, dpositions, dtypes, r.wide(dout), ids, pos, n, C)
}

func (r *refBF16) AddNorm(a AddNorm) {
	a.check()
	if !a.Delta.Absent() {
		delta := r.temporary(a.N * a.C)
		r.Dropout(delta, a.Delta, a.N, a.C, a.Drop)
		r.refBackend.AddNorm(AddNorm{X: r.wide(a.X), Delta: r.wide(delta), Sum: r.written(a.Sum), N: a.N, C: a.C})
		r.done()
		a.X = a.Sum
	}
	if a.Y.Absent() {
		return
	}
	a.Sum, a.Delta = Buf{}, Buf{}
	a.X, a.Gain, a.Bias, a.Y = r.wide(a.X), r.wide(a.Gain), r.wide(a.Bias), r.written(a.Y)
	r.refBackend.AddNorm(a)
	r.done()
}

func (r *refBF16) NormBackward(a NormBackward) {
	a.check()
	into := a.DSum
	if a.Add {
		into = r.temporary(a.N * a.C)
	}
	b := a
	b.Add = false
	b.DSum, b.DY, b.Sum, b.Gain = r.written(into), r.wide(a.DY), r.wide(a.Sum), r.wide(a.Gain)
	r.refBackend.NormBackward(b)
	r.done()
	if a.Add {
		r.Add(a.DSum, into)
	}
}

func (r *refBF16) Linear(y, x, weight, bias, pre Buf, n, in, out int, act Activation) {
	checkLinear(y, x, weight, bias, pre, n, in, out, act)
	if pre.Absent() {
		pre = r.temporary(n * out)
	}
	r.refBackend.Linear(r.written(pre), r.wide(x), r.wide(weight), r.wide(bias), Buf{}, n, in, out, None)
	r.done()
	r.ActivationForward(y, pre, n*out, act)
}

func (r *refBF16) LinearBackwardInput(dx, dy, weight, pre Buf, n, in, out int, act Activation, add bool) {
	checkLinearBackwardInput(dx, dy, weight, pre, n, in, out, act, add)
	into := dx
	if add {
		into = r.temporary(n * in)
	}
	r.refBackend.LinearBackwardInput(r.written(into), r.wide(dy), r.wide(weight), Buf{}, n, in, out, None, false)
	r.done()
	switch {
	case add:
		r.Add(dx, into)
	case act != None:
		r.ActivationBackward(dx, dx, pre, n*in, act)
	}
}

func (r *refBF16) LinearBackwardWeight(dweight, dbias, dy, x Buf, n, in, out int) {
	checkLinearBackwardWeight(dweight, dbias, dy, x, n, in, out)
	r.refBackend.LinearBackwardWeight(dweight, dbias, r.wide(dy), r.wide(x), n, in, out)
}

func (r *refBF16) ActivationForward(y, x Buf, n int, act Activation) {
	checkActivationForward(y, x, n, act)
	r.refBackend.ActivationForward(r.written(y), r.wide(x), n, act)
	r.done()
}

func (r *refBF16) ActivationBackward(dx, dy, x Buf, n int, act Activation) {
	checkActivationBackward(dx, dy, x, n, act)
	r.refBackend.ActivationBackward(r.written(dx), r.wide(dy), r.wide(x), n, act)
	r.done()
}

func (r *refBF16) Gated(y, gate, up Buf, n, F, ld int, act Activation) {
	checkGated(y, gate, up, n, F, ld, act)
	r.refBackend.Gated(r.written(y), r.wide(gate), r.wide(up), n, F, ld, act)
	r.done()
}

// GatedBackward goes row by row: both gradients may lie in one buffer, between each other.
func (r *refBF16) GatedBackward(dgate, dup, dy, gate, up Buf, n, F, ld int, act Activation) {
	checkGatedBackward(dgate, dup, dy, gate, up, n, F, ld, act)
	for i := range n {
		row := func(b Buf, ld int) Buf { return b.Slice(i*ld, i*ld+F) }
		r.refBackend.GatedBackward(r.written(row(dgate, ld)), r.written(row(dup, ld)), r.wide(row(dy, F)), r.wide(row(gate, ld)), r.wide(row(up, ld)), 1, F, F, act)
		r.done()
	}
}

func (r *refBF16) Rope(a Rope) {
	a.check()
	a.X = r.written(a.X)
	r.refBackend.Rope(a)
	r.done()
}

func (r *refBF16) Attention(a Attention) {
	a.check()
	attentionRef(r.view(r.written(a.Out)), r.view(a.LSE), r.view(r.wide(a.QKV)), a, roundBF16)
	r.done()
}

func (r *refBF16) AttentionBackward(a AttentionBackward) {
	a.check()
	attentionBackwardRef(r.view(r.written(a.DQKV)), r.view(r.wide(a.DOut)), r.view(r.wide(a.QKV)), a, roundBF16)
	r.done()
}

func (r *refBF16) RelativeAttention(a RelativeAttention) {
	a.check()
	index := View[int32](a.Index)
	checkIndices("RelativeAttention", "Index", index[:2*a.Span-1], a.Buckets)
	relativeAttentionRef(r.view(r.written(a.Out)), r.view(r.wide(a.QKV)), r.view(r.wide(a.Table)), index, a, roundBF16)
	r.done()
}

func (r *refBF16) RelativeAttentionBackward(a RelativeAttentionBackward) {
	a.check()
	index := View[int32](a.Index)
	checkIndices("RelativeAttentionBackward", "Index", index[:2*a.Span-1], a.Buckets)
	relativeAttentionBackwardRef(r.view(r.written(a.DQKV)), r.view(r.written(a.DTable)), r.view(r.wide(a.DOut)),
		r.view(r.wide(a.QKV)), r.view(r.wide(a.Table)), index, a, roundBF16)
	r.done()
}

func (r *refBF16) MaskedSoftmax(p, lse, scores, mask Buf, R, C int) {
	checkMaskedSoftmax(p, lse, scores, mask, R, C)
	r.refBackend.MaskedSoftmax(r.written(p), lse, r.wide(scores), mask, R, C)
	r.done()
}

func (r *refBF16) MaskedSoftmaxBackward(dscores, dp, p Buf, R, C int) {
	checkMaskedSoftmaxBackward(dscores, dp, p, R, C)
	r.refBackend.MaskedSoftmaxBackward(r.written(dscores), r.wide(dp), r.wide(p), R, C)
	r.done()
}

func (r *refBF16) GatherRows(out, x, rows Buf, R, C int) {
	checkGatherRows(out, x, rows, R, C)
	r.refBackend.GatherRows(r.written(out), r.wide(x), rows, R, C)
	r.done()
}

func (r *refBF16) ScatterAddRows(dst, src, rows Buf, R, C int) {
	checkScatterAddRows(dst, src, rows, R, C)
	r.refBackend.ScatterAddRows(r.written(dst), r.wide(src), rows, R, C)
	r.done()
}

func (r *refBF16) CrossEntropy(a CrossEntropy) {
	a.check()
	a.Logits = r.written(a.Logits)
	r.refBackend.CrossEntropy(a)
	r.done()
}

func (r *refBF16) ReferenceKL(a ReferenceKL) {
	a.check()
	a.Logits, a.Reference = r.written(a.Logits), r.wide(a.Reference)
	r.refBackend.ReferenceKL(a)
	r.done()
}

func (r *refBF16) Emissions(a Emissions) {
	a.check()
	a.Logits = r.wide(a.Logits)
	r.refBackend.Emissions(a)
}

func (r *refBF16) EmissionsBackward(a EmissionsBackward) {
	a.check()
	a.Logits = r.written(a.Logits)
	r.refBackend.EmissionsBackward(a)
	r.done()
}

func (r *refBF16) Links(a Links) {
	a.check()
	linksRef(r.view(a.LogE), r.view(a.LSE), r.view(r.wide(a.QK)), r.view(r.wide(a.Gate)), View[int32](a.Groups), &a, roundBF16)
}

func (r *refBF16) LinksBackward(a LinksBackward) {
	a.check()
	linksBackwardRef(r.view(r.written(a.DQK)), r.view(r.written(a.DGate)), r.view(a.DLogE), r.view(r.wide(a.QK)), r.view(r.wide(a.Gate)),
		View[int32](a.Groups), &a, roundBF16)
	r.done()
}

func (r *refBF16) Dropout(y, x Buf, n, C int, d Drop) {
	checkDropout(y, x, n, C, d)
	r.refBackend.Dropout(r.written(y), r.wide(x), n, C, d)
	r.done()
}

func (r *refBF16) Add(dst, src Buf) {
	checkAdd(dst, src)
	r.refBackend.Add(r.written(dst), r.wide(src))
	r.done()
}

func (r *refBF16) Sum(dst Buf, at int, x Buf, n int, add bool) {
	checkSum("Sum", dst, at, x, n)
	r.refBackend.Sum(dst, at, r.wide(x), n, add)
}

func (r *refBF16) SumSquares(dst Buf, at int, x Buf, n int, add bool) {
	checkSum("SumSquares", dst, at, x, n)
	r.refBackend.SumSquares(dst, at, r.wide(x), n, add)
}

func (r *refBF16) AdamW(a AdamW) {
	a.check()
	a.Copy = r.written(a.Copy)
	r.refBackend.AdamW(a)
	r.done()
}

func (r *refBF16) LAMB(a LAMB) {
	a.check()
	a.Copy = r.written(a.Copy)
	r.refBackend.LAMB(a)
	r.done()
}

func (r *refBF16) Combine(a Combine) {
	a.check()
	a.Copy = r.written(a.Copy)
	r.refBackend.Combine(a)
	r.done()
}

func (r *refBF16) WeightedSum(a WeightedSum) {
	a.check()
	a.Y, a.X = r.written(a.Y), r.wide(a.X)
	r.refBackend.WeightedSum(a)
	r.done()
}

func (r *refBF16) WeightedSumBackward(a WeightedSumBackward) {
	a.check()
	a.DX, a.DY, a.X = r.written(a.DX), r.wide(a.DY), r.wide(a.X)
	r.refBackend.WeightedSumBackward(a)
	r.done()
}

func (r *refBF16) ScaleRows(x, scales Buf, R, C int) {
	checkScaleRows(x, scales, R, C)
	r.refBackend.ScaleRows(r.written(x), scales, R, C)
	r.done()
}
