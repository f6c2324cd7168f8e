package kernels

// linearRef is the oracle of Linear.
func linearRef[T refFloat](y, x, weight, bias, pre []T, n, in, out int, act Activation) {
	for i := range n {
		for o := range out {
			var sum float64
			for j := range in {
				sum += float64(x[i*in+j]) * float64(weight[o*in+j])
			}
			if bias != nil {
				sum += float64(bias[o])
			}
			if pre != nil {
				pre[i*out+o] = T(sum)
			}
			y[i*out+o] = T(activate(act, sum))
		}
	}
}

// linearBackwardInputRef is the oracle of LinearBackwardInput.
func linearBackwardInputRef[T refFloat](dx, dy, weight, pre []T, n, in, out int, act Activation, add bool) {
	for i := range n {
		for j := range in {
			var sum float64
			for o := range out {
				sum += float64(dy[i*out+o]) * float64(weight[o*in+j])
			}
			if act != None {
				sum *= activateGrad(act, float64(pre[i*in+j]))
			}
			if add {
				sum += float64(dx[i*in+j])
			}
			dx[i*in+j] = T(sum)
		}
	}
}

// linearBackwardWeightRef is the oracle of LinearBackwardWeight.
func linearBackwardWeightRef[T refFloat](dweight, dbias, dy, x []T, n, in, out int) {
	for o := range out {
		for j := range in {
			sum := float64(dweight[o*in+j])
			for i := range n {
				sum += float64(dy[i*out+o]) * float64(x[i*in+j])
			}
			dweight[o*in+j] = T(sum)
		}
		if dbias != nil {
			sum := float64(dbias[o])
			for i := range n {
				sum += float64(dy[i*out+o])
			}
			dbias[o] = T(sum)
		}
	}
}
