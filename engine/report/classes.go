package report

import "fmt"

// Names of measures of runs that tell boilerplate from reasoning, as the engine writes them.
const (
	boilerplateLoss = "boilerplate_loss"
	reasoningLoss   = "reasoning_loss"
	effectiveTokens = "effective_tokens"
	reasoningWeight = "reasoning_weight"
)

var classMeasures = []string{boilerplateLoss, reasoningLoss, effectiveTokens, reasoningWeight}

// classCharts are those of runs that tell boilerplate from reasoning; without any they are empty.
func classCharts(runs []*Run) []*chart {
	losses := &chart{title: "Loss by class", note: "nats a token, without weights", mayLog: true, tick: tickText, text: "number"}
	for j, name := range []string{boilerplateLoss, reasoningLoss} {
		what := [2]string{"boilerplate", "reasoning"}[j]
		for i, run := range runs {
			t := curve{name: named(runs, run, what), colour: i, dash: j, thin: len(runs) > 1}
			h := curve{name: named(runs, run, what+", held out"), colour: i, dash: j, dots: true}
			if len(runs) == 1 {
				t.colour, h.colour, t.dash, h.dash = 2*j, 2*j+1, 0, 0
			}
			t.x, t.y = measured(run.Steps, name, func(s Step) (int64, map[string]float64) { return s.Step, s.Measures })
			h.x, h.y = measured(run.Evals, name, func(e Eval) (int64, map[string]float64) { return e.Step, e.Measures })
			losses.add(t, true)
			losses.add(h, false)
		}
	}
	charts := []*chart{losses}
	for _, c := range []struct {
		measure string
		chart   chart
	}{
		{reasoningWeight, chart{title: "Weight of reasoning", note: "mean over samples", tick: percentTick, text: "percent", fromZero: true}},
		{effectiveTokens, chart{title: "Effective number of tokens", note: "of an update: (sum w)² / sum w²", tick: trimmed, text: "number", fromZero: true}},
	} {
		for i, run := range runs {
			k := curve{name: named(runs, run, ""), colour: i}
			k.x, k.y = measured(run.Steps, c.measure, func(s Step) (int64, map[string]float64) { return s.Step, s.Measures })
			c.chart.add(k, true)
		}
		charts = append(charts, &c.chart)
	}
	return charts
}

// measured are the steps at which a measure was written, and its values.
func measured[T any](lines []T, name string, of func(T) (step int64, measures map[string]float64)) (x, y []float64) {
	for _, l := range lines {
		if step, measures := of(l); measures != nil {
			if v, ok := measures[name]; ok {
				x, y = append(x, float64(step)), append(y, v)
			}
		}
	}
	return x, y
}

// classesView is a histogram for the page.
type classesView struct {
	Note string
	Bins []binView
}

type binView struct {
	ClassBin
	Width float64 // percent of the largest
}

func viewOfClasses(c *Classes) *classesView {
	if c == nil {
		return nil
	}
	n, most := c.Boilerplate+c.Reasoning, int64(1)
	v := &classesView{Note: fmt.Sprintf("%s tokens, %s boilerplate; by the loss that shuffled tuning added, in nats", quantity(float64(n)), percent(float64(c.Boilerplate)/float64(max(1, n))))}
	first, last := len(c.Bins), -1
	for k, b := range c.Bins {
		if b.Count > 0 {
			first, last, most = min(first, k), k, max(most, b.Count)
		}
	}
	for k := first; k <= last; k++ {
		v.Bins = append(v.Bins, binView{c.Bins[k], roundTo(100*float64(c.Bins[k].Count)/float64(most), 4)})
	}
	return v
}
