package model

import (
	"palimpsest/kernels"
	"palimpsest/objectives"
)

// The LM head: only rows that bear a loss reach it. They are gathered chunk by chunk; a chunk's logits are made, turned
// into loss and gradient in place, and used for both gradient products before the next chunk, so that the whole [R,V]
// never exists.

// chunkElements bounds the logits of a chunk: 64 MiB of float32. Smaller chunks would read the head's weight gradient
// more often than they save.
const chunkElements = 16 << 20

// chunkRows returns the rows of a chunk.
func chunkRows(vocab, capacity int) int { return min(capacity, max(128, chunkElements/vocab)) }

type headActivations struct {
	chunk          int         // rows
	h, dh          kernels.Buf // [chunk,C] gathered hidden state, its gradient
	pre, act, norm kernels.Buf // [chunk,C] of the transform
	mean, rstd     kernels.Buf
	logits         kernels.Buf // [chunk,V]
	nll, loss, hit kernels.Buf // [chunk]
	dnorm          kernels.Buf // [chunk,C]
}

func (h *headActivations) allocate(c Config, capacity Capacity, train bool, compute, master kernels.DType, alloc func(kernels.DType, int) kernels.Buf) {
	h.chunk = chunkRows(int(c.Vocab), max(1, capacity.Rows))
	row := func(width int) kernels.Buf { return alloc(compute, h.chunk*width) }
	stat := func() kernels.Buf { return alloc(master, h.chunk) }
	h.h, h.logits = row(c.Width), row(int(c.Vocab))
	h.nll, h.loss, h.hit = stat(), stat(), stat()
	if c.Transform == on {
		h.pre, h.act, h.norm, h.mean, h.rstd = row(c.Width), row(c.Width), row(c.Width), stat(), stat()
	}
	if train {
		h.dh = row(c.Width)
		if c.Transform == on {
			h.dnorm = row(c.Width)
		}
	}
}

// forwardHead computes the logits of n gathered rows, which are the input of the vocabulary's product that it returns.
func (a *Activations) forwardHead(w *Weights, n int) (in kernels.Buf) {
	c, h := a.c, &a.head
	in = h.h
	if c.Transform == on {
		t := w.lm.transform
		a.b.Linear(h.act, in, t.weight.compute(), t.bias.compute(), h.pre, n, c.Width, c.Width, c.activation())
		tn := w.lm.transformNorm
		a.b.AddNorm(kernels.AddNorm{Y: h.norm, X: h.act, Gain: tn.gain.master(), Bias: tn.bias.master(), Mean: h.mean, Rstd: h.rstd,
			N: n, C: c.Width, Kind: c.normKind(), Eps: float32(c.NormEps)})
		in = h.norm
	}
	l := w.lm.logits
	a.b.Linear(h.logits, in, l.weight.compute(), l.bias.compute(), kernels.Buf{}, n, c.Width, int(c.Vocab), kernels.None)
	return in
}

// backwardHead turns the gradient of n rows of logits into that of the gathered rows, in h.dh.
func (a *Activations) backwardHead(w *Weights, in kernels.Buf, n int) {
	c, h, l := a.c, &a.head, w.lm.logits
	a.b.LinearBackwardWeight(l.weight.grad(), l.bias.grad(), h.logits, in, n, c.Width, int(c.Vocab))
	if c.Transform != on {
		a.b.LinearBackwardInput(h.dh, h.logits, l.weight.compute(), kernels.Buf{}, n, c.Width, int(c.Vocab), kernels.None, false)
		return
	}
	t, tn := w.lm.transform, w.lm.transformNorm
	a.b.LinearBackwardInput(h.dnorm, h.logits, l.weight.compute(), kernels.Buf{}, n, c.Width, int(c.Vocab), kernels.None, false)
	a.b.NormBackward(kernels.NormBackward{DSum: h.dnorm, DGain: tn.gain.grad(), DBias: tn.bias.grad(), DY: h.dnorm, Sum: h.act, Gain: tn.gain.master(),
		Mean: h.mean, Rstd: h.rstd, N: n, C: c.Width, Kind: c.normKind()})
	a.b.ActivationBackward(h.dnorm, h.dnorm, h.pre, n*c.Width, c.activation())
	a.b.LinearBackwardWeight(t.weight.grad(), t.bias.grad(), h.dnorm, h.h, n, c.Width, c.Width)
	a.b.LinearBackwardInput(h.dh, h.dnorm, t.weight.compute(), kernels.Buf{}, n, c.Width, c.Width, kernels.None, false)
}

// lossOf is the loss of rows [from,to) of a term, over the logits of these rows.
func (a *Activations) lossOf(index int, t *objectives.Term, from, to int) kernels.CrossEntropy {
	h, bufs := &a.head, a.terms[index]
	return kernels.CrossEntropy{Logits: h.logits, Targets: bufs.targets.Slice(from, to), NLL: h.nll, Loss: h.loss, Hit: h.hit, R: to - from, V: int(a.c.Vocab),
		Smoothing: t.Options.Smoothing, ZLoss: t.Options.ZLoss, Focal: t.Options.Focal, DFT: t.Options.DFT}
}

// crossEntropy runs one term over its rows: sums to the scalars, with gradient also to dhidden and the head's weights.
func (a *Activations) crossEntropy(w *Weights, index int, t *objectives.Term, gradient bool) {
	c, h, bufs := a.c, &a.head, a.terms[index]
	chunks, inPlace := a.chunks(t)
	ruled := t.Options.Reweigh.On()
	if ruled && !inPlace {
		a.weighAhead(w, index, t)
	}
	for from := 0; from < len(t.Rows); {
		to, first, last := chunks.next(from)
		n, rows := to-from, bufs.rows.Slice(from, to)
		a.b.GatherRows(h.h, a.hidden, rows, n, c.Width)
		in := a.forwardHead(w, n)
		ce := a.lossOf(index, t, from, to)
		ce.Grad, ce.GradScale = gradient, t.Share/t.Den
		losses := h.loss
		switch {
		case inPlace:
			ce.Loss, losses = bufs.rule.losses.Slice(from, to), bufs.rule.shares.Slice(from, to)
		case ruled:
			ce.Weights, losses = bufs.weights.Slice(from, to), bufs.rule.shares.Slice(from, to)
		case len(t.Weights) > 0:
			ce.Weights = bufs.weights.Slice(from, to)
		}
		a.b.CrossEntropy(ce)
		if inPlace {
			a.weigh(index, t, first, last)
			if gradient {
				a.b.ScaleRows(h.logits, bufs.weights.Slice(from, to), n, int(c.Vocab))
			}
		}
		for i, rowValues := range []kernels.Buf{losses, h.nll, h.hit} {
			a.b.Sum(a.scalars, scalarTerms+index*scalarsPerTerm+i, rowValues, n, true)
		}
		if gradient {
			a.backwardHead(w, in, n)
			a.b.ScatterAddRows(a.dhidden, h.dh, rows, n, c.Width)
		}
		from = to
	}
}
