package kernels

import (
	"fmt"
	"math"
	"testing"
)

// agree compares got with the oracle's want, with an absolute and a relative tolerance.
func agree(t *testing.T, name string, got, want []float32, tolerance float64) {
	t.Helper()
	for i := range want {
		g, w := float64(got[i]), float64(want[i])
		if math.IsNaN(g) != math.IsNaN(w) || math.Abs(g-w) > tolerance*(1+math.Abs(w)) {
			t.Errorf("%s[%d] is %g, want %g", name, i, g, w)
			return
		}
	}
}

// Products whose result and whose sum are cut, at sizes that are no multiples of anything, at every level.
func TestProductsInPieces(t *testing.T) {
	for _, s := range []struct{ n, in, out int }{{1, 700, 1500}, {129, 131, 257}, {70, 2100, 65}, {2100, 33, 70}} {
		for _, open := range cpuVariants() {
			c := open().(*cpu)
			name := fmt.Sprintf("%s %dx%dx%d", c.info.Name, s.n, s.in, s.out)
			x, w, dy := randomBuf(c, 1, s.n*s.in, 1), randomBuf(c, 2, s.out*s.in, 1), randomBuf(c, 3, s.n*s.out, 1)
			y, dx, dw := c.Alloc(F32, s.n*s.out), randomBuf(c, 4, s.n*s.in, 1), randomBuf(c, 5, s.out*s.in, 1)
			wantX, wantW := f32(dx)[s.in/2], f32(dw)[s.in/2]
			c.Linear(y, x, w, Buf{}, Buf{}, s.n, s.in, s.out, None)
			c.LinearBackwardInput(dx, dy, w, Buf{}, s.n, s.in, s.out, None, true)
			c.LinearBackwardWeight(dw, Buf{}, dy, x, s.n, s.in, s.out)
			scale := math.Sqrt(float64(max(s.n, s.in, s.out))) * 2e-6
			for i := range s.n { // one column of each, in float64
				var sum float64
				for j := range s.in {
					sum += float64(f32(x)[i*s.in+j]) * float64(f32(w)[(s.out-1)*s.in+j])
				}
				agree(t, name+" y", f32(y)[i*s.out+s.out-1:][:1], []float32{float32(sum)}, scale)
			}
			sumX, sumW := float64(wantX), float64(wantW)
			for o := range s.out {
				sumX += float64(f32(dy)[o]) * float64(f32(w)[o*s.in+s.in/2])
			}
			for i := range s.n {
				sumW += float64(f32(dy)[i*s.out]) * float64(f32(x)[i*s.in+s.in/2])
			}
			agree(t, name+" dx", f32(dx)[s.in/2:][:1], []float32{float32(sumX)}, scale)
			agree(t, name+" dw", f32(dw)[s.in/2:][:1], []float32{float32(sumW)}, scale)
			c.Close()
		}
	}
}

// Blocks cover the product whatever its shape.
func TestBlockSizes(t *testing.T) {
	for _, s := range [][3]int{{1, 1, 0}, {1, 1, 1}, {4096, 1024, 256}, {768, 256, 4096}, {512, 256, 8192},
		{1, 50257, 768}, {50257, 768, 1024}, {64, 64, 1 << 20}} {
		m, n, k := blockSize(s[0], s[1], s[2])
		if m < 1 || n < 1 || m > s[0] || n > s[1] || k > s[2] || k < 1 && s[2] > 0 {
			t.Errorf("%v: blocks of %dx%dx%d", s, m, n, k)
		}
	}
}

// Segments of more than a tile, more than an item's queries and more than an item's keys, against the oracle.
func TestAttentionInPieces(t *testing.T) {
	const H, K, D, n = 2, 1, 20, 640
	for _, segments := range [][]Segment{
		{{Start: 1, End: 601, Mask: Causal}},
		{{Start: 0, End: 300}, {Start: 300, End: 301}, {Start: 301, End: 640, Window: 70}},
		{{Start: 10, End: 640, Mask: Causal, Window: 100}},
	} {
		for _, p := range []float32{0, 0.3} {
			host := NewRef32()
			a := Attention{Out: host.Alloc(F32, n*H*D), LSE: host.Alloc(F32, H*n), QKV: randomBuf(host, 1, n*(H+2*K)*D, 1),
				Segments: segments, Rows: n, H: H, K: K, D: D, Drop: Drop{P: p, Seed: 1 << 40, Step: 7, Site: 9}}
			b := AttentionBackward{DQKV: host.Alloc(F32, a.QKV.Len()), DOut: randomBuf(host, 2, n*H*D, 1), Out: a.Out, LSE: a.LSE,
				QKV: a.QKV, Segments: segments, Rows: n, H: H, K: K, D: D, Drop: a.Drop}
			host.Attention(a)
			host.AttentionBackward(b)
			out, lse, dqkv := f32(a.Out), f32(a.LSE), f32(b.DQKV)
			for _, open := range cpuVariants() {
				c := open().(*cpu)
				a.Out, a.LSE, b.DQKV = c.Alloc(F32, len(out)), c.Alloc(F32, len(lse)), c.Alloc(F32, len(dqkv))
				b.Out, b.LSE = a.Out, a.LSE
				c.Attention(a)
				c.AttentionBackward(b)
				name := fmt.Sprintf("%s %v drop %g", c.info.Name, segments, p)
				agree(t, name+" out", f32(a.Out), out, 1e-5)
				agree(t, name+" lse", f32(a.LSE), lse, 1e-5)
				agree(t, name+" dqkv", f32(b.DQKV), dqkv, 2e-5)
				c.Close()
			}
		}
	}
}

// e^x of the C kernels, seen through a softmax of two scores: within rounding everywhere, 0 at the far end, never wrong for
// what is not finite.
func TestExponential(t *testing.T) {
	for _, open := range cpuVariants() {
		c := open().(*cpu)
		name := c.info.Name
		const n = 4000
		scores := make([]float32, 2*n)
		for i := range n {
			scores[2*i+1] = -float32(i) * 110 / n
		}
		p, lse := c.Alloc(F32, 2*n), c.Alloc(F32, n)
		c.MaskedSoftmax(p, lse, HostBuf(scores), Buf{}, n, 2)
		for i := range n {
			want := math.Exp(float64(scores[2*i+1]))
			got := float64(f32(p)[2*i+1]) / float64(f32(p)[2*i])
			if math.Abs(got-want) > 4*0x1p-24*want+0x1p-149 {
				t.Fatalf("%s: e^%g is %g, want %g", name, scores[2*i+1], got, want)
			}
		}
		inf, nan := float32(math.Inf(1)), float32(math.NaN())
		c.MaskedSoftmax(p, lse, HostBuf([]float32{0, -inf, 1, nan, -inf, -inf, 3, inf}), Buf{}, 4, 2)
		got := f32(p)
		if got[0] != 1 || got[1] != 0 || got[3] == got[3] || got[4] != 0 || got[5] != 0 || got[7] == got[7] {
			t.Errorf("%s: softmax of values that are not finite: %v", name, got[:8])
		}
		c.Close()
	}
}

// What is not finite must reach the loss, or the guard of the optimiser could not see it.
func TestNaNReachesTheLoss(t *testing.T) {
	for _, open := range cpuVariants() {
		c := open().(*cpu)
		const n, C, V = 3, 40, 70
		for _, bad := range []float64{math.NaN(), math.Inf(1)} {
			x, y, w := randomBuf(c, 1, n*C, 1), c.Alloc(F32, n*C), randomBuf(c, 2, V*C, 1)
			f32(x)[C+3] = float32(bad)
			c.AddNorm(AddNorm{Y: y, X: x, N: n, C: C, Kind: LayerNorm, Eps: 1e-5})
			c.ActivationForward(y, y, n*C, GELUErf)
			a := Attention{Out: c.Alloc(F32, n*C), QKV: c.Alloc(F32, n*3*C), Segments: []Segment{{Start: 1, End: 3}}, Rows: n,
				H: 1, K: 1, D: C}
			for i := range n {
				for part := range 3 {
					copy(f32(a.QKV)[(3*i+part)*C:], f32(y)[i*C:(i+1)*C])
				}
			}
			c.Attention(a)
			logits, loss := c.Alloc(F32, n*V), c.Alloc(F32, n)
			c.Linear(logits, a.Out, w, Buf{}, Buf{}, n, C, V, None)
			c.CrossEntropy(CrossEntropy{Logits: logits, Targets: HostBuf([]int32{1, 2, 3}), Loss: loss, R: n, V: V, Grad: true,
				GradScale: 1})
			l := f32(loss)
			if l[0] != l[0] || l[1] == l[1] || l[2] == l[2] {
				t.Errorf("%s: losses %v after %g in row 1, want NaN in rows 1 and 2 alone", c.info.Name, l, bad)
			}
			guard := c.Alloc(F64, 1)
			c.SumSquares(guard, 0, logits, n*V, false)
			before := append([]float32(nil), f32(w)...)
			c.AdamW(AdamW{P: w, G: c.Alloc(F32, V*C), M: c.Alloc(F32, V*C), V: c.Alloc(F32, V*C), Guard: guard, LR: 1, Eps: 1e-8,
				Decay: 1, Correction1: 1, Correction2: 1, GradScale: 1})
			agree(t, c.info.Name+" parameters behind the guard", f32(w), before, 0)
		}
		c.Close()
	}
}
