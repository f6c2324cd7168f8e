package kernels

// The activations on the CPU, cut into spans; the arithmetic and its costs are in activation_cpu.c, the oracle in
// activation_ref.go.

func (b *cpu) ActivationForward(y, x Buf, n int, act Activation) {
	checkActivationForward(y, x, n, act)
	yf, xf := f32(y), f32(x)
	b.spans(n, grain, func(lo, hi int) { b.leaf.activation(yf[lo:hi], xf[lo:hi], act) })
}

func (b *cpu) ActivationBackward(dx, dy, x Buf, n int, act Activation) {
	checkActivationBackward(dx, dy, x, n, act)
	dxf, dyf, xf := f32(dx), f32(dy), f32(x)
	b.spans(n, grain, func(lo, hi int) { b.leaf.activationBackward(dxf[lo:hi], dyf[lo:hi], xf[lo:hi], act) })
}

func (b *cpu) Gated(y, gate, up Buf, n, F, ld int, act Activation) {
	checkGated(y, gate, up, n, F, ld, act)
	yf, gf, uf := f32(y), f32(gate), f32(up)
	b.rows(n, F, func(lo, hi int) { b.leaf.gated(yf[lo*F:], gf[lo*ld:], uf[lo*ld:], hi-lo, F, ld, act) })
}

func (b *cpu) GatedBackward(dgate, dup, dy, gate, up Buf, n, F, ld int, act Activation) {
	checkGatedBackward(dgate, dup, dy, gate, up, n, F, ld, act)
	dgf, duf, dyf, gf, uf := f32(dgate), f32(dup), f32(dy), f32(gate), f32(up)
	b.rows(n, F, func(lo, hi int) {
		b.leaf.gatedBackward(dgf[lo*ld:], duf[lo*ld:], dyf[lo*F:], gf[lo*ld:], uf[lo*ld:], hi-lo, F, ld, act)
	})
}
