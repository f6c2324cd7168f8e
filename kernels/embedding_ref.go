package kernels

// embedRef is the oracle of Embed.
func embedRef[T refFloat](out []T, ids, pos []int32, tokens, positions, types []T, n, C int) {
	for i := range n {
		for j := range C {
			sum := float64(tokens[int(ids[i])*C+j])
			if positions != nil {
				sum += float64(positions[int(pos[2*i])*C+j])
			}
			if types != nil {
				sum += float64(types[j])
			}
			out[i*C+j] = T(sum)
		}
	}
}

// embedBackwardRef is the oracle of EmbedBackward.
func embedBackwardRef[T refFloat](dtokens, dpositions, dtypes, dout []T, ids, pos []int32, n, C int) {
	add := func(table []T, row func(i int) int) {
		sum := widen(table)
		for i := range n {
			for j := range C {
				sum[row(i)*C+j] += float64(dout[i*C+j])
			}
		}
		narrow(table, sum)
	}
	if dtokens != nil {
		add(dtokens, func(i int) int { return int(ids[i]) })
	}
	if dpositions != nil {
		add(dpositions, func(i int) int { return int(pos[2*i]) })
	}
	if dtypes != nil {
		add(dtypes, func(int) int { return 0 })
	}
}
