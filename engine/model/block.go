package model

import "palimpsest/kernels"

// A block is attention and MLP with their residual sums and norms. In pre-norm models a sub-layer reads the norm of the
// residual stream; its sum with the stream is fused with the next norm, so the stream is written once a sub-layer. In
// post-norm models the norm follows the sum and its output is the stream. NormFormer (arXiv 2110.09456, here without its
// scales of heads and residuals, as in LTG-BERT) is pre-norm with a norm behind attention's projection and another one
// behind the activation of the MLP.

// addNorm is sum = x + dropout(delta), y = norm(sum). Delta absent: y = norm(x).
func (a *Activations) addNorm(w norm, y, sum, x, delta, mean, rstd kernels.Buf, drop kernels.Drop) {
	if delta.Absent() {
		sum = kernels.Buf{}
	}
	a.b.AddNorm(kernels.AddNorm{Y: y, Sum: sum, X: x, Delta: delta, Gain: w.gain.master(), Bias: w.bias.master(), Mean: mean, Rstd: rstd,
		N: a.n, C: a.c.Width, Kind: a.c.normKind(), Eps: float32(a.c.NormEps), Drop: drop})
}

func (a *Activations) normBackward(w norm, dsum, dy, sum, mean, rstd kernels.Buf, add bool) {
	a.b.NormBackward(kernels.NormBackward{DSum: dsum, DGain: w.gain.grad(), DBias: w.bias.grad(), DY: dy, Sum: sum, Gain: w.gain.master(), Mean: mean, Rstd: rstd,
		N: a.n, C: a.c.Width, Kind: a.c.normKind(), Add: add})
}

// innerNorm is y = norm(x) on n rows of some width, within a sub-layer.
func (a *Activations) innerNorm(w norm, y, x, mean, rstd kernels.Buf, n, width int) {
	a.b.AddNorm(kernels.AddNorm{Y: y, X: x, Gain: w.gain.master(), Bias: w.bias.master(), Mean: mean, Rstd: rstd,
		N: n, C: width, Kind: a.c.normKind(), Eps: float32(a.c.NormEps)})
}

// innerNormBackward writes the gradient of x to dx, which may be dy.
func (a *Activations) innerNormBackward(w norm, dx, dy, x, mean, rstd kernels.Buf, n, width int) {
	a.b.NormBackward(kernels.NormBackward{DSum: dx, DGain: w.gain.grad(), DBias: w.bias.grad(), DY: dy, Sum: x, Gain: w.gain.master(),
		Mean: mean, Rstd: rstd, N: n, C: width, Kind: a.c.normKind()})
}

// dropped returns the gradient of a sub-layer's output from that of the residual sum: itself, or a masked copy.
func (a *Activations) dropped(dsum kernels.Buf, d kernels.Drop) kernels.Buf {
	if d.P == 0 {
		return dsum
	}
	a.b.Dropout(a.ddelta, dsum, a.n, a.c.Width, d)
	return a.ddelta
}

func site(layer, place int) uint16 { return uint16(layer*sitesPerBlock + place) }

// forwardPre runs all pre-norm blocks and the final norm over the stream that begins with x and returns the hidden state.
func (a *Activations) forwardPre(w *Weights, x kernels.Buf) kernels.Buf {
	stream, delta, drop := x, kernels.Buf{}, kernels.Drop{}
	for i := range w.blocks {
		b, l := &w.blocks[i], a.block(i)
		in := stream // of the first attention, where it has no norm
		if a.c.normed(i) {
			a.addNorm(b.attnNorm, l.attnIn, l.attnSum, stream, delta, l.mean1, l.rstd1, drop)
			in = l.attnIn
		}
		if !delta.Absent() {
			stream = l.attnSum
		}
		a.attentionPre(w, i, in, stream)
		stream, delta, drop = l.mlpSum, a.delta, a.step.drop(site(i, siteMLPOut))
		in = l.mlpIn
		if a.asked > 0 && i == len(w.blocks)-1 {
			in, stream = a.keepAsked(l)
		}
		a.forwardMLP(b, l, in, delta)
		stream, delta, drop = a.joined(b.mlpDepth, a.streamAfter(i+1), stream, delta, drop)
	}
	a.addNorm(w.finalNorm, a.final, a.last, stream, delta, a.fm, a.fr, drop)
	return a.final
}

// attentionPre runs the attention of block i over in, adds it to the stream and makes the input of the MLP.
func (a *Activations) attentionPre(w *Weights, i int, in, stream kernels.Buf) {
	b, l := &w.blocks[i], a.block(i)
	a.forwardAttention(w, l, i, in, a.delta)
	stream, delta, drop := a.joined(b.attnDepth, l.mlpSum, stream, a.delta, a.step.drop(site(i, siteAttentionOut)))
	a.addNorm(b.mlpNorm, l.mlpIn, l.mlpSum, stream, delta, l.mean2, l.rstd2, drop)
}

// forgotten reports whether the buffers of block i hold another block's values when its backward pass begins.
func (a *Activations) forgotten(i int) bool { return a.cap.Recompute && i < a.c.Layers-1 }

// recomputePre makes again what the backward pass of block i reads, from the stream in front of it.
func (a *Activations) recomputePre(w *Weights, i int) {
	b, l, stream := &w.blocks[i], a.block(i), a.streamAfter(i)
	in := stream
	if a.c.normed(i) {
		a.addNorm(b.attnNorm, l.attnIn, kernels.Buf{}, stream, kernels.Buf{}, l.mean1, l.rstd1, kernels.Drop{})
		in = l.attnIn
	}
	a.attentionPre(w, i, in, stream)
	hidden := a.forwardUp(b, l, l.mlpIn)
	if d := b.down.adapter; d != nil {
		a.lower(d, l.low[d.slot], a.seen(d, hidden, a.n, a.c.FF), a.n, a.c.FF)
	}
}

// backwardPre takes the gradient of the hidden state and returns that of the embedding's output.
func (a *Activations) backwardPre(w *Weights, dhidden kernels.Buf) kernels.Buf {
	a.normBackward(w.finalNorm, a.dres, dhidden, a.streamAfter(len(w.blocks)), a.fm, a.fr, false)
	if a.c.depthWeighted() {
		a.b.Zero(a.depth.gradients)
	}
	for i := len(w.blocks) - 1; i >= 0; i-- {
		if a.forgotten(i) {
			a.recomputePre(w, i)
		}
		b, l := &w.blocks[i], a.block(i)
		a.joinedBackward(b.mlpDepth)
		a.backwardMLP(b, l, l.mlpIn, a.dropped(a.dres, a.step.drop(site(i, siteMLPOut))), a.din, false)
		a.normBackward(b.mlpNorm, a.dres, a.din, l.mlpSum, l.mean2, l.rstd2, true)
		a.joinedBackward(b.attnDepth)
		dout := a.dropped(a.dres, a.step.drop(site(i, siteAttentionOut)))
		switch {
		case i == 0 && w.tokens.Frozen:
			in := l.attnIn
			if !a.c.normed(i) {
				in = a.streamAfter(i)
			}
			a.backwardAttention(w, l, i, in, dout, kernels.Buf{}, false)
			continue
		case !a.c.normed(i):
			a.backwardAttention(w, l, i, a.streamAfter(i), dout, a.dres, true)
			continue
		}
		a.backwardAttention(w, l, i, l.attnIn, dout, a.din, false)
		a.normBackward(b.attnNorm, a.dres, a.din, a.streamAfter(i), l.mean1, l.rstd1, true)
	}
	if a.c.depthWeighted() {
		a.b.Add(a.dres.Slice(0, a.n*a.c.Width), a.depth.gradient(0))
	}
	return a.dres
}

// streamAfter returns the residual stream behind the first n pre-norm blocks: what the norm there reads.
func (a *Activations) streamAfter(n int) kernels.Buf {
	switch {
	case n == 0:
		return a.embed
	case n == a.c.Layers:
		return a.last
	}
	return a.block(n).attnSum
}

// forwardPost runs all post-norm blocks over x and returns the hidden state.
func (a *Activations) forwardPost(w *Weights, x kernels.Buf) kernels.Buf {
	for i := range w.blocks {
		x = a.blockPost(w, i, x)
	}
	return x
}

// blockPost runs block i over x and returns its output.
func (a *Activations) blockPost(w *Weights, i int, x kernels.Buf) kernels.Buf {
	b, l := &w.blocks[i], a.block(i)
	a.forwardAttention(w, l, i, x, a.delta)
	a.addNorm(b.attnNorm, l.mlpIn, l.attnSum, x, a.delta, l.mean1, l.rstd1, a.step.drop(site(i, siteAttentionOut)))
	a.forwardMLP(b, l, l.mlpIn, a.delta)
	a.addNorm(b.mlpNorm, l.out, l.mlpSum, l.mlpIn, a.delta, l.mean2, l.rstd2, a.step.drop(site(i, siteMLPOut)))
	return l.out
}

// backwardPost takes the gradient of the hidden state and returns that of the embedding's output.
func (a *Activations) backwardPost(w *Weights, dhidden kernels.Buf) kernels.Buf {
	dx, dsum := dhidden, a.dres
	for i := len(w.blocks) - 1; i >= 0; i-- {
		b, l := &w.blocks[i], a.block(i)
		in := a.embed
		if i > 0 {
			in = a.block(i - 1).out
		}
		if a.forgotten(i) {
			a.blockPost(w, i, in) // writes its output again, to the same bits
		}
		a.normBackward(b.mlpNorm, dsum, dx, l.mlpSum, l.mean2, l.rstd2, false)
		a.backwardMLP(b, l, l.mlpIn, a.dropped(dsum, a.step.drop(site(i, siteMLPOut))), dsum, true)
		a.normBackward(b.attnNorm, a.din, dsum, l.attnSum, l.mean1, l.rstd1, false)
		dx = a.din
		if i == 0 && w.tokens.Frozen {
			dx = kernels.Buf{}
		}
		a.backwardAttention(w, l, i, in, a.dropped(a.din, a.step.drop(site(i, siteAttentionOut))), dx, true)
	}
	return dx
}
