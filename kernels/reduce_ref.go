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
func sumSquaresRef[T refFloat](x []T) float64 {
	var sum float64
	for _, v := range x {
		sum += float64(v) * float64(v)
	}
	return sum
}

// addRef is the oracle of Add.
func addRef[T refFloat](dst, src []T) {
	for i := range min(len(dst), len(src)) {
		dst[i] = T(float64(dst[i]) + float64(src[i]))
	}
}
