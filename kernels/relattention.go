package kernels

import "math"

// RelativeAttention is attention whose scores know the distance of query and key, by content-to-position and
// position-to-content terms of bucketed distances (DeBERTa, arXiv 2006.03654; LTG-BERT, arXiv 2303.09859):
//
//	score_ij = Scale * ( q_i.k_j + q_i.kp[b] + k_j.qp[b] ),  b = Index[i-j + Span-1]
//
// QKV, Out, Segments, H, K, D, From and Drop are as in Attention. Table is [Buckets, (H+K)*D], a row being the H position
// queries qp and the K position keys kp of one bucket. Index is int32 [2*Span-1]; no segment may be longer than Span.
// Scale 0 means 1/sqrt(3D), as three products are added up.
//
// It is not fused: the scores of a segment and head lie in memory, [n,n], and the backward pass computes them again. Against
// Attention that is 2*n*Buckets*D more multiply-adds a head (forward) and a gather of two more numbers a score.
type RelativeAttention struct {
	Out, QKV, Table, Index Buf
	Segments               []Segment
	Rows                   int
	H, K, D                int
	Buckets, Span          int
	From                   int
	Scale                  float32
	Drop                   Drop
}

// RelativeAttentionBackward writes DQKV [rows, (H+2K)*D] for the rows of all segments from DOut [rows, H*D] and what
// RelativeAttention read, and writes the gradient of the table to DTable [Buckets, (H+K)*D].
type RelativeAttentionBackward struct {
	DQKV, DTable, DOut, QKV, Table, Index Buf
	Segments                              []Segment
	Rows                                  int
	H, K, D                               int
	Buckets, Span                         int
	Scale                                 float32
	Drop                                  Drop
}

// RelativeIndex returns the buckets of the distances -(span-1)..span-1 as RelativeAttention reads them: with half =
// buckets/2 and r = query - key,
//
//	b(r) = r                                                              |r| <= half
//	b(r) = sign(r)*(half + ceil( ln(|r|/half)/ln((distance-1)/half) * (half-1) ))   |r| capped at distance-1
//
// plus buckets-1, so that they count from 0 to 2*buckets-2 (LTG-BERT, with buckets = 32 and distance = 512).
func RelativeIndex(span, buckets, distance int) []int32 {
	half := buckets / 2
	index := make([]int32, 2*span-1)
	for i := range index {
		r := i - (span - 1)
		b := r
		if far := min(max(r, -r), distance-1); far > half {
			b = half + int(math.Ceil(math.Log(float64(far)/float64(half))/math.Log(float64(distance-1)/float64(half))*float64(half-1)))
			if b = min(b, buckets-1); r < 0 {
				b = -b
			}
		}
		index[i] = int32(b + buckets - 1)
	}
	return index
}

// relativeScale returns what scores are multiplied by.
func relativeScale(scale float32, D int) float64 {
	if scale == 0 {
		return 1 / math.Sqrt(3*float64(D))
	}
	return float64(scale)
}

func (c opCheck) relative(table, index Buf, segments []Segment, H, K, D, buckets, span int) {
	c.dims(1, "Buckets", buckets, "Span", span)
	c.activation("Table", table, buckets*(H+K)*D)
	c.index("Index", index, 2*span-1)
	for i, s := range segments {
		if n := int(s.End - s.Start); n > span {
			c.fail("segment %d has %d rows, more than Span = %d", i, n, span)
		}
	}
}

func (a RelativeAttention) check() {
	c := checkOp("RelativeAttention", "QKV", a.QKV)
	c.attention(a.Segments, a.Rows, a.H, a.K, a.D, a.Scale, a.Drop)
	if a.From < 0 || a.From > a.Rows {
		c.fail("From = %d, want it in [0,%d]", a.From, a.Rows)
	}
	c.activation("QKV", a.QKV, a.Rows*(a.H+2*a.K)*a.D)
	c.activation("Out", a.Out, a.Rows*a.H*a.D)
	c.relative(a.Table, a.Index, a.Segments, a.H, a.K, a.D, a.Buckets, a.Span)
}

func (a RelativeAttentionBackward) check() {
	c := checkOp("RelativeAttentionBackward", "QKV", a.QKV)
	c.attention(a.Segments, a.Rows, a.H, a.K, a.D, a.Scale, a.Drop)
	n := a.Rows * a.D
	c.activation("QKV", a.QKV, n*(a.H+2*a.K))
	c.activation("DQKV", a.DQKV, n*(a.H+2*a.K))
	c.activation("DOut", a.DOut, n*a.H)
	c.relative(a.Table, a.Index, a.Segments, a.H, a.K, a.D, a.Buckets, a.Span)
	c.activation("DTable", a.DTable, a.Buckets*(a.H+a.K)*a.D)
}
