package kernels

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// pullVariants are those of the paper and its baselines.
var pullVariants = map[string][2]Pull{"TNFF": {ForwardKL, ForwardKL}, "TNRR": {ReverseKL, ReverseKL}, "TNRF": {ReverseKL, ForwardKL},
	"TNFLL": {ForwardKL, Likelihood}, "TNRLL": {ReverseKL, Likelihood}, "NL": {Likelihood, Likelihood}, "UL": {Unlikelihood, Likelihood}}

var referenceCases = []complianceCase{{"ReferenceKL", 80, func(r *trial) { referenceTrial(r, r.pick(0, 1, 5, 9), r.pick(2, 3, 17, 64, 1000, 2999)) }}}

func referenceTrial(r *trial, R, V int) {
	a := ReferenceKL{R: R, V: V, Grad: r.k%7 != 3, GradScale: []float64{1, 1.0 / 64, 1e-3}[r.draw.IntN(3)],
		Unwanted: Pull(1 + r.k%4), Kept: Pull(1 + r.k/4%3), Eps: 1.0 / 1024, EpsPerEntry: r.k%5 == 4}
	if r.k%3 == 0 {
		a.Floor, a.FloorKept = -5, r.coin()
	}
	z, ref, targets, weights := r.normals(R*V), r.normals(R*V), r.indices(R, V), r.normals(R)
	size := r.pick(1, 1, 5)
	for i := range z {
		z[i], ref[i] = z[i]*float64(size), ref[i]*float64(size)
		if y := int(targets[i/V]); V > 3 && r.draw.IntN(10) == 0 && i%V != y && i%V != (y+1)%V {
			z[i] = math.Inf(-1) // of these the reference allows any
			if a.Unwanted == ReverseKL || a.Kept == ReverseKL {
				ref[i] = math.Inf(-1)
			}
			if a.Unwanted == ForwardKL || a.Kept == ForwardKL {
				z[i] = ref[i]
			}
		}
	}
	for i := range targets {
		switch r.draw.IntN(6) {
		case 0:
			targets[i] = IgnoreTarget
		case 1:
			weights[i] = 0
		}
	}
	A := largest(z) + largest(ref) + math.Log(float64(V)) + 8 // bounds the terms; 8 is more than -log(Eps)
	a.Logits, a.Targets = r.variable(z), integers(r.b, targets)
	a.Reference = r.in(ref)
	if !a.Unwanted.diverges() && !a.Kept.diverges() && r.coin() {
		a.Reference = Buf{}
	}
	a.Weights, a.NLL, a.Loss, a.KL = r.inMaster(weights), r.freshMaster(R), r.freshMaster(R), r.freshMaster(R)
	if r.k%8 == 7 {
		a.Weights = Buf{}
		weights = filled(R, 1)
	}
	switch r.k % 9 {
	case 6:
		a.NLL = Buf{}
	case 7:
		a.Loss = Buf{}
	case 8:
		a.KL = Buf{}
	}
	r.b.ReferenceKL(a)
	ml, mg := make([]float64, R), make([]float64, R*V)
	for row, w := range weights {
		ml[row] = math.Abs(w) * A
		for j := range V {
			mg[row*V+j] = a.GradScale * ml[row]
		}
	}
	r.out("nll", a.NLL, R, zerosExact, filled(R, A))
	r.out("loss", a.Loss, R, zerosExact, ml)
	r.out("kl", a.KL, R, zerosExact, filled(R, A))
	if a.Grad {
		r.out("gradient", a.Logits, R*V, zerosExact, mg)
	}
}

type referenceCase struct {
	Name, Variant string
	Alpha, Eps    float64
	PerEntry      bool     `json:"compat_eps_per_entry"`
	Clip          bool     `json:"compat_ul_clip"`
	Threshold     bool     `json:"compat_nl_threshold"`
	Floor         *float64 `json:"nl_floor"`
	Z, DZ         numbers
	ZReference    numbers `json:"z_ref"`
	Target        []int32
	W             []float64
	RowLoss       numbers    `json:"row_loss"`
	KL            []*float64 // null where there is none
	LossSum       float64    `json:"loss_sum"`
	LossMean      float64    `json:"loss_mean"`
}

// op returns the op of a case and its weights, with alpha in those of unwanted rows.
func (c referenceCase) op() (ReferenceKL, []float64) {
	pulls := pullVariants[c.Variant]
	a := ReferenceKL{R: len(c.Target), V: len(c.Z) / len(c.Target), Unwanted: pulls[0], Kept: pulls[1], Eps: c.Eps, EpsPerEntry: c.PerEntry,
		ClipUnlikelihood: c.Clip, FloorKept: c.Threshold, Grad: true, GradScale: 1}
	if c.Floor != nil && c.Variant == "NL" {
		a.Floor = *c.Floor
	}
	weights := append([]float64(nil), c.W...)
	for i, w := range weights {
		if w < 0 {
			weights[i] = w * c.Alpha
		}
	}
	return a, weights
}

func TestGoldenReferenceKL(t *testing.T) {
	for _, c := range readGolden[referenceCase](t, "tnt") {
		op, weights := c.op()
		if err := ValidateReferenceKL([]float64(c.Z), []float64(c.ZReference), c.Target, weights, op); err != nil {
			t.Errorf("%s: %v", c.Name, err)
		}
		forEachBackend(t, c.Name, func(t *testing.T, b Backend) {
			a := op
			R := a.R
			a.Logits, a.Targets, a.Weights = floats(b, c.Z), integers(b, c.Target), masters(b, weights)
			if len(c.ZReference) > 0 { // NL and UL may do without
				a.Reference = floats(b, c.ZReference)
			}
			a.Loss, a.KL = masters(b, filled(R, math.NaN())), masters(b, filled(R, math.NaN()))
			b.ReferenceKL(a)
			total := b.Alloc(F64, 1)
			b.Sum(total, 0, a.Loss, R, false)
			check := newGoldenCheck(t, b, c.Z.largest() >= 80 || c.RowLoss.largest() > 100)
			check.abs *= max(1, c.Alpha)
			check.values("row_loss", read(b, a.Loss), c.RowLoss, true)
			check.values("dz", read(b, a.Logits), c.DZ, true)
			rows, kl := 0.0, make([]float64, R)
			for i, w := range c.W {
				if c.KL[i] != nil && weights[i] != 0 { // a factor of 0 leaves the row out
					kl[i] = *c.KL[i]
				}
				if w != 0 {
					rows++
				}
			}
			rows = max(1, rows)
			check.values("kl", read(b, a.KL), kl, true)
			sum := read(b, total)[0]
			check.abs *= float64(R)
			check.values("loss_sum", []float64{sum}, []float64{c.LossSum}, false)
			check.values("loss_mean", []float64{sum / rows}, []float64{c.LossMean}, false)
		})
	}
}

// The scores that the published unit tests expect, in both ways of smoothing.
func TestGoldenReferenceKLOfficial(t *testing.T) {
	raw, err := os.ReadFile(filepath.Join(goldenFolder(), "tnt.json"))
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Official []struct {
			Variant     string
			Alpha, RTol float64
			Logits      numbers
			Targets     [][]int32
			W           [][]float64
			Expected    []float64 `json:"expected_score"`
			Score       []float64 // exact, and with the published smoothing
			Compat      []float64 `json:"score_compat"`
		}
	}
	if err := json.Unmarshal(raw, &file); err != nil || len(file.Official) == 0 {
		t.Fatalf("%v: %d cases", err, len(file.Official))
	}
	for _, c := range file.Official {
		for _, perEntry := range []bool{false, true} {
			forEachBackend(t, fmt.Sprintf("%s alpha %g", c.Variant, c.Alpha), func(t *testing.T, b Backend) {
				n, at := len(c.Logits)/len(c.Targets), 0
				for g, targets := range c.Targets {
					op := referenceCase{Variant: c.Variant, Alpha: c.Alpha, Eps: 1e-6, PerEntry: perEntry, Target: targets, W: c.W[g],
						Z: c.Logits[at : at+n]}
					a, weights := op.op()
					a.Logits, a.Reference, a.Targets = floats(b, op.Z), floats(b, op.Z), integers(b, targets)
					a.Weights, a.Loss = masters(b, weights), masters(b, filled(a.R, math.NaN()))
					b.ReferenceKL(a)
					score := 0.0
					for _, v := range read(b, a.Loss) {
						score -= v
					}
					if limit := max(c.RTol, b.Info().Compute.coarseness()) * max(1, math.Abs(c.Expected[g])); math.Abs(score-c.Expected[g]) > limit {
						t.Errorf("score %d is %.9g, want %.9g", g, score, c.Expected[g])
					}
					want := c.Score
					if perEntry {
						want = c.Compat
					}
					check := newGoldenCheck(t, b, op.Z.largest() >= 80 || math.Abs(want[g]) > 100)
					check.abs *= float64(a.R)
					check.values("exact score", []float64{score}, want[g:g+1], false)
					at += n
				}
			})
		}
	}
}

// coarseness is the tolerance of inputs rounded to the type.
func (t DType) coarseness() float64 {
	if t == BF16 {
		return 1.0 / 32
	}
	return 0
}

func TestGradientsReferenceKL(t *testing.T) {
	for variant, pulls := range pullVariants {
		for _, perEntry := range []bool{false, true} {
			r := newTestTrial(ref64, 50)
			const R, V = 6, 5
			z, ref, targets := r.normals(R*V), r.normals(R*V), r.indices(R, V)
			run := func(z []float64) ReferenceKL {
				a := ReferenceKL{R: R, V: V, Unwanted: pulls[0], Kept: pulls[1], Eps: 1e-3, EpsPerEntry: perEntry, Grad: true, GradScale: 1,
					Logits: buf64(z), Reference: buf64(ref), Targets: HostBuf(targets), Weights: buf64([]float64{1, -1, 0.5, -2.5, 0, -3}), Loss: zeros64(R)}
				ref64.ReferenceKL(a)
				return a
			}
			gradientCase{t, variant, [][]float64{z}, func(in [][]float64) []float64 { return view64(run(in[0]).Loss) }, filled(R, 1),
				[][]float64{view64(run(z).Logits)}}.check()
		}
	}
}

// KL(q || p) = -log(1 - p_y) + KL(q || p without y): where both models are equal, TNFF's negative rows are unlikelihood.
func TestForwardKLAtTheReferenceIsUnlikelihood(t *testing.T) {
	forEachBackend(t, "", func(t *testing.T, b Backend) {
		r := newTestTrial(b, 51)
		const R, V = 4, 40
		z := r.normals(R * V)
		results := map[Pull][]float64{}
		for _, pull := range []Pull{ForwardKL, Unlikelihood} {
			a := ReferenceKL{R: R, V: V, Unwanted: pull, Kept: Likelihood, Grad: true, GradScale: 1, Logits: floats(b, z), Reference: floats(b, z),
				Targets: integers(b, []int32{0, 39, 7, 8}), Weights: masters(b, filled(R, -2))}
			a.KL, a.Loss = masters(b, filled(R, 9)), masters(b, filled(R, 9))
			b.ReferenceKL(a)
			value := read(b, a.KL)
			if pull == Unlikelihood {
				value = read(b, a.Loss)
				for i := range value {
					value[i] /= 2
				}
			}
			results[pull] = append(value, read(b, a.Logits)...)
		}
		_, abs := goldenTolerance(b.Info().Compute, false)
		for i, want := range results[Unlikelihood] {
			if math.Abs(results[ForwardKL][i]-want) > max(abs, 1e-6) {
				t.Errorf("value %d is %g, that of unlikelihood %g", i, results[ForwardKL][i], want)
			}
		}
	})
}

// Near certainty nothing is divided by what is left, and rows that do not count spread nothing whatever they hold.
func TestReferenceKLAtTheEdges(t *testing.T) {
	forEachBackend(t, "", func(t *testing.T, b Backend) {
		inf, nan := math.Inf(1), math.NaN()
		z := []float64{60, 0, -1, nan, inf, -inf, nan, nan, nan, -60, 1, 2}
		for name, pulls := range pullVariants {
			a := ReferenceKL{R: 4, V: 3, Unwanted: pulls[0], Kept: pulls[1], Eps: 1e-6, Grad: true, GradScale: 1, Logits: floats(b, z), Reference: floats(b, z),
				Targets: integers(b, []int32{0, 1, IgnoreTarget, 0}), Weights: masters(b, []float64{-1, 0, 3, 2}),
				Loss: masters(b, filled(4, nan)), KL: masters(b, filled(4, nan)), NLL: masters(b, filled(4, nan))}
			b.ReferenceKL(a)
			loss, grad := read(b, a.Loss), read(b, a.Logits)
			for i, v := range append(append(append([]float64(nil), loss...), grad...), read(b, a.KL)...) {
				silent := i == 1 || i == 2 || i >= 4+3 && i < 4+9
				if v != v || math.IsInf(v, 0) || silent && v != 0 {
					t.Errorf("%s: value %d is %g", name, i, v)
				}
			}
			if name == "UL" && math.Abs(loss[0]-(60-math.Log1p(math.Exp(-1)))) > 0.25 { // -log(1-p_y) with p_y = 1 - 1e-26
				t.Errorf("unlikelihood of a certain token is %g", loss[0])
			}
		}
	})
}

func TestReferenceKLRefusals(t *testing.T) {
	inf, nan := math.Inf(-1), math.NaN()
	good := []float64{0.5, -1, 2, 0, 0.25, -0.5}
	option := func(f func(a *ReferenceKL)) ReferenceKL {
		a := ReferenceKL{V: 3, Unwanted: ReverseKL, Kept: ForwardKL, Eps: 1e-6}
		if f != nil {
			f(&a)
		}
		return a
	}
	for _, c := range []struct {
		z, ref  []float64
		targets []int32
		weights []float64
		a       ReferenceKL
		want    string
	}{
		{good, good, []int32{0, 3}, nil, option(nil), "row 1: target 3"},
		{good, good, []int32{0, 1}, []float64{1, nan}, option(nil), "row 1: weight NaN"},
		{good, good[:3], []int32{0, 1}, nil, option(nil), "3 logits of the reference"},
		{good, nil, []int32{0, 1}, nil, option(nil), "0 logits of the reference"},
		{good[:5], good, []int32{0, 1}, nil, option(nil), "5 logits"},
		{good, []float64{0, 0, 0, 0, nan, 0}, []int32{0, 1}, nil, option(nil), "row 1: logit 1 of the reference is NaN"},
		{[]float64{0, inf, inf, 0, 0, 0}, good, []int32{0, 1}, nil, option(nil), "row 0: the model allows no token but the target 0"},
		{[]float64{inf, 0, 0, 0, 0, 0}, good, []int32{0, 1}, nil, option(nil), "row 0: the target's logit (0) of the model"},
		{good, good, []int32{0, 1}, nil, option(func(a *ReferenceKL) { a.Eps = 1 }), "eps is 1"},
		{good, good, []int32{0, 1}, nil, option(func(a *ReferenceKL) { a.V = 1 }), "1 tokens"},
		{good, good, []int32{0, 1}, nil, option(func(a *ReferenceKL) { a.Floor = 1 }), "floor is 1"},
		{good, good, []int32{0, 1}, nil, option(func(a *ReferenceKL) { a.Kept = Unlikelihood }), "kept targets"},
		{good, good, []int32{0, 1}, nil, option(func(a *ReferenceKL) { a.Unwanted = 0 }), "pull 0"},
	} {
		if err := ValidateReferenceKL(c.z, c.ref, c.targets, c.weights, c.a); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v, want %q", err, c.want)
		}
	}
	quiet := option(nil)
	if err := ValidateReferenceKL([]float64{nan, 0, 0, 0, inf, 0}, good, []int32{0, 2}, []float64{0, 1}, quiet); err != nil {
		t.Error(err)
	}
	forEachBackend(t, "", func(t *testing.T, b Backend) {
		x, y, idx := b.Alloc(b.Info().Compute, 6), b.Alloc(b.Info().Compute, 6), integers(b, []int32{0, 1})
		a := ReferenceKL{Logits: x, Reference: y, Targets: idx, R: 2, V: 4, Unwanted: ForwardKL, Kept: ForwardKL}
		mustPanic(t, "ReferenceKL: Logits holds", func() { b.ReferenceKL(a) })
		a.V, a.Reference = 3, x
		mustPanic(t, "Reference is Logits", func() { b.ReferenceKL(a) })
		a.Reference = Buf{}
		mustPanic(t, "Reference is absent", func() { b.ReferenceKL(a) })
	})
}
