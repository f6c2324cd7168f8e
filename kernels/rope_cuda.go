//go:build cuda

package kernels

func (g *gpu) Rope(r Rope) {
	r.check()
	if r.N == 0 {
		return
	}
	half := r.D / r.Axes / 2
	wide := vector(half, r.X)
	if r.LD%8 != 0 {
		wide = 0
	}
	a := g.arguments()
	pointers(a, r.X, r.Pos, r.Table)
	a.I32(int32(r.N))
	a.I32(int32(r.LD))
	a.I32(int32(r.Heads))
	a.I32(int32(r.D))
	a.I32(int32(r.Axes))
	if r.Inverse {
		a.F32(-1)
	} else {
		a.F32(1)
	}
	a.I32(wide)
	g.launch("rope_apply", byRows(r.N), rowBlock, 0)
}
