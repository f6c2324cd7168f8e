package kernels

func (r refBackend[T]) WeightedSum(a WeightedSum) {
	a.check()
	weightedSumRef(r.view(a.Y), r.view(a.X), r.view(a.Weights), a)
}

func (r refBackend[T]) WeightedSumBackward(a WeightedSumBackward) {
	a.check()
	weightedSumBackwardRef(r.view(a.DX), r.view(a.DWeights), r.view(a.DY), r.view(a.X), r.view(a.Weights), a)
}

// weightedSumRef is the oracle of WeightedSum.
func weightedSumRef[T refFloat](y, x, weights []T, a WeightedSum) {
	for i := range a.N {
		sum := 0.0
		for j := range a.J {
			sum += float64(weights[j]) * float64(x[j*a.Stride+i])
		}
		y[i] = T(sum)
	}
}

// weightedSumBackwardRef is the oracle of WeightedSumBackward.
func weightedSumBackwardRef[T refFloat](dx, dweights, dy, x, weights []T, a WeightedSumBackward) {
	for j := range a.J {
		for i := range a.N {
			at := j*a.Stride + i
			dx[at] = T(float64(dx[at]) + float64(weights[j])*float64(dy[i]))
		}
		if dweights != nil {
			dweights[j] = T(float64(dweights[j]) + dotRef(dy[:a.N], x[j*a.Stride:]))
		}
	}
}
