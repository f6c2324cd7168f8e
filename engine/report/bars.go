package report

import (
	"bytes"
	"fmt"
	"image/png"
	"slices"

	"palimpsest/engine/fault"
)

// Bars is a picture of groups of bars, each with its spread, lying one below the other.
type Bars struct {
	Title, Note string
	Level       float64 // a value to compare with, drawn through all groups
	Groups      []BarGroup
}

// A BarGroup is the bars of one case. Bars of one name have one colour in all groups.
type BarGroup struct {
	Name string
	Bars []Bar
}

// Bar is a value with its spread.
type Bar struct {
	Name             string
	Value, Low, High float64
}

const (
	barHeight, barGap = 11.0, 10.0
	barNames          = 150.0 // width of the groups' names
	barValues         = 60.0  // room behind the longest bar
)

// WriteBars writes the picture as PNG, in the colours of WritePNG; the file is replaced atomically. Errors are of kind
// fault.Write, or fault.Usage when there is no bar.
func WriteBars(path string, b Bars) error {
	var names []string
	count, most := 0, b.Level
	for _, g := range b.Groups {
		for _, bar := range g.Bars {
			count++
			most = max(most, bar.Value, bar.High)
			if !slices.Contains(names, bar.Name) {
				names = append(names, bar.Name)
			}
		}
	}
	if count == 0 || !finite(most) || most <= 0 {
		return fault.Usage.Errorf("report: expected at least one bar, of a finite value above 0")
	}
	const inner = pngWidth - 2*pngEdge
	top := pngEdge + 84
	height := top + float64(count)*barHeight + float64(len(b.Groups))*barGap + 2*pngEdge
	c := newCanvas(pngWidth, height, pngScale, palette["page"])
	c.label(b.Title, pngEdge, pngEdge+22, 24, "ink", 2.4)
	c.label(b.Note, pngEdge, pngEdge+44, 14, "soft", 1.2)
	x := pngEdge
	for i, name := range names {
		c.box(x, pngEdge+56, 14, 12, 3)
		c.paint(lookOf(colourClass(i)).ink, 1)
		c.label(name, x+20, pngEdge+66, 13, "ink", 1.05)
		x += 36 + textWidth(name, 13)
	}
	scale := scale{lo: 0, hi: most * 1.02}
	px := func(v float64) float64 { return pngEdge + barNames + scale.at(v)*(inner-barNames-barValues) }
	for _, t := range scale.ticks(8, tickText) {
		c.stroke([]float64{px(t.value), px(t.value)}, []float64{top, height - 1.5*pngEdge}, 1, nil)
		c.paint(palette["grid"], 1)
		c.label(t.label, px(t.value)-textWidth(t.label, 12)/2, height-pngEdge+4, 12, "soft", 1)
	}
	y := top
	for _, g := range b.Groups {
		c.label(g.Name, pngEdge, y+float64(len(g.Bars))*barHeight/2+4, 13, "ink", 1.05)
		for _, bar := range g.Bars {
			c.box(px(0), y+1, px(bar.Value)-px(0), barHeight-2, 0)
			c.paint(lookOf(colourClass(slices.Index(names, bar.Name))).ink, 1)
			c.stroke([]float64{px(bar.Low), px(bar.High)}, []float64{y + barHeight/2, y + barHeight/2}, 1.5, nil)
			c.paint(palette["ink"], 1)
			c.label(fmt.Sprintf("%.2f", bar.Value), px(max(bar.Value, bar.High))+6, y+barHeight-1.5, 11, "soft", 1)
			y += barHeight
		}
		y += barGap
	}
	c.stroke([]float64{px(b.Level), px(b.Level)}, []float64{top - 4, height - 1.5*pngEdge}, 1.6, []float64{5, 4})
	c.paint(palette["ink"], 1)
	var out bytes.Buffer
	if err := png.Encode(&out, c.img); err != nil {
		return fmt.Errorf("report: %w", err)
	}
	if err := writeAtomically(path, out.Bytes()); err != nil {
		return fault.Write.Errorf("report: %w", err)
	}
	return nil
}
