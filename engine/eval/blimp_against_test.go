package eval

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"palimpsest/engine/fault"
)

// Two sets of unequal length whose pairs either model has right in known numbers: the difference of the means over sets, and
// an interval that is that of the normal distribution for as many pairs.
func TestPairsAgainstAnotherModel(t *testing.T) {
	var pairs []Pair
	var scored []PairScores
	var lines []string
	add := func(uid string, n int, own, other float64) {
		for range n {
			p := Pair{Good: fmt.Sprint("good ", len(pairs)), Bad: "bad", UID: uid, PairID: fmt.Sprint(len(pairs)), File: uid + ".jsonl", Line: 1}
			pairs = append(pairs, p)
			scored = append(scored, PairScores{Good: Scores{Causal: own}})
			lines = append(lines, fmt.Sprintf(`{"sentence_good":%q,"sentence_bad":"bad","scores":{"clm":{"right":%t}}}`, p.Good, other > 0))
		}
	}
	add("a", 300, 1, 1)
	add("a", 60, 1, -1)
	add("a", 20, -1, 1)
	add("a", 20, -1, -1) // 400: +0.1
	add("b", 90, -1, -1)
	add("b", 10, -1, 1) // 100: -0.1
	write := func(lines ...string) string {
		path := filepath.Join(t.TempDir(), "other.jsonl")
		if err := os.WriteFile(path, []byte(strings.Join(lines, "\n")+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	other, err := ReadPredictions(write(lines...), pairs, []string{ScoreCausal, ScoreMasked})
	if err != nil {
		t.Fatal(err)
	}
	against := other.Against(pairs, scored)
	d, ok := against.Scores[ScoreCausal]
	if !ok || len(against.Scores) != 1 {
		t.Fatal(against)
	}
	half := 1.96 * math.Sqrt((0.2-0.01)/400+(0.1-0.01)/100) / 2 // of the mean of two sets
	if d.Better != 60 || d.Worse != 30 || math.Abs(d.Difference) > 1e-12 || math.Abs(d.Low+half) > 0.1*half || math.Abs(d.High-half) > 0.1*half {
		t.Errorf("%+v, want an interval of 0 +- %.4f", d, half)
	}
	if again := other.Against(pairs, scored).Scores[ScoreCausal]; again != d {
		t.Errorf("%+v, at first %+v", again, d)
	}
	torn := append([]string{}, lines...)
	torn[7] = `{"sentence_good":"good 7","sentence_bad":"bad","scores":{}}`
	for want, file := range map[string]string{
		"b.jsonl, line 1 (b, pair 499) is not in its place": write(lines[:499]...),
		"a.jsonl, line 1 (a, pair 0) is not in its place":   write(lines[1:]...),
		"it has more":                                write(append(lines[:500:500], lines[0])...),
		"line 2 is no prediction; hint":              write(lines[0], `{"sentence_good": "good 1", "sentence_bad": "bad"}`),
		"line 8: the score clm is not on every line": write(torn...),
		"no such file":                               filepath.Join(t.TempDir(), "none"),
	} {
		if _, err := ReadPredictions(file, pairs, []string{ScoreCausal}); fault.Of(err) != fault.Data || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	if _, err := ReadPredictions(write(lines...), pairs, []string{ScoreMasked}); fault.Of(err) != fault.Data || !strings.Contains(err.Error(), "none of the scores") {
		t.Errorf("no common score: %v", err)
	}
}
