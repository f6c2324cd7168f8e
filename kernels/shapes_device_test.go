//go:build cuda

package kernels

// largeCases have the shapes that reach the paths of the GPU's kernels that the compliance suite's small ones do not: rows
// of several warps and wider than a block holds, more keys than a tile compares, more sums than there are blocks.
var largeCases = []complianceCase{
	{"AddNormLarge", 6, func(r *trial) {
		C := []int{1032, 1500, 8200, 32768, 33000, 40}[r.k]
		n := 3
		if C == 40 {
			n = 700
		}
		a := AddNorm{N: n, C: C, Kind: NormKind(1 + r.k%2), Eps: 1e-5, Drop: Drop{P: 0.25, Seed: 5, Step: 2, Site: 3}}
		a.X, a.Delta, a.Sum, a.Y = r.in(r.normals(n*C)), r.in(r.normals(n*C)), r.fresh(n*C), r.fresh(n*C)
		a.Gain, a.Bias, a.Rstd = r.inMaster(r.normals(C)), r.in(r.normals(C)), r.freshMaster(n)
		if a.Kind == LayerNorm {
			a.Mean = r.freshMaster(n)
		}
		r.b.AddNorm(a)
		r.out("sum", a.Sum, n*C, near, nil)
		r.out("y", a.Y, n*C, near, nil)
		r.out("rstd", a.Rstd, n, near, nil)
		r.out("mean", a.Mean, n, near, nil)
	}},
	{"NormBackwardLarge", 5, func(r *trial) {
		C := []int{520, 1500, 8192, 9000, 24}[r.k]
		n := 67
		if C == 24 {
			n = 1500 // more rows than blocks
		}
		a := NormBackward{N: n, C: C, Kind: NormKind(1 + r.k%2), Add: r.k == 2}
		a.DY, a.Sum, a.Gain = r.in(r.normals(n*C)), r.in(r.normals(n*C)), r.inMaster(r.normals(C))
		a.Rstd = r.inMaster(filled(n, 0.75))
		if a.Kind == LayerNorm {
			a.Mean = r.inMaster(filled(n, 0.125))
		}
		a.DSum, a.DGain, a.DBias = r.variable(r.normals(n*C)), r.master(r.normals(C)), r.master(r.normals(C))
		r.b.NormBackward(a)
		sums := filled(C, 4*float64(n))
		r.out("dsum", a.DSum, n*C, near, nil)
		r.out("dgain", a.DGain, C, near, sums)
		r.out("dbias", a.DBias, C, near, sums)
	}},
	{"EmbedBackwardLarge", 3, func(r *trial) {
		n, tokens, C := []int{2049, 4500, 300}[r.k], []int{3, 900, 5}[r.k], []int{9, 16, 2100}[r.k]
		dtok, dpos, dtyp := r.master(r.normals(tokens*C)), r.master(r.normals(2*C)), r.master(r.normals(C))
		r.b.EmbedBackward(dtok, dpos, dtyp, r.in(r.normals(n*C)), integers(r.b, r.indices(n, tokens)), integers(r.b, r.indices(2*n, 2)), n, C)
		terms := float64(n)
		r.out("dtokens", dtok, tokens*C, near, filled(tokens*C, terms))
		r.out("dpositions", dpos, 2*C, near, filled(2*C, terms))
		r.out("dtypes", dtyp, C, near, filled(C, terms))
	}},
	{"MaskedSoftmaxLarge", 4, func(r *trial) {
		C, R := []int{1032, 3001, 33000, 8192}[r.k], 3
		mask := make([]uint8, R*C)
		for i := range mask {
			mask[i] = uint8(r.draw.IntN(2))
		}
		p, lse := r.fresh(R*C), r.freshMaster(R)
		r.b.MaskedSoftmax(p, lse, r.in(r.normals(R*C)), bytesOf(r.b, mask), R, C)
		r.out("p", p, R*C, zerosExact, nil)
		r.out("lse", lse, R, near, nil)
	}},
	{"MaskedSoftmaxBackwardLarge", 4, func(r *trial) {
		C, R := []int{520, 3001, 17000, 8192}[r.k], 3
		ds := r.fresh(R * C)
		r.b.MaskedSoftmaxBackward(ds, r.in(r.normals(R*C)), r.in(filled(R*C, 1/float64(C))), R, C)
		r.out("dscores", ds, R*C, near, nil)
	}},
	{"SumLarge", 2, func(r *trial) {
		const n = reduceParts*4*8*256 + 12345
		dst := r.b.Alloc(F64, 1)
		x := make([]float64, n)
		for i := range x {
			x[i] = float64(i%7) - 3
		}
		if r.k == 0 {
			r.b.Sum(dst, 0, r.in(x), n, false)
		} else {
			r.b.SumSquares(dst, 0, r.inMaster(x), n, false)
		}
		r.out("sum", dst, 1, near, filled(1, n))
	}},
}
