package report

import (
	"fmt"
	"html/template"
	"math"
	"slices"
	"strconv"
	"strings"
)

// A chart is a set of curves over the steps, drawn as SVG with its legend and hover data beside it.
type chart struct {
	title, note string
	wide        bool
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

// num writes a coordinate to a tenth of a pixel.
func num(f float64) string { return strconv.FormatFloat(math.Round(f*10)/10, 'f', -1, 64) }

// svg draws the chart; it is empty when there is nothing to draw.
func (c *chart) svg() template.HTML {
	p, ok := c.plot()
	if !ok {
		return ""
	}
	var b strings.Builder
	fmt.Fprintf(&b, `<svg viewBox="0 0 %s %s" role="img" aria-label="%s">`, num(p.width), num(p.height), escape(c.title))
	c.drawBands(&b, p)
	c.drawAxes(&b, p)
	for _, m := range c.marks {
		class := "mark"
		if m.colour >= 0 {
			class += " " + colourClass(m.colour)
		}
		fmt.Fprintf(&b, `<line class="%s" x1="%s" x2="%[2]s" y1="%s" y2="%s"><title>%s</title></line>`, class, num(p.px(m.x)),
			num(marginTop), num(p.height-marginBottom), escape(m.title))
	}
	c.drawLevels(&b, p)
	for _, k := range c.curves {
		k.draw(&b, p)
	}
	fmt.Fprintf(&b, `<line class="cursor" x1="0" x2="0" y1="%s" y2="%s"/></svg>`, num(marginTop), num(p.height-marginBottom))
	return template.HTML(b.String()) // numbers of ours, and texts that went through escape
}

func escape(s string) string { return template.HTMLEscapeString(strings.ToValidUTF8(s, "\ufffd")) }

func colourClass(i int) string { return "c" + strconv.Itoa(i%8) }

func (c *chart) drawBands(b *strings.Builder, p plot) {
	if len(c.bands) < 2 {
		return
	}
	names := phaseNames(c.bands)
	top, foot := marginTop, p.height-marginBottom
	for _, one := range c.bands {
		x0, x1 := p.px(one.from), p.px(one.to)
		fmt.Fprintf(b, `<rect class="band b%d" x="%s" y="%s" width="%s" height="%s"><title>%s: steps %s to %s</title></rect>`,
			slices.Index(names, one.phase)%4, num(x0), num(top), num(max(x1-x0, 0.5)), num(foot-top), escape(one.phase),
			num(one.from), num(one.to))
		const letter = 6.2 // width at this size
		if x1-x0 > float64(len([]rune(one.phase)))*letter+8 {
			fmt.Fprintf(b, `<text class="phase" x="%s" y="%s">%s</text>`, num((x0+x1)/2), num(top-6), escape(one.phase))
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

func (c *chart) drawAxes(b *strings.Builder, p plot) {
	left, right, foot := marginLeft, p.width-marginRight, p.height-marginBottom
	for _, t := range p.y.ticks(int(p.height/42), c.tick) {
		y := num(p.py(t.value))
		fmt.Fprintf(b, `<line class="grid" x1="%s" x2="%s" y1="%s" y2="%[3]s"/>`, num(left), num(right), y)
		fmt.Fprintf(b, `<text class="y" x="%s" y="%s" dy="0.32em">%s</text>`, num(left-8), y, escape(t.label))
	}
	for _, t := range p.x.ticks(int(p.width/95), trimmed) {
		if t.value != math.Trunc(t.value) {
			continue // there is no half step
		}
		x := p.px(t.value)
		anchor := ""
		if right-x < 12 {
			anchor = ` style="text-anchor:end"`
			x = right
		}
		fmt.Fprintf(b, `<text class="x" x="%s" y="%s"%s>%s</text>`, num(x), num(foot+18), anchor, escape(t.label))
	}
	fmt.Fprintf(b, `<line class="axis" x1="%s" x2="%s" y1="%s" y2="%[3]s"/>`, num(left), num(right), num(foot))
}

func (c *chart) drawLevels(b *strings.Builder, p plot) {
	for _, l := range c.levels {
		if !finite(l.y) {
			continue
		}
		y := p.py(l.y)
		fmt.Fprintf(b, `<line class="level" x1="%s" x2="%s" y1="%s" y2="%[3]s"/>`, num(marginLeft), num(p.width-marginRight), num(y))
		fmt.Fprintf(b, `<text class="level" x="%s" y="%s">%s</text>`, num(p.width-marginRight-4), num(y-5), escape(l.name))
	}
}

func (k *curve) draw(b *strings.Builder, p plot) {
	class := colourClass(k.colour)
	if k.smooth > 1 {
		k.lines(b, p, class+" faint", k.y)
	}
	if k.thin {
		class += " thin"
	}
	k.lines(b, p, class, smoothed(k.y, k.smooth))
	if k.dots && len(k.x) <= 150 {
		for i := range k.x {
			if finite(k.y[i]) {
				fmt.Fprintf(b, `<circle class="%s" cx="%s" cy="%s" r="2.6"/>`, colourClass(k.colour), num(p.px(k.x[i])), num(p.py(k.y[i])))
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
		fmt.Fprintf(b, `<path class="broken" d="M%s %sl7 7m0 -7l-7 7"><title>%s: %s at step %s</title></path>`, num(p.px(k.x[i])-3.5),
			num(marginTop+1), escape(k.name), decimals(k.y[i]), num(k.x[i]))
	}
}

// lines draws y as polylines, one for each unbroken stretch; a lone point becomes a dot.
func (k *curve) lines(b *strings.Builder, p plot, class string, y []float64) {
	tx, ty := thinned(k.x, y)
	for start := 0; start < len(tx); {
		if !finite(ty[start]) {
			start++
			continue
		}
		end := start
		for end < len(tx) && finite(ty[end]) {
			end++
		}
		if end == start+1 {
			fmt.Fprintf(b, `<circle class="%s" cx="%s" cy="%s" r="1.8"/>`, class, num(p.px(tx[start])), num(p.py(ty[start])))
		} else {
			fmt.Fprintf(b, `<polyline class="%s" points="`, class)
			for i := start; i < end; i++ {
				if i > start {
					b.WriteByte(' ')
				}
				b.WriteString(num(p.px(tx[i])) + "," + num(p.py(ty[i])))
			}
			b.WriteString(`"/>`)
		}
		start = end
	}
}
