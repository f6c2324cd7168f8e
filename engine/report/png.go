package report

import (
	"bytes"
	"fmt"
	"image/color"
	"image/png"
	"slices"
	"strconv"
	"strings"

	"palimpsest/engine/fault"
)

// The picture's layout, in the page's pixels; a pixel of the page is pngScale x pngScale of the file's.
const (
	pngScale   = 2
	pngWidth   = 1120.0
	pngEdge    = 20.0 // around everything
	pngGap     = 16.0 // between sheets
	pngPadding = 20.0 // in a sheet
	pngCorner  = 10.0
	lineHeight = 20.0
	strongPen  = 1.5 // of headings
)

// WritePNG writes the curves of one run, or of several on the same axes with the table that compares them, as a picture that
// looks like the light page of WriteHTML. The file is replaced atomically; errors are of kind fault.Write, or fault.Usage
// when there is no run.
func WritePNG(path string, runs []*Run) error {
	if len(runs) == 0 {
		return fault.Usage.Errorf("report: expected at least one run; hint: name a run folder")
	}
	var out bytes.Buffer
	if err := png.Encode(&out, drawPage(newPage(runs)).img); err != nil {
		return fmt.Errorf("report: %w", err)
	}
	if err := writeAtomically(path, out.Bytes()); err != nil {
		return fault.Write.Errorf("report: %w", err)
	}
	return nil
}

// palette is the colours of the page's light style by their names.
var palette = func() map[string]color.RGBA {
	colours := map[string]color.RGBA{}
	_, light, _ := strings.Cut(pageText, ":root {")
	light, _, _ = strings.Cut(light, "}")
	for entry := range strings.SplitSeq(light, ";") {
		name, value, _ := strings.Cut(strings.TrimSpace(entry), ": #")
		if len(value) == 3 {
			value = string([]byte{value[0], value[0], value[1], value[1], value[2], value[2]})
		}
		if n, err := strconv.ParseUint(value, 16, 32); err == nil && len(value) == 6 {
			colours[strings.TrimPrefix(name, "--")] = color.RGBA{uint8(n >> 16), uint8(n >> 8), uint8(n), 255}
		}
	}
	return colours
}()

// A sheet is a part of the picture that knows its height before it is drawn.
type sheet struct {
	width, height float64
	draw          func(c *canvas, x, y, height float64) // height is at least its own
}

func drawPage(p page) *canvas {
	const inner = pngWidth - 2*pngEdge
	var rows [][]sheet
	if !p.Single {
		rows = append(rows, []sheet{compareSheet(&p.Compare, inner)})
	}
	var half []sheet
	for _, c := range p.Charts {
		if c.wide {
			rows = append(rows, []sheet{chartSheet(c, inner)})
			continue
		}
		if half = append(half, chartSheet(c, (inner-pngGap)/2)); len(half) == 2 {
			rows, half = append(rows, half), nil
		}
	}
	if half != nil {
		rows = append(rows, half)
	}
	if len(p.Charts) == 0 {
		rows = append(rows, []sheet{{inner, 60, func(c *canvas, x, y, _ float64) {
			c.label("There are no log steps yet.", x+pngPadding, y+36, 15, "ink", 1.2)
		}}})
	}
	title, subtitle := wrapped(p.Title, 26, inner), wrapped(p.Subtitle, 15, inner)
	var figures [][2]string
	for _, k := range p.Cards {
		figures = append(figures, [2]string{k.Label, k.Value})
	}
	top := pngEdge + 32*float64(len(title)) + lineHeight*float64(len(subtitle)) + 8
	if len(figures) > 0 {
		top += 52
	}
	height := top + pngEdge
	for _, row := range rows {
		height += rowHeight(row) + pngGap
	}
	c := newCanvas(pngWidth, height-pngGap, pngScale, palette["page"])
	y := pngEdge
	for _, line := range title {
		c.label(line, pngEdge, y+22, 26, "ink", 2.6)
		y += 32
	}
	for _, line := range subtitle {
		c.label(line, pngEdge, y+14, 15, "soft", 1.2)
		y += lineHeight
	}
	for i, f := range figures {
		x := pngEdge + float64(i)*inner/float64(len(figures))
		c.label(f[0], x, y+22, 12, "soft", 1)
		c.label(f[1], x, y+44, 20, "ink", 2)
	}
	y = top
	for _, row := range rows {
		x, high := pngEdge, rowHeight(row)
		for _, s := range row {
			c.box(x, y, s.width, high, pngCorner)
			c.paint(palette["rule"], 1)
			c.box(x+1, y+1, s.width-2, high-2, pngCorner-1)
			c.paint(palette["sheet"], 1)
			s.draw(c, x, y, high)
			x += s.width + pngGap
		}
		y += high + pngGap
	}
	return c
}

func rowHeight(row []sheet) float64 {
	high := 0.0
	for _, s := range row {
		high = max(high, s.height)
	}
	return high
}

// label paints a text whose base line begins at x, y.
func (c *canvas) label(text string, x, y, size float64, ink string, weight float64) {
	c.write(text, x, y, size, weight)
	c.paint(palette[ink], 1)
}

// wrapped breaks a text into lines of at most a width, between words where it can.
func wrapped(text string, size, width float64) []string {
	var lines []string
	line := ""
	for word := range strings.FieldsSeq(text) {
		switch longer := strings.TrimPrefix(line+" "+word, " "); {
		case textWidth(longer, size) <= width:
			line = longer
			continue
		case line != "":
			lines = append(lines, line)
		}
		line = ""
		for _, r := range word {
			if line != "" && textWidth(line+string(r), size) > width {
				lines = append(lines, line)
				line = ""
			}
			line += string(r)
		}
	}
	if line != "" {
		lines = append(lines, line)
	}
	return lines
}

// chartSheet is a chart with its title and legend.
func chartSheet(chart *chart, width float64) sheet {
	const size, mark = 13.0, 26.0
	p, _ := chart.plot()
	inner := width - 2*pngPadding
	type entry struct {
		key
		x, y float64
	}
	var legend []entry
	x, y := 0.0, 0.0
	for _, k := range chart.Legend() {
		w := mark + textWidth(k.Name, size)
		if x > 0 && x+w > inner {
			x, y = 0, y+lineHeight
		}
		legend = append(legend, entry{k, x, y})
		x += w + 16
	}
	below := 0.0
	if len(legend) > 0 {
		below = y + lineHeight + 6
	}
	notes := wrapped(chart.Note(), size, inner-textWidth(chart.title, 17)-14)
	head := pngPadding + 24 + lineHeight*float64(max(len(notes)-1, 0))
	return sheet{width, head + below + p.height + pngPadding/2, func(c *canvas, left, top, height float64) {
		left += pngPadding
		c.label(chart.title, left, top+pngPadding+10, 17, "ink", strongPen*1.3)
		for i, note := range notes {
			c.label(note, left+textWidth(chart.title, 17)+14, top+pngPadding+10+lineHeight*float64(i), size, "soft", 1)
		}
		for _, e := range legend {
			c.legendMark(e.Class, left+e.x, top+head+e.y+9)
			c.label(e.Name, left+e.x+mark, top+head+e.y+14, size, "ink", 1.05)
		}
		chart.draw(&pngSurface{c, left + (inner-p.width)/2, top + height - pngPadding/2 - p.height}, p)
	}}
}

func (c *canvas) legendMark(class string, x, y float64) {
	kind, rest, _ := strings.Cut(class, " ")
	look := lookOf(rest)
	switch kind {
	case "box":
		c.box(x+2, y-6, 14, 12, 3)
		c.paint(look.ink, 0.35)
	case "mark":
		look = lookOf("mark " + rest)
		c.stroke([]float64{x + 9, x + 9}, []float64{y - 7, y + 7}, 2, []float64{2, 3})
		c.paint(look.ink, 1)
	default:
		c.stroke([]float64{x, x + 18}, []float64{y, y}, look.width*1.5, look.dashes)
		if strings.Contains(rest, "dot") {
			c.disc(x+9, y, 4)
		}
		c.paint(look.ink, look.opacity)
	}
}

// A look is what the page's style sheet says of a class.
type look struct {
	ink            color.RGBA
	width, opacity float64
	dashes         []float64
}

func lookOf(class string) look {
	l := look{palette["soft"], 1.9, 1, nil}
	for word := range strings.FieldsSeq(class) {
		switch word {
		case "grid":
			l.ink, l.width = palette["grid"], 1
		case "axis":
			l.width = 1
		case "level":
			l.width, l.dashes = 1, []float64{5, 4}
		case "mark":
			l.width, l.dashes = 1.2, []float64{2, 3}
		case "band":
			l.opacity = 0.09
		case "broken":
			l.ink, l.width = palette["bad"], 1.8
		case "thin":
			l.width, l.opacity = 1.1, 0.75
		case "faint":
			l.width, l.opacity = 1, 0.3
		case "dash1":
			l.dashes = []float64{7, 4}
		case "dash2":
			l.dashes = []float64{2, 4}
		case "dash3":
			l.dashes = []float64{12, 4, 2, 4}
		default:
			if ink, ok := palette[word]; ok {
				l.ink = ink
			}
		}
	}
	return l
}

// A pngSurface draws a chart on a canvas, its corner at x, y.
type pngSurface struct {
	c    *canvas
	x, y float64
}

func (s *pngSurface) line(class string, x0, y0, x1, y1 float64, _ string) {
	s.polyline(class, []float64{x0, x1}, []float64{y0, y1})
}

func (s *pngSurface) polyline(class string, x, y []float64) {
	x, y = slices.Clone(x), slices.Clone(y)
	for i := range x {
		x[i] += s.x
		y[i] += s.y
	}
	l := lookOf(class)
	s.c.stroke(x, y, l.width, l.dashes)
	s.c.paint(l.ink, l.opacity)
}

func (s *pngSurface) circle(class string, x, y, radius float64) {
	l := lookOf(class)
	s.c.disc(x+s.x, y+s.y, radius+l.width/2)
	s.c.paint(l.ink, l.opacity)
}

func (s *pngSurface) rect(class string, x, y, width, height float64, _ string) {
	l := lookOf(class)
	s.c.box(x+s.x, y+s.y, width, height, 0)
	s.c.paint(l.ink, l.opacity)
}

func (s *pngSurface) cross(x, y float64, _ string) {
	l := lookOf("broken")
	x, y = x+s.x, y+s.y
	s.c.segment(x-3.5, y-3.5, x+3.5, y+3.5, l.width)
	s.c.segment(x-3.5, y+3.5, x+3.5, y-3.5, l.width)
	s.c.paint(l.ink, 1)
}

func (s *pngSurface) text(class string, x, y float64, atEnd bool, text string) {
	size := 12.0
	if class == "phase" || class == "level" {
		size = 11
	}
	x, y = x+s.x, y+s.y
	switch width := textWidth(text, size); {
	case atEnd || class == "y" || class == "level":
		x -= width
	case class == "x" || class == "phase":
		x -= width / 2
	}
	if class == "y" {
		y += size * capsPerSize / 2
	}
	if class == "level" { // readable in front of curves
		s.c.write(text, x, y, size, 4)
		s.c.paint(palette["sheet"], 0.85)
	}
	s.c.label(text, x, y, size, "soft", 1)
}
