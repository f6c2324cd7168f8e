package model

import "palimpsest/kernels"

// The attention sub-layer: projection to queries, keys and values, rotation, attention inside segments, projection back.

// forwardAttention reads in [n,C] and writes out [n,C].
func (a *Activations) forwardAttention(w *blockWeights, l *blockActivations, layer int, rope, in, out kernels.Buf) {
	c, n := a.c, a.n
	a.b.Linear(l.qkv, in, w.qkv.weight.compute(), w.qkv.bias.compute(), kernels.Buf{}, n, c.Width, c.qkvWidth(), kernels.None)
	a.rotate(l.qkv, rope, false)
	heads := l.heads
	if a.cached != nil {
		heads = a.cached.attention(layer, l)
	} else {
		a.b.Attention(kernels.Attention{Out: l.heads, LSE: l.lse, QKV: l.qkv, Segments: a.plan.Segments, Rows: n,
			H: c.Heads, K: c.KVHeads, D: c.headWidth(), Drop: a.step.drop(site(layer, siteAttention))})
	}
	a.b.Linear(out, heads, w.proj.weight.compute(), w.proj.bias.compute(), kernels.Buf{}, n, c.Width, c.Width, kernels.None)
}

// backwardAttention takes dout, the gradient of the sub-layer's output, and writes the gradient of its input to din, or adds it.
func (a *Activations) backwardAttention(w *blockWeights, l *blockActivations, layer int, rope, in, dout, din kernels.Buf, add bool) {
	c, n := a.c, a.n
	a.b.LinearBackwardWeight(w.proj.weight.grad(), w.proj.bias.grad(), dout, l.heads, n, c.Width, c.Width)
	a.b.LinearBackwardInput(a.dheads, dout, w.proj.weight.compute(), kernels.Buf{}, n, c.Width, c.Width, kernels.None, false)
	a.b.AttentionBackward(kernels.AttentionBackward{DQKV: a.dqkv, DOut: a.dheads, Out: l.heads, LSE: l.lse, QKV: l.qkv, Segments: a.plan.Segments, Rows: n,
		H: c.Heads, K: c.KVHeads, D: c.headWidth(), Drop: a.step.drop(site(layer, siteAttention))})
	a.rotate(a.dqkv, rope, true)
	a.b.LinearBackwardWeight(w.qkv.weight.grad(), w.qkv.bias.grad(), a.dqkv, in, n, c.Width, c.qkvWidth())
	a.b.LinearBackwardInput(din, a.dqkv, w.qkv.weight.compute(), kernels.Buf{}, n, c.Width, c.qkvWidth(), kernels.None, add)
}

// rotate turns the query and key heads of qkv by their positions, where the model has rotary ones.
func (a *Activations) rotate(qkv, table kernels.Buf, inverse bool) {
	if c := a.c; c.Positions == "rope" {
		a.b.Rope(kernels.Rope{X: qkv, Pos: a.pos, Table: table, N: a.n, LD: c.qkvWidth(), Heads: c.Heads + c.KVHeads, D: c.headWidth(), Axes: 1, Inverse: inverse})
	}
}
