package model

import (
	"errors"
	"fmt"

	"palimpsest/kernels"
	"palimpsest/objectives"
)

// Results of the micro-batches since ResetResults lie in one float64 buffer on the device: the guard that the optimiser
// reads (first the sum of squares of all gradients, then the summed losses), then sums of loss, nll, hits and KL by term.
const (
	scalarGuard    = 0
	maxTerms       = 4
	scalarsPerTerm = 4
	scalarTerms    = 1
	scalarCount    = scalarTerms + maxTerms*scalarsPerTerm
)

// TermResult is what one term gave since ResetResults: sums over its rows.
type TermResult struct {
	Name            string
	Loss, NLL, Hits float64
	KL              float64 // of terms of kind ReferenceKL, without factors
	Lost            float64 // of terms of kind Alignment, which have neither NLL nor hits: lattices without a path
}

// Load takes a checked plan as the next micro-batch. The plan must stay unchanged until the step is done.
func (a *Activations) Load(p *objectives.Plan, step Step) error {
	if len(p.Terms) > maxTerms {
		return fmt.Errorf("model: a plan of %d terms; at most %d are possible", len(p.Terms), maxTerms)
	}
	if err := a.loadTokens(p, step); err != nil {
		return err
	}
	if err := a.loadReference(p, step); err != nil {
		return err
	}
	for i := range p.Terms {
		t := &p.Terms[i]
		if len(t.Rows) > a.cap.Rows {
			return fmt.Errorf("model: term %s has %d loss rows, the capacity is %d", t.Name, len(t.Rows), a.cap.Rows)
		}
		head, ok := a.c.head(t.Head)
		if !ok || t.Kind != objectives.CrossEntropy && t.Kind != objectives.ReferenceKL && t.Kind != objectives.Alignment {
			return fmt.Errorf("model: term %s asks for head %q and kind %d, which this model does not have", t.Name, t.Head, t.Kind)
		}
		a.headOf[i] = head
		a.b.Upload(a.terms[i].rows, t.Rows)
		a.b.Upload(a.terms[i].targets, t.Targets)
		if a.c.headReadsTokens(head) {
			a.b.Upload(a.terms[i].originals, originals(p, t.Rows))
		}
		a.b.Upload(a.terms[i].weights, t.Weights)
		a.terms[i].rule.load(a.b, t)
		if t.Kind == objectives.Alignment {
			if err := a.loadLattices(t); err != nil {
				return err
			}
		}
	}
	return nil
}

// loadTokens takes what the body of the model reads of a plan.
func (a *Activations) loadTokens(p *objectives.Plan, step Step) error {
	if n := len(p.Tokens); n > a.cap.Tokens {
		return fmt.Errorf("model: a plan of %d tokens exceeds the capacity of %d", n, a.cap.Tokens)
	}
	a.plan, a.n, a.step = p, len(p.Tokens), step
	a.b.Upload(a.ids, p.Tokens)
	a.uploadPositions(p.Pos)
	if a.c.Attention.Window > 0 {
		a.narrow = a.c.narrowed(a.narrow[:0], p.Segments)
	}
	return nil
}

// uploadPositions takes [N,2] positions; a table of learned ones may begin with rows that no token uses.
func (a *Activations) uploadPositions(pos []int32) {
	if offset := int32(a.c.PositionOffset); offset > 0 {
		a.shifted = append(a.shifted[:0], pos...)
		for i := range a.shifted {
			a.shifted[i] += offset
		}
		pos = a.shifted
	}
	a.b.Upload(a.pos, pos)
}

// Forward computes the hidden state of the loaded plan.
func (a *Activations) Forward(w *Weights) {
	x := a.forwardEmbed(w)
	if a.c.preNorm() {
		a.hidden = a.forwardPre(w, x)
	} else {
		a.hidden = a.forwardPost(w, x)
	}
}

// Loss runs the heads over the rows of every term and adds to the results. With gradient, the gradient of the hidden
// state is ready for Backward and the heads' weights have theirs.
func (a *Activations) Loss(w *Weights, gradient bool) {
	if gradient {
		a.b.Zero(a.dhidden.Slice(0, a.n*a.c.Width))
	}
	a.ForwardReference()
	for i := range a.plan.Terms {
		switch t := &a.plan.Terms[i]; t.Kind {
		case objectives.ReferenceKL:
			a.referenceKL(w, i, t, gradient)
		case objectives.Alignment:
			a.alignment(w, i, t, gradient)
		default:
			a.crossEntropy(w, i, t, gradient)
		}
	}
}

// Backward adds the gradients of all other parameters to Weights.Grad.
func (a *Activations) Backward(w *Weights) {
	dx := kernels.Buf{}
	if a.c.relative() && !w.tokens.Frozen {
		a.b.Zero(a.rel.dnorm)
	}
	if a.c.preNorm() {
		dx = a.backwardPre(w, a.dhidden)
	} else {
		dx = a.backwardPost(w, a.dhidden)
	}
	if !w.tokens.Frozen {
		a.backwardEmbed(w, dx)
	}
}

// ResetResults begins an update or an evaluation.
func (a *Activations) ResetResults() { a.b.Zero(a.scalars) }

// Guard puts the sum of squares of all gradients beside the summed losses and returns the buffer that
// kernels.AdamW checks: the update is dropped when any of these is not finite.
func (a *Activations) Guard(w *Weights) kernels.Buf {
	a.b.SumSquares(a.scalars, scalarGuard, w.Grad, w.Grad.Len(), false)
	return a.scalars
}

// Results waits for the device and returns the sum of squares of the gradients (0 without Guard) and the sums of every
// term since ResetResults. names are the terms in the order of the plans.
func (a *Activations) Results(names []string) (gradSquares float64, terms []TermResult, err error) {
	return a.ResultsLater(names)()
}

// ResultsLater is Results at this point of the queue: the function that it returns waits for them.
func (a *Activations) ResultsLater(names []string) (wait func() (gradSquares float64, terms []TermResult, err error)) {
	values := make([]float64, scalarCount)
	arrived := a.b.DownloadLater(values, a.scalars)
	failed := a.referenceFailure()
	aligned := make([]bool, len(names))
	for i := range names {
		aligned[i] = a.plan.Terms[i].Kind == objectives.Alignment
	}
	return func() (float64, []TermResult, error) {
		if err := arrived(); err != nil || failed != nil {
			return 0, nil, errors.Join(failed, err)
		}
		var terms []TermResult
		for i, name := range names {
			v := values[scalarTerms+i*scalarsPerTerm:]
			r := TermResult{Name: name, Loss: v[0], NLL: v[1], Hits: v[2], KL: v[3]}
			if aligned[i] {
				r.NLL, r.Lost = 0, v[1]
			}
			terms = append(terms, r)
		}
		return values[scalarGuard], terms, nil
	}
}

// Logits calls f with the LM head's logits of some rows of the hidden state that Forward left, one row at a time, in
// order. The slice is valid during the call.
func (a *Activations) Logits(w *Weights, rows []int32, f func(i int, logits []float32)) error {
	return a.HeadLogits(w, objectives.HeadLM, rows, f)
}

// Hidden copies the hidden state of the first len(dst)/C rows of the loaded plan, [rows,C], which Forward left.
func (a *Activations) Hidden(dst []float32) { a.b.Download(dst, a.hidden.Slice(0, len(dst))) }

// HeadLogits is Logits of the named head.
func (a *Activations) HeadLogits(w *Weights, name string, rows []int32, f func(i int, logits []float32)) error {
	index, ok := a.c.head(name)
	if !ok {
		return fmt.Errorf("model: there is no head %q", name)
	}
	V := w.heads[index].classes
	host := make([]float32, min(len(rows), a.head.chunk)*V)
	for from := 0; from < len(rows); from += a.head.chunk {
		to := min(from+a.head.chunk, len(rows))
		n := to - from
		a.b.Upload(a.terms[0].rows, rows[from:to])
		a.b.GatherRows(a.head.h, a.hidden, a.terms[0].rows, n, a.c.Width)
		if a.c.headReadsTokens(index) {
			a.head.ids = a.terms[0].originals.Slice(0, n)
			a.b.Upload(a.head.ids, originals(a.plan, rows[from:to]))
		}
		a.forwardHead(w, index, n, kernels.Drop{})
		a.b.Download(host, a.head.logits.Slice(0, n*V))
		if err := a.b.Sync(); err != nil {
			return err
		}
		for i := range n {
			f(from+i, host[i*V:(i+1)*V])
		}
	}
	return nil
}

// FLOPs of one step on a plan, forward and backward (three times the forward, twice where a weight is frozen), by the usual rule: 2 a weight and row for
// every product of the body, 2 a head weight and loss row, 4 D a head and pair of tokens that attend (half the pairs of
// causal segments).
func FLOPs(c Config, p *objectives.Plan) float64 {
	C, D := float64(c.Width), float64(c.headWidth())
	up := 1.0
	if c.gated() {
		up = 2
	}
	square := 1.0
	if c.gatedAttention() {
		square = 2
	}
	perToken := float64(c.Layers) * 2 * (C*float64(c.qkvWidth()) + square*C*C + (up+1)*C*float64(c.FF))
	pairs := 0.0 // over all layers
	tokens := len(p.Tokens) - p.Filled
	for layer := range c.Layers {
		for _, s := range p.Segments {
			if int(s.Start) >= tokens {
				break
			}
			n := float64(s.End - s.Start)
			seen := n
			if half := float64(c.Attention.Window / 2); c.local(layer) {
				seen = min(n, 2*half+1)
			}
			if s.Mask == kernels.Causal {
				seen *= 0.5
			}
			pairs += seen * n
		}
	}
	passes := 3.0 // of the body's weights
	if c.Adapter.On() {
		passes = 2
	}
	heads := 0.0
	for i := range p.Terms {
		perRow, through := 2*C*float64(c.Vocab), passes
		transform := c.Transform == on
		if head, ok := c.head(p.Terms[i].Head); ok && head > 0 {
			h := c.Classifiers[head-1]
			perRow, transform = 2*C*float64(h.Classes), h.Kind != "token"
			if h.ReadsTokens() {
				perRow += 2 * C * objectives.MetaWidth
			}
			if c.Adapter.Heads {
				through = 3
			}
		}
		if transform {
			perRow += 2 * C * C
		}
		if p.Terms[i].Kind == objectives.Alignment {
			perRow += c.linksFLOPs(&p.Terms[i])
		}
		heads += through * perRow * float64(len(p.Terms[i].Rows)-p.Terms[i].Filled)
	}
	return (passes*perToken+3*c.adapterFLOPs())*float64(tokens) + 3*4*D*float64(c.Heads)*pairs + heads
}
