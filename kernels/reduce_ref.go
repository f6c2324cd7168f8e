package kernels

// sumRef is the oracle of Sum.
func sumRef[T refFloat](x []T) float64 {
	var sum float64
	for _, v := range x {
		sum += float64(v)
	}
	return sum
}

// sumSquaresRef is the oracle of SumSquares.
func sumSquaresRef[T refFloat](x []T) float64 { return dotRef(x, x) }

// dotRef is the inner product of x and the beginning of y.
func dotRef[T refFloat](x, y []T) float64 {
	var sum float64
	for i, v := range x {
		sum += float64(v) * float64(y[i])
	}
	return sum
}

// addRef is the oracle of Add.
func addRef[T refFloat](dst, src []T) {
	for i := range min(len(dst), len(src)) {
		dst[i] = T(float64(dst[i]) + float64(src[i]))
	}
}
