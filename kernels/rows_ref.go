package kernels

// gatherRowsRef is the oracle of GatherRows.
func gatherRowsRef[T refFloat](out, x []T, rows []int32, R, C int) {
	for r := range R {
		copy(out[r*C:][:C], x[int(rows[r])*C:][:C])
	}
}

// scatterAddRowsRef is the oracle of ScatterAddRows.
func scatterAddRowsRef[T refFloat](dst, src []T, rows []int32, R, C int) {
	sum := widen(dst)
	for r := range R {
		for j := range C {
			sum[int(rows[r])*C+j] += float64(src[r*C+j])
		}
	}
	narrow(dst, sum)
}
