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

func (g *gpu) Gated(y, x Buf, n, F int, act Activation) {
	checkGated(y, x, n, F, act)
	if n == 0 {
		return
	}
	a := g.arguments()
	pointers(a, y, x)
	a.I32(int32(n))
	a.I32(int32(F))
	a.I32(int32(act))
	a.I32(vector(F, y, x))
	g.launch("activation_gated", byRows(n), rowBlock, 0)
}

func (g *gpu) GatedBackward(dx, dy, x Buf, n, F int, act Activation) {
	checkGatedBackward(dx, dy, x, n, F, act)
	if n == 0 {
		return
	}
	a := g.arguments()
	pointers(a, dx, dy, x)
	a.I32(int32(n))
	a.I32(int32(F))
	a.I32(int32(act))
	a.I32(vector(F, dx, dy, x))
	g.launch("activation_gated_backward", byRows(n), rowBlock, 0)
}
