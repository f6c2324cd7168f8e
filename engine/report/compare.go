package report

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// A comparison is the table that several runs are chosen by: a line a run, the figures that matter, and where their
// configurations differ.
type comparison struct {
	Columns []string // of figures
	Keys    []string // of the configuration, only those that differ
	Runs    []compared
}

type compared struct {
	Name, Class string
	Figures     []figure
	Values      []string // by Keys
}

// A figure is a cell; Best marks the best run in it, when there is one and they differ.
type figure struct {
	Text string
	Best bool
}

// compare makes the table. Held-out figures are of the phase that a run ended in, for those of another objective measure
// something else.
func compare(runs []*Run) comparison {
	var t comparison
	for i, run := range runs {
		t.Runs = append(t.Runs, compared{Name: run.Name, Class: colourClass(i)})
	}
	// value says whether a run has the figure; better is 1 when more is better, -1 when less is, 0 when neither.
	column := func(name string, better float64, value func(*Run) (float64, bool), text func(*Run, float64) string) {
		values, has := make([]float64, len(runs)), make([]bool, len(runs))
		best, worst := math.Inf(-1), math.Inf(1)
		for i, run := range runs {
			if values[i], has[i] = value(run); !has[i] {
				continue
			}
			if worst = min(worst, better*values[i]); finite(values[i]) {
				best = max(best, better*values[i])
			} else {
				worst = math.Inf(-1)
			}
		}
		if !slices.Contains(has, true) {
			return
		}
		t.Columns = append(t.Columns, name)
		for i, run := range runs {
			var cell figure
			if has[i] {
				cell = figure{text(run, values[i]), better != 0 && best > worst && better*values[i] == best}
			}
			t.Runs[i].Figures = append(t.Runs[i].Figures, cell)
		}
	}
	held := func(get func(last, best *Eval) *float64) func(*Run) (float64, bool) {
		return func(run *Run) (float64, bool) {
			if last, best := finalEval(run); last != nil {
				if f := get(last, best); f != nil {
					return *f, true
				}
			}
			return 0, false
		}
	}
	stepped := func(get func(*Run) float64) func(*Run) (float64, bool) {
		return func(run *Run) (float64, bool) { return get(run), len(run.Steps) > 0 }
	}
	plain := func(text func(float64) string) func(*Run, float64) string {
		return func(_ *Run, f float64) string { return text(f) }
	}
	column("best loss", -1, held(func(_, best *Eval) *float64 {
		if best == nil {
			return nil
		}
		return &best.Loss
	}), func(run *Run, f float64) string {
		_, best := finalEval(run)
		return fmt.Sprintf("%s at %d", decimals(f), best.Step)
	})
	column("final loss", -1, held(func(last, _ *Eval) *float64 { return &last.Loss }), plain(decimals))
	column("best accuracy", 1, func(run *Run) (float64, bool) {
		if best := bestAccuracy(run); best != nil {
			return *best.Accuracy, true
		}
		return 0, false
	}, plain(percent))
	column("final accuracy", 1, held(func(last, _ *Eval) *float64 { return last.Accuracy }), plain(percent))
	column("steps", 0, stepped(func(*Run) float64 { return 0 }), func(run *Run, _ float64) string {
		return strconv.FormatInt(lastStep(run).Step, 10)
	})
	column("tokens/s", 1, stepped(speed), plain(quantity))
	column("time", 0, stepped(func(run *Run) float64 { return lastStep(run).Seconds }), plain(duration))
	column("parameters", 0, func(run *Run) (float64, bool) {
		return float64(run.Header.Parameters), run.Header.Parameters > 0
	}, plain(quantity))
	column("seed", 0, func(*Run) (float64, bool) { return 0, true }, func(run *Run, _ float64) string {
		return strconv.FormatUint(run.Header.Seed, 10)
	})
	for _, r := range configRows(runs) {
		if r.Same {
			continue
		}
		t.Keys = append(t.Keys, r.Label)
		for i := range t.Runs {
			t.Runs[i].Values = append(t.Runs[i].Values, r.Cells[i])
		}
	}
	return t
}

// differences is the configuration of a run where it differs from the others, in one text.
func (t *comparison) differences(i int) string {
	var parts []string
	for j, key := range t.Keys {
		parts = append(parts, key+" = "+t.Runs[i].Values[j])
	}
	return strings.Join(parts, ", ")
}
