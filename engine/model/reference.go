package model

import (
	"cmp"
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

	// Instead of a model:
	rows   ReferenceRows
	host   []float32   // [chunk,V]
	own    []float32   // [chunk,V] of the trained model, where rows are filled up from them
	logits kernels.Buf // [chunk,V]
	failed error       // the first of finding and reading; Results reports it
}

// ReferenceRows are a reference's logits that were computed before. Find looks up the rows of a loaded plan's terms. Read
// fills dst [n,V] with those of rows [from,to) of a term; own, [n,V], holds the trained model's logits of these rows if Partial
// says that not all of a row's logits were kept.
type ReferenceRows interface {
	Find(p *objectives.Plan) error
	Read(term, from, to int, dst, own []float32) error
	Partial() bool
}

// SetReferenceRows puts rows in the place of a frozen model.
func (a *Activations) SetReferenceRows(rows ReferenceRows) {
	classes := int(a.c.Vocab)
	r := &reference{rows: rows, host: make([]float32, a.head.chunk*classes), logits: a.b.Alloc(a.b.Info().Compute, a.head.chunk*classes)}
	if rows.Partial() {
		r.own = make([]float32, len(r.host))
	}
	a.frozen = r
}

// SetReference puts a frozen model beside the one that these activations are of: weights of the same backend and vocabulary,
// which may be those of the trained model without its adapter. sharedDropout gives the reference the trained model's dropout
// (models of the same shape only); otherwise it has none.
func (a *Activations) SetReference(w *Weights, sharedDropout bool) {
	info := a.b.Info()
	a.frozen = &reference{weights: w, acts: &Activations{b: a.b}, dropout: sharedDropout}
	r := a.frozen.acts
	r.allocate(w.Config, a.referenceCapacity(), false, info.Compute, info.Master, a.b.Alloc)
	r.upload()
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

// ReferenceRowBytes returns what rows of a reference take beside a model that is trained.
func ReferenceRowBytes(c Config, capacity Capacity, compute kernels.DType, partial bool) int64 {
	classes, _ := c.widestHead()
	perElement := compute.Size() + 4
	if partial {
		perElement += 4
	}
	return int64(chunkRows(classes, max(1, capacity.Rows))) * int64(c.Vocab) * int64(perElement)
}

// loadReference takes the plan for the reference, where the plan needs it.
func (a *Activations) loadReference(p *objectives.Plan, step Step) error {
	if !p.NeedsReference {
		return nil
	}
	if a.frozen == nil {
		return fmt.Errorf("model: the plan asks for a reference model, and there is none")
	}
	if f := a.frozen; f.rows != nil {
		f.failed = cmp.Or(f.failed, f.rows.Find(p))
		return nil
	}
	if !a.frozen.dropout {
		step = Step{}
	}
	return a.frozen.acts.loadTokens(p, step)
}

// ForwardReference computes the reference's hidden state of the loaded plan, where the plan needs it. Loss does so too.
func (a *Activations) ForwardReference() {
	if a.plan.NeedsReference && a.frozen.rows == nil {
		a.frozen.acts.Forward(a.frozen.weights)
	}
}

// referenceLogits are the reference's logits of rows [from,to) of a term, whose own logits are in the head; they are good until
// the next call.
func (a *Activations) referenceLogits(index, from, to int) kernels.Buf {
	if a.frozen.rows != nil {
		return a.readReference(index, from, to)
	}
	r := a.frozen.acts
	a.b.GatherRows(r.head.h, r.hidden, a.terms[index].rows.Slice(from, to), to-from, r.c.Width)
	r.forwardHead(a.frozen.weights, 0, to-from, kernels.Drop{})
	return r.head.logits
}

// readReference takes rows that were kept. What is wrong with them is told with the results.
func (a *Activations) readReference(index, from, to int) kernels.Buf {
	f, n := a.frozen, (to-from)*int(a.c.Vocab)
	var own []float32
	if f.own != nil && f.failed == nil {
		own = f.own[:n]
		a.b.Download(own, a.head.logits.Slice(0, n))
		f.failed = a.b.Sync()
	}
	if f.failed == nil {
		f.failed = f.rows.Read(index, from, to, f.host[:n], own)
	}
	a.b.Upload(f.logits, f.host[:n])
	return f.logits
}

// referenceFailure is what went wrong with rows that were read since the last call.
func (a *Activations) referenceFailure() error {
	if a.frozen == nil {
		return nil
	}
	err := a.frozen.failed
	a.frozen.failed = nil
	return err
}

// ReferenceLogits calls f with the logits that a frozen reference gives the rows of a term of the loaded plan behind
// ForwardReference, one row at a time. The slice is valid during the call.
func (a *Activations) ReferenceLogits(term int, f func(row int, logits []float32)) error {
	V := int(a.c.Vocab)
	host := make([]float32, a.head.chunk*V)
	rows := len(a.plan.Terms[term].Rows)
	for from := 0; from < rows; from += a.head.chunk {
		to := min(from+a.head.chunk, rows)
		logits := a.referenceLogits(term, from, to)
		a.b.Download(host[:(to-from)*V], logits.Slice(0, (to-from)*V))
		if err := a.b.Sync(); err != nil {
			return err
		}
		for r := from; r < to; r++ {
			f(r, host[(r-from)*V:(r-from+1)*V])
		}
	}
	return nil
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
