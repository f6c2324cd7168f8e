package kernels

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"testing"
)

var reweighCases = []complianceCase{{"Reweigh", 60, func(r *trial) {
	offsets := []int32{int32(r.pick(0, 3))}
	for range r.pick(0, 1, 5, 150) {
		offsets = append(offsets, offsets[len(offsets)-1]+int32(r.pick(0, 1, 4, 17)))
	}
	n := int(offsets[len(offsets)-1]) + r.pick(0, 2)
	losses, reference := r.normals(n), r.normals(n)
	classes := make([]uint8, n)
	for i := range classes {
		classes[i] = []uint8{0, 1, 1, 255}[r.draw.IntN(4)]
	}
	a := Reweigh{G: len(offsets) - 1, Rule: Rule(1 + r.k%6), Sum: r.coin(), Through: r.coin(),
		Tau: []float64{0.5, 1, 3}[r.draw.IntN(3)], Alpha: 0.7, Share: []float64{0.1, 0.6, 1}[r.draw.IntN(3)],
		Slope: []float64{-0.1, 1}[r.draw.IntN(2)], Scale: -2}
	a.Losses, a.Offsets = r.inMaster(losses), integers(r.b, offsets)
	a.Weights = r.alloc(r.b.Info().Master, filled(n, 9), false, false)
	if r.coin() {
		a.Shares = r.alloc(r.b.Info().Master, filled(n, 9), false, false)
	}
	if r.coin() {
		a.Reference = r.inMaster(reference)
	}
	if r.coin() || a.Rule == ByClass || a.Rule == FixedClass {
		a.Classes = bytesOf(r.b, classes)
	}
	r.b.Reweigh(a)
	r.out("weights", a.Weights, n, zerosExact, nil)
	r.out("shares", a.Shares, n, zerosExact, nil)
}}}

// The undetached weights are the derivatives of the groups' losses, and shares add up to these.
func TestGradientsReweigh(t *testing.T) {
	offsets := []int32{0, 5, 5, 12}
	classes := []uint8{0, 1, 1, 0, 1, 0, 0, 255, 1, 1, 0, 1}
	r := newTestTrial(ref64, 40)
	for _, a := range []Reweigh{
		{Rule: Uniform}, {Rule: Uniform, Sum: true}, {Rule: Softmax, Tau: 1, Through: true}, {Rule: TopShare, Share: 0.4},
		{Rule: ByClass, Tau: 2, Through: true}, {Rule: ByClass, Tau: 3, Through: true, Sum: true}, {Rule: FixedClass, Alpha: 0.7},
		{Rule: Sigmoid, Slope: -0.3, Scale: -2, Sum: true}, {Rule: Sigmoid, Slope: 2, Scale: 1},
	} {
		losses := r.normals(12)
		run := func(losses []float64) Reweigh {
			a.G, a.Losses, a.Offsets, a.Classes = 3, buf64(losses), HostBuf(offsets), HostBuf(classes)
			a.Weights, a.Shares = zeros64(12), zeros64(12)
			a.Reference = buf64(filled(12, 0.25))
			ref64.Reweigh(a)
			return a
		}
		gradientCase{t, "reweigh", [][]float64{losses}, func(in [][]float64) []float64 { return view64(run(in[0]).Shares) },
			filled(12, 1), [][]float64{view64(run(losses).Weights)}}.check()
	}
}

// What the rules promise about their sums: groups weigh the same, whatever their length.
func TestReweighSums(t *testing.T) {
	losses := []float64{1, 3, 2, 5, 0.5, 4}
	for _, a := range []Reweigh{{Rule: Uniform}, {Rule: Softmax, Tau: 2}, {Rule: TopShare, Share: 0.3}, {Rule: ByClass, Tau: 1}, {Rule: FixedClass, Alpha: 0.3}} {
		a.G, a.Losses, a.Offsets = 2, buf64(losses), HostBuf([]int32{0, 4, 6})
		a.Classes, a.Weights = HostBuf([]uint8{0, 1, 1, 0, 1, 1}), zeros64(6)
		ref64.Reweigh(a)
		w := view64(a.Weights)
		if a, b := sumRef(w[:4]), sumRef(w[4:]); math.Abs(a-1) > 1e-12 || math.Abs(b-1) > 1e-12 {
			t.Errorf("weights %v add up to %g and %g", w, a, b)
		}
	}
}

func TestReweighRefusals(t *testing.T) {
	forEachBackend(t, "", func(t *testing.T, b Backend) {
		s, idx := b.Alloc(b.Info().Master, 6), integers(b, []int32{0, 4, 3})
		for want, a := range map[string]Reweigh{
			"rule 0":       {},
			"Tau = 0":      {Rule: Softmax},
			"Share = 2":    {Rule: TopShare, Share: 2},
			"Alpha = -1":   {Rule: FixedClass, Alpha: -1},
			"Slope = 0":    {Rule: Sigmoid},
			"Classes is a": {Rule: ByClass, Tau: 1},
			"Offsets[2]":   {Rule: Uniform, G: 2},
		} {
			a.Losses, a.Weights, a.Offsets = s, s, idx
			mustPanic(t, want, func() { b.Reweigh(a) })
		}
		mustPanic(t, "ScaleRows: x holds", func() { b.ScaleRows(s, s, 4, 2) })
		mustPanic(t, "Combine: X holds", func() { b.Combine(Combine{Dst: s, X: s.Slice(0, 5)}) })
		mustPanic(t, "Momentum: U holds", func() { b.Momentum(Momentum{M: s, G: s, U: s.Slice(0, 5)}) })
	})
}

// shad.json: RFT with and without gradient through the weights, a batch of samples, Rho-1's selection.
func TestGoldenReweigh(t *testing.T) {
	raw, err := os.ReadFile(filepath.Join(goldenFolder(), "shad.json"))
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		RFT []struct {
			Name        string
			Losses      []float64
			Classes     []int
			Tau         float64
			Agg         string
			Detach      bool
			Alpha       *float64
			L           float64
			TokenWeight []float64 `json:"token_weight"`
		}
		Batches []struct {
			Name        string
			Tau, Loss   float64
			Losses      [][]float64
			Classes     [][]int
			TokenWeight [][]float64 `json:"token_weight"`
		}
		Rho1 []struct {
			Name        string
			Cur, Ref    []float64
			LossMask    []int `json:"loss_mask"`
			Ratio, L    float64
			TokenWeight []float64 `json:"token_weight"`
		}
	}
	if err := json.Unmarshal(raw, &file); err != nil || len(file.RFT) == 0 || len(file.Batches) == 0 || len(file.Rho1) == 0 {
		t.Fatalf("%v: %d, %d, %d cases", err, len(file.RFT), len(file.Batches), len(file.Rho1))
	}
	// check runs a over groups of losses and compares weights and loss, both means over the groups that count.
	check := func(name string, a Reweigh, losses [][]float64, reference []float64, classes [][]int, weights [][]float64, loss float64) {
		forEachBackend(t, name, func(t *testing.T, b Backend) {
			a := a
			var flat, want []float64
			var bytes []uint8
			offsets, counted := []int32{0}, 0.0
			for g := range losses {
				flat, want = append(flat, losses[g]...), append(want, weights[g]...)
				offsets = append(offsets, int32(len(flat)))
				some := classes == nil
				if classes != nil {
					for _, c := range classes[g] {
						bytes, some = append(bytes, uint8(c)), some || c >= 0
					}
				}
				if some {
					counted++
				}
			}
			n := len(flat)
			a.G, a.Losses, a.Offsets = len(losses), masters(b, flat), integers(b, offsets)
			a.Weights, a.Shares = masters(b, filled(n, math.NaN())), masters(b, filled(n, math.NaN()))
			if bytes != nil {
				a.Classes = bytesOf(b, bytes)
			}
			if reference != nil {
				a.Reference = masters(b, reference)
			}
			b.Reweigh(a)
			total := b.Alloc(F64, 1)
			b.Sum(total, 0, a.Shares, n, false)
			counted = max(1, counted) // none: all is 0
			got := read(b, a.Weights)
			for i := range got {
				got[i] /= counted
			}
			c := newGoldenCheck(t, b, false)
			c.abs = max(c.abs, 1e-11) // the file is rounded to 12 digits
			c.values("token_weight", got, want, true)
			c.values("loss", []float64{read(b, total)[0] / counted}, []float64{loss}, false)
		})
	}
	for _, c := range file.RFT {
		a := Reweigh{Rule: ByClass, Tau: c.Tau, Sum: c.Agg == "sum", Through: !c.Detach}
		if c.Alpha != nil {
			a.Rule, a.Alpha = FixedClass, *c.Alpha
		}
		check(c.Name, a, [][]float64{c.Losses}, nil, [][]int{c.Classes}, [][]float64{c.TokenWeight}, c.L)
	}
	for _, c := range file.Batches {
		check(c.Name, Reweigh{Rule: ByClass, Tau: c.Tau}, c.Losses, nil, c.Classes, c.TokenWeight, c.Loss)
	}
	for _, c := range file.Rho1 {
		classes := make([]int, len(c.LossMask))
		for i, m := range c.LossMask {
			classes[i] = m - 1 // below 0: in no class, not counted
		}
		check(c.Name, Reweigh{Rule: TopShare, Share: c.Ratio}, [][]float64{c.Cur}, c.Ref, [][]int{classes}, [][]float64{c.TokenWeight}, c.L)
	}
}
