package kernels

// The masked softmax on the CPU, cut by rows; the arithmetic and its costs are in softmax_cpu.c, the oracle in
// masked_softmax_ref.go.

func (b *cpu) MaskedSoftmax(p, lse, scores, mask Buf, R, C int) {
	checkMaskedSoftmax(p, lse, scores, mask, R, C)
	pf, l, s, m := f32(p), f32(lse), f32(scores), View[uint8](mask)
	b.rows(R, C, func(lo, hi int) { b.leaf.maskedSoftmax(pf, l, s, m, lo, hi, C) })
}

func (b *cpu) MaskedSoftmaxBackward(dscores, dp, p Buf, R, C int) {
	checkMaskedSoftmaxBackward(dscores, dp, p, R, C)
	d, g, pf := f32(dscores), f32(dp), f32(p)
	b.rows(R, C, func(lo, hi int) { b.leaf.maskedSoftmaxBackward(d, g, pf, lo, hi, C) })
}
