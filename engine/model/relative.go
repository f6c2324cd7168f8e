package model

import "palimpsest/kernels"

// Relative positions (LTG-BERT, arXiv 2303.09859): one table of rows for bucketed distances, normed once a step and shared
// by all layers. Every layer sees it, through dropout and its own projections of queries and keys, as queries and keys of
// distances, which kernels.RelativeAttention adds to the scores.

type relativeActivations struct {
	ids, index  kernels.Buf // int32: all rows of the table; buckets of distances
	rows, norm  kernels.Buf // [P,C] table, its norm
	mean, rstd  kernels.Buf // [P]
	dropped     kernels.Buf // [P,C] of the layer at hand
	dnorm, drow kernels.Buf // [P,C] gradients: sum over layers, of the layer at hand
	ddistances  kernels.Buf // [P,(H+K)D]
}

func (r *relativeActivations) allocate(c Config, train bool, compute, master kernels.DType, alloc func(kernels.DType, int) kernels.Buf) {
	P := c.relativeRows()
	r.ids, r.index = alloc(kernels.I32, P), alloc(kernels.I32, 2*c.Context-1)
	r.rows, r.norm, r.dropped = alloc(compute, P*c.Width), alloc(compute, P*c.Width), alloc(compute, P*c.Width)
	r.mean, r.rstd = alloc(master, P), alloc(master, P)
	if train {
		r.dnorm, r.drow, r.ddistances = alloc(compute, P*c.Width), alloc(compute, P*c.Width), alloc(compute, P*c.relativeWidth())
	}
}

// upload fills the constants.
func (r *relativeActivations) upload(b kernels.Backend, c Config) {
	ids := make([]int32, c.relativeRows())
	for i := range ids {
		ids[i] = int32(i)
	}
	b.Upload(r.ids, ids)
	b.Upload(r.index, kernels.RelativeIndex(c.Context, c.Buckets, c.Context))
}

// forwardRelative makes what all layers share.
func (a *Activations) forwardRelative(w *Weights) {
	r, P := &a.rel, a.c.relativeRows()
	a.b.Embed(r.rows, r.ids, kernels.Buf{}, w.relative.compute(), kernels.Buf{}, kernels.Buf{}, P, a.c.Width)
	a.innerNorm(w.relativeNorm, r.norm, r.rows, r.mean, r.rstd, P, a.c.Width)
}

// backwardRelative takes what the layers added up in dnorm.
func (a *Activations) backwardRelative(w *Weights) {
	r, P := &a.rel, a.c.relativeRows()
	a.innerNormBackward(w.relativeNorm, r.dnorm, r.dnorm, r.rows, r.mean, r.rstd, P, a.c.Width)
	a.b.EmbedBackward(w.relative.grad(), kernels.Buf{}, kernels.Buf{}, r.dnorm, r.ids, kernels.Buf{}, P, a.c.Width)
}

// first returns the leading rows of a linear layer's parameter with width elements a row.
func first(b kernels.Buf, rows, width int) kernels.Buf {
	if b.Absent() {
		return b
	}
	return b.Slice(0, rows*width)
}

// forwardDistances projects the table by the layer's own queries and keys.
func (a *Activations) forwardDistances(b *blockWeights, l *blockActivations, layer int) {
	r, P, C, out := &a.rel, a.c.relativeRows(), a.c.Width, a.c.relativeWidth()
	a.b.Dropout(r.dropped, r.norm, P, C, a.step.drop(site(layer, siteRelative)))
	a.b.Linear(l.distances, r.dropped, first(b.qkv.weight.compute(), out, C), first(b.qkv.bias.compute(), out, 1), kernels.Buf{}, P, C, out, kernels.None)
	if d := b.qkv.adapter; d != nil {
		a.adaptDistances(d, l.distances)
	}
}

// backwardDistances takes the gradient in ddistances.
func (a *Activations) backwardDistances(b *blockWeights, layer int) {
	r, P, C, out := &a.rel, a.c.relativeRows(), a.c.Width, a.c.relativeWidth()
	if b.qkv.weight.Frozen && b.qkv.adapter == nil {
		return
	}
	drop := a.step.drop(site(layer, siteRelative))
	a.b.Dropout(r.dropped, r.norm, P, C, drop)
	if d := b.qkv.adapter; d != nil {
		a.adaptDistancesBackward(d)
	}
	if b.qkv.weight.Frozen {
		return
	}
	a.b.LinearBackwardWeight(first(b.qkv.weight.grad(), out, C), first(b.qkv.bias.grad(), out, 1), r.ddistances, r.dropped, P, C, out)
	a.b.LinearBackwardInput(r.drow, r.ddistances, first(b.qkv.weight.compute(), out, C), kernels.Buf{}, P, C, out, kernels.None, false)
	a.b.Dropout(r.drow, r.drow, P, C, drop)
	a.b.Add(r.dnorm, r.drow)
}
