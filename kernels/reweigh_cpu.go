package kernels

// Reweigh on the CPU runs the oracle's rules, cut by groups: they are a few thousand rows beside the logits of millions
// that their losses come from. Oracle and rules: reweigh_ref.go, reweigh.go.

func (b *cpu) Reweigh(a Reweigh) {
	a.check()
	offsets := View[int32](a.Offsets)[:a.G+1]
	a.checkGroups(offsets)
	const groups = 64 // of a piece
	b.spans(a.G, groups, func(lo, hi int) {
		reweighRef(f32(a.Weights), f32(a.Shares), f32(a.Losses), f32(a.Reference), View[uint8](a.Classes), offsets, a, lo, hi)
	})
}

// ScaleRows is cut by rows; the loop is in combine_cpu.c.
func (b *cpu) ScaleRows(x, scales Buf, R, C int) {
	checkScaleRows(x, scales, R, C)
	xf, sf := f32(x), f32(scales)
	b.rows(R, C, func(lo, hi int) { b.leaf.scaleRows(xf[lo*C:hi*C], sf[lo:hi], hi-lo, C) })
}
