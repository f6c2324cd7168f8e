package kernels

import (
	"encoding/json"
	"math"
	"testing"
)

var linksCases = []complianceCase{{"Links", 40, func(r *trial) { linksTrial(r, r.lattices(0, 0), r.pick(1, 2, 3, 12), r.pick(1, 4, 8, 20, 64), false) }},
	{"LinksBackward", 40, func(r *trial) { linksTrial(r, r.lattices(0, 0), r.pick(1, 2, 3, 12), r.pick(1, 4, 8, 20, 64), true) }}}

func linksTrial(r *trial, list []Lattice, H, D int, backward bool) {
	if last := len(list) - 1; backward && last >= 0 { // a state of one link has no gradient of its gates, which rounding never hits
		list[last].End = max(list[last].End, list[last].Start+5)
	}
	rows, _ := extent(list)
	rows += r.pick(0, 2)
	n, groups := LinksSize(list), make([]int32, rows)
	for i := range groups {
		groups[i] = int32(i / 3)
	}
	a := Links{QK: r.in(r.normals(rows * 2 * H * D)), Gate: r.in(r.normals(rows * H)), Lattices: list, Rows: rows, H: H, D: D}
	if r.coin() {
		a.Groups = integers(r.b, groups)
	}
	a.LogE, a.LSE = r.freshMaster(n), r.master(filled(rows*H, 3))
	if !backward && r.coin() {
		a.LSE = Buf{}
	}
	r.b.Links(a)
	if !backward {
		r.out("logE", a.LogE, n, near, nil)
		r.out("lse", a.LSE, rows*H, near, nil)
		return
	}
	d := LinksBackward{DQK: r.variable(filled(rows*2*H*D, 7)), DGate: r.variable(filled(rows*H, 7)), DLogE: r.inMaster(r.normals(n)), LogE: a.LogE,
		LSE: a.LSE, QK: a.QK, Gate: a.Gate, Groups: a.Groups, Lattices: list, Rows: rows, H: H, D: D}
	r.b.LinksBackward(d)
	r.out("dqk", d.DQK, rows*2*H*D, near, nil)
	r.out("dgate", d.DGate, rows*H, near, nil)
}

type linksCase struct {
	Name, DAG, Features                  string
	S, D, Heads, Valid                   int
	Group                                []int32
	H, P, Wq, Wk, Wg, Bq, Bk, Bg         numbers
	LogE                                 json.RawMessage `json:"logE_upper"`
	Upstream                             json.RawMessage `json:"upstream_upper"`
	DWq, DWk, DWg, DBq, DBk, DBg, DH, DP numbers
}

// The head of the golden file: features, linear maps, Links, and back through all of them.
func TestGoldenLinks(t *testing.T) {
	for _, c := range readGolden[linksCase](t, "exlm_links") {
		F := len(c.Wq) / c.D
		features := make([]float64, 0, c.S*F)
		for u := range c.S {
			features = append(features, c.H[u*c.D:][:c.D]...)
			if F > c.D {
				features = append(features, c.P[u*c.D:][:c.D]...)
			}
		}
		logE, upstream := upper(t, c.LogE, c.S, math.Inf(-1)), upper(t, c.Upstream, c.S, 0)
		// The lattice has the valid states only; the file's matrices have all.
		valid := func(m []float64) (part []float64) {
			for u := range c.Valid {
				part = append(part, m[u*c.S:][:c.Valid]...)
			}
			return part
		}
		want, up := valid(logE), valid(upstream)
		for i, e := range want {
			up[i] = map[bool]float64{true: up[i]}[!math.IsInf(e, 0)]
		}
		forEachBackend(t, c.Name, func(t *testing.T, b Backend) {
			S, H, D, d := c.S, c.Heads, c.D/c.Heads, c.D
			x := floats(b, features)
			w, bias := floats(b, append(append([]float64(nil), c.Wq...), c.Wk...)), floats(b, append(append([]float64(nil), c.Bq...), c.Bk...))
			wg, bg := floats(b, c.Wg), floats(b, c.Bg)
			a := Links{QK: floats(b, make([]float64, S*2*d)), Gate: floats(b, make([]float64, S*H)), LogE: masters(b, filled(len(want), 9)),
				LSE: masters(b, make([]float64, S*H)), Lattices: []Lattice{{End: int32(c.Valid)}}, Rows: S, H: H, D: D}
			if c.DAG == "sparse" {
				a.Groups = integers(b, c.Group)
			}
			b.Linear(a.QK, x, w, bias, Buf{}, S, F, 2*d, None)
			b.Linear(a.Gate, x, wg, bg, Buf{}, S, F, H, None)
			b.Links(a)
			check := newGoldenCheck(t, b, false)
			check.values("logE", read(b, a.LogE), want, false)
			g := LinksBackward{DQK: floats(b, make([]float64, S*2*d)), DGate: floats(b, make([]float64, S*H)), DLogE: masters(b, up), LogE: a.LogE, LSE: a.LSE,
				QK: a.QK, Gate: a.Gate, Groups: a.Groups, Lattices: a.Lattices, Rows: S, H: H, D: D}
			b.LinksBackward(g)
			// Gradients are sums over states and products, whose rounding grows with the largest.
			check.abs *= max(1, c.DWq.largest(), c.DWk.largest(), c.DH.largest())
			dw, db, dwg, dbg := masters(b, make([]float64, 2*d*F)), masters(b, make([]float64, 2*d)), masters(b, make([]float64, H*F)), masters(b, make([]float64, H))
			dx := floats(b, make([]float64, S*F))
			b.LinearBackwardWeight(dw, db, g.DQK, x, S, F, 2*d)
			b.LinearBackwardWeight(dwg, dbg, g.DGate, x, S, F, H)
			b.LinearBackwardInput(dx, g.DQK, w, Buf{}, S, F, 2*d, None, false)
			b.LinearBackwardInput(dx, g.DGate, wg, Buf{}, S, F, H, None, true)
			check.values("dWq, dWk", read(b, dw), append(append([]float64(nil), c.DWq...), c.DWk...), false)
			check.values("dbq, dbk", read(b, db), append(append([]float64(nil), c.DBq...), c.DBk...), false)
			check.values("dWg", read(b, dwg), c.DWg, false)
			check.values("dbg", read(b, dbg), c.DBg, false)
			var df []float64
			for u := range S {
				df = append(df, c.DH[u*d:][:d]...)
				if F > d {
					df = append(df, c.DP[u*d:][:d]...)
				}
			}
			check.values("dh, dP", read(b, dx), df, false)
		})
	}
}

func TestGradientsLinks(t *testing.T) {
	for _, sparse := range []bool{false, true} {
		r := newTestTrial(ref64, 62)
		list := []Lattice{{Start: 1, End: 6}, {Start: 6, End: 7}, {Start: 8, End: 12}}
		const rows, H, D = 13, 3, 2
		n := LinksSize(list)
		qk, gate, upstream := r.normals(rows*2*H*D), r.normals(rows*H), r.normals(n)
		run := func(in [][]float64) Links {
			a := Links{LogE: zeros64(n), LSE: zeros64(rows * H), QK: buf64(in[0]), Gate: buf64(in[1]), Lattices: list, Rows: rows, H: H, D: D}
			if sparse {
				a.Groups = HostBuf([]int32{0, 0, 0, 1, 1, 2, 0, 0, 0, 0, 1, 1, 1})
			}
			ref64.Links(a)
			return a
		}
		f := run([][]float64{qk, gate})
		g := LinksBackward{DQK: zeros64(rows * 2 * H * D), DGate: zeros64(rows * H), DLogE: buf64(upstream), LogE: f.LogE, LSE: f.LSE, QK: f.QK, Gate: f.Gate,
			Groups: f.Groups, Lattices: list, Rows: rows, H: H, D: D}
		ref64.LinksBackward(g)
		gradientCase{t, "links", [][]float64{qk, gate}, func(in [][]float64) []float64 {
			e := view64(run(in).LogE)
			for i := range e {
				e[i] = orZero(e[i])
			}
			return e
		}, upstream, [][]float64{view64(g.DQK), view64(g.DGate)}}.check()
	}
}

// Every state with a link gives its links probabilities that add up to one.
func TestLinksAddUpToOne(t *testing.T) {
	forEachBackend(t, "", func(t *testing.T, b Backend) {
		r := newTestTrial(b, 63)
		const S, H, D = 150, 4, 8
		a := Links{LogE: masters(b, filled(S*S, 9)), QK: floats(b, r.normals(S*2*H*D)), Gate: floats(b, r.normals(S*H)), Lattices: []Lattice{{End: S}},
			Rows: S, H: H, D: D}
		b.Links(a)
		for u, e := 0, read(b, a.LogE); u < S; u++ {
			sum := 0.0
			for _, l := range e[u*S:][:S] {
				sum += math.Exp(l)
			}
			if want := map[bool]float64{true: 1}[u < S-1]; math.Abs(sum-want) > 1e-5 {
				t.Errorf("the links of state %d add up to %g", u, sum)
			}
		}
	})
}
