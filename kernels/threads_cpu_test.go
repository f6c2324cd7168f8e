package kernels

import (
	"fmt"
	"hash/fnv"
	"math"
	"testing"

	"palimpsest/kernels/philox"
)

// A digest collects the bits of buffers under names.
type digest struct{ lines []string }

func (d *digest) note(name string, bufs ...Buf) {
	h := fnv.New64a()
	for _, b := range bufs {
		if b.Type() == F64 {
			for _, v := range View[float64](b) {
				fmt.Fprintf(h, "%x", math.Float64bits(v))
			}
			continue
		}
		var word [4]byte
		for _, v := range f32(b) {
			u := math.Float32bits(v)
			word = [4]byte{byte(u), byte(u >> 8), byte(u >> 16), byte(u >> 24)}
			h.Write(word[:])
		}
	}
	d.lines = append(d.lines, fmt.Sprintf("%s %x", name, h.Sum64()))
}

// everyOp runs every op on shapes that are cut into several pieces and returns the digests of what they wrote.
func everyOp(c *cpu) []string {
	d := &digest{}
	item := uint64(0)
	random := func(n int) Buf { item++; return randomBuf(c, item, n, 1) }
	zeros := func(n int) Buf { return c.Alloc(F32, n) }
	const n, C, out, V = 300, 256, 320, 500
	ids, pos := randomIndex(c, 1, n, 40), randomIndex(c, 2, 2*n, 30)
	drop := Drop{P: 0.2, Seed: 3, Step: 4, Site: 5}

	x, y, tokens, positions := random(n*C), zeros(n*C), random(40*C), random(30*C)
	c.Embed(y, ids, pos, tokens, positions, Buf{}, n, C)
	c.EmbedBackward(tokens, positions, Buf{}, x, ids, pos, n, C)
	d.note("embed", y, tokens, positions)

	sum, mean, rstd, gain, bias := zeros(n*C), zeros(n), zeros(n), random(C), random(C)
	c.AddNorm(AddNorm{Y: y, Sum: sum, X: x, Delta: random(n * C), Gain: gain, Bias: bias, Mean: mean, Rstd: rstd,
		N: n, C: C, Kind: LayerNorm, Eps: 1e-5, Drop: drop})
	dgain, dbias, dsum := zeros(C), zeros(C), zeros(n*C)
	c.NormBackward(NormBackward{DSum: dsum, DGain: dgain, DBias: dbias, DY: x, Sum: sum, Gain: gain, Mean: mean, Rstd: rstd,
		N: n, C: C, Kind: LayerNorm})
	d.note("norm", y, sum, mean, rstd, dsum, dgain, dbias)

	w, b, pre, z, dw, db := random(out*C), random(out), zeros(n*out), zeros(n*out), zeros(out*C), zeros(out)
	c.Linear(z, x, w, b, pre, n, C, out, GELUErf)
	c.LinearBackwardInput(dsum, z, w, x, n, C, out, SiLU, false)
	c.LinearBackwardWeight(dw, db, z, x, n, C, out)
	d.note("linear", z, pre, dsum, dw, db)
	long, short := random(1100*32), zeros(32*16)
	c.LinearBackwardWeight(short, Buf{}, long, random(1100*16), 1100, 16, 32)
	d.note("long sum", short)

	c.ActivationForward(y, x, n*C, GELUTanh)
	c.ActivationBackward(dsum, y, x, n*C, GELUErf)
	gated, dgated := zeros(n*C/2), zeros(n*C)
	c.Gated(gated, x, x.Slice(C/2, n*C), n, C/2, C, SiLU)
	c.GatedBackward(dgated, dgated.Slice(C/2, n*C), gated, x, x.Slice(C/2, n*C), n, C/2, C, SiLU)
	d.note("activation", y, dsum, gated, dgated)

	table := zeros(30 * 16)
	c.Upload(table, RopeTable[float32](30, 16, 1, 1e4))
	c.Rope(Rope{X: y, Pos: pos, Table: table, N: n, LD: C, Heads: C / 16, D: 16, Axes: 1})
	d.note("rope", y)

	const H, K, D = 4, 2, 16
	a := Attention{Out: zeros(n * H * D), LSE: zeros(H * n), QKV: random(n * (H + 2*K) * D), Rows: n, H: H, K: K, D: D,
		Drop: drop, Segments: []Segment{{Start: 0, End: 150, Mask: Causal}, {Start: 150, End: 155}, {Start: 155, End: 299, Window: 20}}}
	c.Attention(a)
	dqkv := zeros(a.QKV.Len())
	c.AttentionBackward(AttentionBackward{DQKV: dqkv, DOut: random(a.Out.Len()), Out: a.Out, LSE: a.LSE, QKV: a.QKV,
		Segments: a.Segments, Rows: n, H: H, K: K, D: D, Drop: drop})
	d.note("attention", a.Out, a.LSE, dqkv)

	p, lse, dp := zeros(n*C), zeros(n), zeros(n*C)
	c.MaskedSoftmax(p, lse, x, Buf{}, n, C)
	c.MaskedSoftmaxBackward(dp, x, p, n, C)
	d.note("softmax", p, lse, dp)

	rows := randomIndex(c, 3, n, n)
	c.GatherRows(y, x, rows, n, C)
	c.ScatterAddRows(dsum, y, rows, n, C)
	d.note("rows", y, dsum)

	logits, loss := random(n*V), zeros(n)
	c.CrossEntropy(CrossEntropy{Logits: logits, Targets: randomIndex(c, 4, n, V), Loss: loss, R: n, V: V, Smoothing: 0.1,
		Grad: true, GradScale: 0.5})
	d.note("cross-entropy", logits, loss)

	noteAlignment(c, d)

	total := c.Alloc(F64, 2)
	c.Dropout(y, x, n, C, drop)
	c.Add(y, x)
	c.Sum(total, 0, y, n*C, false)
	c.SumSquares(total, 1, y, n*C, false)
	d.note("dropout and sums", y, total)

	m, v := zeros(n*C), zeros(n*C)
	c.AdamW(AdamW{P: x, G: y, M: m, V: v, Copy: dsum, Guard: total, LR: 0.1, B1: 0.9, B2: 0.95, Eps: 1e-8, Decay: 0.1,
		Correction1: 0.1, Correction2: 0.05, GradScale: 1, Clip: 1})
	d.note("adamw", x, m, v, dsum)
	return d.lines
}

// Work is split by shape, so the number of threads changes no bit, and neither does a second run.
func TestThreadsChangeNoBit(t *testing.T) {
	libraries := []string{"builtin"}
	if haveOpenBLAS() {
		libraries = append(libraries, "openblas")
	}
	for _, blas := range libraries {
		want := everyOp(newCPU(t, CPUOptions{Threads: 1, BLAS: blas}))
		for _, threads := range []int{1, 2, 3} {
			got := everyOp(newCPU(t, CPUOptions{Threads: threads, BLAS: blas}))
			for i := range want {
				if got[i] != want[i] {
					t.Errorf("BLAS %s, %d threads: %s, with one %s", blas, threads, got[i], want[i])
				}
			}
		}
	}
}

// randomBuf returns n normal numbers times scale.
func randomBuf(b Backend, item uint64, n int, scale float64) Buf {
	d := philox.New(1, philox.StreamTest, item, 0)
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(d.Normal() * scale)
	}
	buf := b.Alloc(F32, n)
	b.Upload(buf, x)
	return buf
}

// randomIndex returns n numbers in [0,bound).
func randomIndex(b Backend, item uint64, n, bound int) Buf {
	d := philox.New(1, philox.StreamTest, item, 1)
	x := make([]int32, n)
	for i := range x {
		x[i] = int32(d.IntN(bound))
	}
	buf := b.Alloc(I32, n)
	b.Upload(buf, x)
	return buf
}
