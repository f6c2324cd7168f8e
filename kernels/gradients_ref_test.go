package kernels

import (
	"math"
	"testing"
)

// A gradientCase has inputs, a forward pass from inputs to an output, and the gradients of sum(output*upstream) by each
// input as the ops give them; nil where the op gives none.
type gradientCase struct {
	t        *testing.T
	name     string
	inputs   [][]float64
	forward  func(in [][]float64) []float64
	upstream []float64
	grads    [][]float64
}

// check compares with central differences of step h = 2^-16, whose error is h^2/6 times the third derivative, about
// 4e-11 times numbers of order 1 to 100, plus the rounding of the sum over h, about 1e-16 * |sum| / 1.5e-5: together below
// 1e-7 of the gradient's scale by far, and a wrong term is larger by far.
func (c gradientCase) check() {
	c.t.Helper()
	const h = 1.0 / (1 << 16)
	loss := func() float64 {
		sum := 0.0
		for i, v := range c.forward(c.inputs) {
			sum += v * c.upstream[i]
		}
		return sum
	}
	for k, in := range c.inputs {
		if c.grads[k] == nil {
			continue
		}
		scale := max(1, largest(c.grads[k]))
		for i, x := range in {
			in[i] = x + h
			up := loss()
			in[i] = x - h
			down := loss()
			in[i] = x
			if want, got := (up-down)/(2*h), c.grads[k][i]; !(math.Abs(got-want) <= 1e-7*scale) {
				c.t.Errorf("%s: gradient of input %d by element %d is %.10g, differences say %.10g", c.name, k, i, got, want)
				break
			}
		}
	}
}

var ref64 = NewRef64()

func buf64(v []float64) Buf  { return HostBuf(append([]float64(nil), v...)) }
func zeros64(n int) Buf      { return HostBuf(make([]float64, n)) }
func view64(b Buf) []float64 { return View[float64](b) }

func TestGradientsEmbed(t *testing.T) {
	r := newTestTrial(ref64, 10)
	const n, C = 6, 3
	ids, pos := HostBuf([]int32{1, 0, 1, 3, 1, 0}), HostBuf([]int32{0, 9, 1, 9, 2, 9, 0, 9, 1, 9, 0, 9})
	u := r.normals(n * C)
	dt, dp, dy := zeros64(4*C), zeros64(3*C), zeros64(C)
	ref64.EmbedBackward(dt, dp, dy, buf64(u), ids, pos, n, C)
	gradientCase{t, "embed", [][]float64{r.normals(4 * C), r.normals(3 * C), r.normals(C)}, func(in [][]float64) []float64 {
		out := zeros64(n * C)
		ref64.Embed(out, ids, pos, buf64(in[0]), buf64(in[1]), buf64(in[2]), n, C)
		return view64(out)
	}, u, [][]float64{view64(dt), view64(dp), view64(dy)}}.check()
}

func TestGradientsNorm(t *testing.T) {
	r := newTestTrial(ref64, 11)
	for _, kind := range []NormKind{LayerNorm, RMSNorm} {
		for _, affine := range []bool{true, false} {
			for _, C := range []int{1, 2, 9} {
				n := 4
				drop := Drop{P: 0.25, Seed: 3, Step: 5, Site: 7}
				in := [][]float64{r.normals(n * C), r.normals(n * C), r.normals(C), r.normals(C)}
				u, residual := r.normals(n*C), r.normals(n*C)
				run := func(in [][]float64) AddNorm {
					a := AddNorm{Y: zeros64(n * C), Sum: zeros64(n * C), X: buf64(in[0]), Delta: buf64(in[1]), Mean: zeros64(n),
						Rstd: zeros64(n), N: n, C: C, Kind: kind, Eps: 1.0 / 64, Drop: drop}
					if affine {
						a.Gain, a.Bias = buf64(in[2]), buf64(in[3])
					}
					ref64.AddNorm(a)
					return a
				}
				f := run(in)
				b := NormBackward{DSum: buf64(residual), DGain: zeros64(C), DBias: zeros64(C), DY: buf64(u), Sum: f.Sum, Gain: f.Gain,
					Mean: f.Mean, Rstd: f.Rstd, N: n, C: C, Kind: kind, Add: true}
				ref64.NormBackward(b)
				ddelta := zeros64(n * C)
				ref64.Dropout(ddelta, b.DSum, n, C, drop)
				grads := [][]float64{view64(b.DSum), view64(ddelta), view64(b.DGain), view64(b.DBias)}
				if !affine {
					grads[2], grads[3] = nil, nil
				}
				// The output is y and the residual stream behind it, which reaches the sum as well.
				gradientCase{t, "norm", in, func(in [][]float64) []float64 {
					a := run(in)
					return append(view64(a.Y), view64(a.Sum)...)
				}, append(append([]float64(nil), u...), residual...), grads}.check()
			}
		}
	}
}

// y = W2 act(W1 x + b1) + b2: the epilogue, all three products' gradients and their hand-over through pre.
func TestGradientsLinear(t *testing.T) {
	r := newTestTrial(ref64, 12)
	const n, in, mid, out = 5, 3, 7, 4
	for _, act := range activations {
		v := [][]float64{r.normals(n * in), r.normals(mid * in), r.normals(mid), r.normals(out * mid), r.normals(out)}
		u := r.normals(n * out)
		run := func(v [][]float64) (y, h, pre Buf) {
			y, h, pre = zeros64(n*out), zeros64(n*mid), zeros64(n*mid)
			if act == None {
				pre = Buf{}
			}
			ref64.Linear(h, buf64(v[0]), buf64(v[1]), buf64(v[2]), pre, n, in, mid, act)
			ref64.Linear(y, h, buf64(v[3]), buf64(v[4]), Buf{}, n, mid, out, None)
			return y, h, pre
		}
		_, h, pre := run(v)
		dx, dh := zeros64(n*in), zeros64(n*mid)
		dw1, db1, dw2, db2 := zeros64(mid*in), zeros64(mid), zeros64(out*mid), zeros64(out)
		ref64.LinearBackwardWeight(dw2, db2, buf64(u), h, n, mid, out)
		ref64.LinearBackwardInput(dh, buf64(u), buf64(v[3]), pre, n, mid, out, act, false)
		ref64.LinearBackwardWeight(dw1, db1, dh, buf64(v[0]), n, in, mid)
		ref64.LinearBackwardInput(dx, dh, buf64(v[1]), Buf{}, n, in, mid, None, true)
		gradientCase{t, "linear", v, func(v [][]float64) []float64 {
			y, _, _ := run(v)
			return view64(y)
		}, u, [][]float64{view64(dx), view64(dw1), view64(db1), view64(dw2), view64(db2)}}.check()
	}
}

func TestGradientsActivation(t *testing.T) {
	r := newTestTrial(ref64, 13)
	const n, F = 4, 5
	for _, act := range activations {
		x, u := r.normals(2*n*F), r.normals(2*n*F)
		dx, dgated := zeros64(2*n*F), zeros64(2*n*F)
		ref64.ActivationBackward(dx, buf64(u), buf64(x), 2*n*F, act)
		gradientCase{t, "activation", [][]float64{x}, func(in [][]float64) []float64 {
			y := zeros64(2 * n * F)
			ref64.ActivationForward(y, buf64(in[0]), 2*n*F, act)
			return view64(y)
		}, u, [][]float64{view64(dx)}}.check()
		ref64.GatedBackward(dgated, dgated.Slice(F, 2*n*F), buf64(u), buf64(x), buf64(x[F:]), n, F, 2*F, act)
		gradientCase{t, "gated", [][]float64{x}, func(in [][]float64) []float64 {
			y := zeros64(n * F)
			ref64.Gated(y, buf64(in[0]), buf64(in[0][F:]), n, F, 2*F, act)
			return view64(y)
		}, u, [][]float64{view64(dgated)}}.check()
	}
}

func TestGradientsRope(t *testing.T) {
	r := newTestTrial(ref64, 14)
	for axes := 1; axes <= 2; axes++ {
		const n, D, heads, ld, positions = 3, 8, 2, 20, 6
		a := Rope{Pos: HostBuf(r.indices(2*n, positions)), Table: HostBuf(RopeTable[float64](positions, D, axes, 100)), N: n, LD: ld,
			Heads: heads, D: D, Axes: axes}
		u := r.normals(n * ld)
		a.X, a.Inverse = buf64(u), true
		ref64.Rope(a)
		gradientCase{t, "rope", [][]float64{r.normals(n * ld)}, func(in [][]float64) []float64 {
			f := a
			f.X, f.Inverse = buf64(in[0]), false
			ref64.Rope(f)
			return view64(f.X)
		}, u, [][]float64{view64(a.X)}}.check()
	}
}

func TestGradientsAttention(t *testing.T) {
	r := newTestTrial(ref64, 15)
	segments := []Segment{{Start: 0, End: 5, Mask: Causal}, {Start: 5, End: 6}, {Start: 7, End: 13}, {Start: 13, End: 19, Window: 2},
		{Start: 19, End: 24, Mask: Causal, Window: 1}}
	const rows, H, K, D = 25, 4, 2, 3
	for _, a := range []Attention{{}, {Scale: 0.25}, {Drop: Drop{P: 0.3, Seed: 8, Step: 1, Site: 2}}} {
		a.Segments, a.Rows, a.H, a.K, a.D = segments, rows, H, K, D
		qkv, u := r.normals(rows*(H+2*K)*D), r.normals(rows*H*D)
		run := func(qkv []float64) Attention {
			f := a
			f.Out, f.LSE, f.QKV = zeros64(rows*H*D), zeros64(H*rows), buf64(qkv)
			ref64.Attention(f)
			return f
		}
		f := run(qkv)
		b := AttentionBackward{DQKV: zeros64(len(qkv)), DOut: buf64(u), Out: f.Out, LSE: f.LSE, QKV: f.QKV, Segments: segments,
			Rows: rows, H: H, K: K, D: D, Scale: a.Scale, Drop: a.Drop}
		ref64.AttentionBackward(b)
		gradientCase{t, "attention", [][]float64{qkv}, func(in [][]float64) []float64 { return view64(run(in[0]).Out) }, u,
			[][]float64{view64(b.DQKV)}}.check()
	}
}

func TestGradientsMaskedSoftmax(t *testing.T) {
	r := newTestTrial(ref64, 16)
	const R, C = 5, 6
	mask := make([]uint8, R*C)
	for i := range mask {
		mask[i] = uint8(r.pick(0, 1, 1))
	}
	clear(mask[2*C : 3*C])
	scores, u := r.normals(R*C), r.normals(R*C)
	run := func(scores []float64) Buf {
		p := zeros64(R * C)
		ref64.MaskedSoftmax(p, zeros64(R), buf64(scores), HostBuf(mask), R, C)
		return p
	}
	ds := zeros64(R * C)
	ref64.MaskedSoftmaxBackward(ds, buf64(u), run(scores), R, C)
	gradientCase{t, "masked softmax", [][]float64{scores}, func(in [][]float64) []float64 { return view64(run(in[0])) }, u,
		[][]float64{view64(ds)}}.check()
}

// GatherRows and ScatterAddRows are each other's gradients.
func TestGradientsRows(t *testing.T) {
	r := newTestTrial(ref64, 17)
	const R, N, C = 7, 4, 3
	rows := HostBuf(r.indices(R, N))
	u, dx := r.normals(R*C), zeros64(N*C)
	ref64.ScatterAddRows(dx, buf64(u), rows, R, C)
	gradientCase{t, "gather", [][]float64{r.normals(N * C)}, func(in [][]float64) []float64 {
		out := zeros64(R * C)
		ref64.GatherRows(out, buf64(in[0]), rows, R, C)
		return view64(out)
	}, u, [][]float64{view64(dx)}}.check()
	v, dsrc := r.normals(N*C), zeros64(R*C)
	ref64.GatherRows(dsrc, buf64(v), rows, R, C)
	gradientCase{t, "scatter", [][]float64{r.normals(N * C), r.normals(R * C)}, func(in [][]float64) []float64 {
		dst := buf64(in[0])
		ref64.ScatterAddRows(dst, buf64(in[1]), rows, R, C)
		return view64(dst)
	}, v, [][]float64{v, view64(dsrc)}}.check()
}

func TestGradientsCrossEntropy(t *testing.T) {
	r := newTestTrial(ref64, 18)
	const R, V, scale = 6, 5, 0.375
	targets := HostBuf([]int32{0, 4, IgnoreTarget, 2, 2, 1})
	for _, o := range []CrossEntropy{{}, {Smoothing: 0.1}, {ZLoss: 0.03}, {Smoothing: 0.2, ZLoss: 0.01}, {Focal: 2}, {Focal: 0.5},
		{Focal: 3, ZLoss: 0.1}, {DFT: true}, {DFT: true, ZLoss: 0.02}} {
		z, w := r.normals(R*V), r.normals(R)
		w[3] = 0
		run := func(z []float64, o CrossEntropy) CrossEntropy {
			o.R, o.V, o.Logits, o.Targets, o.Weights = R, V, buf64(z), targets, buf64(w)
			o.Loss, o.NLL = zeros64(R), zeros64(R)
			ref64.CrossEntropy(o)
			return o
		}
		full := o
		full.Grad, full.GradScale = true, scale
		grad := run(z, full)
		u := filled(R, scale)
		factor := make([]float64, R) // DFT's p_y, which counts as a constant
		for i, nll := range view64(grad.NLL) {
			factor[i] = math.Exp(-nll)
		}
		gradientCase{t, "cross-entropy", [][]float64{z}, func(in [][]float64) []float64 {
			plain := o
			plain.DFT = false
			f := run(in[0], plain)
			loss := view64(f.Loss)
			for i, nll := range view64(f.NLL) {
				if o.DFT {
					loss[i] += w[i] * (factor[i] - 1) * nll
				}
			}
			return loss
		}, u, [][]float64{view64(grad.Logits)}}.check()
	}
}

func TestGradientsDropoutAndAdd(t *testing.T) {
	r := newTestTrial(ref64, 19)
	const n, C = 5, 11
	d := Drop{P: 0.4, Seed: 77, Step: 3, Site: 9}
	u, dx := r.normals(n*C), zeros64(n*C)
	ref64.Dropout(dx, buf64(u), n, C, d)
	gradientCase{t, "dropout and add", [][]float64{r.normals(n * C), r.normals(n * C)}, func(in [][]float64) []float64 {
		y := zeros64(n * C)
		ref64.Dropout(y, buf64(in[0]), n, C, d)
		ref64.Add(y, buf64(in[1]))
		return view64(y)
	}, u, [][]float64{view64(dx), u}}.check()
}
