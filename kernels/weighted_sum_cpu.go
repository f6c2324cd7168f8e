package kernels

// Weighted sums on the CPU are products: of the row of weights and the matrix of the vectors, of that and the gradient, and of
// the weights as a column with the gradient. Bytes: every vector once forward, three times backward, which bounds them.
// Oracle: weighted_sum_ref.go.

func (b *cpu) WeightedSum(a WeightedSum) {
	a.check()
	b.multiply(product{m: 1, n: a.N, k: a.J, a: f32(a.Weights), lda: a.J, b: f32(a.X), ldb: a.Stride, c: f32(a.Y), ldc: a.N}, nil)
}

func (b *cpu) WeightedSumBackward(a WeightedSumBackward) {
	a.check()
	b.multiply(product{m: a.J, n: a.N, k: 1, a: f32(a.Weights), lda: 1, b: f32(a.DY), ldb: a.N, c: f32(a.DX), ldc: a.Stride, add: true}, nil)
	if !a.DWeights.Absent() && a.N > 0 {
		b.multiply(product{m: 1, n: a.J, k: a.N, a: f32(a.DY), lda: a.N, b: f32(a.X), ldb: a.Stride, transB: true, c: f32(a.DWeights), ldc: a.J, add: true}, nil)
	}
}
