package kernels

import "math"

var activations = []Activation{None, GELUErf, GELUTanh, SiLU, ReLU}

var memoryCases = []complianceCase{
	{"Memory", 6, func(r *trial) {
		b, info := r.b, r.b.Info()
		for _, t := range []DType{info.Compute, info.Master, F64} {
			n := r.pick(0, 1, 5, 100)
			v := r.normals(n)
			single := make([]float32, n)
			for i := range v {
				single[i] = float32(v[i])
			}
			r.out("zeroed", b.Alloc(t, n), n, exact, nil)
			x := b.Alloc(t, n+3)
			b.Upload(x, v)
			r.out("float64 up", x, n+3, exact, nil)
			y := b.Alloc(t, n+3)
			b.Upload(y, single)
			r.out("float32 up", y, n+3, exact, nil)
			down := make([]float32, n+5)
			b.Download(down, y)
			z := b.Alloc(t, n+5)
			b.Upload(z, down)
			r.out("float32 down and up", z, n+5, exact, nil)
			c := b.Alloc(t, n+3)
			b.Copy(c.Slice(1, n+2), x.Slice(0, n))
			b.Zero(x.Slice(n/2, n))
			r.out("copy", c, n+3, exact, nil)
			r.out("zero", x, n+3, exact, nil)
		}
		i32, u8 := b.Alloc(I32, 4), b.Alloc(U8, 4)
		b.Upload(i32, []int32{-7, math.MaxInt32, 5})
		b.Upload(u8, []uint8{1, 255, 3})
		i2, u2 := b.Alloc(I32, 6), b.Alloc(U8, 6)
		b.Copy(i2.Slice(1, 5), i32)
		b.Copy(u2, u8.Slice(1, 3))
		b.Zero(i32.Slice(0, 1))
		b.Zero(u8.Slice(0, 1))
		for _, x := range []Buf{i32, u8, i2, u2} {
			r.out("integers", x, x.Len(), exact, nil)
		}
	}},
}

var layerCases = []complianceCase{
	{"Embed", 12, func(r *trial) {
		n, C := r.pick(0, 1, 7, 33), r.pick(1, 3, 8, 20, 65)
		tokens, positions := r.pick(1, 2, 50), r.pick(1, 40)
		ids := integers(r.b, r.indices(n, tokens))
		pos := integers(r.b, r.indices(2*n, positions))
		out := r.fresh(n * C)
		tok, at, typ := r.table(r.normals(tokens*C)), r.table(r.normals(positions*C)), r.in(r.normals(C))
		if r.k%3 == 1 {
			at, pos = Buf{}, Buf{}
		}
		if r.k%2 == 1 {
			typ = Buf{}
		}
		r.b.Embed(out, ids, pos, tok, at, typ, n, C)
		r.out("out", out, n*C, near, nil)
	}},
	{"EmbedBackward", 12, func(r *trial) {
		n, C := r.pick(0, 1, 7, 33, 200), r.pick(1, 3, 8, 20, 65)
		tokens, positions := r.pick(1, 2, 50), r.pick(1, 40)
		ids, pos := r.indices(n, tokens), r.indices(2*n, positions)
		dout := r.normals(n * C)
		dtok, dpos, dtyp := r.normals(tokens*C), r.normals(positions*C), r.normals(C)
		mt, mp, my := absolute(dtok), absolute(dpos), absolute(dtyp)
		embedBackwardRef(mt, mp, my, absolute(dout), ids, pos, n, C)
		t, p, y := r.master(dtok), r.master(dpos), r.master(dtyp)
		switch r.k % 4 {
		case 1:
			t = Buf{}
		case 2:
			p = Buf{}
		case 3:
			y = Buf{}
		}
		r.b.EmbedBackward(t, p, y, r.in(dout), integers(r.b, ids), integers(r.b, pos), n, C)
		r.out("dtokens", t, tokens*C, near, mt)
		r.out("dpositions", p, positions*C, near, mp)
		r.out("dtypes", y, C, near, my)
	}},
	{"AddNorm", 32, addNormCase},
	{"NormBackward", 32, normBackwardCase},
	{"Linear", 24, func(r *trial) {
		n, in, out := r.linearShape()
		act := activations[r.k%len(activations)]
		x, w, bias := r.normals(n*in), r.normals(out*in), r.normals(out)
		y, xb, wb, bb := r.fresh(n*out), r.in(x), r.in(w), r.inOrAbsent(bias)
		pre := Buf{}
		if act != None && r.coin() {
			pre = r.fresh(n * out)
		}
		r.b.Linear(y, xb, wb, bb, pre, n, in, out, act)
		m := make([]float64, n*out)
		linearRef(m, absolute(x), absolute(w), absolute(bias), nil, n, in, out, None)
		r.out("y", y, n*out, near, m)
		r.out("pre", pre, n*out, near, m)
	}},
	{"LinearBackwardInput", 24, func(r *trial) {
		n, in, out := r.linearShape()
		act := activations[r.k%len(activations)]
		dy, w, old, pre := r.normals(n*out), r.normals(out*in), r.normals(n*in), Buf{}
		dx, add := r.fresh(n*in), false
		m := make([]float64, n*in)
		if act != None {
			pre = r.in(r.normals(n * in))
		} else if r.coin() {
			dx, add, m = r.variable(old), true, absolute(old)
		}
		r.b.LinearBackwardInput(dx, r.in(dy), r.in(w), pre, n, in, out, act, add)
		linearBackwardInputRef(m, absolute(dy), absolute(w), nil, n, in, out, None, true)
		r.out("dx", dx, n*in, near, m)
	}},
	{"LinearBackwardWeight", 24, func(r *trial) {
		n, in, out := r.linearShape()
		dy, x, dw, db := r.normals(n*out), r.normals(n*in), r.normals(out*in), r.normals(out)
		dweight, dbias := r.master(dw), r.master(db)
		if r.k%3 == 2 {
			dbias = Buf{}
		}
		r.b.LinearBackwardWeight(dweight, dbias, r.in(dy), r.in(x), n, in, out)
		mw, mb := absolute(dw), absolute(db)
		linearBackwardWeightRef(mw, mb, absolute(dy), absolute(x), n, in, out)
		r.out("dweight", dweight, out*in, near, mw)
		r.out("dbias", dbias, out, near, mb)
	}},
	{"ActivationForward", 12, func(r *trial) {
		n := r.pick(0, 1, 9, 1000)
		y := r.fresh(n)
		r.b.ActivationForward(y, r.in(r.wide(n)), n, activations[r.k%len(activations)])
		r.out("y", y, n, near, filled(n, 1)) // relative for large x, absolute in the negative tail
	}},
	{"ActivationBackward", 12, func(r *trial) {
		n := r.pick(0, 1, 9, 1000)
		x, dy, dx := r.in(r.wide(n)), r.normals(n), Buf{}
		if r.coin() {
			dx = r.variable(dy)
			r.b.ActivationBackward(dx, dx, x, n, activations[r.k%len(activations)])
		} else {
			dx = r.fresh(n)
			r.b.ActivationBackward(dx, r.in(dy), x, n, activations[r.k%len(activations)])
		}
		r.out("dx", dx, n, near, nil)
	}},
	{"Gated", 12, func(r *trial) {
		n, F := r.pick(0, 1, 5, 17), r.pick(1, 3, 16, 65)
		y := r.fresh(n * F)
		gate, up, ld := r.gated(n, F, r.in, r.wide)
		r.b.Gated(y, gate, up, n, F, ld, activations[r.k%len(activations)])
		r.out("y", y, n*F, near, nil)
	}},
	{"GatedBackward", 12, func(r *trial) {
		n, F := r.pick(0, 1, 5, 17), r.pick(1, 3, 16, 65)
		dy := r.in(r.normals(n * F))
		gate, up, ld := r.gated(n, F, r.in, r.wide)
		dgate, dup, _ := r.gated(n, F, r.variable, func(n int) []float64 { return filled(n, math.NaN()) })
		r.b.GatedBackward(dgate, dup, dy, gate, up, n, F, ld, activations[r.k%len(activations)])
		r.out("dgate", dgate, apart(n, F, ld), near, nil)
		r.out("dup", dup, apart(n, F, ld), near, nil)
	}},
	{"Dropout", 16, func(r *trial) {
		n, C, d := r.pick(0, 1, 5, 33), r.pick(1, 7, 8, 20, 129), r.dropout()
		x, y := r.normals(n*C), Buf{}
		if r.coin() {
			y = r.variable(x)
			r.b.Dropout(y, y, n, C, d)
		} else {
			y = r.fresh(n * C)
			r.b.Dropout(y, r.in(x), n, C, d)
		}
		r.out("y", y, n*C, zerosExact, nil) // inputs are never 0, so this pins the mask
	}},
	{"Rope", 24, func(r *trial) {
		axes := 1 + r.k%2
		D, heads, n := r.pick(4, 8, 20, 64, 128), r.pick(1, 3, 4), r.pick(0, 1, 9, 33)
		ld, positions := heads*D+r.pick(0, 1, 2*D), r.pick(1, 50)
		x := r.normals(max(0, (n-1)*ld+heads*D))
		if n == 0 {
			x = nil
		}
		table := r.alloc(r.b.Info().Master, RopeTable[float64](positions, D, axes, 10000), false, false)
		a := Rope{X: r.variable(x), Pos: integers(r.b, r.indices(2*n, positions)), Table: table, N: n, LD: ld, Heads: heads,
			D: D, Axes: axes, Inverse: r.coin()}
		r.b.Rope(a)
		r.out("x", a.X, len(x), near, nil)
	}},
}

// wide draws normal numbers, a quarter of them up to 100 in size.
func (r *trial) wide(n int) []float64 {
	v := r.normals(n)
	for i := 0; i < n; i += 4 {
		v[i] *= 25
	}
	return v
}

// gated makes gates and values of n rows of F by turns in one buffer, or in two.
func (r *trial) gated(n, F int, alloc func([]float64) Buf, draw func(int) []float64) (gate, up Buf, ld int) {
	if r.k/len(activations)%2 == 0 {
		both := alloc(draw(2 * n * F))
		return both, both.Slice(min(F, both.Len()), both.Len()), 2 * F
	}
	return alloc(draw(n * F)), alloc(draw(n * F)), F
}

// linearShape draws rows, input and output width of a product; the last trial is larger than the blocks of fast products.
func (r *trial) linearShape() (n, in, out int) {
	if r.k == 23 {
		return 140, 300, 270
	}
	return r.pick(0, 1, 2, 7, 33, 64), r.pick(1, 3, 8, 20, 65, 130), r.pick(1, 5, 16, 48, 129)
}

// addNormCase covers the norms, each with the residual or without, with every optional buffer and with Sum in place.
func addNormCase(r *trial) {
	n, C := r.pick(0, 1, 5, 33), r.pick(1, 2, 8, 20, 65, 300)
	a := AddNorm{N: n, C: C, Kind: NormKind(1 + r.k%2), Eps: 1e-5, Drop: r.dropout()}
	x, delta, gain, bias := r.normals(n*C), r.normals(n*C), r.normals(C), r.normals(C)
	a.Gain, a.Bias = r.inOrAbsent(gain), r.inOrAbsent(bias)
	a.Y = r.fresh(n * C)
	if r.coin() {
		a.Rstd = r.freshMaster(n)
		if a.Kind == LayerNorm {
			a.Mean = r.freshMaster(n)
		}
	}
	sum := append([]float64(nil), x...)
	switch mode := r.k / 2 % 5; mode {
	case 0: // no residual
		a.X = r.in(x)
	case 1:
		a.X, a.Delta, a.Sum = r.in(x), r.in(delta), r.fresh(n*C)
	case 2:
		a.Sum, a.Delta = r.variable(x), r.in(delta)
		a.X = a.Sum
	case 3:
		a.X, a.Sum = r.in(x), r.variable(delta)
		a.Delta = a.Sum
	case 4: // only the addition
		a.X, a.Delta, a.Sum, a.Y, a.Rstd, a.Mean = r.in(x), r.in(delta), r.fresh(n*C), Buf{}, Buf{}, Buf{}
	}
	if !a.Delta.Absent() {
		addNormRef(nil, sum, x, delta, nil, nil, nil, nil, a)
	}
	r.b.AddNorm(a)
	my, mr, mm := make([]float64, n*C), make([]float64, n), make([]float64, n)
	for i := range n {
		row := sum[i*C:][:C]
		mean, rstd, k := conditionOfNorm(row, a.Kind, float64(a.Eps))
		mr[i], mm[i] = rstd*(1+k), largest(row)
		for j, v := range row {
			my[i*C+j] = math.Abs(bias[j]) + max(1, math.Abs(gain[j]))*(k+1)*(1+math.Abs(v-mean)*rstd)
		}
	}
	r.out("sum", a.Sum, n*C, near, nil)
	r.out("y", a.Y, n*C, near, my)
	r.out("rstd", a.Rstd, n, near, mr)
	r.out("mean", a.Mean, n, near, mm)
}

// conditionOfNorm returns mean, rstd and k = rstd * largest |value|: a rounding of size u of a value moves the normalised
// row by up to k*u, which is much where a row hardly varies.
func conditionOfNorm(row []float64, kind NormKind, eps float64) (mean, rstd, k float64) {
	mean, rstd = momentsRef(row, kind, eps)
	return mean, rstd, rstd * largest(row)
}

func normBackwardCase(r *trial) {
	n, C := r.pick(0, 1, 5, 33), r.pick(1, 2, 8, 20, 65, 300)
	a := NormBackward{N: n, C: C, Kind: NormKind(1 + r.k%2), Add: r.k/2%3 == 2}
	sum, dy, gain, old := r.normals(n*C), r.normals(n*C), r.normals(C), r.normals(n*C)
	dgain, dbias := r.normals(C), r.normals(C)
	mean, rstd := make([]float64, n), make([]float64, n)
	md, mg, mb := make([]float64, n*C), absolute(dgain), absolute(dbias)
	for i := range n {
		row := sum[i*C:][:C]
		var k float64
		mean[i], rstd[i], k = conditionOfNorm(row, a.Kind, 1e-5)
		rstd[i] = float64(float32(rstd[i])) // inputs of the op are exact in float32
		mean[i] = float64(float32(mean[i]))
		g := largest(dy[i*C:][:C]) * max(1, largest(gain))
		for j, v := range row {
			norm := math.Abs(v-mean[i]) * rstd[i]
			md[i*C+j] = rstd[i]*g*(1+k)*(2+norm) + math.Abs(old[i*C+j])
			mg[j] += math.Abs(dy[i*C+j]) * (1 + k) * (1 + norm)
			mb[j] += math.Abs(dy[i*C+j])
		}
	}
	a.Sum, a.Gain, a.Mean, a.Rstd = r.in(sum), r.inOrAbsent(gain), r.inMaster(mean), r.inMaster(rstd)
	if a.Kind == RMSNorm {
		a.Mean = Buf{}
	}
	switch {
	case a.Add:
		a.DSum, a.DY = r.variable(old), r.in(dy)
	case r.k/2%3 == 1:
		a.DSum = r.variable(dy)
		a.DY = a.DSum
	default:
		a.DSum, a.DY = r.fresh(n*C), r.in(dy)
	}
	a.DGain, a.DBias = r.master(dgain), r.master(dbias)
	if r.k%5 == 4 {
		a.DGain = Buf{}
	}
	if r.k%7 == 6 {
		a.DBias = Buf{}
	}
	r.b.NormBackward(a)
	r.out("dsum", a.DSum, n*C, near, md)
	r.out("dgain", a.DGain, C, near, mg)
	r.out("dbias", a.DBias, C, near, mb)
}
