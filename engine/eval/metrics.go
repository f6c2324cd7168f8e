package eval

import (
	"math"
	"slices"
)

// Score computes what a table of decisions, [true class][answer], says.
func Score(confusion [][]int64) Classification {
	n := len(confusion)
	c := Classification{Confusion: confusion, Classes: make([]ClassScore, n)}
	answers, hits, most := make([]int64, n), int64(0), int64(0)
	for i, row := range confusion {
		c.Classes[i].Class = i
		for j, count := range row {
			c.Classes[i].Support += count
			answers[j] += count
		}
		hits += row[i]
		c.Rows += c.Classes[i].Support
		most = max(most, c.Classes[i].Support)
	}
	occurring := 0
	for i := range c.Classes {
		s := &c.Classes[i]
		right := confusion[i][i]
		s.Precision, s.Recall, s.F1 = ratio(right, answers[i]), ratio(right, s.Support), ratio(2*right, answers[i]+s.Support)
		if answers[i]+s.Support > 0 {
			occurring++
			c.MacroF1 += s.F1
		}
	}
	c.MacroF1 /= math.Max(1, float64(occurring))
	c.Accuracy, c.Majority = ratio(hits, c.Rows), ratio(most, c.Rows)
	c.MicroF1 = c.Accuracy
	if n == 2 {
		c.BinaryF1 = &c.Classes[1].F1
	}
	c.Matthews = matthews(c.Classes, answers, hits, c.Rows)
	return c
}

func ratio(a, b int64) float64 {
	if b == 0 {
		return 0
	}
	return float64(a) / float64(b)
}

// matthews is the correlation of truth and answers as sets of indicators (Gorodkin 2004), which for two classes is Matthews'
// coefficient; 0 where all rows or all answers are of one class.
func matthews(classes []ClassScore, answers []int64, hits, rows int64) float64 {
	s := float64(rows)
	both, truth, answered := float64(hits)*s, s*s, s*s
	for i, a := range answers {
		t, p := float64(classes[i].Support), float64(a)
		both -= t * p
		truth -= t * t
		answered -= p * p
	}
	if truth == 0 || answered == 0 {
		return 0
	}
	return both / math.Sqrt(truth*answered)
}

// Pearson is the linear correlation of two equally long series, nil where one of them does not vary.
func Pearson(x, y []float64) *float64 {
	mx, my := mean(x), mean(y)
	var xy, xx, yy float64
	for i := range x {
		dx, dy := x[i]-mx, y[i]-my
		xy += dx * dy
		xx += dx * dx
		yy += dy * dy
	}
	if xx == 0 || yy == 0 {
		return nil
	}
	r := xy / math.Sqrt(xx*yy)
	return &r
}

// Spearman is the correlation of the ranks of two series; equal values share the mean of their ranks.
func Spearman(x, y []float64) *float64 { return Pearson(ranks(x), ranks(y)) }

func ranks(x []float64) []float64 {
	order := make([]int, len(x))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int {
		switch {
		case x[a] < x[b]:
			return -1
		case x[a] > x[b]:
			return 1
		}
		return a - b
	})
	r := make([]float64, len(x))
	for from := 0; from < len(order); {
		to := from + 1
		for to < len(order) && x[order[to]] == x[order[from]] {
			to++
		}
		for _, i := range order[from:to] {
			r[i] = float64(from+to+1) / 2
		}
		from = to
	}
	return r
}

func mean(x []float64) float64 {
	sum := 0.0
	for _, v := range x {
		sum += v
	}
	return sum / math.Max(1, float64(len(x)))
}
