package kernels

import "math"

// logSoftmax returns the log-softmax of x.
func logSoftmax[T refFloat](x []T) []float64 {
	y := widen(x)
	all := logSum(y)
	for i := range y {
		y[i] -= all
	}
	return y
}

// A linkRow is the heads' log-softmaxes of one state over the states behind it in its lattice, [H,end-u-1], and those of its gate.
type linkRow struct{ scores, lse, gate []float64 }

func linkRowRef[T refFloat](qk, gate []T, groups []int32, u, end, H, D int, round rounding) linkRow {
	n := end - u - 1
	r := linkRow{make([]float64, H*n), make([]float64, H), logSoftmax(gate[u*H:][:H])}
	for c := range H {
		row := r.scores[c*n:][:n]
		q := qk[(2*u*H+c)*D:][:D]
		for j := range row {
			row[j] = math.Inf(-1)
			if v := u + 1 + j; linked(groups, u, v) {
				k, sum := qk[((2*v+1)*H+c)*D:][:D], 0.0
				for d := range q {
					sum += float64(q[d]) * float64(k[d])
				}
				row[j] = round(sum / math.Sqrt(float64(D)))
			}
		}
		r.lse[c] = logSum(row)
		for j, s := range row {
			if !math.IsInf(s, -1) {
				row[j] = s - r.lse[c]
			}
		}
	}
	return r
}

// linksRef is the oracle of Links. lse and groups may be nil.
func linksRef[T refFloat](logE, lse, qk, gate []T, groups []int32, a *Links, round rounding) {
	for _, l := range a.Lattices {
		S := l.states()
		for u := int(l.Start); u < int(l.End); u++ {
			r, n := linkRowRef(qk, gate, groups, u, int(l.End), a.H, a.D, round), int(l.End)-u-1
			if lse != nil {
				narrow(lse[u*a.H:], r.lse)
			}
			to, terms := logE[(u-int(l.Start))*S:][:S], make([]float64, a.H)
			for j := range to {
				to[j] = T(math.Inf(-1))
			}
			for j := range n {
				for c := range terms {
					terms[c] = r.gate[c] + r.scores[c*n+j]
				}
				to[S-n+j] = T(logSum(terms))
			}
		}
		logE = logE[S*S:]
	}
}

// linksBackwardRef is the oracle of LinksBackward: head c has the share r = exp(gate_c + ls^c_uv - LogE_uv) of a link.
func linksBackwardRef[T refFloat](dqk, dgate, dlogE, qk, gate []T, groups []int32, a *LinksBackward, round rounding) {
	H, D := a.H, a.D
	for _, l := range a.Lattices {
		S := l.states()
		grads := make([]float64, S*2*H*D) // of the lattice's rows
		row := func(u, part, c int) int { return ((2*(u-int(l.Start))+part)*H + c) * D }
		for u := int(l.Start); u < int(l.End); u++ {
			r, n := linkRowRef(qk, gate, groups, u, int(l.End), H, D, round), int(l.End)-u-1
			shares, dg, all := make([]float64, H*n), make([]float64, H), 0.0
			for j := range n {
				terms := make([]float64, H)
				for c := range terms {
					terms[c] = r.gate[c] + r.scores[c*n+j]
				}
				sum := logSum(terms)
				if math.IsInf(sum, -1) {
					continue
				}
				G := float64(dlogE[(u-int(l.Start))*S+S-n+j])
				for c := range terms {
					shares[c*n+j] = G * math.Exp(terms[c]-sum)
					dg[c] += shares[c*n+j]
				}
			}
			for c := range H {
				for j := range n {
					if math.IsInf(r.scores[c*n+j], -1) {
						continue
					}
					v, ds := u+1+j, round((shares[c*n+j]-math.Exp(r.scores[c*n+j])*dg[c])/math.Sqrt(float64(D)))
					for d := range D {
						grads[row(u, 0, c)+d] += ds * float64(qk[((2*v+1)*H+c)*D+d])
						grads[row(v, 1, c)+d] += ds * float64(qk[(2*u*H+c)*D+d])
					}
				}
				all += dg[c]
			}
			for c := range H {
				dgate[u*H+c] = T(dg[c] - math.Exp(r.gate[c])*all)
			}
		}
		narrow(dqk[int(l.Start)*2*H*D:], grads)
		dlogE = dlogE[S*S:]
	}
}
