//go:build cuda

package kernels

func (g *gpu) ActivationForward(y, x Buf, n int, act Activation) {
	checkActivationForward(y, x, n, act)
	if n == 0 {
		return
	}
	a := g.arguments()
	pointers(a, y, x)
	a.I64(int64(n))
	a.I32(int32(act))
	a.I32(vector(8, y, x))
	g.launch("activation_forward", byEights(n), line(256), 0)
}

func (g *gpu) ActivationBackward(dx, dy, x Buf, n int, act Activation) {
	checkActivationBackward(dx, dy, x, n, act)
	if n == 0 {
		return
	}
	a := g.arguments()
	pointers(a, dx, dy, x)
	a.I64(int64(n))
	a.I32(int32(act))
	a.I32(vector(8, dx, dy, x))
	g.launch("activation_backward", byEights(n), line(256), 0)
}

func (g *gpu) Gated(y, gate, up Buf, n, F, ld int, act Activation) {
	checkGated(y, gate, up, n, F, ld, act)
	if n == 0 {
		return
	}
	a := g.arguments()
	pointers(a, y, gate, up)
	dims(a, n, F, ld, int(act))
	a.I32(vector(F, y, gate, up) & vector(ld))
	g.launch("activation_gated", byRows(n), rowBlock, 0)
}

func (g *gpu) GatedBackward(dgate, dup, dy, gate, up Buf, n, F, ld int, act Activation) {
	checkGatedBackward(dgate, dup, dy, gate, up, n, F, ld, act)
	if n == 0 {
		return
	}
	a := g.arguments()
	pointers(a, dgate, dup, dy, gate, up)
	dims(a, n, F, ld, int(act))
	a.I32(vector(F, dgate, dup, dy, gate, up) & vector(ld))
	g.launch("activation_gated_backward", byRows(n), rowBlock, 0)
}
