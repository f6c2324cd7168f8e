package model

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"testing"

	"palimpsest/kernels"
)

// rows reads a matrix, row by row or as rows that list what is right of the diagonal.
type rows [][]float64

func (m *rows) UnmarshalJSON(raw []byte) error {
	var list [][]any
	if err := json.Unmarshal(raw, &list); err != nil {
		return err
	}
	for _, row := range list {
		var values []float64
		for _, v := range row {
			f, ok := v.(float64)
			if !ok {
				f = math.Inf(-1)
			}
			values = append(values, f)
		}
		*m = append(*m, values)
	}
	return nil
}

// columns are [from,to) of a matrix, flat.
func (m rows) columns(from, to int) (flat []float64) {
	for _, row := range m {
		flat = append(flat, row[from:to]...)
	}
	return flat
}

// upper is the matrix of what is right of the diagonal, of its first n rows and columns.
func (m rows) upper(n int, fill float64) []float64 {
	flat := make([]float64, n*n)
	for i := range n {
		for j := range n {
			flat[i*n+j] = fill
			if j > i {
				flat[i*n+j] = m[i][j-i-1]
			}
		}
	}
	return flat
}

// The transition head with its maps, whose features are not copied together, against independent vectors of the published form.
func TestGoldenTransitionHead(t *testing.T) {
	dir := filepath.Join("testdata", "golden")
	if other := os.Getenv("PALIMPSEST_GOLDEN"); other != "" {
		dir = other
	}
	raw, err := os.ReadFile(filepath.Join(dir, "exlm_links.json"))
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Cases []struct {
			Name, DAG, Features string
			S, D, Heads, Valid  int
			Group               []int32
			H, P, Wq, Wk, Wg    rows
			Bq, Bk, Bg          []float64
			LogE                rows `json:"logE_upper"`
			Upstream            rows `json:"upstream_upper"`
			DWq, DWk, DWg       rows
			Dbq, Dbk, Dbg       []float64
			DH                  rows `json:"dh"`
			DP                  rows `json:"dP"`
		}
	}
	if err := json.Unmarshal(raw, &file); err != nil || len(file.Cases) == 0 {
		t.Fatalf("%v, %d cases", err, len(file.Cases))
	}
	for _, c := range file.Cases {
		t.Run(c.Name, func(t *testing.T) {
			b, n, C := kernels.NewRef64(), c.Valid, c.D
			config := resolved(t, Config{Vocab: 5, Layers: 1, Width: C, Heads: 1, FF: 4, Context: c.S, Positions: "none", Links: Links{Features: c.Features, Heads: c.Heads, Positions: c.S}})
			w, a := NewWeights(b, config, true), NewActivations(b, config, Capacity{Tokens: c.S, Rows: c.S, States: c.S}, true)
			set := func(p *Param, values ...float64) { copy(kernels.View[float64](p.Master), values) }
			set(w.links.qk.weight, append(c.Wq.columns(0, C), c.Wk.columns(0, C)...)...)
			set(w.links.qk.bias, append(append([]float64(nil), c.Bq...), c.Bk...)...)
			set(w.links.gate.weight, c.Wg.columns(0, C)...)
			set(w.links.gate.bias, c.Bg...)
			if c.Features == "hidden+position" {
				set(w.links.placeQK.weight, append(c.Wq.columns(C, 2*C), c.Wk.columns(C, 2*C)...)...)
				set(w.links.placeGate.weight, c.Wg.columns(C, 2*C)...)
				set(w.links.places, c.P.columns(0, C)...)
			}
			copy(kernels.View[float64](a.head.h), c.H.columns(0, C)[:n*C])
			places, groups := make([]int32, n), kernels.Buf{}
			for i := range places {
				places[i] = int32(i)
			}
			if c.DAG == "sparse" {
				groups = kernels.HostBuf(c.Group[:n])
			}
			lattices := []kernels.Lattice{{End: int32(n)}}
			a.forwardLinks(w, lattices, kernels.HostBuf(places), groups, n)
			check := func(what string, got, want []float64) {
				t.Helper()
				for i, v := range want {
					if !(math.Abs(got[i]-v) <= 1e-11+1e-9*math.Abs(v)) && !(math.IsInf(v, -1) && math.IsInf(got[i], -1)) {
						t.Errorf("%s[%d] is %.12g, want %.12g", what, i, got[i], v)
					}
				}
			}
			check("logE", kernels.View[float64](a.align.links.logE), c.LogE.upper(n, math.Inf(-1)))
			copy(kernels.View[float64](a.align.links.dlogE), c.Upstream.upper(n, 0))
			clear(kernels.View[float64](a.head.dh))
			a.backwardLinks(w, lattices, kernels.HostBuf(places), groups, n)
			grad := func(p *Param) []float64 { return kernels.View[float64](p.Grad) }
			check("dWq, dWk", grad(w.links.qk.weight), append(c.DWq.columns(0, C), c.DWk.columns(0, C)...))
			check("dbq, dbk", grad(w.links.qk.bias), append(append([]float64(nil), c.Dbq...), c.Dbk...))
			check("dWg", grad(w.links.gate.weight), c.DWg.columns(0, C))
			check("dbg", grad(w.links.gate.bias), c.Dbg)
			check("dh", kernels.View[float64](a.head.dh), c.DH.columns(0, C)[:n*C])
			if c.Features == "hidden+position" {
				check("dWq, dWk of places", grad(w.links.placeQK.weight), append(c.DWq.columns(C, 2*C), c.DWk.columns(C, 2*C)...))
				check("dWg of places", grad(w.links.placeGate.weight), c.DWg.columns(C, 2*C))
				check("dP", grad(w.links.places), c.DP.columns(0, C)[:n*C])
			}
		})
	}
}
