package optim

import (
	"math"
	"testing"

	"palimpsest/engine/model"
	"palimpsest/kernels"
	"palimpsest/kernels/philox"
)

// gradients fills the gradients with normal numbers and returns them with their guard.
func gradients(b kernels.Backend, w *model.Weights, step uint64) (g []float64, guard kernels.Buf) {
	d := philox.New(3, philox.StreamTest, step, 0)
	for _, p := range w.Params {
		fill(p.Grad, func(int) float64 { return d.Normal() })
	}
	guard = b.Alloc(kernels.F64, 1)
	b.SumSquares(guard, 0, w.Grad, w.Grad.Len(), false)
	return kernels.View[float64](w.Grad), guard
}

func norm(x []float64) (n float64) {
	for _, v := range x {
		n += v * v
	}
	return math.Sqrt(n)
}

func clone(b kernels.Buf) []float64 { return append([]float64(nil), kernels.View[float64](b)...) }

// LAMB against its formulas, tensor by tensor, over three clipped steps with layer decay.
func TestLAMBAgainstItsFormulas(t *testing.T) {
	b, w := newModel(t)
	c := Default()
	c.Kind, c.Clip, c.LayerDecay = "lamb", 2, 0.5
	o := New(b, c, w)
	want := map[string][]float64{}
	m, v := map[string][]float64{}, map[string][]float64{}
	for _, p := range w.Params {
		want[p.Name], m[p.Name], v[p.Name] = clone(p.Master), make([]float64, p.Len()), make([]float64, p.Len())
	}
	for step := 1; step <= 3; step++ {
		g, guard := gradients(b, w, uint64(step))
		scale := 2 / norm(g)
		o.Step(b, w, guard, 0.25)
		for _, p := range w.Params {
			u, x, decay := make([]float64, p.Len()), want[p.Name], 0.0
			if p.Decay {
				decay = c.WeightDecay
			}
			for i, grad := range kernels.View[float64](p.Grad) {
				grad *= scale
				m[p.Name][i] = 0.9*m[p.Name][i] + 0.1*grad
				v[p.Name][i] = 0.98*v[p.Name][i] + 0.02*grad*grad
				u[i] = m[p.Name][i]/(1-math.Pow(0.9, float64(step)))/(math.Sqrt(v[p.Name][i]/(1-math.Pow(0.98, float64(step))))+1e-8) + decay*x[i]
			}
			trust := 1.0
			if decay > 0 && norm(x) > 0 {
				trust = norm(x) / norm(u)
			}
			rate := 0.25e-3 * map[byte]float64{'e': 0.25, 'l': 0.5, 'f': 1, 'h': 1}[p.Name[0]]
			for i := range x {
				x[i] -= rate * trust * u[i]
				if got := kernels.View[float64](p.Master)[i]; math.Abs(got-x[i]) > 1e-12 {
					t.Fatalf("step %d: %s[%d] = %.15g, want %.15g", step, p.Name, i, got, x[i])
				}
			}
		}
	}
}

// times is a [rows,cols] by [cols,k] product.
func times(a, x []float64, rows, cols, k int) []float64 {
	y := make([]float64, rows*k)
	for i := range rows {
		for j := range k {
			for l := range cols {
				y[i*k+j] += a[i*cols+l] * x[l*k+j]
			}
		}
	}
	return y
}

func transposed(x []float64, rows, cols int) []float64 {
	y := make([]float64, len(x))
	for i := range rows {
		for j := range cols {
			y[j*rows+i] = x[i*cols+j]
		}
	}
	return y
}

// newtonSchulz is the published iteration, on the transpose where that is the wider one.
func newtonSchulz(x []float64, rows, cols int) []float64 {
	if rows > cols {
		return transposed(newtonSchulz(transposed(x, rows, cols), cols, rows), cols, rows)
	}
	n := norm(x) + 1e-7
	y := make([]float64, len(x))
	for i := range x {
		y[i] = x[i] / n
	}
	for range 5 {
		s := times(y, transposed(y, rows, cols), rows, cols, rows)
		s2 := times(s, s, rows, rows, rows)
		for i := range s {
			s[i] = -4.7750*s[i] + 2.0315*s2[i]
		}
		sy := times(s, y, rows, rows, cols)
		for i := range y {
			y[i] = 3.4445*y[i] + sy[i]
		}
	}
	return y
}

// Muon's matrices against the published iteration; all other parameters take AdamW's step.
func TestMuonAgainstItsFormulas(t *testing.T) {
	for name, shape := range map[string]model.Config{
		"grouped heads, gated": {Vocab: 7, Layers: 2, Width: 8, Heads: 4, KVHeads: 2, FF: 5, Context: 3, MLP: "swiglu", Norm: "rmsnorm"},
		"plain":                {Vocab: 7, Layers: 1, Width: 4, Heads: 1, FF: 9, Context: 3},
	} {
		t.Run(name, func(t *testing.T) {
			b := kernels.NewRef64()
			shape, problems := shape.Resolve(7)
			if len(problems) > 0 {
				t.Fatal(problems)
			}
			w, plain := model.NewWeights(b, shape, true), model.NewWeights(b, shape, true)
			w.Init(b, 1)
			plain.Init(b, 1)
			c := Default()
			c.Kind, c.Clip = "muon", 0
			o := New(b, c, w)
			c.Kind = "adamw"
			adam := New(b, c, plain)
			matrices, want, moment := 0, map[string][]float64{}, map[string][]float64{}
			for _, p := range w.Params {
				want[p.Name], moment[p.Name] = clone(p.Master), make([]float64, p.Len())
			}
			for step := range uint64(2) {
				g, guard := gradients(b, w, step)
				copy(kernels.View[float64](plain.Grad), g)
				o.Step(b, w, guard, 0.5)
				adam.Step(b, plain, guard, 0.5)
				for k, p := range w.Params {
					got, x := kernels.View[float64](p.Master), want[p.Name]
					hidden := len(p.Shape) == 2 && p.Name[:6] == "layers"
					if !hidden {
						x = kernels.View[float64](plain.Params[k].Master)
					} else {
						u, grad, m := make([]float64, p.Len()), kernels.View[float64](p.Grad), moment[p.Name]
						for i := range m {
							m[i] = 0.95*m[i] + grad[i]
							u[i] = grad[i] + 0.95*m[i]
						}
						for _, part := range matricesOf(shape, p) {
							matrices++
							from, to := part.first*part.cols, (part.first+part.rows)*part.cols
							for i, v := range newtonSchulz(u[from:to], part.rows, part.cols) {
								at := from + i
								x[at] -= 0.01 * (math.Sqrt(max(1, float64(part.rows)/float64(part.cols)))*v + 0.1*x[at])
							}
						}
					}
					for i := range x {
						if math.Abs(got[i]-x[i]) > 1e-11 {
							t.Fatalf("step %d: %s[%d] = %.15g, want %.15g", step, p.Name, i, got[i], x[i])
						}
					}
				}
			}
			if want := map[string]int{"grouped heads, gated": 2 * 2 * 7, "plain": 2 * 6}[name]; matrices != want {
				t.Errorf("%d matrices, want %d", matrices, want)
			}
			// Two moments for all but the matrices of the blocks, one for these, each parameter once.
			seen := map[string]int{}
			for _, m := range o.State() {
				seen[m.Prefix+m.Param.Name]++
				if m.Buf.Len() != m.Param.Len() {
					t.Errorf("%s%s has %d elements", m.Prefix, m.Param.Name, m.Buf.Len())
				}
			}
			for _, p := range w.Params {
				second := 1
				if len(p.Shape) == 2 && p.Name[:6] == "layers" {
					second = 0
				}
				if seen["m."+p.Name] != 1 || seen["v."+p.Name] != second {
					t.Errorf("%s: moments %d and %d", p.Name, seen["m."+p.Name], seen["v."+p.Name])
				}
			}
		})
	}
}

// The fast backend's orthogonalisation brings singular values near 1: S = X X^T is near the identity.
func TestOrthogonalize(t *testing.T) {
	b, err := kernels.NewCPU(kernels.CPUOptions{Threads: 2})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	for _, shape := range [][2]int{{24, 64}, {64, 24}, {32, 32}, {1, 5}} {
		rows, cols := shape[0], shape[1]
		n := min(rows, cols)
		o := &Optimizer{Config: Default(), squares: b.Alloc(kernels.F64, 1),
			product: [3]kernels.Buf{b.Alloc(kernels.F32, n*n), b.Alloc(kernels.F32, n*n), b.Alloc(kernels.F32, rows*cols)}}
		x := b.Alloc(kernels.F32, rows*cols)
		d := philox.New(3, philox.StreamTest, 9, 0)
		for i := range kernels.View[float32](x) {
			kernels.View[float32](x)[i] = float32(d.Normal())
		}
		wide := make([]float64, rows*cols)
		b.Download(wide, x)
		want := newtonSchulz(wide, rows, cols)
		o.orthogonalize(b, x, rows, cols)
		got := make([]float64, rows*cols)
		b.Download(got, x)
		for i := range got {
			if math.Abs(got[i]-want[i]) > 1e-4 {
				t.Fatalf("%v: element %d is %g, want %g", shape, i, got[i], want[i])
			}
		}
		if squares := norm(got) * norm(got) / float64(n); squares < 0.4 || squares > 1.4 { // mean of the squared singular values
			t.Errorf("%v: singular values have mean square %g", shape, squares)
		}
	}
}

func TestLayerDecay(t *testing.T) {
	for name, want := range map[string]float64{"embed.tokens.weight": 0.125, "layers.0.attention.qkv.weight": 0.25,
		"layers.1.mlp.norm.bias": 0.5, "final.norm.weight": 1, "head.lm.weight": 1} {
		if got := layerScale(0.5, 2, name); got != want {
			t.Errorf("%s: %g, want %g", name, got, want)
		}
	}
	b, w := newModel(t)
	c := Default()
	c.LayerDecay, c.WeightDecay, c.Clip = 0.5, 0, 0
	o := New(b, c, w)
	before := clone(w.Master)
	for _, p := range w.Params {
		fill(p.Grad, func(int) float64 { return 3 })
	}
	guard := b.Alloc(kernels.F64, 1)
	o.Step(b, w, guard, 1)
	for _, p := range w.Params { // the first step of Adam has the length of the rate
		want := 1e-3 * layerScale(0.5, 1, p.Name)
		for i, v := range kernels.View[float64](p.Master) {
			if got := before[p.Offset+i] - v; math.Abs(got-want) > 1e-10 {
				t.Fatalf("%s moved by %g, want %g", p.Name, got, want)
			}
		}
	}
}

func TestEMAByHand(t *testing.T) {
	b, w := newModel(t)
	guard := b.Alloc(kernels.F64, 1)
	for _, c := range []struct {
		config EMAConfig
		keep   []float64
	}{
		{EMAConfig{Decay: 0.9}, []float64{0.9, 0.9, 0.9}},
		{EMAConfig{Decay: 0.26, Warmup: true}, []float64{2. / 11, 3. / 12, 0.26}},
	} {
		e := NewEMA(b, c.config, w)
		e.Begin(b, w)
		want := clone(w.Master)
		for i, keep := range c.keep {
			fill(w.Master, func(j int) float64 { return float64(i*j%7) - 2 })
			e.Update(b, w, guard, int64(i+1))
			for j, p := range kernels.View[float64](w.Master) {
				want[j] = keep*want[j] + (1-keep)*p
				if got := kernels.View[float64](e.Weights.Master)[j]; math.Abs(got-want[j]) > 1e-14 {
					t.Fatalf("%+v, update %d: %g, want %g", c.config, i+1, got, want[j])
				}
			}
		}
	}
	if NewEMA(b, EMAConfig{}, w) != nil {
		t.Error("an average was made of nothing")
	}
}
