package kernels

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

var alignmentCases = []complianceCase{
	{"Emissions", 30, emissionsTrial},
	{"EmissionsBackward", 30, emissionsBackwardTrial},
	{"Alignment", 60, func(r *trial) { alignmentTrial(r, r.lattices(8, 0)) }},
}

// lattices draws some, with gaps between their rows and targets. length 0: of any small size.
func (r *trial) lattices(targets, length int) (list []Lattice) {
	row, first := int32(r.pick(0, 2)), int32(r.pick(0, 1))
	for range r.pick(0, 1, 3, 5) {
		S := r.pick(0, 1, 2, 5, 9, 16, 33, 70)
		if length > 0 {
			S = length
		}
		l := Lattice{Start: row, End: row + int32(S), First: first}
		l.Last = first + int32(r.draw.IntN(min(S, targets)+2))
		list = append(list, l)
		row, first = l.End+int32(r.pick(0, 0, 3)), l.Last+int32(r.pick(0, 0, 1))
	}
	return list
}

// extent returns the rows and targets that a list of lattices needs.
func extent(list []Lattice) (rows, targets int) {
	for _, l := range list {
		rows, targets = max(rows, int(l.End)), max(targets, int(l.Last))
	}
	return rows, targets
}

func (r *trial) emissions() (list []Lattice, mode AlignmentMode, R, V int, z []float64, targets []int32) {
	list, mode = r.lattices(8, 0), AlignmentMode(1+r.k%2)
	rows, n := extent(list)
	R, V = rows+r.pick(0, 2), r.pick(1, 3, 17, 500)
	z, targets = r.normals(R*V), r.indices(n, V)
	for i := range z {
		if i%V > 0 && V > 3 && r.draw.IntN(20) == 0 {
			z[i] = math.Inf(-1)
		}
	}
	return list, mode, R, V, z, targets
}

func emissionsTrial(r *trial) {
	list, mode, R, V, z, targets := r.emissions()
	for i, y := range targets {
		targets[i] = y * int32(r.draw.IntN(2)) // token 0 repeats
	}
	for i := range z {
		if math.IsInf(z[i], -1) && i%V == V-1 {
			z[i] = 1
		}
	}
	a := Emissions{Lattices: list, R: R, V: V, Mode: mode, Blank: int32(V - 1), Logits: r.in(z), Targets: integers(r.b, targets)}
	n := MatchSize(list, mode)
	a.Match, a.LSE = r.freshMaster(n), r.master(filled(R, 3))
	r.b.Emissions(a)
	r.out("match", a.Match, n, near, nil)
	r.out("lse", a.LSE, R, near, nil)
}

func emissionsBackwardTrial(r *trial) {
	list, mode, R, V, z, targets := r.emissions()
	a := EmissionsBackward{Lattices: list, R: R, V: V, Mode: mode, Blank: int32(V - 1), Targets: integers(r.b, targets)}
	n := MatchSize(list, mode)
	d, lse, magnitude := r.normals(n), make([]float64, R), make([]float64, R*V)
	for i := range d {
		if r.draw.IntN(3) == 0 {
			d[i] = 0
		}
	}
	for row := range R {
		_, lse[row] = lseWithout(z[row*V:][:V], 0)
		lse[row] = float64(float32(lse[row]))
	}
	offsets, _ := matrixOffsets(list, mode)
	for b, l := range list {
		for row := int(l.Start); row < int(l.End); row++ {
			for i := range l.emitted(mode) {
				for j := range V {
					magnitude[row*V+j] += math.Abs(d[offsets[b]+i*l.states()+row-int(l.Start)])
				}
			}
		}
	}
	a.Logits, a.DMatch, a.LSE = r.variable(z), r.inMaster(d), r.inMaster(lse)
	r.b.EmissionsBackward(a)
	r.out("gradient", a.Logits, R*V, zerosExact, magnitude)
}

func alignmentTrial(r *trial, list []Lattice) {
	_, n := extent(list)
	a := Alignment{Lattices: list, Mode: AlignmentMode(1 + r.k%2), Blank: 3, Grad: r.k%7 != 6, GradScale: []float64{1, -1.0 / 8}[r.draw.IntN(2)]}
	targets, size, links := r.indices(n, 3+r.draw.IntN(2)), MatchSize(list, a.Mode), LinksSize(list)
	match, logE, weights := absolute(r.normals(size)), absolute(r.normals(links)), r.normals(len(list))
	far := float64(r.pick(1, 1, 20, 500))
	for i := range match {
		if match[i] *= -far; r.draw.IntN(30) == 0 {
			match[i] = math.Inf(-1)
		}
	}
	at := 0
	for _, l := range list {
		S := l.states()
		for i := range S * S {
			if logE[at+i] = -logE[at+i]; i%S <= i/S || r.k%3 == 0 && r.draw.IntN(4) == 0 {
				logE[at+i] = math.Inf(-1)
			}
		}
		at += S * S
	}
	a.Match, a.Targets = r.inMaster(match), integers(r.b, targets)
	if a.Mode == DAG {
		a.LogE = r.inMaster(logE)
	}
	a.LogP, a.Loss, a.Lost = r.freshMaster(len(list)), r.freshMaster(len(list)), r.freshMaster(len(list))
	if a.Weights = r.inMaster(weights); r.k%5 == 4 {
		a.Weights = Buf{}
	}
	if a.Grad {
		a.DMatch = r.freshMaster(size)
		if a.Mode == DAG {
			a.DLogE = r.freshMaster(links)
		}
	}
	r.b.Alignment(a)
	scale := 4 * far // the largest number of an exponent; weights are up to 4
	r.out("logp", a.LogP, len(list), near, nil)
	r.out("loss", a.Loss, len(list), zerosExact, nil)
	r.out("lost", a.Lost, len(list), exact, nil)
	r.out("dmatch", a.DMatch, size, near, filled(size, scale))
	r.out("dlogE", a.DLogE, links, near, filled(links, scale))
}

type upperCase struct {
	S, M           int
	Match, DMatch  numbers
	LogE           json.RawMessage `json:"logE_upper"`
	DLogE          json.RawMessage `json:"dlogE_upper"`
	Upstream, LogP json.RawMessage
	BestPath       []int    `json:"best_path"`
	BestLogP       *float64 `json:"best_logP"`
	Name           string
}

// upper returns the S x S matrix of rows that list j = i+1..S-1, with fill elsewhere.
func upper(t *testing.T, raw json.RawMessage, S int, fill float64) []float64 {
	t.Helper()
	var rows []numbers
	if err := json.Unmarshal(raw, &rows); err != nil || len(rows) < S {
		t.Fatalf("%v: %d rows for %d states", err, len(rows), S)
	}
	m := filled(S*S, fill)
	for i, row := range rows[:S] {
		copy(m[i*S+i+1:(i+1)*S], row)
	}
	return m
}

func number(t *testing.T, raw json.RawMessage) float64 {
	t.Helper()
	var n numbers
	if err := json.Unmarshal([]byte("["+string(raw)+"]"), &n); err != nil || len(n) != 1 {
		t.Fatalf("%v: %s", err, raw)
	}
	return n[0]
}

// orZero returns what is counted of a log-probability.
func orZero(v float64) float64 {
	if math.IsInf(v, 0) {
		return 0
	}
	return v
}

func TestGoldenAlignment(t *testing.T) {
	for _, c := range readGolden[upperCase](t, "exlm_dag") {
		upstream, logP := number(t, c.Upstream), number(t, c.LogP)
		logE, dlogE := upper(t, c.LogE, c.S, math.Inf(-1)), upper(t, c.DLogE, c.S, 0)
		forEachBackend(t, c.Name, func(t *testing.T, b Backend) {
			a := Alignment{Lattices: []Lattice{{End: int32(c.S), Last: int32(c.M)}}, Mode: DAG, Grad: true, GradScale: -1, Match: masters(b, c.Match),
				LogE: masters(b, logE), DMatch: masters(b, filled(len(c.Match), 9)), DLogE: masters(b, filled(len(logE), 9)),
				Weights: masters(b, []float64{upstream}), LogP: masters(b, []float64{9}), Loss: masters(b, []float64{9}), Lost: masters(b, []float64{9})}
			b.Alignment(a)
			check := masterCheck(t, b, c.Match.largest() > 100)
			check.values("logP", read(b, a.LogP), []float64{logP}, true)
			check.values("loss", read(b, a.Loss), []float64{-upstream * orZero(logP)}, true)
			check.values("dmatch", read(b, a.DMatch), c.DMatch, true)
			check.values("dlogE", read(b, a.DLogE), dlogE, true)
			if lost := read(b, a.Lost)[0] == 1; lost != math.IsInf(logP, -1) {
				t.Errorf("lost is %v", lost)
			}
		})
		path, best := BestAlignment(c.Match, logE, c.M, c.S)
		if c.BestLogP == nil {
			if path != nil || !math.IsInf(best, -1) {
				t.Errorf("%s: path %v of %g where there is none", c.Name, path, best)
			}
		} else if fmt.Sprint(path) != fmt.Sprint(c.BestPath) || math.Abs(best-*c.BestLogP) > 1e-9 {
			t.Errorf("%s: path %v of %.12g, want %v of %.12g", c.Name, path, best, c.BestPath, *c.BestLogP)
		}
	}
}

// masterCheck is newGoldenCheck for what is computed in the master type from inputs of it.
func masterCheck(t *testing.T, b Backend, large bool) goldenCheck {
	c := goldenCheck{t: t, b: b}
	c.rel, c.abs = goldenTolerance(b.Info().Master, large)
	return c
}

// Rows of unequal numbers of states and targets in one call.
func TestGoldenAlignmentBatches(t *testing.T) {
	raw, err := os.ReadFile(filepath.Join(goldenFolder(), "exlm_dag.json"))
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Batches []struct {
			Name          string
			S, M          []int
			Match, DMatch [][]numbers
			LogE          []json.RawMessage `json:"logE_upper"`
			DLogE         []json.RawMessage `json:"dlogE_upper"`
			LogP          numbers
			Valid         []int
			Loss          float64
			Compat        float64 `json:"loss_compat_count_invalid"`
		}
	}
	if err := json.Unmarshal(raw, &file); err != nil || len(file.Batches) == 0 {
		t.Fatalf("%v: %d batches", err, len(file.Batches))
	}
	for _, c := range file.Batches {
		forEachBackend(t, c.Name, func(t *testing.T, b Backend) {
			var list []Lattice
			var match, dmatch, logE, dlogE, weights []float64
			row, first, valid := int32(0), int32(0), 0.0
			for i, S := range c.S {
				M := c.M[i]
				list = append(list, Lattice{row, row + int32(S), first, first + int32(M)})
				row, first = row+int32(S), first+int32(M)
				for j := range M {
					match, dmatch = append(match, c.Match[i][j][:S]...), append(dmatch, c.DMatch[i][j][:S]...)
				}
				logE, dlogE = append(logE, upper(t, c.LogE[i], S, math.Inf(-1))...), append(dlogE, upper(t, c.DLogE[i], S, 0)...)
				weights = append(weights, 1/float64(M))
				valid += float64(c.Valid[i])
			}
			valid = max(valid, 1) // a batch without a path has loss 0
			a := Alignment{Lattices: list, Mode: DAG, Grad: true, GradScale: 1 / valid, Match: masters(b, match), LogE: masters(b, logE),
				DMatch: masters(b, filled(len(match), 9)), DLogE: masters(b, filled(len(logE), 9)), Weights: masters(b, weights),
				LogP: masters(b, filled(len(list), 9)), Loss: masters(b, filled(len(list), 9)), Lost: masters(b, filled(len(list), 9))}
			b.Alignment(a)
			check, sum := masterCheck(t, b, numbers(match).largest() > 100), 0.0
			for _, l := range read(b, a.Loss) {
				sum += l
			}
			for i, lost := range read(b, a.Lost) {
				if lost != 1-float64(c.Valid[i]) {
					t.Errorf("lost %d is %g", i, lost)
				}
			}
			check.values("logP", read(b, a.LogP), c.LogP, true)
			check.values("loss", []float64{sum / valid, sum / float64(len(list))}, []float64{c.Loss, c.Compat}, true)
			check.values("dmatch", read(b, a.DMatch), dmatch, true)
			check.values("dlogE", read(b, a.DLogE), dlogE, true)
		})
	}
}

// ExLM without transitions: k frames and one target.
func TestGoldenAlignmentCTC(t *testing.T) {
	raw, err := os.ReadFile(filepath.Join(goldenFolder(), "exlm_dag.json"))
	if err != nil {
		t.Fatal(err)
	}
	var file struct { // of maps, as the names logp and logP differ in case alone
		Cases []map[string]json.RawMessage `json:"ctc_cases"`
	}
	if err := json.Unmarshal(raw, &file); err != nil || len(file.Cases) == 0 {
		t.Fatalf("%v: %d cases", err, len(file.Cases))
	}
	var list []Lattice
	var match, dmatch, want []float64
	var targets []int32
	row := int32(0)
	for i, c := range file.Cases {
		targets = append(targets, int32(5+i/2))
		var p, d numbers
		if err := errors.Join(json.Unmarshal(c["logp"], &p), json.Unmarshal(c["dlogp"], &d)); err != nil {
			t.Fatal(err)
		}
		k := len(p) / 2
		list = append(list, Lattice{row, row + int32(k), int32(i), int32(i) + 1})
		row += int32(k)
		for e := range 2 {
			for u := range k {
				match, dmatch = append(match, p[2*u+e]), append(dmatch, d[2*u+e])
			}
		}
		want = append(want, number(t, c["logP"]))
	}
	n := len(list)
	forEachBackend(t, "", func(t *testing.T, b Backend) {
		a := Alignment{Lattices: list, Mode: CTC, Blank: 0, Grad: true, GradScale: -1, Match: masters(b, match), DMatch: masters(b, filled(len(match), 9)),
			Targets: integers(b, targets), LogP: masters(b, filled(n, 9))}
		b.Alignment(a)
		check := masterCheck(t, b, numbers(match).largest() > 100)
		check.values("logP", read(b, a.LogP), want, true)
		check.values("dlogp", read(b, a.DMatch), dmatch, true)
	})
}

// CTC with several targets, equal neighbours among them, against all sequences of labels.
func TestAlignmentCTCByEnumeration(t *testing.T) {
	r := newTestTrial(ref64, 60)
	for _, targets := range [][]int32{{1}, {1, 2}, {1, 1}, {2, 1, 2}, {1, 1, 1}, {1, 2, 2}} {
		const S, blank = 5, 0
		M := len(targets)
		match := r.normals((M + 1) * S)
		sum := 0.0
		var walk func(frames []int32, logP float64)
		walk = func(frames []int32, logP float64) { // rows of match of one token are equal in their first occurrence's
			if len(frames) == S {
				var seen []int32
				for i, y := range frames {
					if y != blank && (i == 0 || frames[i-1] != y) {
						seen = append(seen, y)
					}
				}
				if slices.Equal(seen, targets) {
					sum += math.Exp(logP)
				}
				return
			}
			for _, y := range []int32{blank, 1, 2} {
				at := M
				if y != blank {
					if at = slices.Index(targets, y); at < 0 {
						continue
					}
				}
				walk(append(slices.Clone(frames), y), logP+match[at*S+len(frames)])
			}
		}
		walk(nil, 0)
		for i, y := range targets {
			copy(match[i*S:][:S], match[slices.Index(targets, y)*S:][:S])
		}
		a := Alignment{Lattices: []Lattice{{End: S, Last: int32(M)}}, Mode: CTC, Blank: blank, Match: buf64(match), Targets: HostBuf(targets), LogP: zeros64(1)}
		ref64.Alignment(a)
		if got := view64(a.LogP)[0]; math.Abs(got-math.Log(sum)) > 1e-12*math.Abs(got) && !(sum == 0 && math.IsInf(got, -1)) {
			t.Errorf("%v: %.15g, want %.15g", targets, got, math.Log(sum))
		}
	}
}

// The whole way from logits to the loss and back.
func TestGradientsAlignment(t *testing.T) {
	for _, mode := range []AlignmentMode{DAG, CTC} {
		r := newTestTrial(ref64, 61)
		list := []Lattice{{1, 6, 0, 3}, {6, 6, 3, 3}, {6, 8, 3, 5}, {8, 11, 5, 5}, {11, 13, 4, 7}}
		const R, V = 14, 6
		targets := []int32{1, 1, 4, 2, 5, 3, 3}
		offsets, _ := matrixOffsets(list, mode)
		n, links := MatchSize(list, mode), LinksSize(list)
		z, logE, weights := r.normals(R*V), r.normals(links), r.normals(len(list))
		at := 0
		for _, l := range list {
			for i := range l.states() * l.states() {
				if i%l.states() <= i/l.states() {
					logE[at+i] = math.Inf(-1)
				}
			}
			at += l.states() * l.states()
		}
		run := func(z, logE []float64) (a Alignment, dz Buf) {
			e := Emissions{Match: zeros64(n), LSE: zeros64(R), Logits: buf64(z), Targets: HostBuf(targets), Lattices: list, R: R, V: V, Mode: mode}
			ref64.Emissions(e)
			a = Alignment{Loss: zeros64(len(list)), DMatch: zeros64(n), DLogE: zeros64(links), Match: e.Match, LogE: buf64(logE), Weights: buf64(weights),
				Targets: e.Targets, Lattices: list, Mode: mode, Grad: true, GradScale: 1}
			ref64.Alignment(a)
			ref64.EmissionsBackward(EmissionsBackward{Logits: e.Logits, DMatch: a.DMatch, LSE: e.LSE, Targets: e.Targets, Lattices: list, R: R, V: V, Mode: mode})
			return a, e.Logits
		}
		a, dz := run(z, logE)
		gradientCase{t, fmt.Sprint("alignment ", mode), [][]float64{z, logE}, func(in [][]float64) []float64 {
			a, _ := run(in[0], in[1])
			return view64(a.Loss)
		}, filled(len(list), 1), [][]float64{view64(dz), view64(a.DLogE)}}.check()
		if mode == DAG { // whatever a target's path, it visits one state
			for i := range 3 {
				if sum := sumRef(view64(a.DMatch)[offsets[0]+5*i:][:5]); math.Abs(sum+weights[0]) > 1e-12 {
					t.Errorf("gradients of target %d add up to %g, want %g", i, sum, -weights[0])
				}
			}
		}
	}
}

func TestAlignmentRefusals(t *testing.T) {
	forEachBackend(t, "", func(t *testing.T, b Backend) {
		x, s, idx := b.Alloc(b.Info().Compute, 12), b.Alloc(b.Info().Master, 12), integers(b, make([]int32, 4))
		one := []Lattice{{0, 3, 0, 2}}
		for want, list := range map[string][]Lattice{"lattice 1 has states [2,4)": {{0, 3, 0, 2}, {2, 4, 2, 2}}, "lattice 0 has targets [1,9)": {{0, 3, 1, 9}},
			"lattice 0 has states [0,5)": {{0, 5, 0, 1}}} {
			mustPanic(t, want, func() {
				b.Emissions(Emissions{Match: s, LSE: s, Logits: x, Targets: idx, Lattices: list, R: 4, V: 3, Mode: DAG})
			})
		}
		mustPanic(t, "Emissions: mode 0", func() { b.Emissions(Emissions{Match: s, LSE: s, Logits: x, Targets: idx, Lattices: one, R: 4, V: 3}) })
		mustPanic(t, "EmissionsBackward: Blank = 3", func() {
			b.EmissionsBackward(EmissionsBackward{DMatch: s, LSE: s, Logits: x, Targets: idx, Lattices: one, R: 4, V: 3, Mode: CTC, Blank: 3})
		})
		mustPanic(t, "Emissions: match holds", func() {
			b.Emissions(Emissions{Match: s.Slice(0, 5), LSE: s, Logits: x, Targets: idx, Lattices: one, R: 4, V: 3, Mode: DAG})
		})
		mustPanic(t, "Alignment: LogE is absent", func() { b.Alignment(Alignment{Match: s, Lattices: one, Mode: DAG}) })
		mustPanic(t, "Alignment: DMatch is absent", func() { b.Alignment(Alignment{Match: s, LogE: s, Lattices: one, Mode: DAG, Grad: true}) })
		mustPanic(t, "Alignment: Targets is absent", func() { b.Alignment(Alignment{Match: s, Lattices: one, Mode: CTC}) })
		mustPanic(t, "Links: QK holds", func() { b.Links(Links{LogE: s, QK: x, Gate: x, Lattices: one, Rows: 3, H: 1, D: 4}) })
		mustPanic(t, "LinksBackward: LSE is absent", func() {
			b.LinksBackward(LinksBackward{DQK: x, DGate: x, DLogE: s, LogE: s, QK: x, Gate: x, Lattices: one, Rows: 3, H: 1, D: 2})
		})
	})
}
