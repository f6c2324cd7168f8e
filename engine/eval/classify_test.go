package eval

import (
	"errors"
	"io"
	"math"
	"testing"

	"palimpsest/engine/model"
	"palimpsest/kernels"
	"palimpsest/objectives"
)

func near(t *testing.T, what string, got, want float64) {
	t.Helper()
	if math.Abs(got-want) > 1e-12 {
		t.Errorf("%s is %.15g, want %.15g", what, got, want)
	}
}

// Two classes: 6 true negatives, 1 false positive, 2 false negatives, 3 true positives. Accuracy 9/12; class 1 has precision
// 3/4, recall 3/5, F1 2/3; class 0 precision 6/8, recall 6/7, F1 4/5; Matthews (3*6-1*2)/sqrt(4*5*7*8).
func TestBinaryScores(t *testing.T) {
	c := Score([][]int64{{6, 1}, {2, 3}})
	near(t, "accuracy", c.Accuracy, 0.75)
	near(t, "precision", c.Classes[1].Precision, 0.75)
	near(t, "recall", c.Classes[1].Recall, 0.6)
	near(t, "binary F1", *c.BinaryF1, 2.0/3)
	near(t, "macro F1", c.MacroF1, (2.0/3+0.8)/2)
	near(t, "micro F1", c.MicroF1, 0.75)
	near(t, "Matthews", c.Matthews, 16/math.Sqrt(1120))
	near(t, "majority", c.Majority, 7.0/12)
	if c.Rows != 12 || c.Classes[0].Support != 7 {
		t.Errorf("%+v", c)
	}
}

// Three classes and one that neither occurs nor is answered: rows [2 1 0], [0 1 1], [1 0 3] have supports 3, 2, 4 and answers
// 3, 2, 4, so F1 4/6, 2/4, 6/8; 6 hits of 9; Matthews (6*9 - (9+4+16)) / (81 - 29) = 25/52.
func TestManyClasses(t *testing.T) {
	c := Score([][]int64{{2, 1, 0, 0}, {0, 1, 1, 0}, {1, 0, 3, 0}, {0, 0, 0, 0}})
	near(t, "accuracy", c.Accuracy, 6.0/9)
	near(t, "macro F1", c.MacroF1, (2.0/3+0.5+0.75)/3)
	near(t, "Matthews", c.Matthews, 25.0/52)
	if c.BinaryF1 != nil || c.Classes[3] != (ClassScore{Class: 3}) {
		t.Errorf("%+v", c)
	}
}

func TestScoresWithoutVariation(t *testing.T) {
	c := Score([][]int64{{5, 0}, {0, 0}})
	if c.Matthews != 0 || *c.BinaryF1 != 0 || c.Accuracy != 1 || c.MacroF1 != 1 {
		t.Errorf("%+v", c)
	}
	if c := Score([][]int64{{0, 0}, {0, 0}}); c.Accuracy != 0 || c.MacroF1 != 0 || c.Majority != 0 {
		t.Errorf("no rows: %+v", c)
	}
	if Pearson([]float64{1, 1}, []float64{2, 3}) != nil || Spearman(nil, nil) != nil {
		t.Error("a correlation of what does not vary")
	}
}

// x = 1 2 3 4, y = 1 3 2 5: deviations -1.5 -0.5 0.5 1.5 and -1.75 0.25 -0.75 2.25, so r = 5.5/sqrt(5*8.75); ranks of y are
// 1 3 2 4, so the rank correlation is 1 - 6*2/(4*15) = 0.8. With ties, 1 2 2 3 has ranks 1 2.5 2.5 4: against 1 2 3 4
// sqrt(4.5/5).
func TestCorrelations(t *testing.T) {
	x := []float64{1, 2, 3, 4}
	near(t, "Pearson", *Pearson(x, []float64{1, 3, 2, 5}), 5.5/math.Sqrt(5*8.75))
	near(t, "Spearman", *Spearman(x, []float64{1, 3, 2, 5}), 0.8)
	near(t, "Spearman with ties", *Spearman(x, []float64{1, 2, 2, 3}), math.Sqrt(0.9))
	near(t, "Pearson of a falling line", *Pearson(x, []float64{8, 6, 4, 2}), -1)
}

// A head whose bias alone decides answers class 1 for every document.
func TestClassifyCountsAnswers(t *testing.T) {
	heads := []objectives.Head{{Name: "topic", Kind: "sequence", Classes: 3}}
	c, problems := model.Config{Vocab: 9, Layers: 1, Width: 8, Heads: 2, FF: 8, Context: 8, Classifiers: heads}.Resolve(9)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	b := kernels.NewRef64()
	w := model.NewWeights(b, c, false)
	w.Init(b, 1)
	b.Zero(w.ByName("head.cls.topic.weight").Master)
	b.Upload(w.ByName("head.cls.topic.bias").Master, []float64{math.Log(0.2), math.Log(0.7), math.Log(0.1)})
	o, err := objectives.New("classify", objectives.Settings{Classify: objectives.DefaultClassify(), Heads: heads})
	if err != nil {
		t.Fatal(err)
	}
	labels, at := []byte{1, 0, 1, 2, objectives.NoLabel}, 0
	next := func() (*objectives.Plan, error) { // two documents a plan
		if at >= len(labels) {
			return nil, io.EOF
		}
		p := new(objectives.Plan)
		o.Begin(p)
		for n := 0; n < 2 && at < len(labels); n++ {
			o.Plan(objectives.Document{Tokens: []int32{1, 2, 3}, Planes: map[string][]byte{"label": {labels[at], 0, 0}}}, p)
			at++
		}
		return p, p.Check(9, 8)
	}
	got, err := Classify(model.NewActivations(b, c, model.Capacity{Tokens: 6, Rows: 6}, false), w, next, nil)
	if err != nil {
		t.Fatal(err)
	}
	if got.Head != "topic" || got.Rows != 4 || got.Accuracy != 0.5 || got.Confusion[2][1] != 1 || got.Pearson != nil {
		t.Errorf("%+v", got)
	}
	if _, err := Classify(nil, w, next, nil); err == nil {
		t.Error("no rows, and no error")
	}
	if _, err := Classify(nil, w, next, func() bool { return true }); !errors.Is(err, ErrInterrupted) {
		t.Error(err)
	}
}
