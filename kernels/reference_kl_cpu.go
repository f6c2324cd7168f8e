package kernels

import "math"

// ReferenceKL on the CPU, cut by rows; the arithmetic and its costs are in reference_kl_cpu.c, the oracle in
// reference_kl_ref.go.
func (b *cpu) ReferenceKL(a ReferenceKL) {
	a.check()
	checkTargets(View[int32](a.Targets)[:a.R], a.V)
	b.rows(a.R, 2*a.V, func(lo, hi int) { b.leaf.referenceKL(&a, lo, hi) })
}

// leastLog is what the target's log-probability stops at; -Inf where there is no floor.
func (a *ReferenceKL) leastLog() float64 {
	if a.Floor == 0 {
		return math.Inf(-1)
	}
	return a.Floor
}
