package model

import "palimpsest/kernels"

// The attention sub-layer: projection to queries, keys and values, rotation, attention inside segments, an output gate where
// there is one, under Sub-LN a norm, projection back, in NormFormer a norm.

// forwardAttention reads in [n,C] and writes out [n,C].
func (a *Activations) forwardAttention(w *Weights, l *blockActivations, layer int, in, out kernels.Buf) {
	b, c, n := &w.blocks[layer], a.c, a.n
	a.product(l, b.qkv, l.qkv, in, kernels.Buf{}, n, c.Width, c.qkvWidth(), kernels.None)
	a.rotate(l.qkv, w.rope(layer), false)
	if c.relative() {
		a.forwardDistances(b, l, layer)
	}
	heads := l.heads
	if a.cached != nil {
		heads = a.cached.attention(layer, l)
	} else {
		a.attend(l, layer, kernels.Attention{Out: l.heads, LSE: l.lse, QKV: l.qkv, Segments: a.segments(layer), Rows: n,
			H: c.Heads, K: c.KVHeads, D: c.headWidth(), Drop: a.step.drop(site(layer, siteAttention))})
	}
	if c.gatedAttention() {
		a.product(l, b.gate, l.gate, in, kernels.Buf{}, n, c.Width, c.Width, kernels.None)
		a.b.Gated(l.gated, l.gate, heads, n, c.Width, c.Width, kernels.GELUErf)
		heads = l.gated
	}
	if c.subLN() {
		a.innerNorm(b.headsNorm, l.headsNorm, heads, l.mean3, l.rstd3, n, c.Width)
		heads = l.headsNorm
	}
	projected := out
	if c.normFormer() {
		projected = l.attnOut
	}
	a.product(l, b.proj, projected, heads, kernels.Buf{}, n, c.Width, c.Width, kernels.None)
	if c.normFormer() {
		a.innerNorm(b.outNorm, out, l.attnOut, l.mean3, l.rstd3, n, c.Width)
	}
}

// attend runs attention, in models with relative positions the one that is not fused.
func (a *Activations) attend(l *blockActivations, layer int, at kernels.Attention) {
	if !a.c.relative() {
		a.b.Attention(at)
		return
	}
	a.b.RelativeAttention(kernels.RelativeAttention{Out: at.Out, QKV: at.QKV, Table: l.distances, Index: a.rel.index, Segments: at.Segments, Rows: at.Rows,
		H: at.H, K: at.K, D: at.D, Buckets: a.c.relativeRows(), Span: a.c.Context, From: at.From, Drop: at.Drop})
}

// backwardAttention takes dout, the gradient of the sub-layer's output, and writes the gradient of its input to din, or adds it.
// din is absent where nothing below is trained.
func (a *Activations) backwardAttention(w *Weights, l *blockActivations, layer int, in, dout, din kernels.Buf, add bool) {
	b, c, n := &w.blocks[layer], a.c, a.n
	if din.Absent() && b.qkv.adapter == nil && b.gate.adapter == nil && b.proj.adapter == nil {
		return
	}
	if c.normFormer() {
		a.innerNormBackward(b.outNorm, a.ddelta, dout, l.attnOut, l.mean3, l.rstd3, n, c.Width)
		dout = a.ddelta
	}
	heads := l.heads
	if c.gatedAttention() {
		heads = l.gated
	}
	if c.subLN() {
		a.productBackward(l, b.proj, a.dheads, dout, l.headsNorm, n, c.Width, c.Width, false)
		a.innerNormBackward(b.headsNorm, a.dheads, a.dheads, heads, l.mean3, l.rstd3, n, c.Width)
	} else {
		a.productBackward(l, b.proj, a.dheads, dout, heads, n, c.Width, c.Width, false)
	}
	if c.gatedAttention() {
		a.b.GatedBackward(a.dgate, a.dheads, a.dheads, l.gate, l.heads, n, c.Width, c.Width, kernels.GELUErf)
	}
	drop := a.step.drop(site(layer, siteAttention))
	if c.relative() {
		a.b.RelativeAttentionBackward(kernels.RelativeAttentionBackward{DQKV: a.dqkv, DTable: a.rel.ddistances, DOut: a.dheads, QKV: l.qkv, Table: l.distances,
			Index: a.rel.index, Segments: a.segments(layer), Rows: n, H: c.Heads, K: c.KVHeads, D: c.headWidth(), Buckets: c.relativeRows(), Span: c.Context, Drop: drop})
		a.backwardDistances(b, layer)
	} else {
		a.b.AttentionBackward(kernels.AttentionBackward{DQKV: a.dqkv, DOut: a.dheads, Out: l.heads, LSE: l.lse, QKV: l.qkv, Segments: a.segments(layer), Rows: n,
			H: c.Heads, K: c.KVHeads, D: c.headWidth(), Drop: drop})
	}
	a.rotate(a.dqkv, w.rope(layer), true)
	a.productBackward(l, b.qkv, din, a.dqkv, in, n, c.Width, c.qkvWidth(), add)
	if c.gatedAttention() {
		a.productBackward(l, b.gate, din, a.dgate, in, n, c.Width, c.Width, true)
	}
}

// rotate turns the query and key heads of qkv by their positions, where the model has rotary ones.
func (a *Activations) rotate(qkv, table kernels.Buf, inverse bool) {
	if c := a.c; c.axes() > 0 {
		a.b.Rope(kernels.Rope{X: qkv, Pos: a.pos, Table: table, N: a.n, LD: c.qkvWidth(), Heads: c.Heads + c.KVHeads, D: c.headWidth(), Axes: c.axes(), Inverse: inverse})
	}
}

// segments are those of the plan, in local layers with the window.
func (a *Activations) segments(layer int) []kernels.Segment {
	if a.c.local(layer) {
		return a.narrow
	}
	return a.plan.Segments
}

// narrowed appends segments, limited to the window of local layers, to list.
func (c Config) narrowed(list, segments []kernels.Segment) []kernels.Segment {
	half := int32(c.Attention.Window / 2)
	for _, s := range segments {
		if s.Window == 0 || s.Window > half {
			s.Window = half
		}
		list = append(list, s)
	}
	return list
}
