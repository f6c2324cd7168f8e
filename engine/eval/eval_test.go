package eval

import (
	"errors"
	"io"
	"math"
	"reflect"
	"testing"

	"palimpsest/engine/model"
	"palimpsest/kernels"
	"palimpsest/kernels/philox"
	"palimpsest/objectives"
)

const vocab = 12

func newModel(t *testing.T) (kernels.Backend, *model.Weights) {
	t.Helper()
	return newModelOf(t, 2)
}

func newModelOf(t *testing.T, layers int) (kernels.Backend, *model.Weights) {
	t.Helper()
	c, problems := model.Config{Vocab: vocab, Layers: layers, Width: 8, Heads: 2, FF: 16, Context: 16, InitStd: 0.5}.Resolve(vocab)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	b := kernels.NewRef32()
	w := model.NewWeights(b, c, false)
	w.Init(b, 3)
	return b, w
}

func plan(documents ...[]int32) *objectives.Plan {
	o, err := objectives.New("clm", objectives.Settings{Vocabulary: objectives.Vocabulary{Size: vocab}})
	if err != nil {
		panic(err)
	}
	p := new(objectives.Plan)
	for i, d := range documents {
		o.Plan(objectives.Document{ID: int64(i), Tokens: d}, p)
	}
	return p
}

func source(plans ...*objectives.Plan) func() (*objectives.Plan, error) {
	return func() (*objectives.Plan, error) {
		if len(plans) == 0 {
			return nil, io.EOF
		}
		p := plans[0]
		plans = plans[1:]
		return p, nil
	}
}

func TestLossIsTheMeanOverAllRows(t *testing.T) {
	b, w := newModel(t)
	a := model.NewActivations(b, w.Config, model.Capacity{Tokens: 16, Rows: 16}, false)
	baseline := NewUnigram(vocab)
	baseline.Observe([]int32{5, 5, 5, 6}, nil)
	one, two := []int32{3, 4, 5}, []int32{5, 5, 6, 7, 8}
	split, err := Run(a, w, source(plan(one), plan(two)), baseline, nil)
	if err != nil {
		t.Fatal(err)
	}
	packed, err := Run(a, w, source(plan(one, two)), baseline, nil)
	if err != nil {
		t.Fatal(err)
	}
	if math.Abs(split.Loss-packed.Loss) > 1e-6 || split.Rows != 6 || packed.Rows != 6 || split.Accuracy != packed.Accuracy {
		t.Errorf("in two steps %+v, in one %+v", split, packed)
	}
	if math.Abs(split.Perplexity-math.Exp(split.NLL)) > 1e-9 || split.Tokens != 8 {
		t.Errorf("%+v", split)
	}
	// Targets are 4 5 | 5 6 7 8: the most frequent training token, 5, is asked for twice.
	want := -(2*math.Log(4.0/16) + math.Log(2.0/16) + 3*math.Log(1.0/16)) / 6
	if math.Abs(split.BaselineLoss-want) > 1e-12 || math.Abs(split.BaselineAccuracy-2.0/6) > 1e-12 {
		t.Errorf("baseline loss %g, want %g; accuracy %g", split.BaselineLoss, want, split.BaselineAccuracy)
	}
}

func TestRunStopsAndRefuses(t *testing.T) {
	b, w := newModel(t)
	a := model.NewActivations(b, w.Config, model.Capacity{Tokens: 16, Rows: 16}, false)
	if _, err := Run(a, w, source(plan([]int32{3, 4})), nil, func() bool { return true }); !errors.Is(err, ErrInterrupted) {
		t.Errorf("stop: %v", err)
	}
	if _, err := Run(a, w, source(plan([]int32{3})), nil, nil); err == nil {
		t.Error("an evaluation without a row")
	}
}

func TestSampling(t *testing.T) {
	logits := []float32{0, 3, 2, 1, 3, -1}
	lse := logSumExp(logits)
	count := func(s Sampling, banned ...int32) map[int32]float64 {
		seen := map[int32]float64{}
		draw := philox.New(1, philox.StreamTest, 0, 0)
		for range 4000 {
			id, logProb := s.next(logits, banned, &draw)
			if math.Abs(logProb-(float64(logits[id])-lse)) > 1e-12 {
				t.Fatalf("token %d has log-probability %g", id, logProb)
			}
			seen[id] += 1.0 / 4000
		}
		return seen
	}
	if got := count(Sampling{}); got[1] < 0.999 { // equal logits: the smaller id
		t.Errorf("temperature 0: %v", got)
	}
	if got := count(Sampling{}, 1); got[4] < 0.999 {
		t.Errorf("token 1 banned: %v", got)
	}
	got := count(Sampling{Temperature: 1})
	for id, z := range logits {
		if want := math.Exp(float64(z) - lse); math.Abs(got[int32(id)]-want) > 0.03 {
			t.Errorf("token %d drawn %g, probability %g", id, got[int32(id)], want)
		}
	}
	if got := count(Sampling{Temperature: 1, TopK: 2}); len(got) != 2 || math.Abs(got[1]-0.5) > 0.03 {
		t.Errorf("top 2: %v", got)
	}
	if got := count(Sampling{Temperature: 1, TopP: 0.8}); len(got) != 3 { // 0.39 + 0.39 + 0.14
		t.Errorf("top p 0.8: %v", got)
	}
	if got := count(Sampling{Temperature: 0.25}); got[1]+got[4] < 0.97 {
		t.Errorf("temperature 1/4: %v", got)
	}
}

func TestWriterIsAFunctionOfSeedAndNumber(t *testing.T) {
	b, w := newModel(t)
	prompts := [][]int32{{0, 3, 4}, {0, 3, 4}, {0}, {0, 9, 8, 7, 6, 5, 4, 3}, {0, 5}, {0, 3, 4}, {0, 6, 6}}
	run := func(s Sampling, sequences int) (all []Generation) {
		writer := Writer{Backend: b, Weights: w, End: 1, Banned: []int32{2}, Sampling: s}
		yield := func(number int, g Generation) error {
			if number != len(all) {
				t.Errorf("text %d after %d", number, len(all))
			}
			for _, id := range g.Tokens {
				if id == 1 || id == 2 {
					t.Errorf("end or banned token in %v", g.Tokens)
				}
			}
			// The last one fits behind the context of 16.
			if most := min(s.MaxTokens, 17-len(prompts[number])); len(g.Tokens) > most || !g.Ended && len(g.Tokens) != most {
				t.Errorf("%d tokens behind a prompt of %d, ended: %t", len(g.Tokens), len(prompts[number]), g.Ended)
			}
			all = append(all, g)
			return nil
		}
		var err error
		if sequences == 0 {
			err = writer.Write(prompts, yield)
		} else { // as few tokens a step as hold a prompt
			err = writer.write(model.NewDecoder(b, w, sequences, 16, 8+sequences), 8+sequences, prompts, yield)
		}
		if err != nil || len(all) != len(prompts) {
			t.Fatalf("%d texts, %v", len(all), err)
		}
		return all
	}
	for _, s := range []Sampling{{Temperature: 1, Seed: 5, MaxTokens: 30}, {Temperature: 1, Seed: 5, MaxTokens: 4}, {Temperature: 0.7, TopP: 0.9, Seed: 6, MaxTokens: 1}, {MaxTokens: 9}, {Temperature: 1, Coupled: true, Seed: 5, MaxTokens: 30}} {
		alone := run(s, 1)
		for _, sequences := range []int{2, 3, 7, 0} {
			together := run(s, sequences)
			for i, g := range together {
				if math.Abs(g.LogProb-alone[i].LogProb) > 1e-4 || !reflect.DeepEqual(g.Tokens, alone[i].Tokens) || g.Ended != alone[i].Ended {
					t.Errorf("%+v, %d sequences side by side: text %d is %+v, alone %+v", s, sequences, i, g, alone[i])
				}
			}
		}
		if s.Temperature > 0 && s.MaxTokens > 4 && reflect.DeepEqual(alone[0], alone[1]) {
			t.Error("the number of a prompt does not change the text")
		}
		if other := s; s.Temperature > 0 && s.MaxTokens > 4 {
			if other.Seed++; reflect.DeepEqual(alone, run(other, 1)) {
				t.Error("the seed does not change the text")
			}
		}
	}
	failed := errors.New("full")
	if err := (Writer{Backend: b, Weights: w, End: 1, Sampling: Sampling{MaxTokens: 3}}).Write(prompts, func(int, Generation) error { return failed }); err != failed {
		t.Error(err)
	}
}

func TestFillMaskPacksWithoutChange(t *testing.T) {
	b, w := newModel(t)
	const mask = 3
	sequences := [][]int32{{0, 4, mask, 5, 1}, {}, {0, mask, mask, 1}, {0, 7, 1}, {mask}, {0, 5, 6, 7, mask, 9, 1}}
	capacity := model.Capacity{Tokens: 10, Rows: 4}
	a := model.NewActivations(b, w.Config, capacity, false)
	together, err := FillMask(a, w, capacity, sequences, mask, 3)
	if err != nil {
		t.Fatal(err)
	}
	for i, s := range sequences {
		alone, err := FillMask(a, w, capacity, [][]int32{s}, mask, 3)
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(alone[0], together[i]) {
			t.Errorf("sequence %d: %v alone, %v packed", i, alone[0], together[i])
		}
		for _, answers := range together[i] {
			if len(answers) != 3 || answers[0].Probability < answers[1].Probability || answers[1].Probability < answers[2].Probability {
				t.Errorf("sequence %d: %v", i, answers)
			}
		}
	}
	if len(together[2]) != 2 || len(together[3]) != 0 {
		t.Errorf("%d answers for two masks, %d for none", len(together[2]), len(together[3]))
	}
	if _, err := FillMask(a, w, capacity, [][]int32{make([]int32, 11)}, mask, 3); err == nil {
		t.Error("a sequence beyond the capacity")
	}
}
