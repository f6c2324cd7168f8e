//go:build cuda

package kernels

import (
	"math"
	"testing"
)

// Shapes that reach what the compliance suite's small ones do not: rows of logits that outgrow shared memory, groups of more
// rows than threads, ties among them, and relative attention over several tiles with wide heads and many buckets.
func init() {
	largeCases = append(largeCases, []complianceCase{
		{"CrossEntropyLarge", 6, func(r *trial) {
			R, V := 2, []int{50257, 51207, 51217, 70001, 30000, 128256}[r.k]
			a := CrossEntropy{R: R, V: V, Grad: true, GradScale: 0.5}
			switch r.k {
			case 1:
				a.Smoothing = 0.125
			case 2:
				a.Focal = 1.5
			case 3:
				a.DFT = true
			case 4:
				a.ZLoss = 1.0 / 1024
			}
			z, targets, weights := r.normals(R*V), r.indices(R, V), r.normals(R)
			z[V-1], z[V] = 4, 4 // ends of rows
			targets[1] = 0
			a.Logits, a.Targets, a.Weights = r.variable(z), integers(r.b, targets), r.inMaster(weights)
			a.NLL, a.Loss, a.Hit = r.freshMaster(R), r.freshMaster(R), r.freshMaster(R)
			r.b.CrossEntropy(a)
			r.out("nll", a.NLL, R, near, nil)
			r.out("loss", a.Loss, R, near, nil)
			r.out("hit", a.Hit, R, exact, nil)
			r.out("gradient", a.Logits, R*V, near, filled(R*V, 4))
		}},
		{"ReweighLarge", 6, func(r *trial) {
			offsets := []int32{0, 700, 701, 1957}
			n := 1957
			losses := r.normals(n)
			for i := range losses {
				losses[i] = math.Round(losses[i] * 4)
			}
			classes := make([]uint8, n)
			for i := range classes {
				classes[i] = []uint8{0, 1, 255}[r.draw.IntN(3)]
			}
			a := Reweigh{G: 3, Rule: Rule(1 + r.k%6), Tau: 1, Alpha: 0.7, Share: 0.3, Slope: 0.5, Scale: 2, Losses: r.inMaster(losses),
				Offsets: integers(r.b, offsets), Classes: bytesOf(r.b, classes), Weights: r.freshMaster(n), Shares: r.freshMaster(n)}
			r.b.Reweigh(a)
			r.out("weights", a.Weights, n, zerosExact, nil)
			r.out("shares", a.Shares, n, zerosExact, nil)
		}},
		{"RelativeAttentionLarge", 5, func(r *trial) { relativeLargeCase(r, false) }},
		{"RelativeAttentionBackwardLarge", 5, func(r *trial) { relativeLargeCase(r, true) }},
	}...)
}

func relativeLargeCase(r *trial, backward bool) {
	rows, H, K := 210, 2, 1
	D, buckets := []int{64, 136, 24, 9, 32}[r.k], []int{16, 8, 80, 8, 4}[r.k]
	a := RelativeAttention{Rows: rows, H: H, K: K, D: D, Buckets: 2*buckets - 1, Span: rows,
		Drop: Drop{P: []float32{0, 0.25}[r.k%2], Seed: 9, Step: 4, Site: 1}}
	switch r.k {
	case 0:
		a.Segments = []Segment{{End: int32(rows), Mask: Causal}}
	case 1:
		a.Segments = []Segment{{Start: 13, End: 200}}
	case 2:
		a.Segments = []Segment{{Start: 3, End: 203, Window: 40}}
	case 3:
		a.Segments = []Segment{{Start: 5, End: 150, Mask: Causal, Window: 70}, {Start: 151, End: 210}}
	default:
		for i := range int32(rows) {
			a.Segments = append(a.Segments, Segment{Start: i, End: i + 1})
		}
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
	r.b.RelativeAttentionBackward(RelativeAttentionBackward{DQKV: dqkv, DTable: dtable, DOut: r.in(r.normals(rows * H * D)), QKV: a.QKV,
		Table: a.Table, Index: a.Index, Segments: a.Segments, Rows: rows, H: H, K: K, D: D, Buckets: a.Buckets, Span: a.Span, Drop: a.Drop})
	r.out("dqkv", dqkv, rows*(H+2*K)*D, near, nil)
	r.out("dtable", dtable, a.Buckets*(H+K)*D, near, nil)
}

// testRelativeBatches: in how many batches the segments are done leaves no trace in the results.
func testRelativeBatches(t *testing.T) {
	onGPU(t, func() {
		b := complianceBackends[0]()
		const rows, H, K, D, buckets = 120, 2, 2, 16, 7
		segments := []Segment{{End: 30}, {Start: 30, End: 31}, {Start: 31, End: 31}, {Start: 33, End: 110, Mask: Causal}, {Start: 110, End: 120}}
		run := func() (all []float64) {
			r := newTestTrial(b, 77)
			qkv, table := floats(b, r.normals(rows*(H+2*K)*D)), floats(b, r.normals(buckets*(H+K)*D))
			index := integers(b, RelativeIndex(rows, 4, rows))
			out, dqkv := floats(b, make([]float64, rows*H*D)), floats(b, make([]float64, rows*(H+2*K)*D))
			dtable := floats(b, filled(buckets*(H+K)*D, 3))
			b.RelativeAttention(RelativeAttention{Out: out, QKV: qkv, Table: table, Index: index, Segments: segments, Rows: rows, H: H, K: K,
				D: D, Buckets: buckets, Span: rows, From: 40})
			b.RelativeAttentionBackward(RelativeAttentionBackward{DQKV: dqkv, DTable: dtable, DOut: floats(b, r.normals(rows*H*D)), QKV: qkv,
				Table: table, Index: index, Segments: segments, Rows: rows, H: H, K: K, D: D, Buckets: buckets, Span: rows})
			for _, buf := range []Buf{out, dqkv, dtable} {
				all = append(all, read(b, buf)...)
			}
			return all
		}
		whole := run()
		kept := relativeBytes
		defer func() { relativeBytes = kept }()
		for _, relativeBytes = range []int{1, 3 * 2 * 2 * relativeTile * relativeTile * H} {
			for i, v := range run() {
				if v != whole[i] {
					t.Fatalf("%d bytes: value %d is %g, in one batch %g", relativeBytes, i, v, whole[i])
				}
			}
		}
	})
}

func TestRelativeBatchesDevice(t *testing.T) {
	if gpuAsked(t) {
		testRelativeBatches(t)
	}
}
