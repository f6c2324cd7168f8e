package kernels

// Norms on the CPU, cut by rows; the arithmetic and its costs are in norm_cpu.c, the oracle in norm_ref.go.

func (b *cpu) AddNorm(a AddNorm) {
	a.check()
	b.rows(a.N, a.C, func(lo, hi int) { b.leaf.addNorm(&a, lo, hi) })
}

// normParts is the largest number of partial sums for the gradients of gain and bias.
const normParts = 64

// NormBackward sums gain's and bias's gradients by blocks of rows, whose number depends on N alone, then over the blocks.
func (b *cpu) NormBackward(a NormBackward) {
	a.check()
	if a.N == 0 {
		return
	}
	C := a.C
	size := max(32, ceilDiv(a.N, normParts))
	parts := ceilDiv(a.N, size)
	sums := b.scratch.get(2 * parts * C)
	defer b.scratch.put(sums)
	clear(sums[:2*parts*C])
	gains, biases := sums[:parts*C], sums[parts*C:2*parts*C]
	b.spans(a.N, size, func(lo, hi int) {
		at := lo / size * C
		var dgain, dbias []float32
		if !a.DGain.Absent() {
			dgain = gains[at : at+C]
		}
		if !a.DBias.Absent() {
			dbias = biases[at : at+C]
		}
		b.leaf.normBackward(&a, dgain, dbias, lo, hi)
	})
	b.addParts(f32(a.DGain), gains, parts, C)
	b.addParts(f32(a.DBias), biases, parts, C)
}

// addParts adds the sum of n rows of width columns to dst, unless it is nil.
func (b *cpu) addParts(dst, parts []float32, n, columns int) {
	if dst == nil {
		return
	}
	b.spans(columns, max(64, grain/n/64*64), func(lo, hi int) {
		b.leaf.addRows(dst[lo:hi], parts[lo:], n, columns)
	})
}
