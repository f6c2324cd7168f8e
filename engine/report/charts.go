package report

import (
	"fmt"
	"html/template"
	"slices"
)

// chartsOf draws the charts that the runs have data for, all runs on the same axes.
func chartsOf(runs []*Run) []*chart {
	charts := []*chart{lossChart(runs), accuracyChart(runs)}
	charts = append(charts,
		stepChart(runs, chart{title: "Learning rate", tick: tickText, text: "number", fromZero: true}, false,
			func(s Step) float64 { return s.LR }),
		stepChart(runs, chart{title: "Gradient norm", note: "before clipping", tick: tickText, text: "number", mayLog: true}, true,
			func(s Step) float64 { return s.GradNorm }),
		stepChart(runs, chart{title: "Throughput", note: "tokens a second", tick: trimmed, text: "number", fromZero: true}, true,
			func(s Step) float64 { return s.TokensPerS }))
	if accuracy := charts[1]; len(accuracy.curves) == 0 {
		charts[4].wide = true // three charts are left for rows of two
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
	c := &chart{title: "Loss", note: "nats a row", wide: true, mayLog: true, tick: tickText, text: "number"}
	for i, run := range runs {
		x, y := column(run.Steps, func(s Step) float64 { return s.Loss })
		k := curve{name: named(runs, run, "train"), colour: i, x: x, y: y, thin: len(runs) > 1, smooth: smoothing(len(x))}
		if len(x) > 0 {
			c.curves = append(c.curves, k)
			c.smooth = max(c.smooth, k.smooth)
		}
		c.held(runs, i, "held-out", func(e Eval) float64 { return e.Loss })
		c.baseline(run, func(e Eval) *float64 { return e.BaselineLoss })
	}
	return c
}

func accuracyChart(runs []*Run) *chart {
	c := &chart{title: "Accuracy", note: "of rows that bear a loss", tick: percentTick, text: "percent", fromZero: true}
	for i, run := range runs {
		x, y := []float64(nil), []float64(nil)
		for _, s := range run.Steps {
			if s.Accuracy != nil {
				x, y = append(x, float64(s.Step)), append(y, *s.Accuracy)
			}
		}
		if len(x) > 0 {
			k := curve{name: named(runs, run, "train"), colour: i, x: x, y: y, thin: len(runs) > 1, smooth: smoothing(len(x))}
			c.curves = append(c.curves, k)
			c.smooth = max(c.smooth, k.smooth)
		}
		var scored Run
		scored.Name = run.Name
		for _, e := range run.Evals {
			if e.Accuracy != nil {
				scored.Evals = append(scored.Evals, e)
			}
		}
		c.heldOf(runs, i, &scored, "held-out", func(e Eval) float64 { return *e.Accuracy })
		c.baseline(run, func(e Eval) *float64 { return e.BaselineAccuracy })
	}
	return c
}

// held adds the curve of an evaluation's number.
func (c *chart) held(runs []*Run, i int, name string, get func(Eval) float64) {
	c.heldOf(runs, i, runs[i], name, get)
}

func (c *chart) heldOf(runs []*Run, i int, run *Run, name string, get func(Eval) float64) {
	k := curve{name: named(runs, run, name), colour: i, dots: true}
	if len(runs) == 1 {
		k.colour = 1
	}
	for _, e := range run.Evals {
		k.x, k.y = append(k.x, float64(e.Step)), append(k.y, get(e))
	}
	if len(k.x) > 0 {
		c.curves = append(c.curves, k)
	}
}

// baseline adds the run's last baseline, once for runs that share it.
func (c *chart) baseline(run *Run, get func(Eval) *float64) {
	for j := len(run.Evals) - 1; j >= 0; j-- {
		y := get(run.Evals[j])
		if y == nil {
			continue
		}
		for _, l := range c.levels {
			if l.y == *y {
				return
			}
		}
		c.levels = append(c.levels, level{*y, "unigram baseline"})
		return
	}
}

func stepChart(runs []*Run, c chart, smooth bool, get func(Step) float64) *chart {
	for i, run := range runs {
		x, y := column(run.Steps, get)
		if len(x) == 0 {
			continue
		}
		k := curve{name: named(runs, run, ""), colour: i, x: x, y: y}
		if smooth {
			k.smooth = smoothing(len(x))
			c.smooth = max(c.smooth, k.smooth)
		}
		c.curves = append(c.curves, k)
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
			if k.thin {
				class += " thin"
			}
			if k.dots {
				class += " dot"
			}
			out = append(out, key{class, k.name})
		}
	}
	if !c.wide { // the widest chart explains what all of them show
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
		if !slices.Contains(out, k) {
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
