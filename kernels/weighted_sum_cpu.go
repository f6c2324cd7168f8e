package kernels

// Weighted sums on the CPU go vector by vector over spans of y, or dy, that stay in cache; partial inner products are added up as
// Sum does it. Bytes: every vector once forward, three times backward, which bounds them. The loops are Combine's and Sum's.
// Oracle: weighted_sum_ref.go.

func (b *cpu) WeightedSum(a WeightedSum) {
	a.check()
	y, x, weights := f32(a.Y), f32(a.X), f32(a.Weights)
	b.spans(a.N, grain, func(lo, hi int) {
		sum := y[lo:hi]
		b.leaf.combine(sum, x[lo:hi], nil, nil, 1, &Combine{A: float64(weights[0])})
		for j := 1; j < a.J; j++ {
			b.leaf.combine(sum, sum, x[j*a.Stride+lo:j*a.Stride+hi], nil, 1, &Combine{A: 1, B: float64(weights[j])})
		}
	})
}

func (b *cpu) WeightedSumBackward(a WeightedSumBackward) {
	a.check()
	if a.N == 0 {
		return
	}
	dx, dy, x, weights, dweights := f32(a.DX), f32(a.DY), f32(a.X), f32(a.Weights), f32(a.DWeights)
	pieces := ceilDiv(a.N, grain)
	dots := make([]float64, a.J*pieces)
	b.spans(a.N, grain, func(lo, hi int) {
		for j, w := range weights[:a.J] {
			d := dx[j*a.Stride+lo : j*a.Stride+hi]
			b.leaf.combine(d, d, dy[lo:hi], nil, 1, &Combine{A: 1, B: float64(w)})
			if dweights != nil {
				dots[j*pieces+lo/grain] = b.leaf.sum(dy[lo:hi], x[j*a.Stride+lo:j*a.Stride+hi])
			}
		}
	})
	if dweights != nil {
		for j := range a.J {
			dweights[j] += float32(treeSum(dots[j*pieces : (j+1)*pieces]))
		}
	}
}
