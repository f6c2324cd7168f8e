package report

import (
	"fmt"
	"html/template"
	"maps"
	"slices"
)

// chartsOf draws the charts that the runs have data for, all runs on the same axes.
func chartsOf(runs []*Run) []*chart {
	charts := []*chart{lossChart(runs), accuracyChart(runs), partsChart(runs),
		stepChart(runs, chart{title: "Learning rate", tick: tickText, text: "number", fromZero: true}, false,
			func(s Step) float64 { return s.LR }),
		stepChart(runs, chart{title: "Gradient norm", note: "before clipping", tick: tickText, text: "number", mayLog: true}, true,
			func(s Step) float64 { return s.GradNorm }),
		stepChart(runs, chart{title: "Throughput", note: "tokens a second", tick: trimmed, text: "number", fromZero: true}, true,
			func(s Step) float64 { return s.TokensPerS })}
	charts = append(append(charts, classCharts(runs)...), measureCharts(runs)...)
	if halves := slices.DeleteFunc(slices.Clone(charts[1:]), func(c *chart) bool { return len(c.curves) == 0 }); len(halves)%2 == 1 {
		halves[len(halves)-1].wide = true // it would stand alone in a row of two
	}
	var out []*chart
	for _, c := range charts {
		if len(c.curves) == 0 {
			continue
		}
		decorate(c, runs)
		if c.picture = c.svg(); c.picture != "" {
			out = append(out, c)
		}
	}
	return out
}

// decorate adds what every chart shows: phases and resumes.
func decorate(c *chart, runs []*Run) {
	for i, run := range runs {
		bands := phasesOf(run.Steps)
		if len(runs) == 1 {
			c.bands = bands
		}
		for j := 1; j < len(bands) && len(runs) > 1; j++ {
			title := fmt.Sprintf("%s: phase %s begins after step %s", run.Name, bands[j].phase, num(bands[j].from))
			c.marks = append(c.marks, mark{bands[j].from, title, i})
		}
		for _, r := range run.Resumes {
			c.marks = append(c.marks, mark{float64(r.Step), fmt.Sprintf("%s: resumed after step %d on %s", run.Name, r.Step, r.Time), -1})
		}
	}
}

func lossChart(runs []*Run) *chart {
	c := &chart{title: "Loss", note: "nats a row", wide: true, explains: true, mayLog: true, tick: tickText, text: "number"}
	c.phased(runs, func(s Step) *float64 { return &s.Loss }, func(e Eval) *float64 { return &e.Loss })
	for _, run := range runs {
		c.baseline(run, func(e Eval) *float64 {
			if e.NLL != nil { // which is not drawn
				return nil
			}
			return e.BaselineLoss
		})
	}
	return c
}

func accuracyChart(runs []*Run) *chart {
	c := &chart{title: "Accuracy", note: "of rows that bear a loss", tick: percentTick, text: "percent", fromZero: true}
	c.phased(runs, func(s Step) *float64 { return s.Accuracy }, func(e Eval) *float64 { return e.Accuracy })
	for _, run := range runs {
		c.baseline(run, func(e Eval) *float64 { return e.BaselineAccuracy })
	}
	return c
}

// partsChart shows the terms of losses that have several.
func partsChart(runs []*Run) *chart {
	c := &chart{title: "Loss by term", note: "nats a row", mayLog: true, tick: tickText, text: "number"}
	parts := map[string]bool{}
	for _, run := range runs {
		for _, s := range run.Steps {
			for name := range s.LossParts {
				parts[name] = parts[name] || len(s.LossParts) > 1
			}
		}
	}
	for j, name := range slices.Sorted(maps.Keys(parts)) {
		if !parts[name] {
			continue // the whole loss of its phase
		}
		for i, run := range runs {
			k := curve{name: named(runs, run, name), colour: i, dash: j}
			if len(runs) == 1 {
				k.colour, k.dash = j, 0
			}
			for _, s := range run.Steps {
				if y, ok := s.LossParts[name]; ok {
					k.x, k.y = append(k.x, float64(s.Step)), append(k.y, y)
				}
			}
			c.add(k, true)
		}
	}
	return c
}

// measureCharts shows each further figure of an objective that training lines have, beside its held-out values, but for those of
// classCharts.
func measureCharts(runs []*Run) (charts []*chart) {
	names := map[string]bool{}
	for _, run := range runs {
		for _, s := range run.Steps {
			for name := range s.Measures {
				names[name] = !slices.Contains(classMeasures, name)
			}
		}
	}
	at := func(measures map[string]float64, name string) *float64 {
		if v, ok := measures[name]; ok {
			return &v
		}
		return nil
	}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		if !names[name] {
			continue
		}
		c := &chart{title: name, mayLog: true, tick: tickText, text: "number"}
		c.phased(runs, func(s Step) *float64 { return at(s.Measures, name) }, func(e Eval) *float64 { return at(e.Measures, name) })
		charts = append(charts, c)
	}
	return charts
}

// add takes a curve that has points, smoothed if it is long enough for that.
func (c *chart) add(k curve, smooth bool) {
	if len(k.x) == 0 {
		return
	}
	if smooth {
		k.smooth = smoothing(len(k.x))
		c.smooth = max(c.smooth, k.smooth)
	}
	c.curves = append(c.curves, k)
}

// phased adds a training curve and a held-out curve for each run and each of its phases: the losses of two objectives are
// two things. Colours tell runs apart and dashes phases, or in a report of one run colours do both.
func (c *chart) phased(runs []*Run, train func(Step) *float64, held func(Eval) *float64) {
	all := allPhases(runs)
	for i, run := range runs {
		phases := allPhases([]*Run{run})
		for _, phase := range phases {
			j := slices.Index(all, phase)
			what := ""
			if len(phases) > 1 && phase != "" {
				what = " " + phase
			}
			t := curve{name: named(runs, run, "train"+what), colour: i, thin: len(runs) > 1, dash: j}
			h := curve{name: named(runs, run, "held-out"+what), colour: i, dots: true, dash: j}
			if len(runs) == 1 {
				t.colour, h.colour, t.dash, h.dash = 2*j, 2*j+1, 0, 0
			}
			inside := false
			for _, s := range run.Steps {
				y := train(s)
				if s.Phase != phase || y == nil {
					inside = false
					continue
				}
				if !inside {
					t.starts = append(t.starts, len(t.x))
					inside = true
				}
				t.x, t.y = append(t.x, float64(s.Step)), append(t.y, *y)
			}
			for _, e := range run.Evals {
				if y := held(e); y != nil && (e.Phase == phase || len(phases) == 1) {
					h.x, h.y = append(h.x, float64(e.Step)), append(h.y, *y)
				}
			}
			c.add(t, true)
			c.add(h, false)
		}
	}
}

// allPhases lists the phases of the runs in the order of their first steps. An evaluation that does not say its phase, as
// old logs have them, belongs to one of its own.
func allPhases(runs []*Run) []string {
	var names []string
	add := func(name string) {
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	for _, run := range runs {
		for _, s := range run.Steps {
			add(s.Phase)
		}
		for _, e := range run.Evals {
			if e.Phase != "" || len(names) != 1 {
				add(e.Phase)
			}
		}
	}
	return names
}

// baseline adds the last baseline of each objective that the run evaluated, once for runs that share it.
func (c *chart) baseline(run *Run, get func(Eval) *float64) {
	var seen []string
	names := allPhases([]*Run{run})
	for j := len(run.Evals) - 1; j >= 0; j-- {
		e := run.Evals[j]
		y := get(e)
		if y == nil || slices.Contains(seen, e.Phase) {
			continue
		}
		seen = append(seen, e.Phase)
		l := level{*y, "unigram baseline"}
		if len(names) > 1 && e.Phase != "" {
			l.name += " " + e.Phase
		}
		if !slices.Contains(c.levels, l) {
			c.levels = append(c.levels, l)
		}
	}
}

func stepChart(runs []*Run, c chart, smooth bool, get func(Step) float64) *chart {
	for i, run := range runs {
		x, y := column(run.Steps, get)
		c.add(curve{name: named(runs, run, ""), colour: i, x: x, y: y}, smooth)
	}
	return &c
}

// named names a curve: by what it is in a report of one run, by the run too in one of several.
func named(runs []*Run, run *Run, what string) string {
	switch {
	case len(runs) == 1 && what == "":
		return "train"
	case len(runs) == 1:
		return what
	case what == "":
		return run.Name
	}
	return run.Name + ", " + what
}

// hover is a chart's data for the read-out under the pointer.
type hover struct {
	Left   float64      `json:"left"` // of the plot, as shares of the picture's width
	Right  float64      `json:"right"`
	Width  float64      `json:"width"`
	X0     float64      `json:"x0"`
	X1     float64      `json:"x1"`
	Text   string       `json:"text"`
	Curves []hoverCurve `json:"curves"`
}

type hoverCurve struct {
	Name  string    `json:"name"`
	Class string    `json:"class"`
	X     []float64 `json:"x"`
	Y     []any     `json:"y"` // a number, or the words NaN, +Inf, -Inf
}

// Hover is called by the page's template.
func (c *chart) Hover() hover {
	p, _ := c.plot()
	h := hover{Left: marginLeft / p.width, Right: (p.width - marginRight) / p.width, Width: p.width, X0: p.x.lo, X1: p.x.hi, Text: c.text}
	for _, k := range c.curves {
		x, y := thinned(k.x, k.y)
		one := hoverCurve{Name: k.name, Class: colourClass(k.colour), X: x}
		for _, v := range y {
			if finite(v) {
				one.Y = append(one.Y, roundTo(v, 6))
			} else {
				one.Y = append(one.Y, decimals(v))
			}
		}
		h.Curves = append(h.Curves, one)
	}
	return h
}

// A key is an entry of a chart's legend.
type key struct{ Class, Name string }

// Legend is called by the page's template.
func (c *chart) Legend() []key {
	var out []key
	if len(c.curves) > 1 {
		for _, k := range c.curves {
			class := "line " + colourClass(k.colour)
			class += k.style()
			if k.dots {
				class += " dot"
			}
			out = append(out, key{class, k.name})
		}
	}
	if !c.explains {
		return out
	}
	if len(c.bands) > 1 {
		for i, name := range phaseNames(c.bands) {
			out = append(out, key{fmt.Sprintf("box b%d", i%4), "phase " + name})
		}
	}
	for _, m := range c.marks {
		k := key{"mark", "resumed"}
		if m.colour >= 0 {
			k = key{"mark " + colourClass(m.colour), "phase switch"}
		}
		if !slices.ContainsFunc(out, func(other key) bool { return other.Name == k.Name }) {
			out = append(out, k)
		}
	}
	return out
}

// The page's template reads the rest of a chart through these.
func (c *chart) Title() string          { return c.title }
func (c *chart) Wide() bool             { return c.wide }
func (c *chart) Picture() template.HTML { return c.picture }

// Note says what the curves are.
func (c *chart) Note() string {
	note := c.note
	if c.smooth > 0 {
		if note != "" {
			note += "; "
		}
		note += fmt.Sprintf("strong line smoothed over %d log steps", c.smooth)
	}
	for _, k := range c.curves {
		for _, y := range k.y {
			if !finite(y) {
				return note + "; crosses: not finite"
			}
		}
	}
	return note
}
