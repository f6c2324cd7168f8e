package engine

import (
	"math"

	"palimpsest/engine/eval"
	"palimpsest/objectives"
)

// classSums is what the rows of an update say of boilerplate and reasoning.
type classSums struct {
	loss         [2]float64 // plain losses by class
	rows         [2]int64
	weight       [2]float64 // of rows by class
	sum, squares float64    // of the weights of all rows
	reasoning    float64    // weights of reasoning, over samples
	samples      int64      // that have both classes
}

// watchClasses reads back losses and weights of a micro-batch whose update is a line of the log, where a term tells classes
// apart. Other updates are not waited for.
func (t *Trainer) watchClasses(u *update, p *objectives.Plan) {
	if !t.lineDueAt(u.step + 1) {
		return
	}
	for i := range p.Terms {
		term := &p.Terms[i]
		if len(term.Watched) == 0 {
			continue
		}
		if u.classes == nil {
			u.classes = new(classSums)
		}
		nll, weights := make([]float32, len(term.Rows)), make([]float32, len(term.Rows))
		t.acts.RowValues(i, nll, weights)
		u.classes.add(term, nll, weights)
	}
}

// add takes the rows of a term.
func (s *classSums) add(t *objectives.Term, nll, weights []float32) {
	for r, class := range t.Watched {
		w := float64(weights[r]) * t.Options.Slope(float64(nll[r]))
		s.sum += w
		s.squares += w * w
		if class <= objectives.ClassReasoning {
			s.loss[class] += float64(nll[r])
			s.weight[class] += w
			s.rows[class]++
		}
	}
	if len(t.RowClasses) == 0 {
		return
	}
	groups := t.Groups()
	for g := 1; g < len(groups); g++ {
		if w, ok := t.Options.Reweigh.ClassWeight(nll[groups[g-1]:groups[g]], t.RowClasses[groups[g-1]:groups[g]]); ok {
			s.reasoning += w
			s.samples++
		}
	}
}

// into adds the figures to the measures of a line: mean losses over the tokens of each class, the weight of reasoning (w_r of the
// rule, mean over samples with both classes; without such a rule its share of all weight), the share of boilerplate, and the
// number of tokens of equal weight that would count as much as the weighed ones.
func (s *classSums) into(measures map[string]float64) {
	for class, name := range []string{eval.MeasureBoilerplate, eval.MeasureReasoning} {
		if s.rows[class] > 0 {
			measures[name] = s.loss[class] / float64(s.rows[class])
		}
	}
	measures[measureShare] = float64(s.rows[0]) / math.Max(1, float64(s.rows[0]+s.rows[1]))
	if s.squares > 0 {
		measures[measureEffective] = s.sum * s.sum / s.squares
	}
	switch total := s.weight[0] + s.weight[1]; {
	case s.samples > 0:
		measures[measureWeight] = s.reasoning / float64(s.samples)
	case total != 0:
		measures[measureWeight] = s.weight[1] / total
	}
}

// Names of measures of training, beside those of evaluations.
const (
	measureWeight    = "reasoning_weight"
	measureShare     = "boilerplate_share"
	measureEffective = "effective_tokens"
)
