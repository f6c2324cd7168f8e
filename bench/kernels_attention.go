package bench

import (
	"fmt"

	"palimpsest/kernels"
)

// attentionCase is attention over segments of one length, forward or backward.
type attentionCase struct {
	Segments int     `json:"segments"`
	Length   int     `json:"length"`
	Heads    int     `json:"heads"`
	KV       int     `json:"kv_heads"`
	Width    int     `json:"width"`
	Causal   bool    `json:"causal"`
	Window   int     `json:"window"`
	Dropout  float32 `json:"dropout"`
	Backward bool    `json:"backward"`
}

func (a attentionCase) op() string { return "attention" + direction(a.Backward) }

func direction(backward bool) string {
	if backward {
		return "_backward"
	}
	return "_forward"
}

func (a attentionCase) shape() string {
	s := fmt.Sprintf("%d x %d tokens, H %d, D %d", a.Segments, a.Length, a.Heads, a.Width)
	if a.KV != a.Heads {
		s = fmt.Sprintf("%d x %d tokens, H %d, K %d, D %d", a.Segments, a.Length, a.Heads, a.KV, a.Width)
	}
	switch {
	case a.Causal:
		s += ", causal"
	case a.Window > 0:
		s += fmt.Sprintf(", window %d", a.Window)
	default:
		s += ", full"
	}
	if a.Dropout > 0 {
		s += fmt.Sprintf(", dropout %g", a.Dropout)
	}
	return s
}

// pairs of a query and a key in one segment and head: a causal segment counts half of n^2, a windowed one what it sees.
func (a attentionCase) pairs() float64 {
	n := float64(a.Length)
	switch {
	case a.Window > 0 && a.Window < a.Length:
		w := float64(a.Window)
		side := n*w - w*(w+1)/2 // pairs up to w rows before
		if a.Causal {
			return n + side
		}
		return n + 2*side
	case a.Causal:
		return n * n / 2
	}
	return n * n
}

// flops: 4 D a pair and head forward, 2.5 times that backward: the rule of FlashAttention's benchmarks.
func (a attentionCase) flops() float64 {
	f := 4 * float64(a.Width) * a.pairs() * float64(a.Heads) * float64(a.Segments)
	if a.Backward {
		return 2.5 * f
	}
	return f
}

func (a attentionCase) bytes(s sizes) float64 {
	rows := float64(a.Segments * a.Length)
	qkv, out, lse := rows*float64((a.Heads+2*a.KV)*a.Width)*s.compute, rows*float64(a.Heads*a.Width)*s.compute, rows*float64(a.Heads)*s.master
	if a.Backward {
		return 2*qkv + 2*out + lse
	}
	return qkv + out + lse
}

func (a attentionCase) small() kernel {
	group := a.Heads / a.KV
	a.Segments, a.Length, a.KV, a.Heads = 2, min(a.Length, 97), 1, min(group, 4)
	if group == 1 {
		a.KV, a.Heads = 2, 2
	}
	a.Window = min(a.Window, 24)
	return a
}

func (a attentionCase) segments() (list []kernels.Segment) {
	mask := kernels.Bidirectional
	if a.Causal {
		mask = kernels.Causal
	}
	for i := range a.Segments {
		list = append(list, kernels.Segment{Start: int32(i * a.Length), End: int32((i + 1) * a.Length), Mask: mask, Window: int32(a.Window)})
	}
	return list
}

func (a attentionCase) build(m *maker, b kernels.Backend) func() {
	rows := a.Segments * a.Length
	f := kernels.Attention{QKV: m.in(rows * (a.Heads + 2*a.KV) * a.Width), Segments: a.segments(), Rows: rows, H: a.Heads, K: a.KV, D: a.Width,
		Drop: kernels.Drop{P: a.Dropout, Seed: 3, Step: 1}}
	f.Out, f.LSE = m.fresh("out", rows*a.Heads*a.Width, 0), m.freshMaster("lse", rows*a.Heads, 0)
	if !a.Backward {
		return func() { b.Attention(f) }
	}
	g := kernels.AttentionBackward{DQKV: m.fresh("dqkv", rows*(a.Heads+2*a.KV)*a.Width, 0), DOut: m.in(rows * a.Heads * a.Width), Out: f.Out, LSE: f.LSE,
		QKV: f.QKV, Segments: f.Segments, Rows: rows, H: f.H, K: f.K, D: f.D, Drop: f.Drop}
	m.first(func() { b.Attention(f) })
	return func() { b.AttentionBackward(g) }
}

// relativeCase is attention with terms of relative position, LTG-BERT's.
type relativeCase struct {
	Segments int  `json:"segments"`
	Length   int  `json:"length"`
	Heads    int  `json:"heads"`
	Width    int  `json:"width"`
	Buckets  int  `json:"buckets"` // on either side
	Backward bool `json:"backward"`
}

func (a relativeCase) op() string { return "relative_attention" + direction(a.Backward) }
func (a relativeCase) shape() string {
	return fmt.Sprintf("%d x %d tokens, H %d, D %d, %d buckets", a.Segments, a.Length, a.Heads, a.Width, 2*a.Buckets-1)
}

// flops: attention's, and 2 D a query and bucket and 2 D a key and bucket for the terms of position; 2.5 times backward.
func (a relativeCase) flops() float64 {
	n, d := float64(a.Length), float64(a.Width)
	f := float64(a.Heads*a.Segments) * (4*d*n*n + 4*d*n*float64(2*a.Buckets-1))
	if a.Backward {
		return 2.5 * f
	}
	return f
}

func (a relativeCase) bytes(s sizes) float64 {
	rows, table := float64(a.Segments*a.Length), float64((2*a.Buckets-1)*2*a.Heads*a.Width)
	qkv, out := rows*float64(3*a.Heads*a.Width)*s.compute, rows*float64(a.Heads*a.Width)*s.compute
	if a.Backward {
		return 2*qkv + out + 2*table*s.compute
	}
	return qkv + out + table*s.compute
}

func (a relativeCase) small() kernel {
	a.Segments, a.Length, a.Heads, a.Buckets = 2, min(a.Length, 70), 2, 8
	return a
}

func (a relativeCase) build(m *maker, b kernels.Backend) func() {
	rows, buckets := a.Segments*a.Length, 2*a.Buckets-1
	f := kernels.RelativeAttention{QKV: m.in(rows * 3 * a.Heads * a.Width), Table: m.in(buckets * 2 * a.Heads * a.Width),
		Index:    m.list(kernels.RelativeIndex(a.Length, a.Buckets, max(a.Length, 2*a.Buckets))),
		Segments: attentionCase{Segments: a.Segments, Length: a.Length}.segments(), Rows: rows, H: a.Heads, K: a.Heads, D: a.Width, Buckets: buckets, Span: a.Length}
	if !a.Backward {
		f.Out = m.fresh("out", rows*a.Heads*a.Width, 0)
		return func() { b.RelativeAttention(f) }
	}
	g := kernels.RelativeAttentionBackward{DQKV: m.fresh("dqkv", rows*3*a.Heads*a.Width, 0), DTable: m.fresh("dtable", buckets*2*a.Heads*a.Width, 0),
		DOut: m.in(rows * a.Heads * a.Width), QKV: f.QKV, Table: f.Table, Index: f.Index, Segments: f.Segments, Rows: rows, H: f.H, K: f.K, D: f.D,
		Buckets: buckets, Span: a.Length}
	return func() { b.RelativeAttentionBackward(g) }
}

// softmaxCase is the masked softmax of rows.
type softmaxCase struct {
	Rows     int  `json:"rows"`
	Columns  int  `json:"columns"`
	Backward bool `json:"backward"`
}

func (a softmaxCase) op() string     { return "masked_softmax" + direction(a.Backward) }
func (a softmaxCase) shape() string  { return fmt.Sprintf("%d rows of %d", a.Rows, a.Columns) }
func (a softmaxCase) flops() float64 { return 0 }

func (a softmaxCase) bytes(s sizes) float64 {
	n := float64(a.Rows * a.Columns)
	if a.Backward {
		return 3 * n * s.compute
	}
	return 2*n*s.compute + n + float64(a.Rows)*s.master
}

func (a softmaxCase) small() kernel { a.Rows = min(a.Rows, 9); return a }

func (a softmaxCase) build(m *maker, b kernels.Backend) func() {
	n := a.Rows * a.Columns
	x := m.in(n)
	if a.Backward {
		p, ds := m.in(n), m.fresh("dscores", n, float64(a.Columns))
		return func() { b.MaskedSoftmaxBackward(ds, x, p, a.Rows, a.Columns) }
	}
	mask, p, lse := m.flags(n), m.fresh("p", n, 0), m.freshMaster("lse", a.Rows, 0)
	return func() { b.MaskedSoftmax(p, lse, x, mask, a.Rows, a.Columns) }
}
