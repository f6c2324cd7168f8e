package kernels

import "math"

// combineRef is the oracle of Combine; y and copied may be nil. x and y may be dst.
func combineRef[T refFloat](dst, x, y, copied []T, norm float64, a Combine) {
	for i := range dst {
		v := a.A * float64(x[i])
		if y != nil {
			v += a.B * float64(y[i])
		}
		dst[i] = T(v / norm)
	}
	copy(copied, dst)
}

// momentumRef is the oracle of Momentum where the guard allows the step.
func momentumRef[T refFloat](m, u, g []T, scale float64, a Momentum) {
	for i := range m {
		grad := float64(g[i]) * scale
		v := a.Beta*float64(m[i]) + grad
		m[i] = T(v)
		if a.Nesterov {
			v = grad + a.Beta*v
		}
		u[i] = T(v)
	}
}

// lambDirectionRef updates the moments and writes u.
func lambDirectionRef[T refFloat](u, p, g, m, v []T, scale float64, a LAMB) {
	for i := range p {
		grad := float64(g[i]) * scale
		first := a.B1*float64(m[i]) + (1-a.B1)*grad
		second := a.B2*float64(v[i]) + (1-a.B2)*grad*grad
		m[i], v[i] = T(first), T(second)
		u[i] = T(first/a.Correction1/(math.Sqrt(second/a.Correction2)+a.Eps) + a.Decay*float64(p[i]))
	}
}

// lambRef is the oracle of LAMB.
func lambRef[T refFloat](u, p, g, m, v, copied []T, guard []float64, a LAMB) {
	scale, ok := a.stepScale(guard)
	if !ok {
		return
	}
	lambDirectionRef(u, p, g, m, v, scale, a)
	combineRef(p, p, u, copied, 1, Combine{A: 1, B: -a.LR * a.trust(sumSquaresRef(p), sumSquaresRef(u))})
}

func (r refBackend[T]) Combine(a Combine) {
	a.check()
	if allFinite(View[float64](a.Guard)) {
		combineRef(r.view(a.Dst), r.view(a.X), r.view(a.Y), r.view(a.Copy), a.norm(View[float64](a.Norm)), a)
	}
}

func (r refBackend[T]) Momentum(a Momentum) {
	a.check()
	scale, ok := AdamW{GradScale: a.GradScale, Clip: a.Clip}.stepScale(View[float64](a.Guard))
	if !ok {
		clear(r.view(a.U))
		return
	}
	momentumRef(r.view(a.M), r.view(a.U), r.view(a.G), scale, a)
}

func (r refBackend[T]) LAMB(a LAMB) {
	a.check()
	lambRef(r.view(a.Update), r.view(a.P), r.view(a.G), r.view(a.M), r.view(a.V), r.view(a.Copy), View[float64](a.Guard), a)
}

func (r refBackend[T]) Reweigh(a Reweigh) {
	a.check()
	offsets := View[int32](a.Offsets)[:a.G+1]
	a.checkGroups(offsets)
	reweighRef(r.view(a.Weights), r.view(a.Shares), r.view(a.Losses), r.view(a.Reference), View[uint8](a.Classes), offsets, a, 0, a.G)
}

func (r refBackend[T]) ScaleRows(x, scales Buf, R, C int) {
	checkScaleRows(x, scales, R, C)
	scaleRowsRef(r.view(x), r.view(scales), R, C)
}
