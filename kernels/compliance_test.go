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
var complianceBackends = []func() Backend{NewRef32, NewRef64, NewRefBF16}

func TestCompliance(t *testing.T) { forEachBackend(t, "", testCompliance) }

// A complianceCase is a family of trials of one op. Its body draws shapes and inputs from the trial, which gives the same
// ones to every backend, runs the op on the trial's backend and names what came out.
type complianceCase struct {
	name   string
	trials int
	body   func(r *trial)
}

// pointwise are the ops whose naive results in bfloat16 are the true ones rounded once.
var pointwise = map[string]bool{"Embed": true, "ActivationForward": true, "ActivationBackward": true, "Gated": true,
	"GatedBackward": true, "Dropout": true, "Rope": true, "GatherRows": true, "Add": true, "ScaleRows": true}

// testCompliance holds b against ref64 on fuzzed shapes. Each trial runs once on ref64 and twice on b:
//
//   - Inputs are multiples of 2^-9 and so exact in float32; those of a bfloat16 backend are exact in bfloat16, for all
//     backends of the trial. Outputs that an op must write start as NaN.
//   - |got - want| <= rel*|want| + abs*M with rel and abs from the specifications (2e-5 and 2e-6 for float32, 1e-9 and
//     1e-11 for float64). M is the sum of the absolute values of the terms that were added up for the element, where the
//     case gives it, because rounding grows with the terms and not with what is left of them; elsewhere it is the largest
//     value of the output, at least 1. 2e-6 is 33 units of rounding: room for the sqrt(n) of a random walk over a thousand
//     terms. Infinities, and zeros and integers where the case says so, are exact.
//   - A bfloat16 backend is judged by the ratio of ratioRule instead.
//   - The second run on b must give the same bits.
//   - Inputs and the memory before and behind every buffer must be as they were.
func testCompliance(t *testing.T, b Backend) {
	for _, list := range complianceCases() {
		for _, c := range list {
			t.Run(c.name, func(t *testing.T) { c.comply(t, b) })
		}
	}
	t.Run("refuses", func(t *testing.T) { testRefusals(t, b) })
}

func complianceCases() [][]complianceCase {
	return [][]complianceCase{memoryCases, layerCases, attentionCases, lossCases, rowCases, updateCases, combineCases, reweighCases, referenceCases,
		alignmentCases, linksCases, weightedSumCases}
}

// comply runs the trials of a case.
func (c complianceCase) comply(t *testing.T, b Backend) {
	h := fnv.New64a()
	h.Write([]byte(c.name))
	brain := b.Info().Compute == BF16
	worst := 0.0
	for k := range c.trials {
		run := func(b Backend) *trial {
			draw := philox.New(h.Sum64(), philox.StreamTest, uint64(k), 0)
			r := &trial{k: k, b: b, brain: brain, draw: &draw}
			c.body(r)
			if err := b.Sync(); err != nil {
				t.Fatal(err)
			}
			r.finish()
			return r
		}
		want, got, again := run(ref64), run(b), run(b)
		if got.broken != "" {
			t.Error(got.broken)
		}
		sameBits(t, got, again)
		if brain {
			worst = max(worst, ratioRule(t, c, b, want, run(naive), got))
		} else {
			toleranceRule(t, b, want, got)
		}
		if t.Failed() {
			t.Fatalf("in trial %d", k)
		}
	}
	if worst > 0 {
		t.Logf("root mean square error: at most %.2f times that of the naive computation", worst)
	}
}

// naive is what bfloat16 backends are measured by.
var naive = NewRefBF16()

// sameBits compares two runs on one backend.
func sameBits(t *testing.T, got, again *trial) {
	t.Helper()
	for o, g := range got.outs {
		for i, y := range g.values {
			if z := again.outs[o].values[i]; math.Float64bits(y) != math.Float64bits(z) {
				t.Errorf("%s[%d] = %.17g, then %.17g in an equal run", g.name, i, y, z)
				break
			}
		}
	}
}

// scales returns M of testCompliance for every element.
func (o output) scales() []float64 {
	if o.magnitude != nil {
		return o.magnitude
	}
	return filled(len(o.values), max(1, largest(o.values)))
}

// mustEqual reports whether element i has to be the value that is wanted and not one close to it.
func (o output) mustEqual(i int) bool {
	x := o.values[i]
	return math.IsInf(x, 0) || o.how == exact || o.how == zerosExact && x == 0
}

// toleranceRule is the rule of float32 and float64 backends.
func toleranceRule(t *testing.T, b Backend, want, got *trial) {
	t.Helper()
	rel, abs := goldenTolerance(b.Info().Compute, false)
	for o, w := range want.outs {
		scale := w.scales()
		w.compare(t, got.outs[o].values, func(i int) float64 { return rel*math.Abs(w.values[i]) + abs*scale[i] })
	}
}

// compare reports the first value of got that is farther from w than allowed.
func (o output) compare(t *testing.T, got []float64, allowed func(i int) float64) {
	t.Helper()
	for i, x := range o.values {
		if math.IsNaN(x) {
			t.Fatalf("%s[%d] of the reference is NaN", o.name, i)
		}
		y := got[i]
		if o.mustEqual(i) && y != x || !o.mustEqual(i) && !(math.Abs(y-x) <= allowed(i)) {
			t.Errorf("%s[%d] = %.9g, want %.9g (difference %.3g, allowed %.3g)", o.name, i, y, x, y-x, allowed(i))
			return
		}
	}
}

// ratioRule is the rule of bfloat16 backends: errors against ref64, which computed from the same bfloat16 inputs, are at
// most f times those of the naive computation in bfloat16 plus one unit in the last place of the output, with f = 2 for
// forward and 3 for backward ops. One element of the naive result may be right by luck, so errors e_i = |got_i - want_i|
// are measured in units of M_i (see testCompliance) and compared over the whole output, twice:
//
//	e_i <= f*max_j(naive_j/M_j)*M_i + ulp(want_i)            for every i
//	rms(e_i/M_i) <= f*rms(naive_i/M_i) + rms(ulp(want_i)/M_i)
//
// The first sees one wrong element among thousands of right ones, the second a loss of precision everywhere. For pointwise
// ops, where the naive result is the rounded true one, an element is compared with itself and not with the worst. Outputs
// in float32 (losses, statistics, gradients of parameters) are given the tolerance of float32 in place of ulp; where
// inputs are exact the naive error is next to nothing and what is left is the rule of float32 backends. The naive
// computation itself must be within a plain bound of 1/32 of M. It returns the largest ratio of the root mean squares in
// outputs of at least 16 values.
func ratioRule(t *testing.T, c complianceCase, b Backend, want, plain, got *trial) (worst float64) {
	t.Helper()
	rel, abs := goldenTolerance(F32, false)
	for o, w := range want.outs {
		g, p, scale, f := got.outs[o], plain.outs[o], w.scales(), 2.0
		if strings.Contains(c.name, "Backward") || w.name == "gradient" || w.name == "dv" {
			f = 3
		}
		unit := func(i int) float64 { return ulpBF16(w.values[i]) }
		if g.buf.Type() != BF16 {
			unit = func(i int) float64 { return rel*math.Abs(w.values[i]) + abs*scale[i] }
		}
		var most, squares, squaresPlain, squaresUnit float64
		for i := range w.values {
			if w.mustEqual(i) || scale[i] == 0 {
				continue
			}
			e := math.Abs(p.values[i]-w.values[i]) / scale[i]
			most = max(most, e)
			squaresPlain += e * e
			e = math.Abs(g.values[i]-w.values[i]) / scale[i]
			squares += e * e
			e = unit(i) / scale[i]
			squaresUnit += e * e
		}
		w.compare(t, g.values, func(i int) float64 {
			if pointwise[c.name] {
				return f*math.Abs(p.values[i]-w.values[i]) + unit(i)
			}
			return f*most*scale[i] + unit(i)
		})
		if !(math.Sqrt(squares) <= f*math.Sqrt(squaresPlain)+math.Sqrt(squaresUnit)) {
			t.Errorf("%s: the root of the squared errors is %.3g, that of the naive computation %.3g, of the unit %.3g", w.name,
				math.Sqrt(squares), math.Sqrt(squaresPlain), math.Sqrt(squaresUnit))
		}
		if g.buf.Type() == BF16 && len(w.values) >= 16 && squaresPlain > 0 {
			worst = max(worst, math.Sqrt(squares/squaresPlain))
		}
		if b.Info().Name == naive.Info().Name && most > 1.0/32 {
			t.Errorf("%s: the naive computation is off by %.3g of its scale", w.name, most)
		}
	}
	return worst
}

// ulpBF16 returns the distance of neighbouring bfloat16 numbers at v, at least that of the smallest normal ones.
func ulpBF16(v float64) float64 {
	e := -126
	if v != 0 {
		e = max(e, math.Ilogb(v))
	}
	return math.Ldexp(1, e-7)
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
		{"Gated: gate holds", func() { b.Gated(y, x, x, 2, 3, 4, SiLU) }},
		{"Gated: ld = 2", func() { b.Gated(y, x, x, 1, 3, 2, SiLU) }},
		{"GatedBackward: dgate holds", func() { b.GatedBackward(x, y, y, x, x, 2, 3, 4, SiLU) }},
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
		{"WeightedSum: X holds", func() { b.WeightedSum(WeightedSum{Y: y, X: x, Weights: s, N: 2, J: 2, Stride: 5}) }},
		{"WeightedSum: Stride = 2", func() { b.WeightedSum(WeightedSum{Y: y, X: x, Weights: s, N: 3, J: 2, Stride: 2}) }},
		{"WeightedSumBackward: Weights holds", func() {
			b.WeightedSumBackward(WeightedSumBackward{DX: x, DY: y, X: x, Weights: s.Slice(0, 1), N: 1, J: 2, Stride: 1})
		}},
		{"AdamW: G holds 5", func() {
			b.AdamW(AdamW{P: s, G: s.Slice(0, 5), M: s, V: s, Guard: sum, Eps: 1, Correction1: 1, Correction2: 1})
		}},
	} {
		mustPanic(t, r.want, r.op)
	}
}
