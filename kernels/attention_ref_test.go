package kernels

import (
	"math"
	"testing"
)

var attentionCases = []complianceCase{
	{"Attention", 40, func(r *trial) { attentionCompliance(r, false) }},
	{"AttentionBackward", 40, func(r *trial) { attentionCompliance(r, true) }},
	{"AttentionDropMask", 6, attentionDropMask},
	{"MaskedSoftmax", 20, func(r *trial) {
		R, C := r.pick(0, 1, 4, 33), r.pick(1, 2, 7, 64, 129, 513)
		scores, keep := r.normals(R*C), make([]uint8, R*C)
		share := r.pick(1, 2, 8) // one of share entries is masked
		for i := range scores {
			if r.k%4 == 3 {
				scores[i] *= 16
			}
			if r.draw.IntN(share) > 0 {
				keep[i] = 1
			}
			if r.draw.IntN(16) == 0 {
				scores[i] = math.Inf(-1)
			}
		}
		if R > 2 {
			clear(keep[C : 2*C])
		}
		p, in, lse, mask := Buf{}, Buf{}, r.freshMaster(R), Buf{}
		if r.k%3 != 2 {
			mask = bytesOf(r.b, keep)
		}
		if r.coin() {
			p = r.variable(scores)
			in = p
		} else {
			p, in = r.fresh(R*C), r.in(scores)
		}
		r.b.MaskedSoftmax(p, lse, in, mask, R, C)
		r.out("p", p, R*C, zerosExact, filled(R*C, max(1, largest(scores))))
		r.out("lse", lse, R, near, nil)
	}},
	{"MaskedSoftmaxBackward", 12, func(r *trial) {
		R, C := r.pick(0, 1, 4, 33), r.pick(1, 2, 7, 64, 513)
		p, dp, ds := make([]float64, R*C), r.normals(R*C), Buf{}
		for i := range p { // rows that sum to about 1, with zeros, exact in float32
			if r.draw.IntN(3) > 0 {
				p[i] = float64(float32(2 * r.draw.Float64() / float64(C)))
			}
		}
		if r.coin() {
			ds = r.variable(dp)
			r.b.MaskedSoftmaxBackward(ds, ds, r.in(p), R, C)
		} else {
			ds = r.fresh(R * C)
			r.b.MaskedSoftmaxBackward(ds, r.in(dp), r.in(p), R, C)
		}
		r.out("dscores", ds, R*C, zerosExact, nil)
	}},
}

// segments cuts rows into segments with gaps, of mixed masks and windows; every seventh trial has one over all rows.
func (r *trial) segments(rows int) []Segment {
	segment := func(start, end int) Segment {
		return Segment{Start: int32(start), End: int32(end), Mask: Mask(r.draw.IntN(2)), Window: int32(r.pick(0, 0, 1, 5, 40))}
	}
	if r.k%7 == 0 {
		return []Segment{segment(0, rows)}
	}
	var s []Segment
	for at := r.pick(0, 0, 3); at < rows; {
		end := min(rows, at+r.pick(1, 1, 2, 7, 17, 40, 65))
		s = append(s, segment(at, end))
		at = end + r.pick(0, 0, 0, 2)
	}
	if r.coin() { // order does not matter
		r.draw.Permute(len(s), func(i, j int) { s[i], s[j] = s[j], s[i] })
	}
	return s
}

// attentionCompliance draws a packed step. The rows outside of segments, and those before From, keep what they held.
func attentionCompliance(r *trial, backward bool) {
	rows := r.pick(0, 1, 5, 33, 100)
	heads := [][2]int{{1, 1}, {2, 2}, {4, 2}, {6, 2}, {3, 1}}[r.draw.IntN(5)]
	H, K, D := heads[0], heads[1], r.pick(4, 8, 20, 64, 128)
	if r.k == 0 { // longer than the blocks of fast paths
		rows, H, K, D = 300, 2, 1, 64
	}
	a := Attention{Rows: rows, H: H, K: K, D: D, Segments: r.segments(rows), Drop: r.dropout()}
	if r.k%4 == 3 {
		a.Scale = 0.3125
	}
	if !backward && r.k%3 == 2 {
		a.From = r.draw.IntN(rows + 1)
	}
	a.QKV = r.in(r.normals(rows * (H + 2*K) * D))
	a.Out = r.variable(filled(rows*H*D, 7))
	if backward || r.coin() {
		a.LSE = r.master(filled(rows*H, 7))
	}
	r.b.Attention(a)
	r.out("out", a.Out, rows*H*D, near, nil)
	r.out("lse", a.LSE, rows*H, near, nil)
	if !backward {
		return
	}
	dqkv := r.variable(filled(rows*(H+2*K)*D, 7))
	r.b.AttentionBackward(AttentionBackward{DQKV: dqkv, DOut: r.in(r.normals(rows * H * D)), Out: a.Out, LSE: a.LSE, QKV: a.QKV,
		Segments: a.Segments, Rows: rows, H: H, K: K, D: D, Scale: a.Scale, Drop: a.Drop})
	r.out("dqkv", dqkv, rows*(H+2*K)*D, near, nil)
}

// attentionDropMask makes the masks of dropout visible: with q = 0 probabilities are equal, with v the identity column j
// of out is the probability of key j, and with dout the identity column i of dv is that of query i.
func attentionDropMask(r *trial) {
	const D, H = 64, 3
	rows, start := 70, r.pick(0, 3, 6)
	s := Segment{Start: int32(start), End: int32(start + D), Mask: Mask(r.k % 2)}
	ld := 3 * H * D
	qkv, dout := make([]float64, rows*ld), make([]float64, rows*H*D)
	for h := range H {
		for i := range D {
			qkv[(start+i)*ld+(2*H+h)*D+i] = 1
			dout[(start+i)*H*D+h*D+i] = 1
		}
	}
	a := Attention{Rows: rows, H: H, K: H, D: D, Segments: []Segment{s},
		Drop: Drop{P: 0.3, Seed: r.draw.Uint64(), Step: r.draw.Uint32(), Site: uint16(r.draw.Uint32())}}
	a.QKV, a.Out, a.LSE = r.in(qkv), r.variable(filled(rows*H*D, 7)), r.master(filled(rows*H, 7))
	r.b.Attention(a)
	r.out("out", a.Out, rows*H*D, zerosExact, nil)
	dqkv := r.variable(filled(rows*ld, 7))
	r.b.AttentionBackward(AttentionBackward{DQKV: dqkv, DOut: r.in(dout), Out: a.Out, LSE: a.LSE, QKV: a.QKV, Segments: a.Segments,
		Rows: rows, H: H, K: H, D: D, Drop: a.Drop})
	for i := start; i < start+D; i++ {
		r.out("dv", dqkv.Slice(i*ld+2*H*D, (i+1)*ld), H*D, zerosExact, nil)
	}
}

// Tokens of one segment must not feel those of another, and the result of a row must not depend on what else is packed.
func TestAttentionSegmentsAreIsolated(t *testing.T) {
	forEachBackend(t, "", func(t *testing.T, b Backend) {
		const rows, H, K, D = 40, 2, 1, 8
		r := newTestTrial(b, 1)
		v := r.normals(rows * (H + 2*K) * D)
		run := func(qkv []float64, segments ...Segment) []float64 {
			a := Attention{Rows: rows, H: H, K: K, D: D, Segments: segments, QKV: floats(b, qkv),
				Out: floats(b, make([]float64, rows*H*D))}
			b.Attention(a)
			return read(b, a.Out)
		}
		first, second := Segment{Start: 0, End: 17, Mask: Causal}, Segment{Start: 17, End: 40}
		both, alone := run(v, first, second), run(v, second)
		for i := range v[:17*(H+2*K)*D] {
			v[i] = -v[i]
		}
		other := run(v, first, second)
		for i := 17 * H * D; i < rows*H*D; i++ {
			if both[i] != alone[i] || both[i] != other[i] {
				t.Fatalf("element %d: %g with the first segment, %g without, %g with another first segment", i, both[i], alone[i], other[i])
			}
		}
	})
}

// Decoding: the last query computed alone, with From, equals the same row of the whole.
func TestAttentionFromEqualsWhole(t *testing.T) {
	forEachBackend(t, "", func(t *testing.T, b Backend) {
		const rows, H, K, D = 23, 4, 2, 8
		r := newTestTrial(b, 2)
		a := Attention{Rows: rows, H: H, K: K, D: D, Segments: []Segment{{End: rows, Mask: Causal}},
			QKV: floats(b, r.normals(rows*(H+2*K)*D))}
		a.Out = floats(b, make([]float64, rows*H*D))
		b.Attention(a)
		whole := read(b, a.Out)
		a.From, a.Out = rows-1, floats(b, make([]float64, rows*H*D))
		b.Attention(a)
		newGoldenCheck(t, b, false).values("last row", read(b, a.Out)[(rows-1)*H*D:], whole[(rows-1)*H*D:], false)
		if first := largest(read(b, a.Out)[:(rows-1)*H*D]); first != 0 {
			t.Errorf("a row before From was written: %g", first)
		}
	})
}
