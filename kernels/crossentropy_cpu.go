package kernels

// CrossEntropy on the CPU, cut by rows; the arithmetic and its costs are in crossentropy_cpu.c, the oracle in
// cross_entropy_ref.go.
func (b *cpu) CrossEntropy(a CrossEntropy) {
	a.check()
	checkTargets(View[int32](a.Targets)[:a.R], a.V)
	b.rows(a.R, a.V, func(lo, hi int) { b.leaf.crossEntropy(&a, lo, hi) })
}
