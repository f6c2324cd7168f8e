package model

import (
	"palimpsest/kernels"
	"palimpsest/kernels/philox"
	"palimpsest/objectives"
)

// The heads: only rows that bear a loss reach it. They are gathered chunk by chunk; a chunk's logits are made, turned
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
	kl             kernels.Buf // [chunk]
	dnorm          kernels.Buf // [chunk,C]
	meta, dmeta    kernels.Buf // [chunk,m] of detectors
	ids            kernels.Buf // int32 [n]: original tokens of the gathered rows, for detectors that read them
}

// widestHead returns the classes of the widest head, and whether any has a transform.
func (c Config) widestHead() (classes int, transform bool) {
	classes, transform = int(c.Vocab), c.Transform == on
	for _, h := range c.Classifiers {
		classes, transform = max(classes, h.Classes), transform || h.Kind != "token"
	}
	return classes, transform
}

func (h *headActivations) allocate(c Config, capacity Capacity, train bool, compute, master kernels.DType, alloc func(kernels.DType, int) kernels.Buf) {
	classes, transform := c.widestHead()
	if h.chunk = capacity.chunk; h.chunk == 0 {
		h.chunk = max(chunkRows(classes, max(1, capacity.Rows)), capacity.States)
	}
	row := func(width int) kernels.Buf { return alloc(compute, h.chunk*width) }
	stat := func() kernels.Buf { return alloc(master, h.chunk) }
	h.h, h.logits = row(c.Width), row(classes)
	h.nll, h.loss, h.hit, h.kl = stat(), stat(), stat(), stat()
	if transform {
		h.pre, h.act, h.norm, h.mean, h.rstd = row(c.Width), row(c.Width), row(c.Width), stat(), stat()
	}
	if c.readsTokens() {
		h.meta = row(objectives.MetaWidth)
		if train {
			h.dmeta = row(objectives.MetaWidth)
		}
	}
	if train {
		h.dh = row(c.Width)
		if transform {
			h.dnorm = row(c.Width)
		}
	}
}

// forwardHead computes the logits of n gathered rows, which are the input of the last product that it returns. Dropout
// applies to that input.
func (a *Activations) forwardHead(w *Weights, index, n int, drop kernels.Drop) (in kernels.Buf) {
	c, h, head := a.c, &a.head, &w.heads[index]
	in = h.h
	switch t := head.transform; {
	case head.act == kernels.ReLU:
		a.forwardDetector(head, n)
		in = h.act
	case t.weight != nil:
		a.b.Linear(h.act, in, t.weight.compute(), t.bias.compute(), h.pre, n, c.Width, c.Width, head.act)
		a.innerNorm(head.transformNorm, h.norm, h.act, h.mean, h.rstd, n, c.Width)
		in = h.norm
	}
	if drop.P > 0 {
		a.b.Dropout(in, in, n, c.Width, drop)
	}
	l := head.logits
	a.b.Linear(h.logits, in, l.weight.compute(), l.bias.compute(), kernels.Buf{}, n, c.Width, head.classes, kernels.None)
	return in
}

// backwardHead turns the gradient of n rows of logits into that of the gathered rows, in h.dh.
func (a *Activations) backwardHead(w *Weights, index int, in kernels.Buf, n int, drop kernels.Drop) {
	c, h, head := a.c, &a.head, &w.heads[index]
	l, t, din := head.logits, head.transform, h.dh
	if t.weight != nil {
		din = h.dnorm
	}
	a.weightBackward(l, h.logits, in, n, c.Width, head.classes)
	a.b.LinearBackwardInput(din, h.logits, l.weight.compute(), kernels.Buf{}, n, c.Width, head.classes, kernels.None, false)
	if drop.P > 0 {
		a.b.Dropout(din, din, n, c.Width, drop)
	}
	switch {
	case t.weight == nil:
		return
	case head.act == kernels.ReLU:
		a.backwardDetector(head, n)
		return
	}
	a.innerNormBackward(head.transformNorm, h.dnorm, h.dnorm, h.act, h.mean, h.rstd, n, c.Width)
	a.b.ActivationBackward(h.dnorm, h.dnorm, h.pre, n*c.Width, head.act)
	a.weightBackward(t, h.dnorm, h.h, n, c.Width, c.Width)
	a.b.LinearBackwardInput(h.dh, h.dnorm, t.weight.compute(), kernels.Buf{}, n, c.Width, c.Width, kernels.None, false)
}

// headDrop is the dropout of a head, whose rows count from 0 in every chunk: chunks, by their first row, have seeds of their
// own. The LM head has it where the model asks for it.
func (a *Activations) headDrop(index, from int) kernels.Drop {
	if index == 0 && a.c.HeadDrop != on {
		return kernels.Drop{}
	}
	drop := a.step.drop(siteHead - uint16(index))
	if from > 0 {
		drop.Seed = philox.Derive(drop.Seed, uint64(from))
	}
	return drop
}

// lossOf is the loss of rows [from,to) of a term over the logits at hand, with neither weights nor gradient.
func (a *Activations) lossOf(index int, t *objectives.Term, classes, from, to int) kernels.CrossEntropy {
	h := &a.head
	return kernels.CrossEntropy{Logits: h.logits, Targets: a.terms[index].targets.Slice(from, to), NLL: h.nll, Loss: h.loss, Hit: h.hit, R: to - from, V: classes,
		Smoothing: t.Options.Smoothing, ZLoss: t.Options.ZLoss, Focal: t.Options.Focal, DFT: t.Options.DFT}
}

// crossEntropy runs one term over its rows: sums to the scalars, with gradient also to dhidden and the head's weights.
func (a *Activations) crossEntropy(w *Weights, index int, t *objectives.Term, gradient bool) {
	c, h, bufs, head := a.c, &a.head, a.terms[index], a.headOf[index]
	chunks, inPlace := a.chunks(t)
	ruled := t.Options.Reweigh.On()
	if ruled && !inPlace {
		a.weighAhead(w, index, t)
	}
	for from := 0; from < len(t.Rows); {
		to, first, last := chunks.next(from)
		n, rows := to-from, bufs.rows.Slice(from, to)
		a.b.GatherRows(h.h, a.hidden, rows, n, c.Width)
		h.ids = slice(bufs.originals, from, to)
		drop := a.headDrop(head, from)
		in := a.forwardHead(w, head, n, drop)
		ce := a.lossOf(index, t, w.heads[head].classes, from, to)
		ce.Grad, ce.GradScale = gradient, t.Share/t.Den
		losses := h.loss
		if ruled {
			ce.NLL = bufs.rule.nll.Slice(from, to)
		}
		switch {
		case inPlace:
			ce.Loss, losses = bufs.rule.losses.Slice(from, to), bufs.rule.shares.Slice(from, to)
		case ruled:
			ce.Weights, losses = bufs.weights.Slice(from, to), bufs.rule.shares.Slice(from, to)
		case len(t.Weights) > 0:
			ce.Weights = bufs.weights.Slice(from, to)
		}
		if inPlace {
			a.referenceLosses(index, t, ce.V, from, to)
		}
		a.b.CrossEntropy(ce)
		if inPlace {
			a.weigh(index, t, first, last)
			if gradient {
				a.b.ScaleRows(h.logits, bufs.weights.Slice(from, to), n, w.heads[head].classes)
			}
		}
		a.sumResults(index, []kernels.Buf{losses, ce.NLL, h.hit}, n)
		if gradient {
			a.backwardHead(w, head, in, n, drop)
			a.b.ScatterAddRows(a.dhidden, h.dh, rows, n, c.Width)
		}
		from = to
	}
}
