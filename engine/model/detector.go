package model

import (
	"palimpsest/kernels"
	"palimpsest/objectives"
)

// A detector is MSLM's head (arXiv 2403.18025, its code): u = relu(W [h ; e] + b), dropped, then logits. e is an embedding of the
// original token, also where the network sees a mask; W is kept in two parts, that of h and that of e. The embedding begins with a
// standard deviation of 1, as PyTorch's embeddings do.

// readsTokens reports whether a head reads the original tokens.
func (c Config) readsTokens() bool {
	for _, h := range c.Classifiers {
		if h.ReadsTokens() {
			return true
		}
	}
	return false
}

// headReadsTokens is readsTokens of the head at a place in Weights.heads.
func (c Config) headReadsTokens(index int) bool {
	return index > 0 && c.Classifiers[index-1].ReadsTokens()
}

// originals are the original tokens of rows of the loaded plan.
func originals(p *objectives.Plan, rows []int32) []int32 {
	ids := make([]int32, len(rows))
	for i, row := range rows {
		ids[i] = p.OriginalTokens[row]
	}
	return ids
}

// slice is b.Slice; an absent buffer stays absent.
func slice(b kernels.Buf, from, to int) kernels.Buf {
	if b.Absent() {
		return b
	}
	return b.Slice(from, to)
}

// forwardDetector leaves u of n gathered rows in head.act.
func (a *Activations) forwardDetector(head *headWeights, n int) {
	c, h, t, m := a.c, &a.head, head.transform, objectives.MetaWidth
	a.b.Linear(h.pre, h.h, t.weight.compute(), t.bias.compute(), kernels.Buf{}, n, c.Width, c.Width, kernels.None)
	if head.meta != nil {
		a.b.Embed(h.meta, h.ids, kernels.Buf{}, head.meta.compute(), kernels.Buf{}, kernels.Buf{}, n, m)
		a.b.Linear(h.norm, h.meta, head.metaProj.weight.compute(), kernels.Buf{}, kernels.Buf{}, n, m, c.Width, kernels.None)
		a.b.Add(h.pre.Slice(0, n*c.Width), h.norm.Slice(0, n*c.Width))
	}
	a.b.ActivationForward(h.act, h.pre, n*c.Width, head.act)
}

// backwardDetector turns the gradient of u, in head.dnorm, into that of the gathered rows.
func (a *Activations) backwardDetector(head *headWeights, n int) {
	c, h, t, m := a.c, &a.head, head.transform, objectives.MetaWidth
	a.b.ActivationBackward(h.dnorm, h.dnorm, h.pre, n*c.Width, head.act)
	a.weightBackward(t, h.dnorm, h.h, n, c.Width, c.Width)
	a.b.LinearBackwardInput(h.dh, h.dnorm, t.weight.compute(), kernels.Buf{}, n, c.Width, c.Width, kernels.None, false)
	if head.meta == nil || head.meta.Frozen {
		return
	}
	a.weightBackward(head.metaProj, h.dnorm, h.meta, n, m, c.Width)
	a.b.LinearBackwardInput(h.dmeta, h.dnorm, head.metaProj.weight.compute(), kernels.Buf{}, n, m, c.Width, kernels.None, false)
	a.b.EmbedBackward(head.meta.grad(), kernels.Buf{}, kernels.Buf{}, h.dmeta, h.ids, kernels.Buf{}, n, m)
}
