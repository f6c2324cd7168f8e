package report

import (
	"fmt"
	"html/template"
	"math"
	"slices"
	"strconv"
)

// A chart is a set of curves over the steps, drawn as SVG with its legend and hover data beside it.
type chart struct {
	title, note string
	wide        bool
	explains    bool // its legend names the bands and marks that all charts show
	curves      []curve
	bands       []band // phases, behind the curves of a single run
	marks       []mark // vertical: resumes, phase switches
	levels      []level
	mayLog      bool
	fromZero    bool
	tick        func(float64) string // labels of the y axis
	text        string               // how values read on hover: "number" or "percent"
	smooth      int                  // the longest smoothing window, for the note
	picture     template.HTML
}

// A mark is a vertical line.
type mark struct {
	x      float64
	title  string
	colour int // -1 for neutral
}

// A level is a dashed horizontal line: a baseline.
type level struct {
	y    float64
	name string
}

const (
	marginLeft, marginRight, marginTop, marginBottom = 52.0, 14.0, 20.0, 30.0
	maxBroken                                        = 200 // crosses for values that are not finite
)

// plot is a chart's geometry.
type plot struct {
	width, height float64
	x, y          scale
}

func (c *chart) plot() (plot, bool) {
	p := plot{width: 500, height: 230}
	if c.wide {
		p.width, p.height = 1040, 320
	}
	var xs, ys [][]float64
	for _, k := range c.curves {
		xs, ys = append(xs, k.x), append(ys, k.y)
	}
	for _, l := range c.levels {
		ys = append(ys, []float64{l.y})
	}
	x0, x1, ok := bounds(xs...)
	if !ok {
		return p, false
	}
	y0, y1, ok := bounds(ys...)
	if !ok { // nothing finite: an empty frame with its crosses
		y0, y1 = 0, 1
	}
	if x0 = min(x0, 0); x1 <= x0 {
		x1 = x0 + 1
	}
	p.x = scale{lo: x0, hi: x1}
	p.y = newScale(y0, y1, c.mayLog, c.fromZero)
	return p, true
}

func (p plot) px(x float64) float64 {
	return marginLeft + p.x.at(x)*(p.width-marginLeft-marginRight)
}

func (p plot) py(y float64) float64 {
	return p.height - marginBottom - p.y.at(y)*(p.height-marginTop-marginBottom)
}

// A surface is what a chart is drawn on. A class says how a thing looks, as in the page's style sheet; titles show on hover
// where there is a pointer.
type surface interface {
	line(class string, x0, y0, x1, y1 float64, title string)
	polyline(class string, x, y []float64)
	circle(class string, x, y, radius float64)
	rect(class string, x, y, width, height float64, title string)
	cross(x, y float64, title string)
	text(class string, x, y float64, atEnd bool, text string) // y is the baseline; atEnd ends at x, else the class decides
}

// draw draws the chart into p.
func (c *chart) draw(on surface, p plot) {
	c.drawBands(on, p)
	c.drawAxes(on, p)
	for _, m := range c.marks {
		class := "mark"
		if m.colour >= 0 {
			class += " " + colourClass(m.colour)
		}
		on.line(class, p.px(m.x), marginTop, p.px(m.x), p.height-marginBottom, m.title)
	}
	c.drawLevels(on, p)
	for i := range c.curves {
		c.curves[i].draw(on, p)
	}
}

func colourClass(i int) string { return "c" + strconv.Itoa(i%8) }

func (c *chart) drawBands(on surface, p plot) {
	if len(c.bands) < 2 {
		return
	}
	names := phaseNames(c.bands)
	for _, one := range c.bands {
		x0, x1 := p.px(one.from), p.px(one.to)
		on.rect(fmt.Sprintf("band b%d", slices.Index(names, one.phase)%4), x0, marginTop, max(x1-x0, 0.5), p.height-marginBottom-marginTop,
			fmt.Sprintf("%s: steps %s to %s", one.phase, num(one.from), num(one.to)))
		const letter = 6.2 // width at this size
		if x1-x0 > float64(len([]rune(one.phase)))*letter+8 {
			on.text("phase", (x0+x1)/2, marginTop-6, false, one.phase)
		}
	}
}

func phaseNames(bands []band) []string {
	var names []string
	for _, one := range bands {
		if !slices.Contains(names, one.phase) {
			names = append(names, one.phase)
		}
	}
	return names
}

func (c *chart) drawAxes(on surface, p plot) {
	left, right, foot := marginLeft, p.width-marginRight, p.height-marginBottom
	for _, t := range p.y.ticks(int(p.height/42), c.tick) {
		y := p.py(t.value)
		on.line("grid", left, y, right, y, "")
		on.text("y", left-8, y, false, t.label)
	}
	for _, t := range p.x.ticks(int(p.width/95), trimmed) {
		if t.value != math.Trunc(t.value) {
			continue // there is no half step
		}
		x := p.px(t.value)
		if atEnd := right-x < 12; atEnd {
			on.text("x", right, foot+18, true, t.label)
		} else {
			on.text("x", x, foot+18, false, t.label)
		}
	}
	on.line("axis", left, foot, right, foot, "")
}

func (c *chart) drawLevels(on surface, p plot) {
	x := p.width - marginRight - 4
	for _, l := range c.levels {
		if finite(l.y) {
			y := p.py(l.y)
			on.line("level", marginLeft, y, p.width-marginRight, y, "")
			on.text("level", x, y-5, false, l.name)
			x -= 150 // the next may lie at the same height
		}
	}
}

func (k *curve) draw(on surface, p plot) {
	class := colourClass(k.colour)
	if k.smooth > 1 {
		k.lines(on, p, class+" faint", k.y)
	}
	k.lines(on, p, class+k.style(), k.smoothed())
	if k.dots && len(k.x) <= 150 {
		for i := range k.x {
			if finite(k.y[i]) {
				on.circle(class, p.px(k.x[i]), p.py(k.y[i]), 2.6)
			}
		}
	}
	broken := 0
	for i := range k.x {
		if finite(k.y[i]) {
			continue
		}
		if broken++; broken > maxBroken {
			break
		}
		on.cross(p.px(k.x[i]), marginTop+4.5, fmt.Sprintf("%s: %s at step %s", k.name, decimals(k.y[i]), num(k.x[i])))
	}
}

// style is the class of a curve beside its colour.
func (k *curve) style() string {
	style := ""
	if k.thin {
		style += " thin"
	}
	if k.dash > 0 {
		style += " dash" + strconv.Itoa(k.dash%4)
	}
	return style
}

// lines draws y as polylines, one for each unbroken stretch; a lone point becomes a dot.
func (k *curve) lines(on surface, p plot, class string, y []float64) {
	for _, s := range k.stretches() {
		tx, ty := thinned(k.x[s.from:s.to], y[s.from:s.to])
		for start := 0; start < len(tx); {
			if !finite(ty[start]) {
				start++
				continue
			}
			var px, py []float64
			end := start
			for ; end < len(tx) && finite(ty[end]); end++ {
				px, py = append(px, p.px(tx[end])), append(py, p.py(ty[end]))
			}
			if len(px) == 1 {
				on.circle(class, px[0], py[0], 1.8)
			} else {
				on.polyline(class, px, py)
			}
			start = end
		}
	}
}
