//go:build cgo

package kernels

/*
#include "combine.h"
#cgo noescape combine
#cgo nocallback combine
#cgo noescape momentum
#cgo nocallback momentum
#cgo noescape lamb_direction
#cgo nocallback lamb_direction
#cgo noescape scale_rows
#cgo nocallback scale_rows
*/
import "C"

func (l leaves) combine(dst, x, y, copied []float32, norm float64, a *Combine) {
	C.combine(l.level, ptr(dst), ptr(x), ptr(y), ptr(copied), size(len(dst)), C.float(a.A/norm), C.float(a.B/norm))
}

func (l leaves) momentum(m, u, g []float32, scale float64, a *Momentum) {
	C.momentum(l.level, ptr(m), ptr(u), ptr(g), size(len(m)), C.float(scale), C.float(a.Beta), flag(a.Nesterov))
}

func (l leaves) lambDirection(u, p, g, m, v []float32, scale float64, a *LAMB) {
	o := C.adamw_step{scale: C.float(scale), b1: C.float(a.B1), one_minus_b1: C.float(1 - a.B1), b2: C.float(a.B2),
		one_minus_b2: C.float(1 - a.B2), correction1: C.float(1 / a.Correction1), correction2: C.float(1 / a.Correction2),
		eps: C.float(a.Eps), decay: C.float(a.Decay)}
	C.lamb_direction(l.level, ptr(u), ptr(p), ptr(g), ptr(m), ptr(v), size(len(u)), &o)
}

func (l leaves) scaleRows(x, scales []float32, rows, width int) {
	C.scale_rows(l.level, ptr(x), ptr(scales), C.int(rows), C.int(width))
}
