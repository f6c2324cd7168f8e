package eval

import (
	"errors"
	"fmt"
	"io"

	"palimpsest/engine/model"
	"palimpsest/objectives"
)

// Classification is what a classification head gives on some plans.
type Classification struct {
	Head     string  `json:"head"`
	Rows     int64   `json:"rows"` // documents or tokens with a class
	Accuracy float64 `json:"accuracy"`
	MacroF1  float64 `json:"f1_macro"` // mean of the classes' F1, of those that occur or were answered
	MicroF1  float64 `json:"f1_micro"` // over all decisions; with one class a row it equals the accuracy
	// BinaryF1 is that of class 1, for two classes.
	BinaryF1 *float64 `json:"f1_binary,omitempty"`
	Matthews float64  `json:"matthews"`
	// Of the true class and the expected one, sum of class times probability, which means something for ordered classes only;
	// absent where one of them does not vary.
	Pearson  *float64 `json:"pearson,omitempty"`
	Spearman *float64 `json:"spearman,omitempty"`

	Classes   []ClassScore `json:"classes"`
	Confusion [][]int64    `json:"confusion"` // [true class][answer]
	Majority  float64      `json:"majority"`  // accuracy of always answering the most frequent class of these rows
}

// ClassScore is what one class gives. A quotient without any case is 0.
type ClassScore struct {
	Class     int     `json:"class"`
	Support   int64   `json:"support"` // rows of the class
	Precision float64 `json:"precision"`
	Recall    float64 `json:"recall"`
	F1        float64 `json:"f1"`
}

// Classify answers the rows of the classification term of the plans that next yields until io.EOF, without dropout. stop,
// polled between plans, may be nil.
func Classify(a *model.Activations, w *model.Weights, next func() (*objectives.Plan, error), stop func() bool) (Classification, error) {
	var confusion [][]int64
	var truth, expected []float64
	head := ""
	for {
		if stop != nil && stop() {
			return Classification{}, ErrInterrupted
		}
		p, err := next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return Classification{}, err
		}
		for i := range p.Terms {
			t := &p.Terms[i]
			if t.Classes == 0 || len(t.Rows) == 0 {
				continue
			}
			if head == "" {
				head, confusion = t.Head, square(t.Classes)
			}
			if t.Head != head {
				return Classification{}, fmt.Errorf("the plans ask heads %s and %s; only one is measured at a time", head, t.Head)
			}
			if err := a.Load(p, model.Step{}); err != nil {
				return Classification{}, err
			}
			a.Forward(w)
			err := a.HeadLogits(w, head, t.Rows, func(r int, logits []float32) {
				best := Best(logits, len(logits))
				confusion[t.Targets[r]][best[0].ID]++
				mean := 0.0
				for _, b := range best {
					mean += float64(b.ID) * b.Probability
				}
				truth, expected = append(truth, float64(t.Targets[r])), append(expected, mean)
			})
			if err != nil {
				return Classification{}, err
			}
		}
	}
	if head == "" {
		return Classification{}, errors.New("no held-out row has a class; hint: a larger data.valid, or a data set with the plane of classes")
	}
	c := Score(confusion)
	c.Head, c.Pearson, c.Spearman = head, Pearson(truth, expected), Spearman(truth, expected)
	return c, nil
}

func square(n int) [][]int64 {
	m := make([][]int64, n)
	for i := range m {
		m[i] = make([]int64, n)
	}
	return m
}
