package model

import "palimpsest/kernels"

// The feed-forward sub-layer: down(act(up x)), or down(act(gate) * value) in gated variants, where up's rows are first the
// gates, then the values; in NormFormer and under Sub-LN a norm precedes down.

func (a *Activations) forwardMLP(w *blockWeights, l *blockActivations, in, out kernels.Buf) {
	hidden := a.forwardUp(w, l, in)
	a.product(l, w.down, out, hidden, kernels.Buf{}, a.n, a.c.FF, a.c.Width, kernels.None)
}

// forwardUp does all but the last product, whose input it returns: what the backward pass reads.
func (a *Activations) forwardUp(w *blockWeights, l *blockActivations, in kernels.Buf) (hidden kernels.Buf) {
	c, n, act := a.c, a.n, a.c.activation()
	if c.gated() {
		a.product(l, w.up, l.upPre, in, kernels.Buf{}, n, c.Width, 2*c.FF, kernels.None)
		a.b.Gated(l.upAct, l.upPre, c.values(l.upPre), n, c.FF, 2*c.FF, act)
	} else {
		a.product(l, w.up, l.upAct, in, l.upPre, n, c.Width, c.FF, act)
	}
	if !c.midNorm() {
		return l.upAct
	}
	a.innerNorm(w.midNorm, l.midNorm, l.upAct, l.mean4, l.rstd4, n, c.FF)
	return l.midNorm
}

// backwardMLP takes dout, the gradient of the sub-layer's output, and writes the gradient of its input to din, or adds it.
func (a *Activations) backwardMLP(w *blockWeights, l *blockActivations, in, dout, din kernels.Buf, add bool) {
	c, n, act := a.c, a.n, a.c.activation()
	hidden := l.upAct
	if c.midNorm() {
		hidden = l.midNorm
	}
	switch {
	case c.gated() || c.midNorm() || w.down.adapter != nil:
		a.productBackward(l, w.down, a.dact, dout, hidden, n, c.FF, c.Width, false)
		if c.midNorm() {
			a.innerNormBackward(w.midNorm, a.dact, a.dact, l.upAct, l.mean4, l.rstd4, n, c.FF)
		}
		if c.gated() {
			a.b.GatedBackward(a.dup, c.values(a.dup), a.dact, l.upPre, c.values(l.upPre), n, c.FF, 2*c.FF, act)
		} else {
			a.b.ActivationBackward(a.dup, a.dact, l.upPre, n*c.FF, act)
		}
	default:
		a.weightBackward(w.down, dout, hidden, n, c.FF, c.Width)
		a.b.LinearBackwardInput(a.dup, dout, w.down.weight.compute(), l.upPre, n, c.FF, c.Width, act, false)
	}
	a.productBackward(l, w.up, din, a.dup, in, n, c.Width, c.upWidth(), add)
}

// values are what gates of the same rows multiply.
func (c Config) values(up kernels.Buf) kernels.Buf { return up.Slice(c.FF, up.Len()) }
