package sweep

import (
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
)

//go:embed page.html.tmpl
var pageText string

var pageTemplate = template.Must(template.New("sweep").Parse(pageText))

// page is what sweep.html shows.
type page struct {
	Title, Subtitle string
	Winner, Metric  string
	Notes           []string
	Plots           []keyPlot
	Rungs           []rungView
	Columns         []string
	Rows            []rowView
	LeftOut         []Trial
}

type rungView struct {
	Class string
	Step  int64
}

type rowView struct {
	Class string
	Cells []string
}

// A keyPlot is the metric over one key, all trials as dots.
type keyPlot struct {
	Key     string
	Picture template.HTML
}

// writePage writes a page with the metric over every varied key and the table. It needs nothing but itself.
func (r *Result) writePage(w io.Writer, o *Options) error {
	p := page{Title: "Sweep of " + strings.Join(r.Keys, ", "), Metric: r.Metric, Columns: r.columns(), Notes: r.Notes, LeftOut: r.LeftOut}
	better := map[string]string{"min": "less", "max": "more"}[r.Goal]
	p.Subtitle = fmt.Sprintf("%s, %d trials, seeds a trial: %d; %s on held-out documents, %s is better", r.Method, len(r.Rows), len(r.Rows[0].Seeds), r.Metric, better)
	if best := r.Rows[0]; best.Mean != nil {
		p.Winner = fmt.Sprintf("Trial %d, %s: %s", best.Trial, (&Trial{Values: best.Values}).Point(), r.metricText(best))
	}
	for i, step := range r.Rungs {
		p.Rungs = append(p.Rungs, rungView{colour(i), step})
	}
	for _, row := range r.Rows {
		view := rowView{Cells: r.cells(row), Class: row.Status}
		p.Rows = append(p.Rows, view)
	}
	for _, key := range r.Keys {
		if picture := r.plot(key, o.Sweep.Keys[key]); picture != "" {
			p.Plots = append(p.Plots, keyPlot{key, picture})
		}
	}
	return pageTemplate.Execute(w, p)
}

func colour(rung int) string { return "c" + strconv.Itoa(rung%6) }

// Geometry of a plot, in units of its view box.
const (
	plotWidth, plotHeight                    = 520.0, 270.0
	plotLeft, plotRight, plotTop, plotBottom = 62.0, 16.0, 16.0, 34.0
	airX, airY                               = 0.05, 0.08 // shares of an axis that stay free at its ends
	logRatio                                 = 30         // from here on values are spread on a logarithmic axis
)

// An axis maps values to [0,1], with labels at some of them.
type axis struct {
	lo, hi float64
	log    bool
	marks  []float64
	labels []string
}

func (a *axis) at(v float64) float64 {
	lo, hi := a.lo, a.hi
	if a.log {
		lo, hi, v = math.Log(lo), math.Log(hi), math.Log(v)
	}
	if hi <= lo {
		return 0.5
	}
	return (v - lo) / (hi - lo)
}

// newAxis fits an axis to values, of which there is at least one.
func newAxis(values []float64, log bool) *axis {
	a := &axis{lo: slices.Min(values), hi: slices.Max(values)}
	a.log = log || a.lo > 0 && a.hi/a.lo >= logRatio
	a.ticks()
	return a
}

// markValues labels the values themselves where they are few and stand apart.
func (a *axis) markValues(values []float64) {
	values = slices.Compact(slices.Sorted(slices.Values(values)))
	for i := 1; i < len(values); i++ {
		if a.at(values[i])-a.at(values[i-1]) < 0.12 {
			return
		}
	}
	a.marks, a.labels = values, nil
	for _, v := range values {
		a.labels = append(a.labels, strconv.FormatFloat(v, 'g', 4, 64))
	}
}

// ticks labels an axis evenly.
func (a *axis) ticks() {
	const pieces = 4
	for i := range pieces + 1 {
		share := float64(i) / pieces
		v := a.lo + share*(a.hi-a.lo)
		if a.log {
			v = math.Exp(math.Log(a.lo) + share*(math.Log(a.hi)-math.Log(a.lo)))
		}
		label := strconv.FormatFloat(v, 'g', 3, 64)
		if a.hi > a.lo && a.hi-a.lo < 0.02*math.Abs(a.hi) { // three digits would not tell the labels apart
			label = strconv.FormatFloat(v, 'g', 6, 64)
		}
		a.marks, a.labels = append(a.marks, v), append(a.labels, label)
		if a.hi == a.lo {
			break
		}
	}
}

// namedAxis sets values that are no numbers side by side.
func namedAxis(names []string) *axis {
	a := &axis{lo: 0, hi: float64(len(names) - 1), labels: names}
	for i := range names {
		a.marks = append(a.marks, float64(i))
	}
	return a
}

// plot draws the metric over a key: a dot a trial with its standard deviation, coloured by rung, the winner ringed, diverged
// trials as crosses at the top. It is empty when no trial has a metric.
func (r *Result) plot(key string, values Range) template.HTML {
	var names []string
	var xs, ys []float64
	numeric := true
	for _, row := range r.Rows {
		text := row.Values[key]
		x, err := strconv.ParseFloat(text, 64)
		numeric = numeric && err == nil && finite(x)
		if xs = append(xs, x); !slices.Contains(names, text) {
			names = append(names, text)
		}
		if row.Mean != nil {
			std := 0.0
			if row.Std != nil {
				std = *row.Std
			}
			ys = append(ys, *row.Mean-std, *row.Mean+std)
		}
	}
	if len(ys) == 0 {
		return ""
	}
	x := (*axis)(nil)
	if numeric {
		x = newAxis(xs, len(values.LogUniform) > 0)
		x.markValues(xs)
	} else {
		slices.Sort(names)
		x = namedAxis(names)
		for i, row := range r.Rows {
			xs[i] = float64(slices.Index(names, row.Values[key]))
		}
	}
	y := newAxis(ys, false)
	px := func(v float64) float64 {
		return plotLeft + (airX+(1-2*airX)*x.at(v))*(plotWidth-plotLeft-plotRight)
	}
	py := func(v float64) float64 {
		return plotHeight - plotBottom - (airY+(1-2*airY)*y.at(v))*(plotHeight-plotTop-plotBottom)
	}
	var b strings.Builder
	draw := func(format string, args ...any) { fmt.Fprintf(&b, format, args...) }
	draw(`<svg viewBox="0 0 %g %g" role="img" aria-label="%s over %s">`, plotWidth, plotHeight, escape(r.Metric), escape(key))
	for i, v := range y.marks {
		draw(`<line class="grid" x1="%g" x2="%g" y1="%.1f" y2="%.1f"/><text class="y" x="%g" y="%.1f" dy="0.32em">%s</text>`,
			plotLeft, plotWidth-plotRight, py(v), py(v), plotLeft-8, py(v), escape(y.labels[i]))
	}
	for i, v := range x.marks {
		draw(`<text class="x" x="%.1f" y="%g">%s</text>`, px(v), plotHeight-plotBottom+18, escape(shorten(x.labels[i])))
	}
	draw(`<line class="axis" x1="%g" x2="%g" y1="%g" y2="%g"/>`, plotLeft, plotWidth-plotRight, plotHeight-plotBottom, plotHeight-plotBottom)
	for i, row := range slices.Backward(r.Rows) { // the best on top
		title := fmt.Sprintf("trial %d, %s: %s", row.Trial, (&Trial{Values: row.Values}).Point(), r.metricText(row))
		if row.Mean == nil {
			draw(`<path class="broken" d="M%.1f %gl7 7m0 -7l-7 7"><title>%s</title></path>`, px(xs[i])-3.5, plotTop-4, escape(title))
			continue
		}
		class := colour(max(0, slices.Index(r.Rungs, row.Step)))
		if row.Std != nil {
			draw(`<line class="bar %s" x1="%.1f" x2="%.1f" y1="%.1f" y2="%.1f"/>`, class, px(xs[i]), px(xs[i]), py(*row.Mean-*row.Std), py(*row.Mean+*row.Std))
		}
		draw(`<circle class="%s" cx="%.1f" cy="%.1f" r="4"><title>%s</title></circle>`, class, px(xs[i]), py(*row.Mean), escape(title))
		if i == 0 {
			draw(`<circle class="ring" cx="%.1f" cy="%.1f" r="8"/>`, px(xs[i]), py(*row.Mean))
		}
	}
	b.WriteString("</svg>")
	return template.HTML(b.String()) // numbers of ours, and texts that went through escape
}

func escape(s string) string { return template.HTMLEscapeString(strings.ToValidUTF8(s, "\ufffd")) }

// shorten fits a name under its mark.
func shorten(s string) string {
	const most = 18
	if letters := []rune(s); len(letters) > most {
		return string(letters[:most-1]) + "…"
	}
	return s
}
