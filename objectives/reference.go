package objectives

import (
	"fmt"
	"math"

	"palimpsest/kernels"
)

// Pulls are what a term of kind ReferenceKL asks of its rows; kernels.ReferenceKL has the formulas.
type Pulls struct {
	Unwanted, Kept   kernels.Pull // of rows with a weight below and above 0
	Eps, Floor       float64
	EpsPerEntry      bool // switches that follow the published code
	ClipUnlikelihood bool
	FloorKept        bool
}

// Op returns the kernel's op, still without buffers.
func (p Pulls) Op() kernels.ReferenceKL {
	return kernels.ReferenceKL{Unwanted: p.Unwanted, Kept: p.Kept, Eps: p.Eps, Floor: p.Floor, EpsPerEntry: p.EpsPerEntry,
		ClipUnlikelihood: p.ClipUnlikelihood, FloorKept: p.FloorKept}
}

// Diverges reports whether the op reads the reference.
func (p Pulls) Diverges() bool { return diverges(p.Unwanted) || diverges(p.Kept) }

func diverges(p kernels.Pull) bool { return p == kernels.ForwardKL || p == kernels.ReverseKL }

// checkReference reports what is wrong with what a term asks of the reference.
func (t *Term) checkReference() error {
	if t.Kind != ReferenceKL {
		if t.NeedsReference && !t.Options.Reweigh.On() {
			return fmt.Errorf("plan: term %s asks for the reference's losses, but no rule compares them; hint: loss.reweigh.rule", t.Name)
		}
		return nil
	}
	switch {
	case t.NeedsReference != t.Pulls.Diverges():
		return fmt.Errorf("plan: term %s with the pulls %d and %d needs a reference: %t, but asks for one: %t", t.Name, t.Pulls.Unwanted, t.Pulls.Kept, t.Pulls.Diverges(), t.NeedsReference)
	case t.Options.Reweigh.On():
		return fmt.Errorf("plan: term %s is a pull to a reference, whose rows are not weighed by their losses; hint: loss.reweigh.rule: none", t.Name)
	case t.Head != HeadLM:
		return fmt.Errorf("plan: term %s is a pull to a reference, which only the head %s has, not %q", t.Name, HeadLM, t.Head)
	}
	for r, w := range t.Weights {
		if f := float64(w); math.IsNaN(f) || math.IsInf(f, 0) {
			return fmt.Errorf("plan: term %s row %d has weight %g", t.Name, r, f)
		}
	}
	return nil
}

// NeedsReference reports whether an objective's terms ask for a frozen reference model.
func NeedsReference(o Objective) bool {
	p := new(Plan)
	o.Begin(p)
	for i := range p.Terms {
		if p.Terms[i].NeedsReference {
			return true
		}
	}
	return false
}
