package kernels

import (
	"fmt"
	"testing"
)

// Benchmarks of every family on the CPU at the shapes of a small model (N 4096, C 256, H 4, D 64, F 1024, V 8192) and of
// GPT-2 (C 768, V 50257), with all threads. Figures are bytes that must move (MB/s) or GFLOP/s.

// measure runs f and reports flops (0: none) and bytes of one run.
func measure(b *testing.B, flops, bytes float64, f func()) {
	b.Helper()
	f()
	if bytes > 0 {
		b.SetBytes(int64(bytes))
	}
	for b.Loop() {
		f()
	}
	if flops > 0 {
		b.ReportMetric(flops*float64(b.N)/b.Elapsed().Seconds()/1e9, "GFLOP/s")
	}
}

func forProducts(b *testing.B, name string, f func(b *testing.B, c *cpu)) {
	for _, blas := range []string{"auto", "builtin"} {
		c := newCPU(b, CPUOptions{BLAS: blas})
		b.Run(name+blas, func(b *testing.B) { f(b, c) })
	}
}

func BenchmarkLinear(b *testing.B) {
	for _, s := range []struct{ n, in, out int }{{4096, 256, 768}, {4096, 256, 256}, {4096, 256, 1024}, {4096, 1024, 256}, {512, 256, 8192},
		{1024, 768, 3072}} {
		name := fmt.Sprintf("%dx%dx%d/", s.n, s.in, s.out)
		flops := 2 * float64(s.n) * float64(s.in) * float64(s.out)
		forProducts(b, name, func(b *testing.B, c *cpu) {
			x, y := randomBuf(c, 1, s.n*s.in, 1), randomBuf(c, 2, s.n*s.out, 1)
			w, dw := randomBuf(c, 3, s.in*s.out, 1), c.Alloc(F32, s.in*s.out)
			bias, dbias, pre := randomBuf(c, 4, s.out, 1), c.Alloc(F32, s.out), c.Alloc(F32, s.n*s.out)
			b.Run("forward", func(b *testing.B) {
				measure(b, flops, 0, func() { c.Linear(y, x, w, bias, Buf{}, s.n, s.in, s.out, None) })
			})
			b.Run("gelu", func(b *testing.B) {
				measure(b, flops, 0, func() { c.Linear(y, x, w, bias, pre, s.n, s.in, s.out, GELUErf) })
			})
			b.Run("input", func(b *testing.B) {
				measure(b, flops, 0, func() { c.LinearBackwardInput(x, y, w, Buf{}, s.n, s.in, s.out, None, false) })
			})
			b.Run("weight", func(b *testing.B) {
				measure(b, flops, 0, func() { c.LinearBackwardWeight(dw, dbias, y, x, s.n, s.in, s.out) })
			})
		})
	}
}

// cutSegments packs rows into segments of a length.
func cutSegments(rows, length int, mask Mask) (s []Segment) {
	for at := 0; at < rows; at += length {
		s = append(s, Segment{Start: int32(at), End: int32(min(rows, at+length)), Mask: mask})
	}
	return s
}

func BenchmarkAttention(b *testing.B) {
	c := newCPU(b, CPUOptions{})
	for _, s := range []struct {
		rows, length, H, D int
		mask               Mask
		drop               float32
	}{{4096, 128, 4, 64, Bidirectional, 0}, {4096, 128, 4, 64, Bidirectional, 0.1}, {4096, 512, 4, 64, Causal, 0},
		{4096, 16, 4, 64, Bidirectional, 0}, {4096, 128, 8, 32, Bidirectional, 0}, {1024, 1024, 12, 64, Causal, 0}} {
		H, D := s.H, s.D
		a := Attention{QKV: randomBuf(c, 1, s.rows*3*H*D, 1), Out: c.Alloc(F32, s.rows*H*D), LSE: c.Alloc(F32, H*s.rows),
			Segments: cutSegments(s.rows, s.length, s.mask), Rows: s.rows, H: H, K: H, D: D, Drop: Drop{P: s.drop, Seed: 1}}
		pairs := float64(s.rows * s.length * H)
		if s.mask == Causal {
			pairs /= 2
		}
		name := fmt.Sprintf("n%d_len%d_H%d_D%d_mask%d_drop%g", s.rows, s.length, H, D, s.mask, s.drop)
		b.Run(name+"/forward", func(b *testing.B) {
			measure(b, pairs*4*float64(D), 0, func() { c.Attention(a) })
		})
		back := AttentionBackward{DQKV: c.Alloc(F32, a.QKV.Len()), DOut: randomBuf(c, 2, a.Out.Len(), 1), Out: a.Out, LSE: a.LSE,
			QKV: a.QKV, Segments: a.Segments, Rows: s.rows, H: H, K: H, D: D, Drop: a.Drop}
		b.Run(name+"/backward", func(b *testing.B) {
			measure(b, pairs*10*float64(D), 0, func() { c.AttentionBackward(back) })
		})
	}
}

func BenchmarkActivation(b *testing.B) {
	c := newCPU(b, CPUOptions{})
	const n = 4096 * 1024
	x, y := randomBuf(c, 1, n, 1), c.Alloc(F32, n)
	for act, name := range map[Activation]string{GELUErf: "gelu-erf", GELUTanh: "gelu-tanh", SiLU: "silu"} {
		b.Run(name+"/forward", func(b *testing.B) { measure(b, 0, 8*n, func() { c.ActivationForward(y, x, n, act) }) })
		b.Run(name+"/backward", func(b *testing.B) { measure(b, 0, 12*n, func() { c.ActivationBackward(y, y, x, n, act) }) })
	}
}

func BenchmarkNorm(b *testing.B) {
	c := newCPU(b, CPUOptions{})
	for _, s := range []struct{ n, C int }{{4096, 256}, {1024, 768}} {
		for _, p := range []float32{0, 0.1} {
			bytes := float64(s.n * s.C * 4)
			x, delta := randomBuf(c, 1, s.n*s.C, 1), randomBuf(c, 2, s.n*s.C, 1)
			y, sum := c.Alloc(F32, s.n*s.C), c.Alloc(F32, s.n*s.C)
			gain, bias, mean, rstd := randomBuf(c, 3, s.C, 1), randomBuf(c, 4, s.C, 1), c.Alloc(F32, s.n), c.Alloc(F32, s.n)
			name := fmt.Sprintf("%dx%d_drop%g", s.n, s.C, p)
			b.Run(name+"/forward", func(b *testing.B) {
				measure(b, 0, 4*bytes, func() {
					c.AddNorm(AddNorm{Y: y, Sum: sum, X: x, Delta: delta, Gain: gain, Bias: bias, Mean: mean, Rstd: rstd, N: s.n, C: s.C,
						Kind: LayerNorm, Eps: 1e-5, Drop: Drop{P: p, Seed: 1}})
				})
			})
			if p > 0 {
				continue
			}
			dgain, dbias := c.Alloc(F32, s.C), c.Alloc(F32, s.C)
			b.Run(name+"/backward", func(b *testing.B) {
				measure(b, 0, 4*bytes, func() {
					c.NormBackward(NormBackward{DSum: y, DGain: dgain, DBias: dbias, DY: delta, Sum: sum, Gain: gain, Mean: mean,
						Rstd: rstd, N: s.n, C: s.C, Kind: LayerNorm, Add: true})
				})
			})
		}
	}
}

func BenchmarkCrossEntropy(b *testing.B) {
	c := newCPU(b, CPUOptions{})
	for _, s := range []struct{ R, V int }{{512, 8192}, {128, 50257}} {
		logits, targets, loss := randomBuf(c, 1, s.R*s.V, 1), randomIndex(c, 2, s.R, s.V), c.Alloc(F32, s.R)
		for _, smoothing := range []float64{0, 0.1} {
			b.Run(fmt.Sprintf("%dx%d_smoothing%g", s.R, s.V, smoothing), func(b *testing.B) {
				measure(b, 0, 8*float64(s.R*s.V), func() {
					c.CrossEntropy(CrossEntropy{Logits: logits, Targets: targets, Loss: loss, R: s.R, V: s.V,
						Smoothing: smoothing, Grad: true, GradScale: 1})
				})
			})
		}
	}
}

func BenchmarkEmbed(b *testing.B) {
	c := newCPU(b, CPUOptions{})
	for _, s := range []struct{ n, C, V int }{{4096, 256, 8192}, {1024, 768, 50257}} {
		ids, pos := randomIndex(c, 1, s.n, s.V), randomIndex(c, 2, 2*s.n, 512)
		tokens, positions, out := randomBuf(c, 3, s.V*s.C, 1), randomBuf(c, 4, 512*s.C, 1), randomBuf(c, 5, s.n*s.C, 1)
		bytes := float64(4 * s.n * s.C)
		b.Run(fmt.Sprintf("%dx%d/forward", s.n, s.C), func(b *testing.B) {
			measure(b, 0, 3*bytes, func() { c.Embed(out, ids, pos, tokens, positions, Buf{}, s.n, s.C) })
		})
		b.Run(fmt.Sprintf("%dx%d/backward", s.n, s.C), func(b *testing.B) {
			measure(b, 0, 6*bytes, func() { c.EmbedBackward(tokens, positions, Buf{}, out, ids, pos, s.n, s.C) })
		})
		table := c.Alloc(F32, 512*64)
		c.Upload(table, RopeTable[float32](512, 64, 1, 1e4))
		b.Run(fmt.Sprintf("%dx%d/rope", s.n, s.C), func(b *testing.B) {
			measure(b, 0, 2*bytes, func() {
				c.Rope(Rope{X: out, Pos: pos, Table: table, N: s.n, LD: s.C, Heads: s.C / 64, D: 64, Axes: 1})
			})
		})
	}
}

func BenchmarkVector(b *testing.B) {
	c := newCPU(b, CPUOptions{})
	const n = 8192 * 256
	p, g, m, v := randomBuf(c, 1, n, 1), randomBuf(c, 2, n, 1), randomBuf(c, 3, n, 1), c.Alloc(F32, n)
	sum := c.Alloc(F64, 1)
	b.Run("adamw", func(b *testing.B) {
		measure(b, 0, 28*n, func() {
			c.AdamW(AdamW{P: p, G: g, M: m, V: v, Guard: sum, LR: 1e-3, B1: 0.9, B2: 0.95, Eps: 1e-8, Correction1: 1,
				Correction2: 1, GradScale: 1})
		})
	})
	b.Run("sumsquares", func(b *testing.B) { measure(b, 0, 4*n, func() { c.SumSquares(sum, 0, g, n, false) }) })
	b.Run("add", func(b *testing.B) { measure(b, 0, 12*n, func() { c.Add(m, g) }) })
	b.Run("dropout", func(b *testing.B) {
		measure(b, 0, 8*n, func() { c.Dropout(m, g, n/256, 256, Drop{P: 0.1, Seed: 1}) })
	})
	b.Run("softmax", func(b *testing.B) { measure(b, 0, 8*n, func() { c.MaskedSoftmax(m, v, g, Buf{}, n/256, 256) }) })
}
