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

func (b *cpu) Gated(y, x Buf, n, F int, act Activation) {
	checkGated(y, x, n, F, act)
	yf, xf := f32(y), f32(x)
	b.rows(n, F, func(lo, hi int) { b.leaf.gated(yf[lo*F:hi*F], xf[2*lo*F:2*hi*F], hi-lo, F, act) })
}

func (b *cpu) GatedBackward(dx, dy, x Buf, n, F int, act Activation) {
	checkGatedBackward(dx, dy, x, n, F, act)
	dxf, dyf, xf := f32(dx), f32(dy), f32(x)
	b.rows(n, F, func(lo, hi int) {
		b.leaf.gatedBackward(dxf[2*lo*F:2*hi*F], dyf[lo*F:hi*F], xf[2*lo*F:2*hi*F], hi-lo, F, act)
	})
}
