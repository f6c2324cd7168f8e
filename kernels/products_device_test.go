//go:build cuda

package kernels

// Shapes that reach what the compliance suite's small ones do not: products of large tiles and in pieces, attention over
// several tiles of either kind and over more segments than a list of tiles is first made for.
func init() {
	largeCases = append(largeCases, []complianceCase{
		{"LinearLarge", 2, func(r *trial) {
			n, in, out := 8400, 24, 136-3*r.k
			if r.k == 1 {
				in = 9
			}
			x, w, bias := r.normals(n*in), r.normals(out*in), r.normals(out)
			y, pre := r.fresh(n*out), r.fresh(n*out)
			r.b.Linear(y, r.in(x), r.in(w), r.inMaster(bias), pre, n, in, out, SiLU)
			m := make([]float64, n*out)
			linearRef(m, absolute(x), absolute(w), absolute(bias), nil, n, in, out, None)
			r.out("y", y, n*out, near, m)
			r.out("pre", pre, n*out, near, m)
		}},
		{"LinearBackwardInputLarge", 2, func(r *trial) {
			n, in, out := 8400, 136-3*r.k, 24
			dy, w, old := r.normals(n*out), r.normals(out*in), r.normals(n*in)
			dx := r.variable(old)
			r.b.LinearBackwardInput(dx, r.in(dy), r.inMaster(w), Buf{}, n, in, out, None, true)
			m := absolute(old)
			linearBackwardInputRef(m, absolute(dy), absolute(w), nil, n, in, out, None, true)
			r.out("dx", dx, n*in, near, m)
		}},
		{"LinearBackwardWeightLarge", 3, func(r *trial) {
			n, in, out := []int{40, 1100, 2100}[r.k], []int{1480, 72, 33}[r.k], []int{1500, 136, 70}[r.k]
			dy, x, dw, db := r.normals(n*out), r.normals(n*in), r.normals(out*in), r.normals(out)
			dweight, dbias := r.master(dw), r.master(db)
			r.b.LinearBackwardWeight(dweight, dbias, r.in(dy), r.in(x), n, in, out)
			mw, mb := absolute(dw), absolute(db)
			linearBackwardWeightRef(mw, mb, absolute(dy), absolute(x), n, in, out)
			r.out("dweight", dweight, out*in, near, mw)
			r.out("dbias", dbias, out, near, mb)
		}},
		{"AttentionBackwardLarge", 6, func(r *trial) {
			rows, H, K, D := 330, 2, 1, []int{64, 128, 24, 64, 96, 64}[r.k]
			a := Attention{Rows: rows, H: H, K: K, D: D, Drop: Drop{P: []float32{0, 0.25}[r.k%2], Seed: 9, Step: 4, Site: 1}}
			switch r.k {
			case 0, 1:
				a.Segments = []Segment{{End: int32(rows), Mask: Causal}}
			case 2:
				a.Segments = []Segment{{Start: 13, End: 320, Window: 70}}
			case 3:
				a.Segments = []Segment{{Start: 5, End: 200, Mask: Causal, Window: 64}, {Start: 201, End: 330}}
			case 4:
				a.Segments = []Segment{{Start: 1, End: 329, Mask: Causal, Window: 129}}
			default:
				for i := range int32(rows) {
					a.Segments = append(a.Segments, Segment{Start: i, End: i + 1})
				}
			}
			a.QKV, a.Out = r.in(r.normals(rows*(H+2*K)*D)), r.variable(filled(rows*H*D, 7))
			a.LSE = r.master(filled(rows*H, 7))
			r.b.Attention(a)
			dqkv := r.variable(filled(rows*(H+2*K)*D, 7))
			r.b.AttentionBackward(AttentionBackward{DQKV: dqkv, DOut: r.in(r.normals(rows * H * D)), Out: a.Out, LSE: a.LSE, QKV: a.QKV,
				Segments: a.Segments, Rows: rows, H: H, K: K, D: D, Drop: a.Drop})
			r.out("out", a.Out, rows*H*D, near, nil)
			r.out("lse", a.LSE, rows*H, near, nil)
			r.out("dqkv", dqkv, rows*(H+2*K)*D, near, nil)
		}},
	}...)
}
