package kernels

import "math"

// addNormRef is the oracle of AddNorm.
func addNormRef[T refFloat](y, sum, x, delta, gain, bias, mean, rstd []T, a AddNorm) {
	C := a.C
	in := x // what the norm reads
	if delta != nil {
		for i := range a.N {
			for j := range C {
				s := float64(x[i*C+j])
				if f := a.Drop.factor(i, j); f != 0 {
					s += float64(delta[i*C+j]) * f
				}
				sum[i*C+j] = T(s)
			}
		}
		in = sum
	}
	if y == nil {
		return
	}
	for i := range a.N {
		row := in[i*C : (i+1)*C]
		m, r := momentsRef(row, a.Kind, float64(a.Eps))
		if rstd != nil {
			rstd[i] = T(r)
			if a.Kind == LayerNorm {
				mean[i] = T(m)
			}
		}
		for j, v := range row {
			n := (float64(v) - m) * r
			if gain != nil {
				n *= float64(gain[j])
			}
			if bias != nil {
				n += float64(bias[j])
			}
			y[i*C+j] = T(n)
		}
	}
}

// momentsRef returns what a norm subtracts and what it multiplies by.
func momentsRef[T refFloat](row []T, kind NormKind, eps float64) (mean, rstd float64) {
	n := float64(len(row))
	if kind == LayerNorm {
		for _, v := range row {
			mean += float64(v)
		}
		mean /= n
	}
	var square float64
	for _, v := range row {
		d := float64(v) - mean
		square += d * d
	}
	return mean, 1 / math.Sqrt(square/n+eps)
}

// normBackwardRef is the oracle of NormBackward. With n = (sum-mean)*rstd and g = dy*gain the gradient of the norm's input
// is rstd*(g - mean(g) - n*mean(g*n)), without mean(g) for RMSNorm.
func normBackwardRef[T refFloat](dsum, dgain, dbias, dy, sum, gain, mean, rstd []T, a NormBackward) {
	C := a.C
	dg, db := widen(dgain), widen(dbias)
	n, g := make([]float64, C), make([]float64, C)
	for i := range a.N {
		m, r := 0.0, float64(rstd[i])
		if a.Kind == LayerNorm {
			m = float64(mean[i])
		}
		var meanG, meanGN float64
		for j := range C {
			d := float64(dy[i*C+j])
			n[j] = (float64(sum[i*C+j]) - m) * r
			if dg != nil {
				dg[j] += d * n[j]
			}
			if db != nil {
				db[j] += d
			}
			g[j] = d
			if gain != nil {
				g[j] *= float64(gain[j])
			}
			meanG += g[j] / float64(C)
			meanGN += g[j] * n[j] / float64(C)
		}
		if a.Kind == RMSNorm {
			meanG = 0
		}
		for j := range C {
			v := r * (g[j] - meanG - n[j]*meanGN)
			if a.Add {
				v += float64(dsum[i*C+j])
			}
			dsum[i*C+j] = T(v)
		}
	}
	narrow(dgain, dg)
	narrow(dbias, db)
}
