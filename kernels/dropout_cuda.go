//go:build cuda

package kernels

func (g *gpu) Dropout(y, x Buf, n, C int, d Drop) {
	checkDropout(y, x, n, C, d)
	if n == 0 {
		return
	}
	a := g.arguments()
	pointers(a, y, x)
	a.I32(int32(n))
	a.I32(int32(C))
	a.I32(vector(C, y, x))
	addDrop(a, d)
	g.launch("dropout_apply", byRows(n), rowBlock, 0)
}
