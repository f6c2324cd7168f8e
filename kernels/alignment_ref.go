package kernels

import "math"

// emissionsRef is the oracle of Emissions for rows [lo,hi).
func emissionsRef[T refFloat](match, lse, logits []T, targets []int32, a *Emissions, owners []int32, offsets []int, lo, hi int) {
	for r := lo; r < hi; r++ {
		if owners[r] < 0 {
			continue
		}
		l, to := a.Lattices[owners[r]], match[offsets[owners[r]]:]
		z := widen(logits[r*a.V:][:a.V])
		_, all := lseWithout(z, 0)
		lse[r] = T(all)
		for i := range l.emitted(a.Mode) {
			to[i*l.states()+r-int(l.Start)] = T(z[l.token(i, targets, a.Blank)] - all)
		}
	}
}

// emissionsBackwardRef is the oracle of EmissionsBackward for rows [lo,hi).
func emissionsBackwardRef[T refFloat](logits, dmatch, lse []T, targets []int32, a *EmissionsBackward, owners []int32, offsets []int, lo, hi int) {
	for r := lo; r < hi; r++ {
		row := logits[r*a.V:][:a.V]
		var tokens []int32
		var grads []float64
		sum := 0.0
		if owners[r] >= 0 {
			l, from := a.Lattices[owners[r]], dmatch[offsets[owners[r]]:]
			for i := range l.emitted(a.Mode) {
				if d := float64(from[i*l.states()+r-int(l.Start)]); d != 0 {
					tokens, grads, sum = append(tokens, l.token(i, targets, a.Blank)), append(grads, d), sum+d
				}
			}
		}
		dz := make([]float64, a.V)
		if len(tokens) > 0 {
			for j, z := range row {
				dz[j] = -sum * math.Exp(float64(z)-float64(lse[r]))
			}
		}
		for i, y := range tokens {
			dz[y] += grads[i]
		}
		narrow(row, dz)
	}
}

// logSum returns log(sum(exp(x))).
func logSum(x []float64) float64 {
	most := math.Inf(-1)
	for _, v := range x {
		most = max(most, v)
	}
	if math.IsInf(most, -1) {
		return most
	}
	sum := 0.0
	for _, v := range x {
		sum += math.Exp(v - most)
	}
	return most + math.Log(sum)
}

// An alignedLattice is one lattice in float64, and its results.
type alignedLattice struct {
	S, M          int
	match, logE   []float64
	targets       []int32
	blank         int32
	dmatch, dlogE []float64 // of logP
}

// alignDAGRef is the oracle of DAG: it returns logP and sets the gradients.
func (a *alignedLattice) alignDAGRef() float64 {
	S, M := a.S, a.M
	a.dmatch, a.dlogE = make([]float64, M*S), make([]float64, S*S)
	if S == 0 {
		return math.Inf(-1)
	}
	alpha, beta, terms := filled64(M*S, math.Inf(-1)), filled64(M*S, math.Inf(-1)), make([]float64, S)
	alpha[0] = a.match[0]
	for i := 1; i < M; i++ {
		for u := range S {
			for v := range u {
				terms[v] = alpha[(i-1)*S+v] + a.logE[v*S+u]
			}
			alpha[i*S+u] = a.match[i*S+u] + logSum(terms[:u])
		}
	}
	Z := alpha[M*S-1]
	if math.IsInf(Z, -1) {
		return Z
	}
	beta[M*S-1] = a.match[M*S-1]
	for i := M - 2; i >= 0; i-- {
		for u := range S {
			for w := u + 1; w < S; w++ {
				terms[w] = a.logE[u*S+w] + beta[(i+1)*S+w]
			}
			beta[i*S+u] = a.match[i*S+u] + logSum(terms[u+1:])
		}
	}
	for i := range M {
		for u := range S {
			if at := i*S + u; !math.IsInf(a.match[at], -1) {
				a.dmatch[at] = math.Exp(alpha[at] + beta[at] - a.match[at] - Z)
			}
			if i == M-1 {
				continue
			}
			for w := u + 1; w < S; w++ {
				a.dlogE[u*S+w] += math.Exp(alpha[i*S+u] + a.logE[u*S+w] + beta[(i+1)*S+w] - Z)
			}
		}
	}
	return Z
}

func filled64(n int, v float64) []float64 {
	s := make([]float64, n)
	for i := range s {
		s[i] = v
	}
	return s
}

// alignCTCRef is the oracle of CTC: labels are a blank before, between and behind the targets.
func (a *alignedLattice) alignCTCRef() float64 {
	S, M, n := a.S, a.M, 2*a.M+1
	a.dmatch = make([]float64, (M+1)*S)
	for _, y := range a.targets {
		if y == a.blank {
			return math.Inf(-1)
		}
	}
	if S == 0 {
		return math.Inf(-1)
	}
	emitted := func(s int) int { // row of match
		if s%2 == 0 {
			return M
		}
		return s / 2
	}
	// skips reports whether label s may follow label s-2.
	skips := func(s int) bool { return s%2 == 1 && s > 1 && a.targets[s/2] != a.targets[s/2-1] }
	alpha, beta := filled64(S*n, math.Inf(-1)), filled64(S*n, math.Inf(-1))
	for t := range S {
		for s := range n {
			before := []float64{}
			for d := range 3 {
				if t == 0 || s-d < 0 || d == 2 && !skips(s) {
					break
				}
				before = append(before, alpha[(t-1)*n+s-d])
			}
			sum := logSum(before)
			if t == 0 && s < 2 {
				sum = 0
			}
			alpha[t*n+s] = sum + a.match[emitted(s)*S+t]
		}
	}
	Z := logAddExp(alpha[S*n-1], alpha[S*n-2])
	if math.IsInf(Z, -1) {
		return Z
	}
	for t := S - 1; t >= 0; t-- {
		for s := range n {
			after := []float64{}
			for d := range 3 {
				if t == S-1 || s+d >= n || d == 2 && !skips(s+2) {
					break
				}
				after = append(after, beta[(t+1)*n+s+d])
			}
			sum := logSum(after)
			if t == S-1 && s >= n-2 {
				sum = 0
			}
			at, e := t*n+s, a.match[emitted(s)*S+t]
			if beta[at] = sum + e; !math.IsInf(e, -1) {
				a.dmatch[emitted(s)*S+t] += math.Exp(alpha[at] + sum - Z)
			}
		}
	}
	return Z
}

// alignmentRef is the oracle of Alignment for lattices [lo,hi). logP, loss, lost and weights may be nil.
func alignmentRef[T refFloat](logP, loss, lost, dmatch, dlogE, match, logE, weights []T, targets []int32, a *Alignment, lo, hi int) {
	atMatch, atLinks := matrixOffsets(a.Lattices, a.Mode)
	for b := lo; b < hi; b++ {
		l := a.Lattices[b]
		S := l.states()
		g := alignedLattice{S: S, M: l.targets(), match: widen(match[atMatch[b]:][:l.emitted(a.Mode)*S]), blank: a.Blank}
		Z := 0.0
		switch {
		case g.M == 0:
			g.dmatch, g.dlogE = make([]float64, l.emitted(a.Mode)*S), make([]float64, S*S)
		case a.Mode == CTC:
			g.targets = targets[l.First:l.Last]
			Z = g.alignCTCRef()
		default:
			g.logE = widen(logE[atLinks[b]:][:S*S])
			Z = g.alignDAGRef()
		}
		w := 1.0
		if weights != nil {
			w = float64(weights[b])
		}
		settle(logP, loss, lost, b, Z, w)
		if !a.Grad {
			continue
		}
		scale := -a.GradScale * w
		for i, d := range g.dmatch {
			dmatch[atMatch[b]+i] = T(scale * d)
		}
		if a.Mode == DAG {
			for i, d := range g.dlogE {
				dlogE[atLinks[b]+i] = T(scale * d)
			}
		}
	}
}

// settle writes what Alignment says of lattice b with log-probability Z. The slices may be nil.
func settle[T refFloat](logP, loss, lost []T, b int, Z, w float64) {
	none := math.IsInf(Z, -1)
	if logP != nil {
		logP[b] = T(Z)
	}
	if loss != nil {
		if loss[b] = 0; !none {
			loss[b] = T(-w * Z)
		}
	}
	if lost != nil {
		if lost[b] = 0; none {
			lost[b] = 1
		}
	}
}
