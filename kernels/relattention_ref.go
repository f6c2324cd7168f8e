package kernels

import "math"

// relativeRef holds what both oracles of relative attention read, in float64.
type relativeRef struct {
	qkv, table []float64
	index      []int32
	H, K, D    int
	span       int
	scale      float64
	round      rounding
}

func newRelativeRef[T refFloat](qkv, table []T, index []int32, H, K, D, span int, scale float32, round rounding) relativeRef {
	return relativeRef{widen(qkv), widen(table), index, H, K, D, span, relativeScale(scale, D), round}
}

func (a *relativeRef) query(i, h int) []float64 { return a.qkv[(i*(a.H+2*a.K)+h)*a.D:][:a.D] }
func (a *relativeRef) key(j, h int) []float64   { return a.query(j, a.H+h/(a.H/a.K)) }
func (a *relativeRef) value(j, h int) []float64 { return a.query(j, a.H+a.K+h/(a.H/a.K)) }

// bucket returns the place of a distance's position query and position key in the table.
func (a *relativeRef) bucket(i, j, h int) (query, key int) {
	row := int(a.index[i-j+a.span-1]) * (a.H + a.K)
	return (row + h) * a.D, (row + a.H + h/(a.H/a.K)) * a.D
}

// probabilities writes those of query i of head h over the rows of s to p.
func (a *relativeRef) probabilities(p []float64, s Segment, i, h int) {
	most := math.Inf(-1)
	q := a.query(i, h)
	for j := int(s.Start); j < int(s.End); j++ {
		score := math.Inf(-1)
		if s.sees(i, j) {
			k := a.key(j, h)
			qp, kp := a.bucket(i, j, h)
			var content, toKey, toQuery float64
			for d := range a.D {
				content += q[d] * k[d]
				toKey += q[d] * a.table[kp+d]
				toQuery += k[d] * a.table[qp+d]
			}
			score = a.round((a.round(content) + a.round(toKey) + a.round(toQuery)) * a.scale)
		}
		p[j-int(s.Start)] = score
		most = max(most, score)
	}
	softmaxInPlace(p, most, a.round)
}

// relativeAttentionRef is the oracle of RelativeAttention.
func relativeAttentionRef[T refFloat](out, qkv, table []T, index []int32, a RelativeAttention, round rounding) {
	r := newRelativeRef(qkv, table, index, a.H, a.K, a.D, a.Span, a.Scale, round)
	for _, s := range a.Segments {
		p := make([]float64, s.End-s.Start)
		for i := max(int(s.Start), a.From); i < int(s.End); i++ {
			for h := range a.H {
				r.probabilities(p, s, i, h)
				sum := make([]float64, a.D)
				for jj := range p {
					j := int(s.Start) + jj
					f := round(p[jj] * a.Drop.attentionFactor(h, i, j))
					for d, v := range r.value(j, h) {
						sum[d] += f * v
					}
				}
				narrow(out[(i*a.H+h)*a.D:][:a.D], sum)
			}
		}
	}
}

// relativeAttentionBackwardRef is the oracle of RelativeAttentionBackward: ds as in attentionBackwardRef reaches the query
// through key and position key, the key through query and position query, and both rows of the table.
func relativeAttentionBackwardRef[T refFloat](dqkv, dtable, dout, qkv, table []T, index []int32, a RelativeAttentionBackward, round rounding) {
	r := newRelativeRef(qkv, table, index, a.H, a.K, a.D, a.Span, a.Scale, round)
	grad := relativeRef{qkv: make([]float64, len(qkv)), H: a.H, K: a.K, D: a.D}
	dt := make([]float64, a.Buckets*(a.H+a.K)*a.D)
	ld := (a.H + 2*a.K) * a.D
	for _, s := range a.Segments {
		start := int(s.Start)
		p, dp := make([]float64, s.End-s.Start), make([]float64, s.End-s.Start)
		for i := start; i < int(s.End); i++ {
			for h := range a.H {
				r.probabilities(p, s, i, h)
				do := dout[(i*a.H+h)*a.D:][:a.D]
				var delta float64
				for jj := range p {
					f := a.Drop.attentionFactor(h, i, start+jj)
					v, dv := r.value(start+jj, h), grad.value(start+jj, h)
					dropped := round(f * p[jj])
					dp[jj] = 0
					for d := range do {
						dp[jj] += float64(do[d]) * v[d]
						dv[d] += dropped * float64(do[d])
					}
					dp[jj] = round(f * round(dp[jj]))
					delta += p[jj] * dp[jj]
				}
				q, dq := r.query(i, h), grad.query(i, h)
				for jj := range p {
					ds := r.scale * round(p[jj]*(dp[jj]-delta))
					if ds == 0 {
						continue
					}
					k, dk := r.key(start+jj, h), grad.key(start+jj, h)
					qp, kp := r.bucket(i, start+jj, h)
					for d := range a.D {
						dq[d] += ds * (k[d] + r.table[kp+d])
						dk[d] += ds * (q[d] + r.table[qp+d])
						dt[qp+d] += ds * k[d]
						dt[kp+d] += ds * q[d]
					}
				}
			}
		}
		narrow(dqkv[start*ld:][:len(p)*ld], grad.qkv[start*ld:][:len(p)*ld])
	}
	narrow(dtable, dt)
}

func (r refBackend[T]) RelativeAttention(a RelativeAttention) {
	a.check()
	checkIndices("RelativeAttention", "Index", View[int32](a.Index)[:2*a.Span-1], a.Buckets)
	relativeAttentionRef(r.view(a.Out), r.view(a.QKV), r.view(a.Table), View[int32](a.Index), a, unrounded)
}

func (r refBackend[T]) RelativeAttentionBackward(a RelativeAttentionBackward) {
	a.check()
	checkIndices("RelativeAttentionBackward", "Index", View[int32](a.Index)[:2*a.Span-1], a.Buckets)
	relativeAttentionBackwardRef(r.view(a.DQKV), r.view(a.DTable), r.view(a.DOut), r.view(a.QKV), r.view(a.Table), View[int32](a.Index), a, unrounded)
}
