package kernels

import "math"

// stepScale returns what AdamW multiplies gradients by, and false when the guard forbids the step.
func (a AdamW) stepScale(guard []float64) (scale float64, ok bool) {
	for _, g := range guard {
		if math.IsNaN(g) || math.IsInf(g, 0) {
			return 0, false
		}
	}
	scale = a.GradScale
	if norm := scale * math.Sqrt(guard[0]); a.Clip > 0 && norm > a.Clip {
		scale *= a.Clip / norm
	}
	return scale, true
}

// adamWRef is the oracle of AdamW; copied may be nil.
func adamWRef[T refFloat](p, g, m, v, copied []T, guard []float64, a AdamW) {
	scale, ok := a.stepScale(guard)
	if !ok {
		return
	}
	for i := range p {
		grad := float64(g[i]) * scale
		first := a.B1*float64(m[i]) + (1-a.B1)*grad
		second := a.B2*float64(v[i]) + (1-a.B2)*grad*grad
		step := first / a.Correction1 / (math.Sqrt(second/a.Correction2) + a.Eps)
		m[i], v[i] = T(first), T(second)
		p[i] = T(float64(p[i]) - a.LR*(step+a.Decay*float64(p[i])))
	}
	copy(copied, p)
}
