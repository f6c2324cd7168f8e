package eval

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"palimpsest/engine/model"
	"palimpsest/kernels/philox"
)

func TestWords(t *testing.T) {
	for text, want := range map[string]string{
		"Don't go, e\u0301té 2x!": `["Don" "'" "t" "go" "," "e` + "\u0301" + `té" "2x" "!"]`, "": "[]", " \n": "[]", "日本 ab": `["日本" "ab"]`,
	} {
		if got := fmt.Sprintf("%q", Words(text)); got != want {
			t.Errorf("%q: %s, want %s", text, got, want)
		}
	}
}

// By hand: five words against six, matches 5/5, 3/4, 1/3 and, smoothed, (1/2)/2; brevity exp(1 - 6/5).
func TestSimilarityByHand(t *testing.T) {
	score := func(pairs ...[2]string) Similarity {
		var s SimilarityScorer
		for _, p := range pairs {
			tokens := func(text string) (ids []int32) {
				for _, r := range text {
					ids = append(ids, r)
				}
				return ids
			}
			s.Add(Words(p[0]), Words(p[1]), tokens(p[0]), tokens(p[1]))
		}
		return s.Score()
	}
	one := [2]string{"the cat on the mat", "the cat sat on the mat"}
	got := score(one)
	near(t, "BLEU", got.BLEU, math.Exp(-0.2)*math.Pow(1*0.75*(1.0/3)*0.25, 0.25))
	near(t, "ROUGE-L", got.RougeL, 10.0/11)
	near(t, "token agreement", got.Tokens, 9.0/22) // "the cat " and the first t of "the", which meets that of "sat"
	near(t, "identical", got.Identical, 0)

	// Over a corpus n-grams add up: 5+4 of 9 words, 3+3 of 7 pairs, 1+2 of 5, 0+1 of 3; 9 words against 10.
	got = score(one, [2]string{"a b c d", "a b c d"})
	near(t, "corpus BLEU", got.BLEU, math.Exp(1-10.0/9)*math.Pow((6.0/7)*(3.0/5)*(1.0/3), 0.25))
	near(t, "ROUGE-L", got.RougeL, (10.0/11+1)/2)
	near(t, "identical", got.Identical, 0.5)

	// Clipped counts: "the" is there twice. No pair matches: 1/2 of 6, no triple: 1/4 of 5, and so on.
	got = score([2]string{"the the the the the the the", "the cat is on the mat"})
	near(t, "clipped BLEU", got.BLEU, math.Pow((2.0/7)*(0.5/6)*(0.25/5)*(0.125/4), 0.25))
	for name, x := range map[string][3]float64{"same": {1, 1, 1}, "short": {1, 1, 1}, "both empty": {1, 1, 1}, "new empty": {0, 0, 0}, "old empty": {math.Sqrt(0.5 / 2 * 0.25 / 1), 0, 0}} {
		pair := map[string][2]string{"same": {"a b c d e", "a b c d e"}, "short": {"a b", "a b"}, "both empty": {}, "new empty": {"", "a"}, "old empty": {"a b", ""}}[name]
		got := score(pair)
		near(t, name+": BLEU", got.BLEU, x[0])
		near(t, name+": ROUGE-L", got.RougeL, x[1])
		near(t, name+": token agreement", got.Tokens, x[2])
	}
	if score() != (Similarity{}) {
		t.Error("a score of nothing")
	}
}

func TestOccurrence(t *testing.T) {
	var o Occurrence
	o.Add(30, 0, Words("a b c d e"))
	o.Add(50, 2, Words("a b c d a b c d"))
	o.Add(20, 1, nil)
	near(t, "rate", o.Rate, 2.0/3)
	near(t, "of 1,000", o.PerThousand, 30)
	near(t, "repeating", o.Repeating, 1.0/3)
	near(t, "length", o.Length, 100.0/3)
	near(t, "reduction", *Reduction(0.5, 0.1), 0.8)
	near(t, "more than before", *Reduction(0.1, 0.2), -1)
	if Reduction(0, 0.5) != nil {
		t.Error("a reduction of nothing")
	}
}

func TestLogMass(t *testing.T) {
	var m LogMass
	for _, p := range []float64{0, 0.25, 0.5, 0.25} {
		m.Add(math.Log(p))
	}
	near(t, "log of the mean", m.LogMean, math.Log(0.25))
	if !math.IsInf(m.MeanLog, -1) {
		t.Errorf("mean of logs %g", m.MeanLog)
	}
	m = LogMass{}
	for _, logP := range []float64{-1000, -1001, -999} {
		m.Add(logP)
	}
	near(t, "log of the mean", m.LogMean, -999+math.Log((1+math.Exp(-1)+math.Exp(-2))/3))
	near(t, "mean of logs", m.MeanLog, -1000)
}

// Against softmaxes worked out row by row in float64.
func TestDrift(t *testing.T) {
	b, old := newModel(t)
	new := model.NewWeights(b, old.Config, false)
	new.Init(b, 4)
	capacity := model.Capacity{Tokens: 16, Rows: 16}
	runner := func(w *model.Weights) Runner {
		return Runner{model.NewActivations(b, w.Config, capacity, false), w, capacity}
	}
	sequences := []Signed{{[]int32{3, 4, 5, 6}, []int8{1, 1, -1, 0}}, {[]int32{7}, []int8{-1}}, {[]int32{1, 2, 3, 4, 5, 6, 7, 8, 9}, []int8{0, 0, 1, 1, -1, 1, 1, 1, -1}}, {[]int32{5, 5}, []int8{0, 0}}}
	var want Drift
	for _, s := range sequences {
		var all [2][][]float64
		for m, w := range []*model.Weights{old, new} {
			a := runner(w).Activations
			if err := a.Load(plan(s.Tokens), model.Step{}); err != nil {
				t.Fatal(err)
			}
			a.Forward(w)
			rows := make([]int32, len(s.Tokens))
			for i := range rows {
				rows[i] = int32(i)
			}
			err := a.Logits(w, rows, func(_ int, logits []float32) {
				p, sum := make([]float64, len(logits)), 0.0
				for j, z := range logits {
					p[j] = math.Exp(float64(z))
					sum += p[j]
				}
				for j := range p {
					p[j] /= sum
				}
				all[m] = append(all[m], p)
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		for i, sign := range s.Signs {
			if i == 0 || sign == 0 {
				continue
			}
			p, q, y := all[0][i-1], all[1][i-1], s.Tokens[i]
			if sign < 0 {
				want.OldMass.LogMean += p[y]
				want.NewMass.LogMean += q[y]
				want.NewMass.Tokens++
				continue
			}
			want.Kept++
			want.OldNLL -= math.Log(p[y])
			want.NewNLL -= math.Log(q[y])
			for j := range p {
				want.KL += p[j] * math.Log(p[j]/q[j])
			}
		}
	}
	got, err := MeasureDrift(runner(old), runner(new), sequences)
	if err != nil {
		t.Fatal(err)
	}
	n := float64(want.Kept)
	if got.Kept != want.Kept || got.NewMass.Tokens != want.NewMass.Tokens || got.Kept != 6 {
		t.Errorf("%+v, want %+v", got, want)
	}
	near(t, "KL", got.KL, want.KL/n)
	near(t, "old NLL", got.OldNLL, want.OldNLL/n)
	near(t, "new NLL", got.NewNLL, want.NewNLL/n)
	near(t, "old mass", math.Exp(got.OldMass.LogMean), want.OldMass.LogMean/3)
	near(t, "new mass", math.Exp(got.NewMass.LogMean), want.NewMass.LogMean/3)

	if same, err := MeasureDrift(runner(old), runner(old), sequences); err != nil || same.KL != 0 || same.OldNLL != same.NewNLL || same.OldMass != same.NewMass {
		t.Errorf("from itself: %+v, %v", same, err)
	}
	kept := slices.Clone(sequences[:1])
	kept[0].Signs = []int8{0, 1, 1, 1}
	sum, tokens, err := TokenNLL(runner(old), kept)
	loss, e := Run(runner(old).Activations, old, source(plan(kept[0].Tokens)), nil, nil)
	if err != nil || e != nil || tokens != 3 || math.Abs(sum/3-loss.NLL) > 1e-6 {
		t.Errorf("%g of %d tokens, the plain evaluation says %+v; %v, %v", sum/3, tokens, loss, err, e)
	}
	if _, err := MeasureDrift(runner(old), runner(new), []Signed{{make([]int32, 18), make([]int8, 18)}}); err == nil {
		t.Error("a sequence that no step takes")
	}
	// A text that fills the context ends in a token that the model writes and does not see.
	full := Signed{make([]int32, int(old.Config.Context)+1), make([]int8, int(old.Config.Context)+1)}
	for i := range full.Tokens {
		full.Tokens[i], full.Signs[i] = int32(3+i%9), 1
	}
	capacity.Tokens = len(full.Tokens)
	if _, tokens, err = TokenNLL(runner(old), []Signed{full, sequences[0]}); err != nil || tokens != int64(len(full.Tokens)-1)+2 {
		t.Errorf("%d tokens asked for of a full context: %v", tokens, err)
	}
	full.Tokens, full.Signs = append(full.Tokens, 3), append(full.Signs, 1)
	if _, _, err = TokenNLL(runner(old), []Signed{full}); err == nil {
		t.Error("a sequence that no context takes")
	}
}

// Coupled draws have the same probabilities, and tokens whose logits change little keep their draws.
func TestCoupledDraws(t *testing.T) {
	logits := []float32{0, 3, 2, 1, 3, -1}
	close := []float32{0, 2.9, 2, 1.05, 3.1, -1} // in another order
	lse := logSumExp(logits)
	one, two := philox.New(1, philox.StreamTest, 0, 0), philox.New(1, philox.StreamTest, 0, 0)
	s, same, seen := Sampling{Temperature: 1, Coupled: true}, 0, make([]float64, len(logits))
	const n = 4000
	for range n {
		id, logProb := s.next(logits, nil, &one)
		if math.Abs(logProb-(float64(logits[id])-lse)) > 1e-12 {
			t.Fatalf("token %d has log-probability %g", id, logProb)
		}
		seen[id] += 1.0 / n
		if other, _ := s.next(close, nil, &two); other == id {
			same++
		}
	}
	for id, z := range logits {
		if want := math.Exp(float64(z) - lse); math.Abs(seen[id]-want) > 0.03 {
			t.Errorf("token %d drawn %g, probability %g", id, seen[id], want)
		}
	}
	if same < n*93/100 {
		t.Errorf("%d of %d draws are the same", same, n)
	}
	s.TopK = 1
	if id, _ := s.next(logits, []int32{1}, &one); id != 4 {
		t.Errorf("the only candidate is 4, not %d", id)
	}
	s.TopK, s.TopP = 0, 0.5
	for range 100 {
		if id, _ := s.next(logits, nil, &one); id != 1 && id != 4 {
			t.Errorf("token %d is behind the first half", id)
		}
	}
}
