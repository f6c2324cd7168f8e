package model

import (
	"math"
	"testing"

	"palimpsest/kernels"
)

// The negative log-likelihood of some rows, computed for these rows only behind the last attention, is that of the logits
// of a whole forward pass, for every variant of the model.
func TestRowNLLOfSomeRows(t *testing.T) {
	rows, targets := []int32{4, 0, 9, 9, 16}, []int32{3, 10, 0, 5, 7}
	for name, c := range variants() {
		f := newFixture(t, kernels.NewRef64(), c, 0, false)
		if err := f.a.Load(f.plan, f.step); err != nil {
			t.Fatal(err)
		}
		f.a.Forward(f.w)
		var want []float64
		err := f.a.Logits(f.w, rows, func(i int, logits []float32) {
			sum := 0.0
			for _, z := range logits {
				sum += math.Exp(float64(z))
			}
			want = append(want, math.Log(sum)-float64(logits[targets[i]]))
		})
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		err = f.a.RowNLL(f.w, f.a.ForwardRows(f.w, rows), targets, func(i int, nll float32) {
			if n++; math.Abs(float64(nll)-want[i]) > 1e-5*(1+want[i]) {
				t.Errorf("%s: row %d has %g, its logits say %g", name, rows[i], nll, want[i])
			}
		})
		if err != nil || n != len(rows) {
			t.Errorf("%s: %d rows, %v", name, n, err)
		}
		if f.a.n != len(f.plan.Tokens) {
			t.Errorf("%s: %d live rows are left of %d", name, f.a.n, len(f.plan.Tokens))
		}
	}
}
