package model

import "palimpsest/kernels"

// The embedding: token + position + type rows, in BERT followed by a norm, then dropout.

func (a *Activations) forwardEmbed(w *Weights) kernels.Buf {
	c, n := a.c, a.n
	x, sum := a.embed, a.embed
	if c.EmbedNorm == on {
		sum = a.embedSum
	}
	if c.relative() {
		a.forwardRelative(w)
	}
	a.b.Embed(sum, a.ids, a.pos, w.tokens.compute(), w.positions.compute(), w.types.compute(), n, c.Width)
	if c.EmbedNorm == on {
		a.b.AddNorm(kernels.AddNorm{Y: x, X: sum, Gain: w.embedNorm.gain.master(), Bias: w.embedNorm.bias.master(),
			Mean: a.em, Rstd: a.er, N: n, C: c.Width, Kind: c.normKind(), Eps: float32(c.NormEps)})
	}
	a.b.Dropout(x, x, n, c.Width, a.step.drop(siteEmbed))
	return x
}

// backwardEmbed takes the gradient of the embedding's output and overwrites it.
func (a *Activations) backwardEmbed(w *Weights, dx kernels.Buf) {
	c, n := a.c, a.n
	a.b.Dropout(dx, dx, n, c.Width, a.step.drop(siteEmbed))
	if c.EmbedNorm == on {
		a.b.NormBackward(kernels.NormBackward{DSum: dx, DY: dx, Sum: a.embedSum, Gain: w.embedNorm.gain.master(),
			DGain: w.embedNorm.gain.grad(), DBias: w.embedNorm.bias.grad(), Mean: a.em, Rstd: a.er, N: n, C: c.Width, Kind: c.normKind()})
	}
	if c.relative() {
		a.backwardRelative(w)
	}
	a.b.EmbedBackward(w.tokens.grad(), w.positions.grad(), w.types.grad(), dx, a.ids, a.pos, n, c.Width)
}
