package eval

import (
	"math"
	"strings"
	"testing"

	"palimpsest/engine/model"
	"palimpsest/kernels"
	"palimpsest/kernels/philox"
	"palimpsest/objectives"
)

// randomLattice has S states over V tokens and links to all later states.
func randomLattice(S, V int, links bool) model.Lattice {
	d := philox.New(5, philox.StreamTest, uint64(S), 0)
	l := model.Lattice{States: S, Logits: make([]float32, S*V)}
	for i := range l.Logits {
		l.Logits[i] = float32(4*d.Float64() - 2)
	}
	if !links {
		return l
	}
	l.LogE = make([]float32, S*S)
	for u := range S {
		sum := 0.0
		for v := range S {
			l.LogE[u*S+v] = float32(math.Inf(-1))
			if v > u {
				l.LogE[u*S+v] = float32(d.Float64())
				sum += math.Exp(float64(l.LogE[u*S+v]))
			}
		}
		for v := u + 1; v < S; v++ {
			l.LogE[u*S+v] -= float32(math.Log(sum))
		}
	}
	return l
}

// Visits, and the best path that takes one state of every token, against all paths one by one.
func TestVisitsAndPathByEnumeration(t *testing.T) {
	const S, V = 9, 4
	groups := []expanded{{from: 0, to: 3}, {from: 3, to: 6}, {from: 6, to: 9}}
	r := newReader(randomLattice(S, V, true), &objectives.Term{Mode: kernels.DAG})
	want := make([]float64, S)
	best, bestPath := math.Inf(-1), []int(nil)
	for set := range 1 << (S - 2) { // the inner states of a path from the first to the last
		path := []int{0}
		for u := 1; u < S-1; u++ {
			if set>>(u-1)&1 == 1 {
				path = append(path, u)
			}
		}
		path = append(path, S-1)
		p, score := 1.0, 0.0
		for i := 1; i < len(path); i++ {
			p *= math.Exp(float64(r.LogE[path[i-1]*S+path[i]]))
			score += float64(r.LogE[path[i-1]*S+path[i]])
		}
		for _, u := range path {
			want[u] += p
			most := 0.0
			for _, q := range r.state(u) {
				most = max(most, q)
			}
			score += math.Log(most)
		}
		if len(path) == 3 && path[1] >= 3 && path[1] < 6 && score > best {
			best, bestPath = score, path
		}
	}
	for u, v := range r.visits() {
		if math.Abs(v-want[u]) > 1e-6 {
			t.Errorf("state %d is visited with %g, by enumeration %g", u, v, want[u])
		}
	}
	got := r.path(groups)
	for i := range bestPath {
		if got[i] != bestPath[i] {
			t.Fatalf("path %v, want %v", got, bestPath)
		}
	}
	said, sum := r.token(groups[1], r.visits()), 0.0
	for y, p := range said {
		mixed, weight := 0.0, 0.0
		for u := 3; u < 6; u++ {
			mixed, weight = mixed+want[u]*r.state(u)[y], weight+want[u]
		}
		if sum += p; math.Abs(p-mixed/weight) > 1e-6 {
			t.Errorf("token %d: %g, want %g", y, p, mixed/weight)
		}
	}
	if math.Abs(sum-1) > 1e-12 {
		t.Errorf("the probabilities add up to %g", sum)
	}
}

// The alignment of known targets against all paths one by one: their sum, the likeliest, and the share of those that a state is on.
func TestAlignByEnumeration(t *testing.T) {
	const S, V = 9, 4
	groups := []expanded{{from: 0, to: 3, target: 2}, {from: 3, to: 6, target: 1}, {from: 6, to: 9, target: 3}}
	term := &objectives.Term{Mode: kernels.DAG, Sources: []int32{9, 0, 0, 0, 5, 5, 5, 7, 7, 7}} // a state of a lattice before it
	r := newReader(randomLattice(S, V, true), term)
	total, best, middle := 0.0, 0.0, 0
	for u := 1; u < S-1; u++ { // three targets have one inner state
		p := r.state(0)[2] * math.Exp(float64(r.LogE[u])) * r.state(u)[1] * math.Exp(float64(r.LogE[u*S+S-1])) * r.state(S - 1)[3]
		if total += p; p > best {
			best, middle = p, u
		}
	}
	a := r.align(groups, term, kernels.Lattice{Start: 1, End: 1 + S})
	if math.Abs(a.LogP-math.Log(total)) > 1e-6 || math.Abs(a.BestLogP-math.Log(best)) > 1e-6 || len(a.Path) != 3 {
		t.Fatalf("%+v, want %g and %g", a, math.Log(total), math.Log(best))
	}
	s, sum := a.Path[1], 0.0
	if s.Target != 1 || s.Place != 5 || s.Source != int(term.Sources[1+middle]) || s.State != middle%3+1 || s.States != 3 || math.Abs(s.Share-best/total) > 1e-6 || s.Link != float64(r.LogE[middle]) {
		t.Errorf("%+v, want state %d with the share %g", s, middle, best/total)
	}
	for _, s := range a.Path {
		sum += s.Emission + s.Link
	}
	if math.Abs(sum-a.BestLogP) > 1e-9 || a.Path[2].State != 3 || math.Abs(a.Path[2].Share-1) > 1e-9 {
		t.Errorf("the steps add up to %g of %g: %+v", sum, a.BestLogP, a.Path)
	}
}

// Without links, a token's probability is that of all the ways in which its states emit it alone.
func TestEmittedByEnumeration(t *testing.T) {
	const S, V, blank = 4, 5, 2
	r := newReader(randomLattice(S, V, false), &objectives.Term{Mode: kernels.CTC, Blank: blank})
	want, total := make([]float64, V), 0.0
	for code := range V * V * V * V {
		emitted, p, rest := []int{}, 1.0, code
		last := blank
		for u := range S {
			y := rest % V
			rest /= V
			p *= r.state(u)[y]
			if y != blank && y != last {
				emitted = append(emitted, y)
			}
			last = y
		}
		if len(emitted) == 1 {
			want[emitted[0]] += p
			total += p
		}
	}
	for y, p := range r.token(expanded{from: 0, to: S}, nil) {
		if math.Abs(p-want[y]/total) > 1e-12 {
			t.Errorf("token %d: %g, want %g", y, p, want[y]/total)
		}
	}
}

func TestLikeliest(t *testing.T) {
	got := likeliest([]float64{0.1, 0.3, 0.05, 0.3, 0.25}, 3)
	if len(got) != 3 || got[0].ID != 1 || got[1].ID != 3 || got[2].ID != 4 {
		t.Errorf("%v", got)
	}
	if got := likeliest([]float64{0.4, 0.6}, 5); len(got) != 2 || got[0].ID != 1 {
		t.Errorf("%v", got)
	}
}

// Links lead past the masks where their states say less than frequencies do.
func TestAstray(t *testing.T) {
	linked := map[string]float64{MeasurePathAccuracy: 0.1}
	if note := Astray(3.9, 3.4, linked); !strings.Contains(note, "3.90") || !strings.Contains(note, "objective: mlm") {
		t.Errorf("%q", note)
	}
	for _, note := range []string{Astray(3.3, 3.4, linked), Astray(3.9, 3.4, nil)} {
		if note != "" {
			t.Errorf("%q", note)
		}
	}
}
