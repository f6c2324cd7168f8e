//go:build !cgo

package kernels

func (leaves) combine(dst, x, y, copied []float32, norm float64, a *Combine) {
	combineRef(dst, x, y, copied, norm, *a)
}

func (leaves) momentum(m, u, g []float32, scale float64, a *Momentum) {
	momentumRef(m, u, g, scale, *a)
}

func (leaves) lambDirection(u, p, g, m, v []float32, scale float64, a *LAMB) {
	lambDirectionRef(u, p, g, m, v, scale, *a)
}

func (leaves) scaleRows(x, scales []float32, rows, width int) { scaleRowsRef(x, scales, rows, width) }
