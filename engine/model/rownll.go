package model

import (
	"palimpsest/kernels"
	"palimpsest/objectives"
)

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
