package kernels

import (
	"math"
	"testing"
)

type attentionCase struct {
	Name                 string
	Hq, Hkv, T, DH       int
	Kind                 string
	Valid                int
	Docs                 []int
	ExplicitMask         numbers `json:"explicit_mask"`
	Scale                float64
	Q, K, V, DOut        numbers
	Out, LSE, DQ, DK, DV numbers
}

// sees is the rule of attention.json.
func (c attentionCase) sees(i, j int) bool {
	return i < c.Valid && j < c.Valid && (c.Docs == nil || c.Docs[i] == c.Docs[j]) && (c.Kind != "causal" || j <= i) &&
		(c.ExplicitMask == nil || c.ExplicitMask[i*c.T+j] != 0)
}

// segments returns the case's documents as segments, and false where segments cannot say what it asks for.
func (c attentionCase) segments() ([]Segment, bool) {
	mask := Bidirectional
	if c.Kind == "causal" {
		mask = Causal
	}
	var segments []Segment
	seen := map[int]bool{}
	for i := range c.Valid {
		if i == 0 || c.Docs != nil && c.Docs[i] != c.Docs[i-1] {
			if c.Docs != nil {
				if seen[c.Docs[i]] {
					return nil, false
				}
				seen[c.Docs[i]] = true
			}
			segments = append(segments, Segment{Start: int32(i), Mask: mask})
		}
		segments[len(segments)-1].End = int32(i + 1)
	}
	return segments, c.ExplicitMask == nil
}

// kernelScale is the case's scale as the kernels take it, in float32, and what is left of it, which goes into the queries.
func (c attentionCase) kernelScale() (scale float32, rest float64) {
	scale = float32(c.Scale)
	return scale, c.Scale / float64(scale)
}

// times returns a product with a number; a factor of 1 changes no bit.
func times(values []float64, factor float64) []float64 {
	scaled := make([]float64, len(values))
	for i, v := range values {
		scaled[i] = v * factor
	}
	return scaled
}

// pack brings head-major vectors [heads, T, dh] into columns [at, at+heads*dh) of rows of width ld.
func pack(rows []float64, ld, at int, heads []float64, T, dh int) {
	for i, v := range heads {
		h, row, d := i/(T*dh), i/dh%T, i%dh
		rows[row*ld+at+h*dh+d] = v
	}
}

// unpack is the inverse of pack for a count of heads.
func unpack(rows []float64, ld, at, heads, T, dh int) []float64 {
	out := make([]float64, heads*T*dh)
	for i := range out {
		h, row, d := i/(T*dh), i/dh%T, i%dh
		out[i] = rows[row*ld+at+h*dh+d]
	}
	return out
}

func (c attentionCase) check(t *testing.T, b Backend, out, lse, dq, dk, dv []float64) {
	t.Helper()
	check := newGoldenCheck(t, b, false)
	check.values("out", out, c.Out, false)
	check.values("lse", lse, c.LSE, false)
	check.values("dq", dq, c.DQ, false)
	check.values("dk", dk, c.DK, false)
	check.values("dv", dv, c.DV, false)
	for i := range c.T {
		blind := true
		for j := range c.T {
			blind = blind && !c.sees(i, j)
		}
		for h := 0; blind && h < c.Hq; h++ {
			for d := range c.DH {
				if at := (h*c.T+i)*c.DH + d; out[at] != 0 || dq[at] != 0 {
					t.Errorf("row %d sees nothing, but out is %g and dq %g", i, out[at], dq[at])
				}
			}
		}
	}
}

func TestGoldenAttention(t *testing.T) {
	cases := readGolden[attentionCase](t, "attention")
	ran := 0
	for _, c := range cases {
		segments, ok := c.segments()
		if !ok {
			continue // segments cannot say it; TestGoldenAttentionUnfused runs every case
		}
		ran++
		H, K, T, D := c.Hq, c.Hkv, c.T, c.DH
		ld := (H + 2*K) * D
		qkv, dout := make([]float64, T*ld), make([]float64, T*H*D)
		scale, rest := c.kernelScale()
		pack(qkv, ld, 0, times(c.Q, rest), T, D)
		pack(qkv, ld, H*D, c.K, T, D)
		pack(qkv, ld, (H+K)*D, c.V, T, D)
		pack(dout, H*D, 0, c.DOut, T, D)
		forEachBackend(t, c.Name, func(t *testing.T, b Backend) {
			// Rows outside of segments are left alone, so these must still be here afterwards.
			out, lse := floats(b, make([]float64, T*H*D)), masters(b, filled(H*T, math.Inf(-1)))
			dqkv := floats(b, make([]float64, T*ld))
			a := Attention{Out: out, LSE: lse, QKV: floats(b, qkv), Segments: segments, Rows: T, H: H, K: K, D: D, Scale: scale}
			b.Attention(a)
			b.AttentionBackward(AttentionBackward{DQKV: dqkv, DOut: floats(b, dout), Out: out, LSE: lse, QKV: a.QKV,
				Segments: segments, Rows: T, H: H, K: K, D: D, Scale: scale})
			d := read(b, dqkv)
			c.check(t, b, unpack(read(b, out), H*D, 0, H, T, D), read(b, lse), times(unpack(d, ld, 0, H, T, D), rest),
				unpack(d, ld, H*D, K, T, D), unpack(d, ld, (H+K)*D, K, T, D))
		})
	}
	if ran == 0 {
		t.Error("no case could be said with segments")
	}
}

// The same through products and MaskedSoftmax, which is how masks run that segments cannot say.
func TestGoldenAttentionUnfused(t *testing.T) {
	for _, c := range readGolden[attentionCase](t, "attention") {
		T, D := c.T, c.DH
		mask := make([]uint8, T*T)
		for i := range mask {
			if c.sees(i/T, i%T) {
				mask[i] = 1
			}
		}
		head := func(x numbers, h int) []float64 { return x[h*T*D : (h+1)*T*D] }
		forEachBackend(t, c.Name, func(t *testing.T, b Backend) {
			var out, lse, dq, dk, dv []float64
			m := bytesOf(b, mask)
			for kv := range c.Hkv {
				k, v := floats(b, head(c.K, kv)), floats(b, head(c.V, kv))
				dK, dV := masters(b, make([]float64, T*D)), masters(b, make([]float64, T*D))
				for h := kv * c.Hq / c.Hkv; h < (kv+1)*c.Hq/c.Hkv; h++ {
					scaled := make([]float64, T*D) // the scale goes into q, where it is exact
					for i, x := range head(c.Q, h) {
						scaled[i] = x * c.Scale
					}
					q, do := floats(b, scaled), floats(b, head(c.DOut, h))
					p, dp, l := floats(b, make([]float64, T*T)), floats(b, make([]float64, T*T)), masters(b, make([]float64, T))
					o, dQ := floats(b, make([]float64, T*D)), floats(b, make([]float64, T*D))
					b.Linear(p, q, k, Buf{}, Buf{}, T, D, T, None)
					b.MaskedSoftmax(p, l, p, m, T, T)
					b.LinearBackwardInput(o, p, v, Buf{}, T, D, T, None, false)
					b.Linear(dp, do, v, Buf{}, Buf{}, T, D, T, None)
					b.LinearBackwardWeight(dV, Buf{}, p, do, T, D, T)
					b.MaskedSoftmaxBackward(dp, dp, p, T, T)
					b.LinearBackwardInput(dQ, dp, k, Buf{}, T, D, T, None, false)
					b.LinearBackwardWeight(dK, Buf{}, dp, q, T, D, T)
					out, lse = append(out, read(b, o)...), append(lse, read(b, l)...)
					for _, x := range read(b, dQ) {
						dq = append(dq, x*c.Scale)
					}
				}
				dk, dv = append(dk, read(b, dK)...), append(dv, read(b, dV)...)
			}
			c.check(t, b, out, lse, dq, dk, dv)
		})
	}
}

// The inputs that attention.json lists under "errors" are mistakes of the program and panic, saying which argument it is.
func TestGoldenAttentionErrors(t *testing.T) {
	b := NewRef64()
	qkv, out := b.Alloc(F64, 4*4*8), b.Alloc(F64, 4*4*4)
	good := Attention{Out: out, QKV: qkv, Segments: []Segment{{End: 4}}, Rows: 4, H: 2, K: 1, D: 4}
	b.Attention(good)
	for want, change := range map[string]func(*Attention){
		"H = 3 query heads, want a multiple of K = 2": func(a *Attention) { a.H, a.K, a.D = 3, 2, 2 },
		"QKV holds 128 elements":                      func(a *Attention) { a.D = 16 },
		"Out is float32, want float64":                func(a *Attention) { a.Out = b.Alloc(F32, 64) },
		"LSE holds 7 elements, want at least 8":       func(a *Attention) { a.LSE = b.Alloc(F64, 7) },
		"segment 0 is [0,5)":                          func(a *Attention) { a.Segments = []Segment{{End: 5}} },
		"segment 0 is [-1,3)":                         func(a *Attention) { a.Segments = []Segment{{Start: -1, End: 3}} },
		"From = 5":                                    func(a *Attention) { a.From = 5 },
	} {
		a := good
		change(&a)
		mustPanic(t, want, func() { b.Attention(a) })
	}
}
