package eval

import (
	"math"
	"slices"
	"testing"
)

// Tags of two types: O, B-0, I-0, B-1, I-1.
const o, b0, i0, b1, i1 = 0, 1, 2, 3, 4

func TestEntities(t *testing.T) {
	for _, c := range []struct {
		tags         []byte
		loose, tight []Entity
	}{
		{[]byte{b0, i0, o, b1}, []Entity{{0, 2, 0}, {3, 4, 1}}, []Entity{{0, 2, 0}, {3, 4, 1}}},
		{[]byte{b0, b0, i0}, []Entity{{0, 1, 0}, {1, 3, 0}}, []Entity{{0, 1, 0}, {1, 3, 0}}},
		{[]byte{o, i0, i0, o}, []Entity{{1, 3, 0}}, nil},                          // further words of no entity
		{[]byte{b0, i1, i1}, []Entity{{0, 1, 0}, {1, 3, 1}}, []Entity{{0, 1, 0}}}, // of another type
		{[]byte{i1, b1, i1, i0}, []Entity{{0, 1, 1}, {1, 3, 1}, {3, 4, 0}}, []Entity{{1, 3, 1}}},
		{[]byte{b0, i1, i0}, []Entity{{0, 1, 0}, {1, 2, 1}, {2, 3, 0}}, []Entity{{0, 1, 0}}}, // interrupted
		{nil, nil, nil},
	} {
		if got := Entities(nil, c.tags, false); !slices.Equal(got, c.loose) {
			t.Errorf("%v: %v, want %v", c.tags, got, c.loose)
		}
		if got := Entities(nil, c.tags, true); !slices.Equal(got, c.tight) {
			t.Errorf("%v, strict: %v, want %v", c.tags, got, c.tight)
		}
	}
}

func TestEntityScores(t *testing.T) {
	near := func(name string, got PRF, p, r, f float64) {
		t.Helper()
		if math.Abs(got.Precision-p) > 1e-12 || math.Abs(got.Recall-r) > 1e-12 || math.Abs(got.F1-f) > 1e-12 {
			t.Errorf("%s: %+v, want %g %g %g", name, got, p, r, f)
		}
	}
	// By hand, with seqeval's definitions. Truth: types 0 [0,2), 1 [3,4); 0 [0,1), 1 [2,4). Answers: 0 [0,2) right, 0 [3,4) of
	// the wrong type; then I-0 alone, which only the default reads as the entity, and 1 [2,3), too short.
	truth := [][]byte{{b0, i0, o, b1}, {b0, o, b1, i1}}
	answer := [][]byte{{b0, i0, o, b0}, {i0, o, b1, o}}
	for _, strict := range []bool{false, true} {
		s := EntityScorer{Strict: strict}
		for i := range truth {
			s.Add(truth[i], answer[i])
		}
		r := s.Scores()
		if r.Words != 8 || r.Accuracy != 5./8 || r.Types[0].Support != 2 || r.Types[1].Support != 2 {
			t.Errorf("%+v", r)
		}
		if strict {
			near("strict micro", r.Micro, 1./3, 1./4, 2./7)
			near("strict type 0", r.Types[0].PRF, 1./2, 1./2, 1./2)
			near("strict type 1", r.Types[1].PRF, 0, 0, 0)
			near("strict macro", r.Macro, 1./4, 1./4, 1./4)
			continue
		}
		near("micro", r.Micro, 2./4, 2./4, 1./2)
		near("type 0", r.Types[0].PRF, 2./3, 1, 4./5)
		near("type 1", r.Types[1].PRF, 0, 0, 0)
		near("macro", r.Macro, 1./3, 1./2, 2./5)
		near("weighted", r.Weighted, 1./3, 1./2, 2./5)
	}
	var none EntityScorer
	none.Add([]byte{o, o}, []byte{o, o})
	near("nothing to find", none.Scores().Micro, 0, 0, 0)
	var wrong EntityScorer // only answered types count in the mean too
	wrong.Add([]byte{b0, o}, []byte{b0, b1})
	near("an answered type", wrong.Scores().Macro, 1./2, 1./2, 1./2)
	near("weighted by support", wrong.Scores().Weighted, 1, 1, 1)
}
