package kernels

import (
	"math"

	"palimpsest/kernels/philox"
)

// Relative attention on the CPU: a segment and head at a time through products and the masked softmax. With n rows in
// the segment and P buckets, a head costs 2*n*n*D multiply-adds and 2*n*P*D for the position terms (forward); the backward
// pass computes the probabilities again and has five products of n*n*D and four of n*P*D. The scores, n*n floats, stay in
// a core's cache up to about 500 rows. Oracle: relattention_ref.go.

// relativeHead is one query head of one segment.
type relativeHead struct {
	s                      Segment
	from, n                int // first query, rows of the segment
	h, g                   int // query head, key/value head
	H, K, D, P, span       int
	scale                  float32
	qkv, table             []float32
	index                  []int32
	scores, toKey, toQuery []float32 // [queries,n], [queries,P], [n,P]
	lse                    []float32
}

// relativeWork returns the scratch elements that a head of n rows needs for its forward pass.
func relativeWork(n, P int) int { return n*n + 2*n*P + n }

func (r *relativeHead) scratch(work []float32) {
	n, P := r.n, r.P
	r.scores, r.toKey, r.toQuery, r.lse = work[:n*n], work[n*n:][:n*P], work[n*n+n*P:][:n*P], work[n*n+2*n*P:][:n]
}

func (r *relativeHead) ld() int       { return (r.H + 2*r.K) * r.D }
func (r *relativeHead) tableLD() int  { return (r.H + r.K) * r.D }
func (r *relativeHead) queryAt() int  { return r.from*r.ld() + r.h*r.D }
func (r *relativeHead) keyAt() int    { return int(r.s.Start)*r.ld() + (r.H+r.g)*r.D }
func (r *relativeHead) valueAt() int  { return int(r.s.Start)*r.ld() + (r.H+r.K+r.g)*r.D }
func (r *relativeHead) queries() int  { return int(r.s.End) - r.from }
func (r *relativeHead) tableKey() int { return (r.H + r.g) * r.D }

// relativeProbabilities leaves those of all queries in scores.
func (b *cpu) relativeProbabilities(r *relativeHead) {
	m, n, D, P, ld := r.queries(), r.n, r.D, r.P, r.ld()
	q, k := r.qkv[r.queryAt():], r.qkv[r.keyAt():]
	b.blas.multiply(b, product{m: m, n: n, k: D, a: q, lda: ld, b: k, ldb: ld, transB: true, c: r.scores, ldc: n})
	b.blas.multiply(b, product{m: m, n: P, k: D, a: q, lda: ld, b: r.table[r.tableKey():], ldb: r.tableLD(), transB: true, c: r.toKey, ldc: P})
	b.blas.multiply(b, product{m: n, n: P, k: D, a: k, lda: ld, b: r.table[r.h*D:], ldb: r.tableLD(), transB: true, c: r.toQuery, ldc: P})
	for i := range m {
		row, toKey := r.scores[i*n:][:n], r.toKey[i*P:][:P]
		buckets := r.buckets(i)
		for j := range row {
			at := buckets[n-1-j]
			row[j] = r.scale * (row[j] + toKey[at] + r.toQuery[j*P+int(at)])
		}
		r.hide(row, i)
	}
	b.leaf.maskedSoftmax(r.scores, r.lse, r.scores, nil, 0, m, n)
}

// buckets returns those of query i, backwards: that of key j is at n-1-j.
func (r *relativeHead) buckets(i int) []int32 {
	place := r.from - int(r.s.Start) + i
	return r.index[place-(r.n-1)+r.span-1:][:r.n]
}

// hide sets the scores of keys that query i does not see to -Inf.
func (r *relativeHead) hide(row []float32, i int) {
	if r.s.Mask == Bidirectional && r.s.Window == 0 {
		return
	}
	for j := range row {
		if !r.s.sees(r.from+i, int(r.s.Start)+j) {
			row[j] = float32(math.Inf(-1))
		}
	}
}

// drop multiplies row i, whose first key is row start of the step, by the factors of dropout.
func (r *relativeHead) drop(row []float32, i int, d Drop) {
	threshold, keep := d.threshold(), float32(d.keepScale())
	if threshold == 0 {
		return
	}
	key := philox.Key(d.Seed)
	var block [4]uint32
	for j := range row {
		at := int(r.s.Start) + j
		if j == 0 || at%8 == 0 {
			block = philox.Block([4]uint32{uint32(at/8) | uint32(r.h)<<20, uint32(r.from + i), d.Step, dropWord(d.Site)}, key)
		}
		if dropLane(block, at%8) < threshold {
			row[j] = 0
		} else {
			row[j] *= keep
		}
	}
}

func (b *cpu) RelativeAttention(a RelativeAttention) {
	a.check()
	checkIndices("RelativeAttention", "Index", View[int32](a.Index)[:2*a.Span-1], a.Buckets)
	base := relativeHead{H: a.H, K: a.K, D: a.D, P: a.Buckets, span: a.Span, scale: float32(relativeScale(a.Scale, a.D)),
		qkv: f32(a.QKV), table: f32(a.Table), index: View[int32](a.Index)}
	out := f32(a.Out)
	b.run(len(a.Segments)*a.H, func(piece int) {
		r := base
		r.s, r.h = a.Segments[piece/a.H], piece%a.H
		r.g, r.n, r.from = r.h/(a.H/a.K), int(r.s.End-r.s.Start), max(int(r.s.Start), a.From)
		if r.queries() <= 0 {
			return
		}
		work := b.scratch.get(relativeWork(r.n, r.P))
		defer b.scratch.put(work)
		r.scratch(work)
		b.relativeProbabilities(&r)
		for i := range r.queries() {
			r.drop(r.scores[i*r.n:][:r.n], i, a.Drop)
		}
		b.blas.multiply(b, product{m: r.queries(), n: a.D, k: r.n, a: r.scores, lda: r.n, b: r.qkv[r.valueAt():], ldb: r.ld(), c: out[(r.from*a.H+r.h)*a.D:], ldc: a.H * a.D})
	})
}

// relativeChunk is how many rows of segments share one partial gradient of the table.
const relativeChunk = 2048

func (b *cpu) RelativeAttentionBackward(a RelativeAttentionBackward) {
	a.check()
	checkIndices("RelativeAttentionBackward", "Index", View[int32](a.Index)[:2*a.Span-1], a.Buckets)
	var chunks [][]Segment
	rows := relativeChunk
	for _, s := range a.Segments {
		if rows >= relativeChunk {
			chunks, rows = append(chunks, nil), 0
		}
		chunks[len(chunks)-1] = append(chunks[len(chunks)-1], s)
		rows += int(s.End - s.Start)
	}
	base := relativeHead{H: a.H, K: a.K, D: a.D, P: a.Buckets, span: a.Span, scale: float32(relativeScale(a.Scale, a.D)),
		qkv: f32(a.QKV), table: f32(a.Table), index: View[int32](a.Index)}
	size := a.Buckets * (a.H + a.K) * a.D
	parts := b.scratch.get(len(chunks) * size)
	defer b.scratch.put(parts)
	clear(parts[:len(chunks)*size])
	b.run(len(chunks)*a.K, func(piece int) {
		dtable := parts[piece/a.K*size:][:size]
		for _, s := range chunks[piece/a.K] {
			for of := range a.H / a.K {
				r := base
				r.s, r.g, r.h = s, piece%a.K, piece%a.K*(a.H/a.K)+of
				if r.n, r.from = int(s.End-s.Start), int(s.Start); r.n > 0 {
					b.relativeBackward(&r, &a, dtable, of > 0)
				}
			}
		}
	})
	dtable := f32(a.DTable)[:size]
	clear(dtable)
	if len(chunks) > 0 {
		b.leaf.addRows(dtable, parts, len(chunks), size)
	}
}

// relativeBackward does one head: it writes dQ, writes dK and dV or adds to those of the other heads of its group, and adds
// to dtable.
func (b *cpu) relativeBackward(r *relativeHead, a *RelativeAttentionBackward, dtable []float32, add bool) {
	n, D, P, ld, tableLD := r.n, r.D, r.P, r.ld(), r.tableLD()
	forward := relativeWork(n, P)
	work := b.scratch.get(forward + n*n)
	defer b.scratch.put(work)
	r.scratch(work)
	b.relativeProbabilities(r)
	p, ds := r.scores, work[forward:][:n*n]
	dqkv, dout := f32(a.DQKV), f32(a.DOut)[(r.from*r.H+r.h)*D:]
	q, k, v := r.qkv[r.queryAt():], r.qkv[r.keyAt():], r.qkv[r.valueAt():]
	dq, dk, dv := dqkv[r.queryAt():], dqkv[r.keyAt():], dqkv[r.valueAt():]

	dropped := p
	if a.Drop.threshold() > 0 {
		dropped = ds
		copy(dropped, p)
		for i := range n {
			r.drop(dropped[i*n:][:n], i, a.Drop)
		}
	}
	b.blas.multiply(b, product{m: n, n: D, k: n, a: dropped, lda: n, transA: true, b: dout, ldb: r.H * D, c: dv, ldc: ld, add: add})
	b.blas.multiply(b, product{m: n, n: n, k: D, a: dout, lda: r.H * D, b: v, ldb: ld, transB: true, c: ds, ldc: n})
	for i := range n {
		r.drop(ds[i*n:][:n], i, a.Drop)
	}
	b.leaf.maskedSoftmaxBackward(ds, ds, p, 0, n, n)

	dToKey, dToQuery := r.toKey, r.toQuery
	clear(dToKey)
	clear(dToQuery)
	for i := range n {
		row, toKey, buckets := ds[i*n:][:n], dToKey[i*P:][:P], r.buckets(i)
		for j := range row {
			at := buckets[n-1-j]
			row[j] *= r.scale
			toKey[at] += row[j]
			dToQuery[j*P+int(at)] += row[j]
		}
	}
	b.blas.multiply(b, product{m: n, n: D, k: n, a: ds, lda: n, b: k, ldb: ld, c: dq, ldc: ld})
	b.blas.multiply(b, product{m: n, n: D, k: P, a: dToKey, lda: P, b: r.table[r.tableKey():], ldb: tableLD, c: dq, ldc: ld, add: true})
	b.blas.multiply(b, product{m: n, n: D, k: n, a: ds, lda: n, transA: true, b: q, ldb: ld, c: dk, ldc: ld, add: add})
	b.blas.multiply(b, product{m: n, n: D, k: P, a: dToQuery, lda: P, b: r.table[r.h*D:], ldb: tableLD, c: dk, ldc: ld, add: true})
	b.blas.multiply(b, product{m: P, n: D, k: n, a: dToKey, lda: P, transA: true, b: q, ldb: ld, c: dtable[r.tableKey():], ldc: tableLD, add: true})
	b.blas.multiply(b, product{m: P, n: D, k: n, a: dToQuery, lda: P, transA: true, b: k, ldb: ld, c: dtable[r.h*D:], ldc: tableLD, add: true})
}
