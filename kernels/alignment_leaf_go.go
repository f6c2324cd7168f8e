//go:build !cgo

package kernels

import "math"

func (leaves) emissions(a *Emissions, owners []int32, offsets []int, targets []int32, lo, hi int) {
	emissionsRef(f32(a.Match), f32(a.LSE), f32(a.Logits), targets, a, owners, offsets, lo, hi)
}

func (leaves) emissionsBackward(a *EmissionsBackward, owners []int32, offsets []int, targets []int32, lo, hi int) {
	emissionsBackwardRef(f32(a.Logits), f32(a.DMatch), f32(a.LSE), targets, a, owners, offsets, lo, hi)
}

func (leaves) alignWork(M, S int) int { return 0 }

func (leaves) alignDAG(g *alignedSlices, _ []float32) float64 {
	a := alignedLattice{S: g.S, M: g.M, match: widen(g.match), logE: widen(g.logE)}
	Z := a.alignDAGRef()
	for i := range g.dmatch {
		g.dmatch[i] = float32(g.scale * a.dmatch[i])
	}
	for i := range g.dlogE {
		g.dlogE[i] = float32(g.scale * a.dlogE[i])
	}
	return Z
}

// row returns the scores of row r over the states behind it, and how many they are.
func (t *linksTile) row(head, r int) []float32 {
	width := t.S - t.from
	return t.scores[(head*t.rows+r)*width:][:width][r+1:]
}

func (leaves) links(t *linksTile) {
	for r := range t.rows {
		u, gate := t.from+r, logSoftmax(t.gate[r*t.H:][:t.H])
		out, terms := t.logE[r*t.S:][:t.S], make([][]float64, t.H)
		for v := range out {
			out[v] = float32(math.Inf(-1))
		}
		for c := range t.H {
			terms[c] = widen(t.row(c, r))
			for j := range terms[c] {
				if terms[c][j] *= float64(t.scale); !linked(t.groups, u, u+1+j) {
					terms[c][j] = math.Inf(-1)
				}
			}
			all := logSum(terms[c])
			if t.lse != nil {
				t.lse[r*t.H+c] = float32(all)
			}
			for j := range terms[c] {
				if !math.IsInf(terms[c][j], -1) {
					terms[c][j] += gate[c] - all
				}
			}
		}
		heads := make([]float64, t.H)
		for j := range t.S - u - 1 {
			for c := range heads {
				heads[c] = terms[c][j]
			}
			out[u+1+j] = float32(logSum(heads))
		}
	}
}

func (leaves) linksBackward(t *linksTile, head int) {
	for r := range t.rows {
		u, gate := t.from+r, logSoftmax(t.gate[r*t.H:][:t.H])
		clear(t.scores[r*(t.S-t.from):][:r+1])
		s, own, sum := t.row(0, r), make([]float64, t.S-u-1), 0.0
		for j := range s {
			if e := float64(t.logE[r*t.S+u+1+j]); !math.IsInf(e, -1) {
				l := float64(t.scale)*float64(s[j]) - float64(t.lse[r*t.H+head])
				own[j] = float64(t.dlogE[r*t.S+u+1+j]) * math.Exp(gate[head]+l-e)
				sum += own[j]
			}
		}
		t.dgate[r*t.H+head] = float32(sum)
		for j := range s {
			if e := float64(t.logE[r*t.S+u+1+j]); math.IsInf(e, -1) {
				s[j] = 0
			} else {
				l := float64(t.scale)*float64(s[j]) - float64(t.lse[r*t.H+head])
				s[j] = float32(float64(t.scale) * (own[j] - math.Exp(l)*sum))
			}
		}
	}
}
