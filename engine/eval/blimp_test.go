package eval

import (
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"palimpsest/engine/fault"
	"palimpsest/engine/model"
	"palimpsest/kernels"
	"palimpsest/objectives"
)

const bosID, eosID, mask = 0, 1, 2

// logProb runs one sequence alone and returns the log-probability of a token at a row, from the logits in float64.
func logProb(t *testing.T, b kernels.Backend, w *model.Weights, ids []int32, attention kernels.Mask, row int, target int32) (p float64) {
	t.Helper()
	one := objectives.Plan{Tokens: ids, OriginalTokens: ids, Segments: []kernels.Segment{{End: int32(len(ids)), Mask: attention}}}
	for i := range ids {
		one.Pos = append(one.Pos, int32(i), 0)
	}
	a := model.NewActivations(b, w.Config, model.Capacity{Tokens: len(ids), Rows: 1}, false)
	if err := a.Load(&one, model.Step{}); err != nil {
		t.Fatal(err)
	}
	a.Forward(w)
	err := a.Logits(w, []int32{int32(row)}, func(_ int, logits []float32) {
		sum := 0.0
		for _, z := range logits {
			sum += math.Exp(float64(z))
		}
		p = float64(logits[target]) - math.Log(sum)
	})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func framedBy(before int32, ids []int32, after int32) (out []int32) {
	if before >= 0 {
		out = append(out, before)
	}
	out = append(out, ids...)
	if after >= 0 {
		out = append(out, after)
	}
	return out
}

// alone scores a sentence by one evaluation for each of its tokens, as the specification says, without packing.
func alone(t *testing.T, b kernels.Backend, w *model.Weights, ids []int32, o Scoring) (s Scores) {
	for i, id := range ids {
		if o.Causal {
			s.Causal += logProb(t, b, w, framedBy(o.BOS, ids[:i], -1), kernels.Causal, i, id)
		}
		if o.Masked {
			hidden := append([]int32{}, ids...)
			hidden[i] = o.Mask
			switch {
			case o.Next:
				s.Masked += logProb(t, b, w, framedBy(o.BOS, hidden, -1), kernels.Bidirectional, i, id)
			case o.BOS < 0:
				s.Masked += logProb(t, b, w, framedBy(-1, hidden, o.EOS), kernels.Bidirectional, i, id)
			default:
				s.Masked += logProb(t, b, w, framedBy(o.BOS, hidden, o.EOS), kernels.Bidirectional, i+1, id)
			}
		}
	}
	if o.PerToken {
		s.Causal /= float64(len(ids))
		s.Masked /= float64(len(ids))
	}
	return s
}

// Scores of the packed stream are those of sequences evaluated alone, however small the steps.
func TestPackedScoresAreThoseOfSingleSentences(t *testing.T) {
	b, w := newModel(t)
	sentences := [][]int32{{3, 4, 5, 6}, {3, 4, 5, 7}, {8}, {11, 10, 9, 8, 7, 6, 5, 4, 3, 11, 10, 9, 8, 7}, {5, 5}, {5, 6}}
	for name, o := range map[string]Scoring{
		"both":       {Causal: true, Masked: true, BOS: bosID, EOS: eosID, Mask: mask},
		"causal":     {Causal: true, BOS: bosID, EOS: eosID, Mask: -1},
		"masked":     {Masked: true, BOS: bosID, EOS: eosID, Mask: mask},
		"shifted":    {Causal: true, Masked: true, Next: true, BOS: bosID, EOS: eosID, Mask: mask},
		"per token":  {Causal: true, Masked: true, PerToken: true, BOS: bosID, EOS: eosID, Mask: mask},
		"no ends":    {Masked: true, BOS: -1, EOS: -1, Mask: mask},
		"no begin":   {Masked: true, BOS: -1, EOS: eosID, Mask: mask},
		"begin only": {Causal: true, Masked: true, BOS: bosID, EOS: -1, Mask: mask},
	} {
		for _, capacity := range []model.Capacity{{Tokens: 16, Rows: 14}, {Tokens: 40, Rows: 40}, {Tokens: 1000, Rows: 1000}} {
			a := model.NewActivations(b, w.Config, capacity, false)
			got, err := ScoreSentences(a, w, capacity, sentences, o, nil)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			for i, ids := range sentences {
				want := alone(t, b, w, ids, o)
				if math.Abs(got[i].Causal-want.Causal) > 2e-5*(1+math.Abs(want.Causal)) || math.Abs(got[i].Masked-want.Masked) > 2e-5*(1+math.Abs(want.Masked)) {
					t.Errorf("%s, steps of %d: sentence %d scores %+v, alone %+v", name, capacity.Tokens, i, got[i], want)
				}
				if o.Causal != (got[i].Causal < 0) || o.Masked != (got[i].Masked < 0) {
					t.Errorf("%s: sentence %d scores %+v", name, i, got[i])
				}
			}
		}
	}
}

func TestScoringRefusals(t *testing.T) {
	b, w := newModel(t)
	capacity := model.Capacity{Tokens: 32, Rows: 32}
	a := model.NewActivations(b, w.Config, capacity, false)
	score := func(o Scoring, ids ...int32) error {
		_, err := ScoreSentences(a, w, capacity, [][]int32{ids}, o, nil)
		return err
	}
	full := Scoring{Causal: true, Masked: true, BOS: bosID, EOS: eosID, Mask: mask}
	if err := score(full, 3, 4); err != nil {
		t.Error(err)
	}
	for want, err := range map[string]error{
		"no score":        score(Scoring{BOS: bosID}, 3),
		"mask token":      score(Scoring{Causal: true, Masked: true, BOS: bosID, EOS: eosID, Mask: -1}, 3),
		"first token":     score(Scoring{Causal: true, BOS: -1, EOS: eosID, Mask: mask}, 3),
		"before the firs": score(Scoring{Masked: true, Next: true, BOS: -1, EOS: eosID, Mask: mask}, 3),
		"no tokens":       score(full),
		"has 17 tokens":   score(full, make([]int32, 15)...),
		"outside the voc": score(full, vocab),
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", want, err)
		}
	}
	if _, err := ScoreSentences(a, w, capacity, [][]int32{{3}}, full, func() bool { return true }); !errors.Is(err, ErrInterrupted) {
		t.Errorf("asked to stop: %v", err)
	}
}

func writeSets(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestReadPairs(t *testing.T) {
	dir := writeSets(t, map[string]string{
		"b_agreement.jsonl": `{"sentence_good": "She runs.", "sentence_bad": "She run.", "field": "syntax", "linguistics_term": "agreement", "UID": "agreement", "pairID": "7", "simple_LM_method": true}` +
			"\n\n" + `{"sentence_good": "They run.", "sentence_bad": "They runs.", "field": "syntax", "linguistics_term": "agreement", "UID": "agreement", "pairID": 8}` + "\n",
		"a_own.jsonl": `{"sentence_good": "Een goede zin", "sentence_bad": "Zin goede een"}`,
		"readme.txt":  "not a set",
	})
	pairs, err := ReadPairs(dir)
	if err != nil || len(pairs) != 3 {
		t.Fatalf("%d pairs, %v", len(pairs), err)
	}
	for i, want := range []Pair{
		{Good: "Een goede zin", Bad: "Zin goede een", UID: "a_own", PairID: "1", File: filepath.Join(dir, "a_own.jsonl"), Line: 1},
		{Good: "She runs.", Bad: "She run.", UID: "agreement", Field: "syntax", Term: "agreement", PairID: "7", File: filepath.Join(dir, "b_agreement.jsonl"), Line: 1},
		{Good: "They run.", Bad: "They runs.", UID: "agreement", Field: "syntax", Term: "agreement", PairID: "8", File: filepath.Join(dir, "b_agreement.jsonl"), Line: 3},
	} {
		if pairs[i] != want {
			t.Errorf("pair %d is %+v, want %+v", i, pairs[i], want)
		}
	}
	if one, err := ReadPairs(filepath.Join(dir, "a_own.jsonl")); err != nil || len(one) != 1 {
		t.Errorf("one file: %v, %v", one, err)
	}
}

func TestReadPairsRefuses(t *testing.T) {
	good := `{"sentence_good": "a b", "sentence_bad": "b a", "UID": "x"}` + "\n"
	for want, content := range map[string]string{
		"set.jsonl, line 2: pair 2: the key sentence_bad is missing":                                    good + `{"sentence_good": "a"}`,
		"set.jsonl, line 2: pair 2: the key sentence_good is missing":                                   good + `{"sentence_bad": "a"}`,
		"set.jsonl, line 3: unexpected end of JSON":                                                     good + "\n" + `{"sentence_good": "a"`,
		"set.jsonl, line 1: invalid character":                                                          "sentence_good,sentence_bad\na,b\n",
		"set.jsonl, line 2: sentence_good: want a string, not JSON of kind number":                      good + `{"sentence_good": 3, "sentence_bad": "a"}`,
		"set.jsonl, line 1: want an object with sentence_good and sentence_bad, not JSON of kind array": `[{"sentence_good": "a", "sentence_bad": "b"}]`,
		"set.jsonl, line 2: pair 2: sentence_bad is empty":                                              good + `{"sentence_good": "a", "sentence_bad": " "}`,
		`set.jsonl, line 2: UID is "y"`:                                                                 good + `{"sentence_good": "a", "sentence_bad": "b", "UID": "y"}`,
		`set.jsonl, line 2: UID is "set"`:                                                               good + `{"sentence_good": "a", "sentence_bad": "b"}`,
		"set.jsonl, line 1: pair 1: UID is empty":                                                       `{"sentence_good": "a", "sentence_bad": "b", "UID": ""}`,
		"set.jsonl, line 2: is not UTF-8":                                                               good + "{\"sentence_good\": \"\xff\", \"sentence_bad\": \"b\"}",
		"set.jsonl, line 2: more than 1048576 bytes":                                                    good + strings.Repeat(" ", maxPairLine+2),
		"set.jsonl has no pair":                                                                         "\n \n",
	} {
		_, err := ReadPairs(writeSets(t, map[string]string{"set.jsonl": content}))
		if fault.Of(err) != fault.Data || !strings.Contains(err.Error(), want) {
			t.Errorf("%v; want %q", err, want)
		}
	}
	for want, dir := range map[string]string{
		"no such file":       filepath.Join(t.TempDir(), "nowhere"),
		"has no *.jsonl":     writeSets(t, map[string]string{"set.json": good}),
		"the set x is in ":   writeSets(t, map[string]string{"a.jsonl": good, "b.jsonl": good}),
		"b.jsonl has no pai": writeSets(t, map[string]string{"a.jsonl": good, "b.jsonl": ""}),
	} {
		if _, err := ReadPairs(dir); fault.Of(err) != fault.Data || !strings.Contains(err.Error(), want) {
			t.Errorf("%v; want %q", err, want)
		}
	}
}

// The prefix score by hand: the prompt's states do not know what follows, so that keys and values of a bidirectional prompt stand
// before a causal rest. A model of one layer shows it without a cache: there keys and values know nothing but their own token.
func TestPrefixScores(t *testing.T) {
	b, w := newModelOf(t, 1)
	capacity := model.Capacity{Tokens: 64, Rows: 64}
	a := model.NewActivations(b, w.Config, capacity, false)
	encode := func(s string) (ids []int32) {
		for _, r := range s {
			ids = append(ids, 3+(r-'a'))
		}
		return ids
	}
	o := Scoring{Prefix: true, BOS: bosID, EOS: eosID, Mask: -1}
	pairs := []Pair{{Good: "abcde", Bad: "abdc"}, {Good: "ab", Bad: "ba"}, {Good: "abc", Bad: "abcd"}}
	shared := []int{2, 0, 2}
	scored, err := ScorePairs(a, w, capacity, pairs, encode, o, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i, p := range pairs {
		for k, sentence := range []string{p.Good, p.Bad} {
			ids, want := encode(sentence), 0.0
			for j := shared[i]; j < len(ids); j++ {
				want += logProb(t, b, w, framedBy(bosID, ids[:j], -1), kernels.Causal, j, ids[j])
			}
			if got := []Scores{scored[i].Good, scored[i].Bad}[k]; math.Abs(got.Prefix-want) > 1e-4 || got.Causal != 0 || got.Masked != 0 {
				t.Errorf("%q scores %+v, want %g", sentence, got, want)
			}
		}
	}
	o.PerToken = true
	mean, err := ScorePairs(a, w, capacity, pairs, encode, o, nil)
	if err != nil || math.Abs(mean[0].Good.Prefix*3-scored[0].Good.Prefix) > 1e-4 {
		t.Errorf("%v: a mean of %g over 3 tokens, a sum of %g", err, mean[0].Good.Prefix, scored[0].Good.Prefix)
	}
	if kinds := (Scoring{Causal: true, Masked: true, Prefix: true}).Kinds(); !slices.Equal(kinds, []string{"clm", "mlm", "fused", "prefix"}) {
		t.Errorf("%v", kinds)
	}
	if _, err := ScorePairs(a, w, capacity, pairs, encode, Scoring{Prefix: true, BOS: -1}, nil); fault.Of(err) != fault.Data {
		t.Errorf("without a begin token: %v", err)
	}
}

// With two layers the prompt's second layer sees it both ways, and the score is another than the causal one.
func TestPrefixSeesItsPromptBothWays(t *testing.T) {
	b, w := newModel(t)
	d := model.NewActivations(b, w.Config, model.Capacity{Tokens: 16, Rows: 16}, false).Scorer(w)
	nll := func(mask kernels.Mask) (first float32) {
		d.Truncate(0, 0)
		if err := d.Append([]model.Tail{{Tokens: []int32{bosID, 5, 6, 7}}}, mask); err != nil {
			t.Fatal(err)
		}
		if err := d.RowNLL([]int32{3}, []int32{8}, func(_ int, v float32) { first = v }); err != nil {
			t.Fatal(err)
		}
		return first
	}
	if c, both := nll(kernels.Causal), nll(kernels.Bidirectional); c == both {
		t.Errorf("both masks give %g", c)
	}
	want := -logProb(t, b, w, []int32{bosID, 5, 6, 7}, kernels.Bidirectional, 3, 8)
	if got := nll(kernels.Bidirectional); math.Abs(float64(got)-want) > 1e-4 {
		t.Errorf("%g, in one bidirectional pass %g", got, want)
	}
}

// Sentences that differ in one token share the sequence in which it is masked.
func TestMaskedSequencesAreShared(t *testing.T) {
	b, w := newModel(t)
	capacity := model.Capacity{Tokens: 1000, Rows: 1000}
	s := scorer{a: model.NewActivations(b, w.Config, capacity, false), w: w, capacity: capacity, masked: map[string]int32{},
		o: Scoring{Masked: true, BOS: bosID, EOS: eosID, Mask: mask}}
	var scores [2]Scores
	for i, ids := range [][]int32{{3, 4, 5}, {3, 6, 5}} {
		if err := s.add(ids, &scores[i]); err != nil {
			t.Fatal(err)
		}
	}
	if len(s.plan.Segments) != 5 || len(s.rows) != 6 || s.rows[4] != s.rows[1] {
		t.Errorf("%d sequences, rows %v", len(s.plan.Segments), s.rows)
	}
}

// Two sets of four and two pairs, by hand: equal scores and equal tokens are wrong, groups are means over their sets.
func TestSummaryByHand(t *testing.T) {
	var pairs []Pair
	for i := range 6 {
		uid, field := "one", "syntax"
		if i >= 4 {
			uid, field = "two", ""
		}
		pairs = append(pairs, Pair{UID: uid, Field: field, Term: "binding", PairID: fmt.Sprint(i)})
	}
	scored := []PairScores{
		{Good: Scores{Causal: -1, Masked: -4}, Bad: Scores{Causal: -2, Masked: -3}}, // causal right; fused tied
		{Good: Scores{Causal: -5, Masked: -2}, Bad: Scores{Causal: -5, Masked: -3}}, // causal tied, masked right
		{Good: Scores{Causal: -1, Masked: -1}, Bad: Scores{Causal: -2, Masked: -2}, Alike: true},
		{Good: Scores{Causal: -1, Masked: -1}, Bad: Scores{Causal: -2, Masked: -2}},
		{Good: Scores{Causal: -1, Masked: -3}, Bad: Scores{Causal: -2, Masked: -1}},
		{Good: Scores{Causal: -1, Masked: -1}, Bad: Scores{Causal: -2, Masked: -2}},
	}
	s := SummarisePairs(pairs, scored, Scoring{Causal: true, Masked: true}.Kinds())
	for name, x := range map[string]struct {
		got, want PairAccuracy
	}{
		"one, clm":     {s.Sets[0].Scores["clm"], PairAccuracy{2, 2, 0.5, 0.25}},
		"one, mlm":     {s.Sets[0].Scores["mlm"], PairAccuracy{2, 1, 0.5, 0.25}},
		"one, fused":   {s.Sets[0].Scores["fused"], PairAccuracy{2, 2, 0.5, 0.25}},
		"two, clm":     {s.Sets[1].Scores["clm"], PairAccuracy{2, 0, 1, 0}},
		"two, mlm":     {s.Sets[1].Scores["mlm"], PairAccuracy{1, 0, 0.5, math.Sqrt(0.125)}},
		"all, clm":     {s.Overall.Scores["clm"], PairAccuracy{4, 2, 0.75, 0.125}},
		"all, mlm":     {s.Overall.Scores["mlm"], PairAccuracy{3, 1, 0.5, math.Sqrt(0.0625+0.125) / 2}},
		"syntax, mlm":  {s.Fields[0].Scores["mlm"], PairAccuracy{2, 1, 0.5, 0.25}},
		"binding, clm": {s.Terms[0].Scores["clm"], PairAccuracy{4, 2, 0.75, 0.125}},
	} {
		if x.got.Right != x.want.Right || x.got.Ties != x.want.Ties || math.Abs(x.got.Accuracy-x.want.Accuracy) > 1e-12 || math.Abs(x.got.StdErr-x.want.StdErr) > 1e-12 {
			t.Errorf("%s: %+v, want %+v", name, x.got, x.want)
		}
	}
	if len(s.Sets) != 2 || len(s.Fields) != 1 || len(s.Terms) != 1 || s.Terms[0].Sets != 2 || s.Overall.Pairs != 6 || s.Overall.Alike != 1 {
		t.Errorf("%+v", s)
	}
}

// Sentences that the model does not take are refused with their place before anything is scored; alike ones are marked.
func TestScorePairs(t *testing.T) {
	b, w := newModel(t)
	capacity := model.Capacity{Tokens: 64, Rows: 64}
	a := model.NewActivations(b, w.Config, capacity, false)
	encode := func(s string) (ids []int32) {
		for _, r := range strings.TrimSuffix(s, ".") {
			ids = append(ids, 3+(r-'a'))
		}
		return ids
	}
	o := Scoring{Causal: true, Masked: true, BOS: bosID, EOS: eosID, Mask: mask}
	pairs := []Pair{{Good: "abc", Bad: "acb"}, {Good: "ab", Bad: "ab."}}
	scored, err := ScorePairs(a, w, capacity, pairs, encode, o, nil)
	if err != nil {
		t.Fatal(err)
	}
	for k, ids := range [][]int32{encode("abc"), encode("acb")} {
		want, got := alone(t, b, w, ids, o), []Scores{scored[0].Good, scored[0].Bad}[k]
		if math.Abs(got.Of("fused")-want.Causal-want.Masked) > 1e-4 {
			t.Errorf("%d scores %+v, alone %+v", k, got, want)
		}
	}
	o.Recall = func(texts, targets [][]int32) (logP [][]float64, err error) { // what models with states answer, here of one state
		if len(texts) != 2*3+2 { // the alike ones share their texts
			t.Errorf("%d texts", len(texts))
		}
		for i, text := range texts {
			var list []float64
			for _, y := range targets[i] {
				list = append(list, logProb(t, b, w, framedBy(bosID, text, eosID), kernels.Bidirectional, 1+slices.Index(text, mask), y))
			}
			logP = append(logP, list)
		}
		return logP, nil
	}
	recalled, err := ScorePairs(a, w, capacity, pairs, encode, o, nil)
	for i := range recalled {
		for k, got := range []Scores{recalled[i].Good, recalled[i].Bad} {
			want := []Scores{scored[i].Good, scored[i].Bad}[k]
			if err != nil || math.Abs(got.Masked-want.Masked) > 1e-4 || math.Abs(got.Causal-want.Causal) > 1e-4 {
				t.Errorf("%v: pair %d, sentence %d: %+v recalled, %+v by one state", err, i, k, got, want)
			}
		}
	}
	if scored[0].Alike || !scored[1].Alike || scored[1].Right("clm") || scored[1].Right("fused") || scored[0].Tokens != [2]int{3, 3} {
		t.Errorf("%+v", scored)
	}
	for want, p := range map[string]Pair{
		`x.jsonl, line 3 (set, pair 9): "abcabcabcabcabc" has 15 tokens, 17 with`: {Good: "ab", Bad: "abcabcabcabcabc", File: "x.jsonl", Line: 3, UID: "set", PairID: "9"},
		`x.jsonl, line 4 (set, pair 9): "." has 0 tokens`:                         {Good: ".", Bad: "a", File: "x.jsonl", Line: 4, UID: "set", PairID: "9"},
	} {
		if _, err := ScorePairs(a, w, capacity, append(pairs, p), encode, o, nil); fault.Of(err) != fault.Data || !strings.Contains(err.Error(), want) {
			t.Errorf("%v; want %q", err, want)
		}
	}
}
