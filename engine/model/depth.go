package model

import "palimpsest/kernels"

// Depth-weighted averages (DenseFormer, arXiv 2402.02622, as in GPT-BERT, arXiv 2410.24159): behind a sub-layer the residual
// stream is not its output y_k, the sum of its input and what it gives, but sum_j a_j y_j over all outputs so far, of which y_0
// is the embedding. Each sub-layer has weights of its own, which begin as 1 for the newest and 0 for the others.

type depthActivations struct {
	size               int         // elements of an output
	outputs, gradients kernels.Buf // [2L+1,N,C]; y_0 is Activations.embed
}

func (d *depthActivations) allocate(c Config, tokens int, train bool, compute kernels.DType, alloc func(kernels.DType, int) kernels.Buf) {
	d.size = tokens * c.Width
	d.outputs = alloc(compute, c.depths()*d.size)
	if train {
		d.gradients = alloc(compute, c.depths()*d.size)
	}
}

// output and gradient are those of one sub-layer, from 1 on, or of the embedding, 0.
func (d *depthActivations) output(k int) kernels.Buf { return at(d.outputs, k, d.size) }

func (d *depthActivations) gradient(k int) kernels.Buf { return at(d.gradients, k, d.size) }

// at returns the k-th of runs of size elements, absent where b is.
func at(b kernels.Buf, k, size int) kernels.Buf {
	if b.Absent() {
		return b
	}
	return b.Slice(k*size, (k+1)*size)
}

// joined takes the stream in front of a sub-layer and what that gives, delta. In models with depth weighting it writes the stream
// behind it to sum; in others both stay as they are, and the next norm adds them up.
func (a *Activations) joined(weights *Param, sum, stream, delta kernels.Buf, drop kernels.Drop) (kernels.Buf, kernels.Buf, kernels.Drop) {
	if weights == nil {
		return stream, delta, drop
	}
	d, outputs := &a.depth, weights.Len()
	a.b.AddNorm(kernels.AddNorm{Sum: d.output(outputs - 1), X: stream, Delta: delta, N: a.n, C: a.c.Width, Drop: drop})
	a.b.WeightedSum(kernels.WeightedSum{Y: sum, X: d.outputs, Weights: weights.Master, N: a.n * a.c.Width, J: outputs, Stride: d.size})
	return sum, kernels.Buf{}, kernels.Drop{}
}

// joinedBackward makes the gradient of the stream behind a sub-layer, dres, that of the sub-layer's output. What the stream owes
// to earlier outputs is added to theirs, which are complete when their turn comes.
func (a *Activations) joinedBackward(weights *Param) {
	if weights == nil {
		return
	}
	d, outputs, n := &a.depth, weights.Len(), a.n*a.c.Width
	a.b.WeightedSumBackward(kernels.WeightedSumBackward{DX: d.gradients, DWeights: weights.grad(), DY: a.dres, X: d.outputs, Weights: weights.Master,
		N: n, J: outputs, Stride: d.size})
	a.b.Copy(a.dres, d.gradient(outputs-1).Slice(0, n))
}

// keepAskedDepth leaves only the asked rows of the outputs so far.
func (a *Activations) keepAskedDepth(rows kernels.Buf) {
	for k := range a.c.depths() - 1 {
		out := a.depth.output(k)
		a.b.GatherRows(a.delta, out, rows, a.asked, a.c.Width)
		a.b.Copy(out, a.delta.Slice(0, a.asked*a.c.Width))
	}
}
