package model

import (
	"palimpsest/kernels"
	"palimpsest/objectives"
)

// ForwardRows is Forward for evaluation where only some rows of the hidden state are read: behind the last attention the others
// are left out, where the model's blocks allow it (pre-norm). It returns where in the hidden state the rows are.
func (a *Activations) ForwardRows(w *Weights, rows []int32) (at []int32) {
	if a.train || !a.c.preNorm() || len(rows) == 0 || len(rows) > min(a.n, a.cap.Rows) {
		a.Forward(w)
		return rows
	}
	a.b.Upload(a.terms[0].rows, rows)
	n := a.n
	a.asked = len(rows)
	a.Forward(w)
	a.asked, a.n = 0, n
	at = make([]int32, len(rows))
	for i := range at {
		at[i] = int32(i)
	}
	return at
}

// keepAsked leaves only the asked rows in the last block: it returns the MLP's input and the residual stream.
func (a *Activations) keepAsked(l *blockActivations) (in, stream kernels.Buf) {
	in, stream = a.final, l.attnSum // of which nothing is read any more
	rows := a.terms[0].rows.Slice(0, a.asked)
	a.b.GatherRows(in, l.mlpIn, rows, a.asked, a.c.Width)
	a.b.GatherRows(stream, l.mlpSum, rows, a.asked, a.c.Width)
	if a.c.depthWeighted() {
		a.keepAskedDepth(rows)
	}
	a.n = a.asked
	return in, stream
}

// RowNLL calls f with the negative log-likelihood that the LM head gives each row's target, in nats: rows index the hidden
// state that Forward left, and a row may occur more than once. Logits stay on the device.
func (a *Activations) RowNLL(w *Weights, rows, targets []int32, f func(i int, nll float32)) error {
	term, h, head := objectives.Term{Head: objectives.HeadLM}, &a.head, 0
	bufs, classes := &a.terms[0], w.heads[head].classes
	host := make([]float32, min(len(rows), h.chunk))
	for from := 0; from < len(rows); from += h.chunk {
		to := min(from+h.chunk, len(rows))
		n := to - from
		a.b.Upload(bufs.rows, rows[from:to])
		a.b.Upload(bufs.targets, targets[from:to])
		a.b.GatherRows(h.h, a.hidden, bufs.rows, n, a.c.Width)
		a.forwardHead(w, head, n, kernels.Drop{})
		a.b.CrossEntropy(a.lossOf(0, &term, classes, 0, n))
		a.b.Download(host[:n], h.nll.Slice(0, n))
		if err := a.b.Sync(); err != nil {
			return err
		}
		for i, nll := range host[:n] {
			f(from+i, nll)
		}
	}
	return nil
}
