package main

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"palimpsest/engine/shad"
	"palimpsest/engine/shard"
)

// classes builds a data set with a plane class.
func classes(t *testing.T, tokens []int32, plane ...byte) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "data")
	w, err := shard.Create(dir, shard.WriterOptions{TokenizerHash: "x", Vocab: 100, BOS: -1, EOS: -1, Planes: []shard.Plane{{Name: "class"}}})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.AppendWith(tokens, map[string][]byte{"class": plane}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestAgree(t *testing.T) {
	tokens := []int32{1, 2, 3, 4, 5, 6}
	judged := classes(t, tokens, 255, 0, 1, 0, 1, 0)
	boilerplate := classes(t, tokens, 0, 0, 0, 1, 1, 1)
	reasoning := classes(t, tokens, 0, 0, 1, 0, 0, 1)
	scores := t.TempDir()
	for name, losses := range map[string][]float32{"nll-model": {1, 1, 1, 1, 1}, "nll-tuned": {1, 3, 2, 4, 9}} {
		w, err := shad.WriteLosses(filepath.Join(scores, name), shad.Scored{})
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(w.Append(losses), w.Commit(true), w.Close()); err != nil {
			t.Fatal(err)
		}
	}
	a, err := compareClasses(scores, judged, boilerplate, reasoning)
	if err != nil {
		t.Fatal(err)
	}
	// Known boilerplate: tokens 1 (right) and 2 (missed); known reasoning: 3 (wrong) and 4 (right); 0 has no class, 5 is not known.
	if a.Counts != [2][2]int64{{1, 1}, {1, 1}} || a.Tokens != 4 || a.Precision != 0.5 || a.Recall != 0.5 || a.Balanced != 0.5 || a.Boilerplate != 0.6 {
		t.Errorf("%+v", a)
	}
	if a.AUC != 0.75 { // growths 0 and 2 against 1 and 3
		t.Errorf("AUC %g", a.AUC)
	}
	if _, err := compareClasses(scores, judged, boilerplate, classes(t, []int32{1, 2, 3, 4, 5, 7}, 0, 0, 1, 0, 0, 1)); err == nil || !strings.Contains(err.Error(), "differ at document 0") {
		t.Errorf("other documents: %v", err)
	}
}

func TestCurve(t *testing.T) {
	points := []point{{0, 100}, {0.6, 40}, {0.4, 60}}
	if v, ok := at(points, 0.5); !ok || v != 50 {
		t.Errorf("%g, %v", v, ok)
	}
	if v, ok := at(points, 0.2); !ok || v != 80 {
		t.Errorf("%g, %v", v, ok)
	}
	if _, ok := at(points, 0.7); ok || furthest(points) != 0.6 {
		t.Error("beyond the last point")
	}
	if v, ok := at([]point{{0, 1}, {-0.1, 0.5}, {0.2, 0}}, 0.1); !ok || v != 0.5 {
		t.Errorf("a model that is worse than the old one: %g, %v", v, ok)
	}
}
