package kernels

// AdamW on the CPU, cut into spans once the guard has been looked at; the arithmetic and its costs are in adamw_cpu.c, the
// oracle in adamw_ref.go.
func (b *cpu) AdamW(a AdamW) {
	a.check()
	scale, ok := a.stepScale(View[float64](a.Guard))
	if !ok {
		return
	}
	p, g, m, v, c := f32(a.P), f32(a.G), f32(a.M), f32(a.V), f32(a.Copy)
	b.spans(len(p), grain, func(lo, hi int) {
		var copied []float32
		if c != nil {
			copied = c[lo:hi]
		}
		b.leaf.adamW(p[lo:hi], g[lo:hi], m[lo:hi], v[lo:hi], copied, scale, &a)
	})
}
