package kernels

import "math"

// sees reports whether query row i may look at key row j, both inside the segment.
func (s Segment) sees(i, j int) bool {
	if s.Mask == Causal && j > i {
		return false
	}
	return s.Window == 0 || max(i-j, j-i) <= int(s.Window)
}

// attentionScale returns what scores are multiplied by.
func attentionScale(scale float32, D int) float64 {
	if scale == 0 {
		return 1 / math.Sqrt(float64(D))
	}
	return float64(scale)
}

// A rounding is what a number format does to an intermediate result. The oracles keep all of it; see ref_bf16.go.
type rounding func(float64) float64

func unrounded(v float64) float64 { return v }

// probabilitiesRef writes the probabilities of query row i of head h over the rows of s to p, 0 where i sees nothing, and
// returns the log-sum-exp of the scaled scores.
func probabilitiesRef[T refFloat](p []float64, qkv []T, s Segment, i, h, H, K, D int, scale float64, round rounding) float64 {
	ld := (H + 2*K) * D
	q := qkv[i*ld+h*D:][:D]
	most := math.Inf(-1)
	for j := int(s.Start); j < int(s.End); j++ {
		score := math.Inf(-1)
		if s.sees(i, j) {
			k := qkv[j*ld+(H+h/(H/K))*D:][:D]
			score = 0
			for d := range D {
				score += float64(q[d]) * float64(k[d])
			}
			score = round(score * scale)
		}
		p[j-int(s.Start)] = score
		most = max(most, score)
	}
	return softmaxInPlace(p, most, round)
}

// attentionRef is the oracle of Attention: for every query all scores of its segment at once.
func attentionRef[T refFloat](out, lse, qkv []T, a Attention, round rounding) {
	H, K, D := a.H, a.K, a.D
	ld, scale := (H+2*K)*D, attentionScale(a.Scale, D)
	for _, s := range a.Segments {
		p := make([]float64, s.End-s.Start)
		for i := max(int(s.Start), a.From); i < int(s.End); i++ {
			for h := range H {
				l := probabilitiesRef(p, qkv, s, i, h, H, K, D, scale, round)
				if lse != nil {
					lse[h*a.Rows+i] = T(l)
				}
				sum := make([]float64, D)
				for jj := range p {
					j := int(s.Start) + jj
					f := round(p[jj] * a.Drop.attentionFactor(h, i, j))
					if f == 0 {
						continue
					}
					v := qkv[j*ld+(H+K+h/(H/K))*D:][:D]
					for d := range D {
						sum[d] += f * float64(v[d])
					}
				}
				narrow(out[(i*H+h)*D:][:D], sum)
			}
		}
	}
}

// attentionBackwardRef is the oracle of AttentionBackward. It computes the probabilities again from q and k and so
// depends on neither Out nor LSE: with f the factor of dropout and dp_j = f_j * (do . v_j),
// ds_j = p_j * (dp_j - sum(p*dp)), dq = scale * sum(ds_j*k_j), dk_j = scale * sum(ds_j*q), dv_j = sum(f_j*p_j*do).
func attentionBackwardRef[T refFloat](dqkv, dout, qkv []T, a AttentionBackward, round rounding) {
	H, K, D := a.H, a.K, a.D
	ld, scale := (H+2*K)*D, attentionScale(a.Scale, D)
	for _, s := range a.Segments {
		start := int(s.Start)
		n := int(s.End) - start
		p, dp := make([]float64, n), make([]float64, n)
		grad := make([]float64, n*ld)
		for i := start; i < int(s.End); i++ {
			for h := range H {
				qAt, kAt, vAt := h*D, (H+h/(H/K))*D, (H+K+h/(H/K))*D
				probabilitiesRef(p, qkv, s, i, h, H, K, D, scale, round)
				do := dout[(i*H+h)*D:][:D]
				var delta float64
				for jj := range n {
					f := a.Drop.attentionFactor(h, i, start+jj)
					dp[jj] = 0
					if p[jj] == 0 || f == 0 {
						continue
					}
					dropped := round(f * p[jj])
					for d := range D {
						dp[jj] += float64(do[d]) * float64(qkv[(start+jj)*ld+vAt+d])
						grad[jj*ld+vAt+d] += dropped * float64(do[d])
					}
					dp[jj] = round(f * round(dp[jj]))
					delta += p[jj] * dp[jj]
				}
				for jj := range n {
					ds := scale * round(p[jj]*(dp[jj]-delta))
					for d := range D {
						grad[(i-start)*ld+qAt+d] += ds * float64(qkv[(start+jj)*ld+kAt+d])
						grad[jj*ld+kAt+d] += ds * float64(qkv[i*ld+qAt+d])
					}
				}
			}
		}
		narrow(dqkv[start*ld:][:n*ld], grad)
	}
}
