package bench

import (
	"fmt"

	"palimpsest/kernels"
)

// lossCase is the weighted cross-entropy with its gradient, in place.
type lossCase struct {
	Rows  int `json:"rows"`
	Vocab int `json:"vocab"`
}

func (a lossCase) op() string     { return "cross_entropy" }
func (a lossCase) shape() string  { return fmt.Sprintf("%d rows, vocabulary %d", a.Rows, a.Vocab) }
func (a lossCase) flops() float64 { return 0 }

// bytes: logits once in and once out, and five numbers a row.
func (a lossCase) bytes(s sizes) float64 {
	return 2*float64(a.Rows*a.Vocab)*s.compute + float64(a.Rows)*(4+4*s.master)
}
func (a lossCase) small() kernel { a.Rows = min(a.Rows, 3); return a }

func (a lossCase) build(m *maker, b kernels.Backend) func() {
	n := a.Rows * a.Vocab
	logits := m.out("gradient", m.in(n), n, 0)
	m.consumed(logits, n)
	c := kernels.CrossEntropy{Logits: logits, Targets: m.indices(a.Rows, a.Vocab), Weights: m.positive(m.info.Master, a.Rows),
		NLL: m.freshMaster("nll", a.Rows, 0), Loss: m.freshMaster("loss", a.Rows, 0), Hit: m.freshMaster("hit", a.Rows, 0),
		R: a.Rows, V: a.Vocab, Grad: true, GradScale: 1}
	return func() { b.CrossEntropy(c) }
}

// referenceCase pulls rows of logits to those of a frozen model, with the gradient in place: half of the rows have an
// unwanted target.
type referenceCase struct {
	Rows    int    `json:"rows"`
	Vocab   int    `json:"vocab"`
	Variant string `json:"variant"` // of references
}

// references are the pulls of unwanted and of kept targets by the name that TNT's paper gives the pair; all pulls are in them.
var references = map[string][2]kernels.Pull{
	"TNFF": {kernels.ForwardKL, kernels.ForwardKL},
	"TNRR": {kernels.ReverseKL, kernels.ReverseKL},
	"NL":   {kernels.Likelihood, kernels.Likelihood},
	"UL":   {kernels.Unlikelihood, kernels.Likelihood},
}

func (a referenceCase) op() string { return "reference_kl" }
func (a referenceCase) shape() string {
	return fmt.Sprintf("%d rows, vocabulary %d, %s", a.Rows, a.Vocab, a.Variant)
}
func (a referenceCase) flops() float64 { return 0 }

// models is how many models' logits are read.
func (a referenceCase) models() int {
	if references[a.Variant][1] == kernels.Likelihood {
		return 1
	}
	return 2
}

// bytes: logits in and out, the reference's in where a pull reads them; target, weight, and three numbers out a row.
func (a referenceCase) bytes(s sizes) float64 {
	return float64(1+a.models())*float64(a.Rows*a.Vocab)*s.compute + float64(a.Rows)*(4+4*s.master)
}
func (a referenceCase) small() kernel { a.Rows = min(a.Rows, 4); return a }

func (a referenceCase) build(m *maker, b kernels.Backend) func() {
	n, pulls := a.Rows*a.Vocab, references[a.Variant]
	logits := m.out("gradient", m.in(n), n, 0)
	m.consumed(logits, n)
	k := kernels.ReferenceKL{Logits: logits, Targets: m.indices(a.Rows, a.Vocab), Weights: m.repeated(a.Rows, []float64{-1.5, 0.75}),
		NLL: m.freshMaster("nll", a.Rows, 0), Loss: m.freshMaster("loss", a.Rows, 0), KL: m.freshMaster("kl", a.Rows, 0), R: a.Rows, V: a.Vocab,
		Unwanted: pulls[0], Kept: pulls[1], Eps: 1e-6, Grad: true, GradScale: 1}
	if a.models() == 2 {
		k.Reference = m.in(n)
	}
	return func() { b.ReferenceKL(k) }
}

// reweighCase turns losses of rows into weights, or scales rows by them.
type reweighCase struct {
	Groups  int  `json:"groups"`
	Rows    int  `json:"rows"` // of a group
	Columns int  `json:"columns"`
	Top     bool `json:"top"`
	Scale   bool `json:"scale"`
}

func (a reweighCase) op() string {
	return map[bool]string{false: "reweigh", true: "reweigh_scale"}[a.Scale]
}
func (a reweighCase) shape() string {
	if a.Scale {
		return fmt.Sprintf("%d rows of %d", a.Groups*a.Rows, a.Columns)
	}
	return fmt.Sprintf("%d groups of %d, %s", a.Groups, a.Rows, map[bool]string{false: "softmax", true: "top share"}[a.Top])
}
func (a reweighCase) flops() float64 { return 0 }
func (a reweighCase) bytes(s sizes) float64 {
	rows := float64(a.Groups * a.Rows)
	if a.Scale {
		return 2*rows*float64(a.Columns)*s.compute + rows*s.master
	}
	return 3*rows*s.master + 4*float64(a.Groups+1)
}
func (a reweighCase) small() kernel {
	a.Groups, a.Rows, a.Columns = min(a.Groups, 3), min(a.Rows, 50), min(a.Columns, 72)
	return a
}

func (a reweighCase) build(m *maker, b kernels.Backend) func() {
	rows := a.Groups * a.Rows
	if a.Scale {
		x, scales := m.out("x", m.in(rows*a.Columns), rows*a.Columns, 0), m.positive(m.info.Master, rows)
		m.consumed(x, rows*a.Columns)
		return func() { b.ScaleRows(x, scales, rows, a.Columns) }
	}
	offsets := make([]int32, a.Groups+1)
	for i := range offsets {
		offsets[i] = int32(i * a.Rows)
	}
	r := kernels.Reweigh{Losses: m.positive(m.info.Master, rows), Weights: m.freshMaster("weights", rows, 0), Shares: m.freshMaster("shares", rows, 0),
		Offsets: m.list(offsets), G: a.Groups, Rule: kernels.Softmax, Tau: 3, Share: 0.6}
	if a.Top {
		r.Rule = kernels.TopShare
	}
	return func() { b.Reweigh(r) }
}

// dropoutCase is dropout by itself.
type dropoutCase struct {
	Rows    int `json:"rows"`
	Columns int `json:"columns"`
}

func (a dropoutCase) op() string            { return "dropout" }
func (a dropoutCase) shape() string         { return fmt.Sprintf("%d rows of %d", a.Rows, a.Columns) }
func (a dropoutCase) flops() float64        { return 0 }
func (a dropoutCase) bytes(s sizes) float64 { return 2 * float64(a.Rows*a.Columns) * s.compute }
func (a dropoutCase) small() kernel {
	a.Rows, a.Columns = min(a.Rows, 9), min(a.Columns, 136)
	return a
}

func (a dropoutCase) build(m *maker, b kernels.Backend) func() {
	x, y := m.in(a.Rows*a.Columns), m.fresh("y", a.Rows*a.Columns, 0)
	return func() { b.Dropout(y, x, a.Rows, a.Columns, kernels.Drop{P: 0.1, Seed: 2, Step: 7, Site: 3}) }
}
