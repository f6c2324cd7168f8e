package model

// RowValues waits for the device and copies what Loss left of a term under a Reweigh rule, by row: plain losses of the
// targets, and the weights that the rule gave them. Both have room for the term's rows.
func (a *Activations) RowValues(index int, nll, weights []float32) {
	n := len(a.plan.Terms[index].Rows)
	rule := &a.terms[index].rule
	a.b.Download(nll[:n], rule.nll.Slice(0, n))
	a.b.Download(weights[:n], a.terms[index].weights.Slice(0, n))
}
