//go:build !cgo

package kernels

func (leaves) referenceKL(a *ReferenceKL, lo, hi int) {
	sub := *a
	sub.R = hi - lo
	referenceKLRef(part(a.Logits, lo, hi, a.V), part(a.Reference, lo, hi, a.V), View[int32](a.Targets)[lo:hi], part(a.Weights, lo, hi, 1),
		part(a.NLL, lo, hi, 1), part(a.Loss, lo, hi, 1), part(a.KL, lo, hi, 1), sub)
}
