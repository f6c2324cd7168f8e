//go:build !cgo

package kernels

import "slices"

// leaves, without cgo, are the oracles of *_ref.go over float32: exact and slow. The ops above them, and so the order of
// all sums between pieces, are the same as with cgo.
type leaves struct{}

func newLeaves(int) leaves  { return leaves{} }
func (leaves) name() string { return "Go" }
func (leaves) notes() []string {
	return []string{"built without cgo: plain Go kernels, many times slower; hint: build with CGO_ENABLED=1 and a C compiler"}
}

func (leaves) activation(y, x []float32, act Activation) { activationRef(y, x, len(y), act) }

func (leaves) activationBackward(dx, dy, x []float32, act Activation) {
	activationBackwardRef(dx, dy, x, len(dx), act)
}

func (leaves) biasActivation(y, pre, bias []float32, ld, rows, columns int, act Activation) {
	for i := range rows {
		row := y[i*ld:][:columns]
		if bias != nil {
			addRef(row, bias)
		}
		if pre != nil {
			copy(pre[i*ld:], row)
		}
		activationRef(row, row, columns, act)
	}
}

func (leaves) gated(y, gate, up []float32, rows, F, ld int, act Activation) {
	gatedRef(y, gate, up, rows, F, ld, act)
}

func (leaves) gatedBackward(dgate, dup, dy, gate, up []float32, rows, F, ld int, act Activation) {
	gatedBackwardRef(dgate, dup, dy, gate, up, rows, F, ld, act)
}

// part returns rows [lo,hi) of a buffer of rows of width elements; nil stays nil.
func part(b Buf, lo, hi, width int) []float32 {
	if b.Absent() {
		return nil
	}
	return f32(b)[lo*width : hi*width]
}

func (leaves) addNorm(a *AddNorm, lo, hi int) {
	sub := *a
	sub.N = hi - lo
	delta, x := part(a.Delta, lo, hi, a.C), part(a.X, lo, hi, a.C)
	if delta != nil { // dropout counts rows from the start of the op, so the addition is done here
		sum := part(a.Sum, lo, hi, a.C)
		for i := range sum {
			s := float64(x[i])
			if f := a.Drop.factor(lo+i/a.C, i%a.C); f != 0 {
				s += float64(delta[i]) * f
			}
			sum[i] = float32(s)
		}
		x = sum
	}
	addNormRef(part(a.Y, lo, hi, a.C), nil, x, nil, f32(a.Gain), f32(a.Bias), part(a.Mean, lo, hi, 1),
		part(a.Rstd, lo, hi, 1), sub)
}

func (leaves) normBackward(a *NormBackward, dgain, dbias []float32, lo, hi int) {
	sub := *a
	sub.N = hi - lo
	normBackwardRef(part(a.DSum, lo, hi, a.C), dgain, dbias, part(a.DY, lo, hi, a.C), part(a.Sum, lo, hi, a.C), f32(a.Gain),
		part(a.Mean, lo, hi, 1), part(a.Rstd, lo, hi, 1), sub)
}

func (leaves) embed(out, tokens, positions, types []float32, ids, pos []int32, lo, hi, C int) {
	if pos != nil {
		pos = pos[2*lo:]
	}
	embedRef(out[lo*C:hi*C], ids[lo:hi], pos, tokens, positions, types, hi-lo, C)
}

func (leaves) scatterColumns(dst, src []float32, index []int32, stride, rows, C, from, to int) {
	for r := range rows {
		addRef(dst[int(index[r*stride])*C:][from:to], src[r*C:][from:to])
	}
}

func (leaves) rope(a *Rope, lo, hi int) {
	sub := *a
	sub.N = hi - lo
	ropeRef(f32(a.X)[lo*a.LD:], View[int32](a.Pos)[2*lo:], f32(a.Table), sub)
}

func (leaves) maskedSoftmax(p, lse, scores []float32, mask []uint8, lo, hi, C int) {
	if mask != nil {
		mask = mask[lo*C : hi*C]
	}
	maskedSoftmaxRef(p[lo*C:hi*C], lse[lo:hi], scores[lo*C:hi*C], mask, hi-lo, C)
}

func (leaves) maskedSoftmaxBackward(dscores, dp, p []float32, lo, hi, C int) {
	maskedSoftmaxBackwardRef(dscores[lo*C:hi*C], dp[lo*C:hi*C], p[lo*C:hi*C], hi-lo, C)
}

func (leaves) crossEntropy(a *CrossEntropy, lo, hi int) {
	sub := *a
	sub.R = hi - lo
	crossEntropyRef(part(a.Logits, lo, hi, a.V), View[int32](a.Targets)[lo:hi], part(a.Weights, lo, hi, 1),
		part(a.NLL, lo, hi, 1), part(a.Loss, lo, hi, 1), part(a.Hit, lo, hi, 1), sub)
}

func (leaves) dropout(y, x []float32, lo, hi, C int, d Drop) {
	for i := lo; i < hi; i++ {
		for j := range C {
			if f := d.factor(i, j); f == 0 {
				y[i*C+j] = 0
			} else {
				y[i*C+j] = float32(float64(x[i*C+j]) * f)
			}
		}
	}
}

func (leaves) add(dst, src []float32) { addRef(dst, src) }

func (leaves) sum(x, y []float32) float64 {
	if y != nil {
		return dotRef(x, y)
	}
	return sumRef(x)
}

func (leaves) columnSums(out, x []float32, rows, columns int) {
	clear(out)
	for r := range rows {
		addRef(out, x[r*columns:][:columns])
	}
}

func (leaves) addRows(dst, parts []float32, n, ld int) {
	sum := slices.Clone(parts[:len(dst)])
	for r := 1; r < n; r++ {
		addRef(sum, parts[r*ld:])
	}
	addRef(dst, sum)
}

func (leaves) adamW(p, g, m, v, copied []float32, scale float64, a *AdamW) {
	sub := *a
	sub.GradScale, sub.Clip = scale, 0
	adamWRef(p, g, m, v, copied, []float64{0}, sub)
}

func (leaves) attentionWork(length, H, K, D int) int { return 0 }

// serves reports whether the oracle, which does all heads of a segment at once, runs for this item or for another one of
// its segment.
func (t attentionItem) serves(from int32) bool { return t.head == 0 && t.lo == max(t.start, from) }

func (t attentionItem) segment() []Segment {
	s := Segment{Start: t.start, End: t.end, Window: t.window}
	if t.causal != 0 {
		s.Mask = Causal
	}
	return []Segment{s}
}

func (leaves) attention(a *Attention, items []attentionItem, _ []float32) {
	for _, t := range items {
		if t.serves(int32(a.From)) {
			sub := *a
			sub.Segments = t.segment()
			attentionRef(f32(a.Out), f32(a.LSE), f32(a.QKV), sub, unrounded)
		}
	}
}

func (leaves) attentionDelta([]float32, *AttentionBackward, int, int) {}

func (leaves) attentionBackward(a *AttentionBackward, _, _ []float32, items []attentionItem, _ []float32) {
	for _, t := range items {
		if t.serves(0) {
			sub := *a
			sub.Segments = t.segment()
			attentionBackwardRef(f32(a.DQKV), f32(a.DOut), f32(a.QKV), sub, unrounded)
		}
	}
}

func (leaves) attentionCombine(*AttentionBackward, []float32, []attentionItem) {}
