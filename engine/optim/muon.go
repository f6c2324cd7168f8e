package optim

import (
	"math"

	"palimpsest/engine/model"
	"palimpsest/kernels"
)

// Muon (Keller Jordan and others, 2024, https://kellerjordan.github.io/posts/muon/): the step of a matrix is the matrix of its
// moment with all singular values brought near 1, by a few iterations of a quintic polynomial, and times sqrt(max(1,
// rows/cols)). Queries, keys and values, and the two halves of a gated layer, are matrices of their own. Everything is
// in the master's type.

// The iteration X <- a X + (b S + c S^2) X with S = X X^T brings singular values from (0,1] to about 0.7 to 1.2 in five steps.
const newtonA, newtonB, newtonC = 3.4445, -4.7750, 2.0315

// muonEps keeps a step of zeros at zero.
const muonEps = 1e-7

// muon updates one parameter.
func (o *Optimizer) muon(b kernels.Backend, w *model.Weights, guard kernels.Buf, p part, rate float64) {
	u := o.update.Slice(0, p.to-p.from)
	b.Momentum(kernels.Momentum{M: o.M.Slice(p.from, p.to), U: u, G: w.Grad.Slice(p.from, p.to), Guard: guard,
		Beta: o.Config.Muon.Momentum, Nesterov: o.Config.Muon.Nesterov, GradScale: 1, Clip: o.Config.Clip})
	for _, m := range p.matrices {
		from, to := m.first*m.cols, (m.first+m.rows)*m.cols
		x := u.Slice(from, to)
		o.orthogonalize(b, x, m.rows, m.cols)
		at := w.Master.Slice(p.from+from, p.from+to)
		b.Combine(kernels.Combine{Dst: at, X: at, Y: x, Copy: copyOf(w, p.from+from, p.from+to), Guard: guard,
			A: 1 - rate*p.decay, B: -rate * math.Sqrt(max(1, float64(m.rows)/float64(m.cols)))})
	}
}

// orthogonalize brings the singular values of x [rows,cols] near 1. S is the smaller of the two Gram matrices.
func (o *Optimizer) orthogonalize(b kernels.Backend, x kernels.Buf, rows, cols int) {
	n := min(rows, cols)
	s, s2, y := o.product[0].Slice(0, n*n), o.product[1].Slice(0, n*n), o.product[2].Slice(0, rows*cols)
	b.SumSquares(o.squares, 0, x, rows*cols, false)
	b.Combine(kernels.Combine{Dst: x, X: x, Norm: o.squares, A: 1, Eps: muonEps})
	none := kernels.Buf{}
	for range o.Config.Muon.Steps {
		if rows <= cols {
			b.Linear(s, x, x, none, none, rows, cols, rows, kernels.None) // X X^T
		} else {
			b.Zero(s)
			b.LinearBackwardWeight(s, none, x, x, rows, cols, cols) // X^T X
		}
		b.Linear(s2, s, s, none, none, n, n, n, kernels.None)
		b.Combine(kernels.Combine{Dst: s, X: s, Y: s2, A: newtonB, B: newtonC})
		if rows <= cols {
			b.LinearBackwardInput(y, s, x, none, rows, cols, rows, kernels.None, false) // S X
		} else {
			b.LinearBackwardInput(y, x, s, none, rows, cols, cols, kernels.None, false) // X S
		}
		b.Combine(kernels.Combine{Dst: x, X: x, Y: y, A: newtonA, B: 1})
	}
}
