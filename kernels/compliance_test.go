package kernels

import (
	"fmt"
	"hash/fnv"
	"math"
	"strings"
	"testing"

	"palimpsest/kernels/philox"
)

// complianceBackends are the implementations that the compliance suite and the golden vectors run on. Files of other
// implementations append to it in an init.
var complianceBackends = []func() Backend{NewRef32, NewRef64}

func TestCompliance(t *testing.T) { forEachBackend(t, "", testCompliance) }

// A complianceCase is a family of trials of one op. Its body draws shapes and inputs from the trial, which gives the same
// ones to every backend, runs the op on the trial's backend and names what came out.
type complianceCase struct {
	name   string
	trials int
	body   func(r *trial)
}

// testCompliance holds b against ref64 on fuzzed shapes. Each trial runs once on ref64 and twice on b:
//
//   - Inputs are multiples of 2^-9 and so exact in float32; outputs that an op must write start as NaN.
//   - |got - want| <= rel*|want| + abs*M with rel and abs from the specifications (2e-5 and 2e-6 for float32, 1e-9 and
//     1e-11 for float64). M is the sum of the absolute values of the terms that were added up for the element, where the
//     case gives it, because rounding grows with the terms and not with what is left of them; elsewhere it is the largest
//     value of the output, at least 1. 2e-6 is 33 units of rounding: room for the sqrt(n) of a random walk over a thousand
//     terms. Infinities, and zeros and integers where the case says so, are exact.
//   - The second run on b must give the same bits.
//   - Inputs and the memory before and behind every buffer must be as they were.
func testCompliance(t *testing.T, b Backend) {
	ref := NewRef64()
	for _, list := range [][]complianceCase{memoryCases, layerCases, attentionCases, lossCases, rowCases, updateCases, combineCases, reweighCases} {
		for _, c := range list {
			t.Run(c.name, func(t *testing.T) {
				for k := range c.trials {
					h := fnv.New64a()
					h.Write([]byte(c.name))
					run := func(b Backend) *trial {
						draw := philox.New(h.Sum64(), philox.StreamTest, uint64(k), 0)
						r := &trial{k: k, b: b, draw: &draw}
						c.body(r)
						if err := b.Sync(); err != nil {
							t.Fatal(err)
						}
						r.finish()
						return r
					}
					compareTrials(t, b, run(ref), run(b), run(b))
					if t.Failed() {
						t.Fatalf("in trial %d", k)
					}
				}
			})
		}
	}
	t.Run("refuses", func(t *testing.T) { testRefusals(t, b) })
}

// compareTrials applies the rules of testCompliance to a trial on ref64 and two on b.
func compareTrials(t *testing.T, b Backend, want, got, again *trial) {
	t.Helper()
	rel, abs := goldenTolerance(b.Info().Compute, false)
	if got.broken != "" {
		t.Error(got.broken)
	}
	for o, w := range want.outs {
		g := got.outs[o]
		most := 1.0
		for _, v := range w.values {
			if !math.IsInf(v, 0) {
				most = max(most, math.Abs(v))
			}
		}
		for i, x := range w.values {
			if math.IsNaN(x) {
				t.Fatalf("%s[%d] of the reference is NaN", w.name, i)
			}
			y, scale := g.values[i], most
			if w.magnitude != nil {
				scale = w.magnitude[i]
			}
			ok := math.Abs(y-x) <= rel*math.Abs(x)+abs*scale
			if math.IsInf(x, 0) || w.how == exact || w.how == zerosExact && x == 0 {
				ok = y == x
			}
			if !ok {
				t.Errorf("%s[%d] = %.9g, want %.9g (difference %.2g, scale %.3g)", w.name, i, y, x, y-x, scale)
				break
			}
			if math.Float64bits(y) != math.Float64bits(again.outs[o].values[i]) {
				t.Errorf("%s[%d] = %.17g, then %.17g in an equal run", w.name, i, y, again.outs[o].values[i])
				break
			}
		}
	}
}

// forEachBackend runs a subtest on a fresh instance of every backend.
func forEachBackend(t *testing.T, name string, body func(t *testing.T, b Backend)) {
	for _, open := range complianceBackends {
		b := open()
		label := b.Info().Name
		if name != "" {
			label = name + "/" + label
		}
		t.Run(label, func(t *testing.T) { body(t, b) })
		if err := b.Sync(); err != nil {
			t.Errorf("%s: %v", label, err)
		}
		b.Close()
	}
}

// mustPanic runs f and wants a panic whose message contains want.
func mustPanic(t *testing.T, want string, f func()) {
	t.Helper()
	defer func() {
		t.Helper()
		if got := recover(); got == nil || !strings.Contains(fmt.Sprint(got), want) {
			t.Errorf("panic %v, want one that says %q", got, want)
		}
	}()
	f()
}

// testRefusals asks every op for more than its buffers hold, which must panic with the op's name before anything is done.
func testRefusals(t *testing.T, b Backend) {
	c, m := b.Info().Compute, b.Info().Master
	x, y, s := b.Alloc(c, 6), b.Alloc(c, 6), b.Alloc(m, 6)
	idx, sum := b.Alloc(I32, 6), b.Alloc(F64, 1)
	one := []Segment{{End: 4}}
	drop := Drop{P: 1}
	for _, r := range []struct {
		want string
		op   func()
	}{
		{"Embed: out holds", func() { b.Embed(x, idx, idx, y, Buf{}, Buf{}, 4, 2) }},
		{"EmbedBackward: dout holds", func() { b.EmbedBackward(s, Buf{}, Buf{}, x, idx, idx, 4, 2) }},
		{"AddNorm: X holds", func() { b.AddNorm(AddNorm{Y: y, X: x, N: 4, C: 2, Kind: RMSNorm}) }},
		{"AddNorm: dropout probability 1", func() {
			b.AddNorm(AddNorm{Y: y, X: x, Sum: y, Delta: x, N: 1, C: 2, Kind: RMSNorm, Drop: drop})
		}},
		{"NormBackward: DSum holds", func() { b.NormBackward(NormBackward{DSum: x, DY: y, Sum: y, Rstd: s, N: 4, C: 2, Kind: RMSNorm}) }},
		{"Linear: weight holds", func() { b.Linear(y, x, x, Buf{}, Buf{}, 2, 3, 3, None) }},
		{"Linear: pre is given", func() { b.Linear(y, x, x, Buf{}, y, 1, 2, 2, None) }},
		{"LinearBackwardInput: dx holds", func() { b.LinearBackwardInput(x, y, x, Buf{}, 2, 4, 1, None, false) }},
		{"LinearBackwardInput: add", func() { b.LinearBackwardInput(x, y, x, y, 1, 2, 2, SiLU, true) }},
		{"LinearBackwardWeight: dweight holds", func() { b.LinearBackwardWeight(s, Buf{}, x, y, 1, 3, 3) }},
		{"ActivationForward: y holds", func() { b.ActivationForward(y, x, 7, SiLU) }},
		{"ActivationBackward: activation 9", func() { b.ActivationBackward(y, x, x, 6, 9) }},
		{"Gated: x holds", func() { b.Gated(y, x, 2, 3, SiLU) }},
		{"GatedBackward: dx holds", func() { b.GatedBackward(x, y, x, 2, 3, SiLU) }},
		{"Rope: X holds", func() { b.Rope(Rope{X: x, Pos: idx, Table: s, N: 2, LD: 4, Heads: 1, D: 4, Axes: 1}) }},
		{"Rope: D = 3", func() { b.Rope(Rope{X: x, Pos: idx, Table: s, N: 1, LD: 3, Heads: 1, D: 3, Axes: 1}) }},
		{"Attention: QKV holds", func() { b.Attention(Attention{Out: y, QKV: x, Segments: one, Rows: 4, H: 1, K: 1, D: 2}) }},
		{"AttentionBackward: QKV holds", func() {
			b.AttentionBackward(AttentionBackward{DQKV: y, DOut: y, Out: y, LSE: s, QKV: x, Segments: one, Rows: 4, H: 1, K: 1, D: 2})
		}},
		{"AttentionBackward: segments 0 [0,2) and 1 [1,2) overlap", func() {
			b.AttentionBackward(AttentionBackward{DQKV: y, DOut: y, Out: y, LSE: s, QKV: x,
				Segments: []Segment{{End: 2}, {Start: 1, End: 2}}, Rows: 2, H: 1, K: 1, D: 1})
		}},
		{"MaskedSoftmax: p holds", func() { b.MaskedSoftmax(y, s, x, Buf{}, 2, 4) }},
		{"MaskedSoftmaxBackward: dscores holds", func() { b.MaskedSoftmaxBackward(x, y, y, 2, 4) }},
		{"GatherRows: out holds", func() { b.GatherRows(x, y, idx, 4, 2) }},
		{"ScatterAddRows: src holds", func() { b.ScatterAddRows(x, y, idx, 4, 2) }},
		{"CrossEntropy: Logits holds", func() { b.CrossEntropy(CrossEntropy{Logits: x, Targets: idx, R: 2, V: 4}) }},
		{"CrossEntropy: at most one", func() { b.CrossEntropy(CrossEntropy{Logits: x, Targets: idx, R: 2, V: 3, DFT: true, Focal: 1}) }},
		{"Dropout: y holds", func() { b.Dropout(y, x, 4, 2, Drop{}) }},
		{"Add: src is int32", func() { b.Add(x, idx) }},
		{"Sum: dst holds", func() { b.Sum(sum, 1, x, 6, false) }},
		{"SumSquares: x holds", func() { b.SumSquares(sum, 0, x, 7, false) }},
		{"AdamW: G holds 5", func() {
			b.AdamW(AdamW{P: s, G: s.Slice(0, 5), M: s, V: s, Guard: sum, Eps: 1, Correction1: 1, Correction2: 1})
		}},
	} {
		mustPanic(t, r.want, r.op)
	}
}
