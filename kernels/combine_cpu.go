package kernels

// Combine, Momentum and LAMB on the CPU, cut into spans; the loops and their costs are in combine_cpu.c, the oracles in
// combine_ref.go. LAMB's norms are summed by spans, while these are in cache, and then in their order, as Sum does it.

func (b *cpu) Combine(a Combine) {
	a.check()
	if allFinite(View[float64](a.Guard)) {
		b.combine(f32(a.Dst), f32(a.X), f32(a.Y), f32(a.Copy), a.norm(View[float64](a.Norm)), a)
	}
}

func (b *cpu) combine(dst, x, y, copied []float32, norm float64, a Combine) {
	b.spans(len(dst), grain, func(lo, hi int) {
		b.leaf.combine(dst[lo:hi], x[lo:hi], within(y, lo, hi), within(copied, lo, hi), norm, &a)
	})
}

// within is s[lo:hi]; nil stays nil.
func within(s []float32, lo, hi int) []float32 {
	if s == nil {
		return nil
	}
	return s[lo:hi]
}

func (b *cpu) Momentum(a Momentum) {
	a.check()
	m, u, g := f32(a.M), f32(a.U), f32(a.G)
	scale, ok := AdamW{GradScale: a.GradScale, Clip: a.Clip}.stepScale(View[float64](a.Guard))
	if !ok {
		b.Zero(a.U)
		return
	}
	b.spans(len(m), grain, func(lo, hi int) { b.leaf.momentum(m[lo:hi], u[lo:hi], g[lo:hi], scale, &a) })
}

func (b *cpu) LAMB(a LAMB) {
	a.check()
	scale, ok := a.stepScale(View[float64](a.Guard))
	if !ok {
		return
	}
	u, p, g, m, v := f32(a.Update), f32(a.P), f32(a.G), f32(a.M), f32(a.V)
	pieces := max(1, ceilDiv(len(p), grain))
	squares := make([]float64, 2*pieces) // of p, of u
	b.spans(len(p), grain, func(lo, hi int) {
		b.leaf.lambDirection(u[lo:hi], p[lo:hi], g[lo:hi], m[lo:hi], v[lo:hi], scale, &a)
		squares[lo/grain], squares[pieces+lo/grain] = b.leaf.sum(p[lo:hi], p[lo:hi]), b.leaf.sum(u[lo:hi], u[lo:hi]) // still in cache
	})
	trust := a.trust(treeSum(squares[:pieces]), treeSum(squares[pieces:]))
	b.combine(p, p, u, f32(a.Copy), 1, Combine{A: 1, B: -a.LR * trust})
}
