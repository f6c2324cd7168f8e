package bench

import (
	"fmt"

	"palimpsest/kernels"
)

// updateCase is what an optimiser does to one tensor, or a sum over it.
type updateCase struct {
	What string `json:"what"`
	N    int    `json:"elements"`
}

// updates are the ops of updateCase with their bytes of master and of compute type an element. A copy of the parameters
// in the compute type is written where that differs.
var updates = map[string]struct{ master, copies float64 }{
	"adamw":       {7, 1}, // p, g, m, v in; p, m, v out
	"lamb":        {10, 1},
	"momentum":    {4, 0}, // g, m in; m, u out
	"combine":     {3, 1}, // x, y in; dst out
	"sum_squares": {1, 0},
	"add":         {0, 3}, // of activations: dst and src in, dst out
}

func (a updateCase) op() string {
	switch a.What {
	case "sum_squares", "add":
		return "reduce_" + a.What
	}
	return a.What
}
func (a updateCase) shape() string {
	if a.N >= 1e6 {
		return fmt.Sprintf("%.4g M elements", float64(a.N)/1e6)
	}
	return fmt.Sprintf("%d elements", a.N)
}
func (a updateCase) flops() float64 { return 0 }
func (a updateCase) bytes(s sizes) float64 {
	u := updates[a.What]
	if s.compute == s.master && a.What != "add" {
		u.copies = 0
	}
	return float64(a.N) * (u.master*s.master + u.copies*s.compute)
}
func (a updateCase) small() kernel { a.N = min(a.N, 4321); return a }

func (a updateCase) build(m *maker, b kernels.Backend) func() {
	state := func(name string) kernels.Buf { return m.out(name, m.inMaster(a.N), a.N, 0) }
	copied := func() (c kernels.Buf) {
		if m.copies {
			c = m.fresh("copy", a.N, 0)
		}
		return c
	}
	switch a.What {
	case "adamw", "lamb":
		u := kernels.AdamW{P: state("p"), G: m.inMaster(a.N), M: state("m"), V: m.out("v", m.positive(m.info.Master, a.N), a.N, 0), Copy: copied(),
			Guard: m.positive(kernels.F64, 1), LR: 1e-3, B1: 0.9, B2: 0.99, Eps: 1e-8, Decay: 0.1, Correction1: 0.5, Correction2: 0.25, GradScale: 1, Clip: 1}
		if a.What == "adamw" {
			return func() { b.AdamW(u) }
		}
		l := kernels.LAMB{AdamW: u, Update: m.make(m.info.Master, a.N, contents{draw: unwritten})}
		return func() { b.LAMB(l) }
	case "momentum":
		u := kernels.Momentum{M: state("m"), U: m.freshMaster("u", a.N, 0), G: m.inMaster(a.N), Guard: m.positive(kernels.F64, 1), Beta: 0.9, GradScale: 1,
			Clip: 1, Nesterov: true}
		return func() { b.Momentum(u) }
	case "combine":
		x := m.inMaster(a.N)
		u := kernels.Combine{Dst: m.freshMaster("dst", a.N, 0), X: x, Y: m.inMaster(a.N), Copy: copied(), A: 0.75, B: 0.25}
		return func() { b.Combine(u) }
	case "sum_squares":
		x, sum := m.inMaster(a.N), m.out("sum", m.make(kernels.F64, 1, contents{draw: unwritten}), 1, float64(a.N))
		return func() { b.SumSquares(sum, 0, x, a.N, false) }
	}
	dst, src := m.out("dst", m.in(a.N), a.N, 0), m.in(a.N)
	m.consumed(dst, a.N)
	return func() { b.Add(dst, src) }
}

// linearCase is one of the three products of a linear layer: y = x w^T, dx = dy w, dw += dy^T x.
type linearCase struct {
	Form string             `json:"form"` // forward, input, weight
	Rows int                `json:"rows"`
	In   int                `json:"in"`
	Out  int                `json:"out"`
	Bias bool               `json:"bias"`
	Act  kernels.Activation `json:"activation"`
}

func (a linearCase) op() string { return "linear_" + a.Form }
func (a linearCase) shape() string {
	s := fmt.Sprintf("%d rows, %d to %d", a.Rows, a.In, a.Out)
	if a.Bias {
		s += ", bias"
	}
	if a.Act != kernels.None {
		s += ", " + activationNames[a.Act]
	}
	return s
}
func (a linearCase) flops() float64 { return 2 * float64(a.Rows) * float64(a.In) * float64(a.Out) }

// bytes: each matrix once; the value before an activation is written, or read by its gradient; dw is read and written.
func (a linearCase) bytes(s sizes) float64 {
	x, y, w := float64(a.Rows*a.In)*s.compute, float64(a.Rows*a.Out)*s.compute, float64(a.In*a.Out)
	b := 0.0
	if a.Bias {
		b = float64(a.Out)
	}
	switch a.Form {
	case "forward":
		if a.Act != kernels.None {
			y *= 2
		}
		return x + y + (w+b)*s.compute
	case "input":
		if a.Act != kernels.None {
			x *= 2
		}
		return x + y + w*s.compute
	}
	return x + y + 2*(w+b)*s.master
}
func (a linearCase) small() kernel {
	a.Rows, a.In, a.Out = min(a.Rows, 72), min(a.In, 80), min(a.Out, 104)
	return a
}

func (a linearCase) build(m *maker, b kernels.Backend) func() {
	x, y, w := a.Rows*a.In, a.Rows*a.Out, a.In*a.Out
	var bias, pre kernels.Buf
	switch a.Form {
	case "forward":
		if a.Bias {
			bias = m.in(a.Out)
		}
		if a.Act != kernels.None {
			pre = m.fresh("pre", y, float64(a.In))
		}
		from, weight, to := m.in(x), m.in(w), m.fresh("y", y, float64(a.In))
		return func() { b.Linear(to, from, weight, bias, pre, a.Rows, a.In, a.Out, a.Act) }
	case "input":
		if a.Act != kernels.None {
			pre = m.in(x)
		}
		from, weight, to := m.in(y), m.in(w), m.fresh("dx", x, float64(a.Out))
		return func() { b.LinearBackwardInput(to, from, weight, pre, a.Rows, a.In, a.Out, a.Act, false) }
	}
	dw := m.out("dweight", m.inMaster(w), w, float64(a.Rows))
	if a.Bias {
		bias = m.out("dbias", m.inMaster(a.Out), a.Out, float64(a.Rows))
	}
	dy, from := m.in(y), m.in(x)
	return func() { b.LinearBackwardWeight(dw, bias, dy, from, a.Rows, a.In, a.Out) }
}
