package model

import (
	"fmt"
	"slices"

	"palimpsest/kernels"
	"palimpsest/objectives"
)

// reference is a frozen model that runs over the same plans as the activations that hold it. It has activations of its own, in
// evaluation mode, and only the rows of terms that ask for it reach its head, chunk by chunk: its [R,V] never exists.
type reference struct {
	weights *Weights
	acts    *Activations
	dropout bool // the same as in the trained model
}

// SetReference puts a frozen model beside the one that these activations are of: weights of the same backend and vocabulary,
// which may be those of the trained model without its adapter. sharedDropout gives the reference the trained model's dropout
// (models of the same shape only); otherwise it has none.
func (a *Activations) SetReference(w *Weights, sharedDropout bool) {
	info := a.b.Info()
	a.frozen = &reference{weights: w, acts: &Activations{b: a.b}, dropout: sharedDropout}
	r := a.frozen.acts
	r.allocate(w.Config, a.referenceCapacity(), false, info.Compute, info.Master, a.b.Alloc)
	if w.Config.relative() {
		r.rel.upload(a.b, w.Config)
	}
}

// referenceCapacity is the same as that of the trained model, with chunks of the same rows.
func (a *Activations) referenceCapacity() Capacity {
	return Capacity{Tokens: a.cap.Tokens, Rows: a.cap.Rows, chunk: a.head.chunk}
}

// ReferenceBytes returns what a frozen reference of a configuration takes beside a model that is trained: its weights and its
// activations.
func ReferenceBytes(trained, c Config, capacity Capacity, compute, master kernels.DType) (weights, activations int64) {
	perParam := master.Size()
	if compute != master {
		perParam += compute.Size()
	}
	none := func(kernels.DType, int) kernels.Buf { return kernels.Buf{} }
	var a, r Activations
	a.allocate(trained, capacity, true, compute, master, none)
	r.allocate(c, a.referenceCapacity(), false, compute, master, func(t kernels.DType, n int) kernels.Buf {
		activations += int64(t.Size()) * int64(n)
		return kernels.Buf{}
	})
	return NumParams(c) * int64(perParam), activations
}

// loadReference takes the plan for the reference, where the plan needs it.
func (a *Activations) loadReference(p *objectives.Plan, step Step) error {
	if !p.NeedsReference {
		return nil
	}
	if a.frozen == nil {
		return fmt.Errorf("model: the plan asks for a reference model, and there is none")
	}
	if !a.frozen.dropout {
		step = Step{}
	}
	return a.frozen.acts.loadTokens(p, step)
}

// forwardReference computes the reference's hidden state of the loaded plan, where the plan needs it.
func (a *Activations) forwardReference() {
	if a.plan.NeedsReference {
		a.frozen.acts.Forward(a.frozen.weights)
	}
}

// referenceLogits are the reference's logits of rows [from,to) of a term; they are good until the next call.
func (a *Activations) referenceLogits(index, from, to int) kernels.Buf {
	r := a.frozen.acts
	a.b.GatherRows(r.head.h, r.hidden, a.terms[index].rows.Slice(from, to), to-from, r.c.Width)
	r.forwardHead(a.frozen.weights, 0, to-from, kernels.Drop{})
	return r.head.logits
}

// referenceLosses are the reference's losses of rows [from,to) of a term, which its rule subtracts.
func (a *Activations) referenceLosses(index int, t *objectives.Term, classes, from, to int) {
	if !t.NeedsReference {
		return
	}
	ce := a.lossOf(index, t, classes, from, to)
	ce.Logits, ce.Loss = a.referenceLogits(index, from, to), a.terms[index].rule.reference.Slice(from, to)
	ce.NLL, ce.Hit = kernels.Buf{}, kernels.Buf{}
	a.b.CrossEntropy(ce)
}

// referenceKL runs one term of that kind over its rows, as crossEntropy does. Hits are counted in evaluations only, where the
// logits are made a second time for it.
func (a *Activations) referenceKL(w *Weights, index int, t *objectives.Term, gradient bool) {
	c, h, bufs, head := a.c, &a.head, a.terms[index], a.headOf[index]
	classes := w.heads[head].classes
	for from := 0; from < len(t.Rows); from += h.chunk {
		to := min(from+h.chunk, len(t.Rows))
		n, rows := to-from, bufs.rows.Slice(from, to)
		a.b.GatherRows(h.h, a.hidden, rows, n, c.Width)
		in := a.forwardHead(w, head, n, kernels.Drop{})
		sums := []kernels.Buf{h.loss, h.nll, {}, h.kl}
		if !gradient {
			ce := a.lossOf(index, t, classes, from, to)
			a.b.CrossEntropy(ce)
			a.sumResults(index, []kernels.Buf{{}, {}, h.hit}, n)
			in = a.forwardHead(w, head, n, kernels.Drop{})
		}
		op := t.Pulls.Op()
		op.Logits, op.Targets, op.R, op.V = h.logits, bufs.targets.Slice(from, to), n, classes
		op.Loss, op.NLL, op.KL = h.loss, h.nll, h.kl
		op.Grad, op.GradScale = gradient, t.Share/t.Den
		if len(t.Weights) > 0 {
			op.Weights = bufs.weights.Slice(from, to)
		}
		if t.NeedsReference {
			op.Reference = a.referenceLogits(index, from, to)
		}
		a.b.ReferenceKL(op)
		a.sumResults(index, sums, n)
		if gradient {
			a.backwardHead(w, head, in, n, kernels.Drop{})
			a.b.ScatterAddRows(a.dhidden, h.dh, rows, n, c.Width)
		}
	}
}

// sumResults adds values of n rows to the results of a term; absent buffers add nothing.
func (a *Activations) sumResults(index int, values []kernels.Buf, n int) {
	for i, v := range values {
		if !v.Absent() {
			a.b.Sum(a.scalars, scalarTerms+index*scalarsPerTerm+i, v, n, true)
		}
	}
}

// ReferenceFLOPs are those of a frozen reference on a plan that needs it, by the rule of FLOPs: the forward pass.
func ReferenceFLOPs(c Config, p *objectives.Plan) float64 {
	if !p.NeedsReference {
		return 0
	}
	seen := *p
	seen.Terms = slices.DeleteFunc(slices.Clone(p.Terms), func(t objectives.Term) bool { return !t.NeedsReference })
	c.Adapter = Adapter{}
	return FLOPs(c, &seen) / 3
}
