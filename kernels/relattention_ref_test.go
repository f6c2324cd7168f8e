package kernels

import (
	"slices"
	"testing"
)

func init() {
	attentionCases = append(attentionCases,
		complianceCase{"RelativeAttention", 24, func(r *trial) { relativeCompliance(r, false) }},
		complianceCase{"RelativeAttentionBackward", 24, func(r *trial) { relativeCompliance(r, true) }})
}

// relativeCompliance draws a packed step as attentionCompliance does.
func relativeCompliance(r *trial, backward bool) {
	rows := r.pick(0, 1, 5, 33, 100)
	heads := [][2]int{{1, 1}, {2, 2}, {4, 2}, {3, 1}}[r.draw.IntN(4)]
	H, K, D, buckets := heads[0], heads[1], r.pick(4, 8, 20, 64), r.pick(4, 8, 32)
	if r.k == 0 { // more rows than share a partial gradient of the table
		rows, H, K, D = 2500, 1, 1, 4
	}
	a := RelativeAttention{Rows: rows, H: H, K: K, D: D, Segments: r.segments(rows), Buckets: 2*buckets - 1, Span: max(1, rows), Drop: r.dropout()}
	if r.k == 0 {
		a.Segments = nil
		for at := int32(0); at < int32(rows); at += 50 {
			a.Segments = append(a.Segments, Segment{Start: at, End: at + 50})
		}
	}
	if r.k%4 == 3 {
		a.Scale = 0.3125
	}
	if !backward && r.k%3 == 2 {
		a.From = r.draw.IntN(rows + 1)
	}
	a.QKV, a.Table = r.in(r.normals(rows*(H+2*K)*D)), r.in(r.normals(a.Buckets*(H+K)*D))
	a.Index = integers(r.b, RelativeIndex(a.Span, buckets, max(buckets+1, rows)))
	a.Out = r.variable(filled(rows*H*D, 7))
	if !backward {
		r.b.RelativeAttention(a)
		r.out("out", a.Out, rows*H*D, near, nil)
		return
	}
	dqkv, dtable := r.variable(filled(rows*(H+2*K)*D, 7)), r.fresh(a.Buckets*(H+K)*D)
	r.b.RelativeAttentionBackward(RelativeAttentionBackward{DQKV: dqkv, DTable: dtable, DOut: r.in(r.normals(rows * H * D)), QKV: a.QKV, Table: a.Table,
		Index: a.Index, Segments: a.Segments, Rows: rows, H: H, K: K, D: D, Buckets: a.Buckets, Span: a.Span, Scale: a.Scale, Drop: a.Drop})
	r.out("dqkv", dqkv, rows*(H+2*K)*D, near, nil)
	r.out("dtable", dtable, a.Buckets*(H+K)*D, near, nil)
}

func TestGradientsRelativeAttention(t *testing.T) {
	r := newTestTrial(ref64, 21)
	segments := []Segment{{Start: 0, End: 7, Mask: Causal}, {Start: 8, End: 9}, {Start: 9, End: 19}, {Start: 19, End: 25, Window: 2}}
	const rows, H, K, D, buckets, span = 25, 4, 2, 3, 4, 12
	for _, a := range []RelativeAttention{{}, {Scale: 0.25}, {Drop: Drop{P: 0.3, Seed: 8, Step: 1, Site: 2}}} {
		a.Segments, a.Rows, a.H, a.K, a.D, a.Buckets, a.Span = segments, rows, H, K, D, 2*buckets-1, span
		a.Index = HostBuf(RelativeIndex(span, buckets, span))
		qkv, table, u := r.normals(rows*(H+2*K)*D), r.normals(a.Buckets*(H+K)*D), r.normals(rows*H*D)
		b := RelativeAttentionBackward{DQKV: zeros64(len(qkv)), DTable: zeros64(len(table)), DOut: buf64(u), QKV: buf64(qkv), Table: buf64(table), Index: a.Index,
			Segments: segments, Rows: rows, H: H, K: K, D: D, Buckets: a.Buckets, Span: span, Scale: a.Scale, Drop: a.Drop}
		ref64.RelativeAttentionBackward(b)
		gradientCase{t, "relative attention", [][]float64{qkv, table}, func(in [][]float64) []float64 {
			f := a
			f.Out, f.QKV, f.Table = zeros64(rows*H*D), buf64(in[0]), buf64(in[1])
			ref64.RelativeAttention(f)
			return view64(f.Out)
		}, u, [][]float64{view64(b.DQKV), view64(b.DTable)}}.check()
	}
}

// With a table of zeros the op is plain attention at its own scale, dropout included.
func TestRelativeAttentionWithoutTableIsAttention(t *testing.T) {
	forEachBackend(t, "", func(t *testing.T, b Backend) {
		const rows, H, K, D = 40, 4, 2, 8
		r := newTestTrial(b, 3)
		segments := []Segment{{Start: 0, End: 17, Mask: Causal}, {Start: 17, End: 40, Window: 5}}
		qkv, drop := floats(b, r.normals(rows*(H+2*K)*D)), Drop{P: 0.2, Seed: 5, Step: 6, Site: 7}
		plain := Attention{Rows: rows, H: H, K: K, D: D, Segments: segments, QKV: qkv, Out: floats(b, make([]float64, rows*H*D)), Scale: 0.25, Drop: drop}
		b.Attention(plain)
		relative := RelativeAttention{Rows: rows, H: H, K: K, D: D, Segments: segments, QKV: qkv, Out: floats(b, make([]float64, rows*H*D)), Scale: 0.25, Drop: drop,
			Table: floats(b, make([]float64, 7*(H+K)*D)), Index: integers(b, RelativeIndex(40, 4, 40)), Buckets: 7, Span: 40}
		b.RelativeAttention(relative)
		newGoldenCheck(t, b, false).values("out", read(b, relative.Out), read(b, plain.Out), false)
	})
}

// Buckets of LTG-BERT (32 buckets, 512 tokens), worked out by hand: exact to 16, then 16 + ceil(15 ln(r/16)/ln(511/16)).
func TestRelativeIndex(t *testing.T) {
	index := RelativeIndex(600, 32, 512)
	for r, want := range map[int]int32{0: 31, 1: 32, -1: 30, 16: 47, -16: 15, 17: 48, 20: 48, 21: 49, -21: 13, 32: 51, 128: 57, 511: 62, 512: 62, -599: 0, 599: 62} {
		if got := index[r+599]; got != want {
			t.Errorf("distance %d is in bucket %d, want %d", r, got, want)
		}
	}
	if !slices.IsSorted(index) {
		t.Error("buckets do not grow with the distance")
	}
}

func TestRelativeAttentionRefuses(t *testing.T) {
	forEachBackend(t, "", func(t *testing.T, b Backend) {
		x, index := b.Alloc(b.Info().Compute, 24), integers(b, []int32{0, 1, 2, 9, 9})
		a := RelativeAttention{Out: x, QKV: x, Table: x, Index: index, Segments: []Segment{{End: 3}}, Rows: 3, H: 1, K: 1, D: 2, Buckets: 3, Span: 2}
		mustPanic(t, "RelativeAttention: segment 0 has 3 rows, more than Span = 2", func() { b.RelativeAttention(a) })
		a.Span = 3
		mustPanic(t, "RelativeAttention: Index[3] = 9", func() { b.RelativeAttention(a) })
		a.Buckets = 30
		mustPanic(t, "RelativeAttention: Table holds", func() { b.RelativeAttention(a) })
		mustPanic(t, "RelativeAttentionBackward: DTable holds", func() {
			b.RelativeAttentionBackward(RelativeAttentionBackward{DQKV: x, DTable: x.Slice(0, 2), DOut: x, QKV: x, Table: x, Index: index,
				Segments: []Segment{{End: 3}}, Rows: 3, H: 1, K: 1, D: 2, Buckets: 3, Span: 3})
		})
	})
}
