package kernels

// Dropout on the CPU, cut by rows; the arithmetic and its costs are in dropout_cpu.c, the oracle in dropout_ref.go.
func (b *cpu) Dropout(y, x Buf, n, C int, d Drop) {
	checkDropout(y, x, n, C, d)
	yf, xf := f32(y), f32(x)
	if d.threshold() == 0 {
		b.spans(n*C, grain, func(lo, hi int) { copy(yf[lo:hi], xf[lo:hi]) })
		return
	}
	b.rows(n, C, func(lo, hi int) { b.leaf.dropout(yf, xf, lo, hi, C, d) })
}
