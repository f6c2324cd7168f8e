package report

import (
	"fmt"
	"html/template"
	"math"
	"strconv"
	"strings"
)

// svgSurface writes a chart as SVG; the page's style sheet gives classes their looks.
type svgSurface struct{ b strings.Builder }

// svg draws the chart; it is empty when there is nothing to draw.
func (c *chart) svg() template.HTML {
	p, ok := c.plot()
	if !ok {
		return ""
	}
	s := &svgSurface{}
	fmt.Fprintf(&s.b, `<svg viewBox="0 0 %s %s" role="img" aria-label="%s">`, num(p.width), num(p.height), escape(c.title))
	c.draw(s, p)
	fmt.Fprintf(&s.b, `<line class="cursor" x1="0" x2="0" y1="%s" y2="%s"/></svg>`, num(marginTop), num(p.height-marginBottom))
	return template.HTML(s.b.String()) // numbers of ours, and texts that went through escape
}

// num writes a coordinate to a tenth of a pixel.
func num(f float64) string { return strconv.FormatFloat(math.Round(f*10)/10, 'f', -1, 64) }

func escape(s string) string { return template.HTMLEscapeString(strings.ToValidUTF8(s, "\ufffd")) }

// end closes an element, with its title in it when there is one.
func (s *svgSurface) end(element, title string) {
	if title == "" {
		s.b.WriteString("/>")
		return
	}
	fmt.Fprintf(&s.b, `><title>%s</title></%s>`, escape(title), element)
}

func (s *svgSurface) line(class string, x0, y0, x1, y1 float64, title string) {
	fmt.Fprintf(&s.b, `<line class="%s" x1="%s" x2="%s" y1="%s" y2="%s"`, class, num(x0), num(x1), num(y0), num(y1))
	s.end("line", title)
}

func (s *svgSurface) polyline(class string, x, y []float64) {
	fmt.Fprintf(&s.b, `<polyline class="%s" points="`, class)
	for i := range x {
		if i > 0 {
			s.b.WriteByte(' ')
		}
		s.b.WriteString(num(x[i]) + "," + num(y[i]))
	}
	s.b.WriteString(`"/>`)
}

func (s *svgSurface) circle(class string, x, y, radius float64) {
	fmt.Fprintf(&s.b, `<circle class="%s" cx="%s" cy="%s" r="%s"/>`, class, num(x), num(y), num(radius))
}

func (s *svgSurface) rect(class string, x, y, width, height float64, title string) {
	fmt.Fprintf(&s.b, `<rect class="%s" x="%s" y="%s" width="%s" height="%s"`, class, num(x), num(y), num(width), num(height))
	s.end("rect", title)
}

func (s *svgSurface) cross(x, y float64, title string) {
	fmt.Fprintf(&s.b, `<path class="broken" d="M%s %sl7 7m0 -7l-7 7"`, num(x-3.5), num(y-3.5))
	s.end("path", title)
}

func (s *svgSurface) text(class string, x, y float64, atEnd bool, text string) {
	more := ""
	if class == "y" { // beside its line, whatever the size of letters
		more = ` dy="0.32em"`
	}
	if atEnd {
		more += ` style="text-anchor:end"`
	}
	fmt.Fprintf(&s.b, `<text class="%s" x="%s" y="%s"%s>%s</text>`, class, num(x), num(y), more, escape(text))
}
