package report

import (
	"bytes"
	"fmt"
	"image/png"

	"palimpsest/engine/fault"
)

// Curves is a picture of points in two measures, joined by lines where they belong together.
type Curves struct {
	Title, Note string
	X, Y        string // what the axes are
	Percent     bool   // both axes are shares
	Curves      []PointCurve
}

// A PointCurve joins its points in their order.
type PointCurve struct {
	Name   string
	Points []CurvePoint
}

// A CurvePoint has its label beside it. Points that are not finite are left out.
type CurvePoint struct {
	X, Y  float64
	Label string
}

// WriteCurves writes the picture as PNG, in the colours of WritePNG; the file is replaced atomically. Errors are of kind
// fault.Write, or fault.Usage when there is no point to draw.
func WriteCurves(path string, p Curves) error {
	var xs, ys []float64
	for _, k := range p.Curves {
		for _, q := range k.Points {
			if finite(q.X) && finite(q.Y) {
				xs, ys = append(xs, q.X), append(ys, q.Y)
			}
		}
	}
	x0, x1, ok := bounds(xs)
	if !ok {
		return fault.Usage.Errorf("report: expected at least one point of finite values")
	}
	y0, y1, _ := bounds(ys)
	const height, left, foot, right = 620.0, pngEdge + 70, 64.0, pngEdge + 110
	top := pngEdge + 96
	c := newCanvas(pngWidth, height, pngScale, palette["page"])
	c.label(p.Title, pngEdge, pngEdge+22, 24, "ink", 2.4)
	c.label(p.Note, pngEdge, pngEdge+44, 14, "soft", 1.2)
	x := pngEdge
	for i, k := range p.Curves {
		c.box(x, pngEdge+56, 14, 12, 3)
		c.paint(lookOf(colourClass(i)).ink, 1)
		c.label(k.Name, x+20, pngEdge+66, 13, "ink", 1.05)
		x += 36 + textWidth(k.Name, 13)
	}
	label := tickText
	if p.Percent {
		label = percentTick
	}
	sx, sy := newScale(x0, x1, false, false), newScale(y0, y1, false, false)
	px := func(v float64) float64 { return left + sx.at(v)*(pngWidth-left-right) }
	py := func(v float64) float64 { return height - foot - sy.at(v)*(height-foot-top) }
	for _, t := range sx.ticks(9, label) {
		c.segment(px(t.value), top, px(t.value), height-foot, 1)
		c.paint(palette["grid"], 1)
		c.label(t.label, px(t.value)-textWidth(t.label, 12)/2, height-foot+18, 12, "soft", 1)
	}
	for _, t := range sy.ticks(8, label) {
		c.segment(left, py(t.value), pngWidth-right, py(t.value), 1)
		c.paint(palette["grid"], 1)
		c.label(t.label, left-8-textWidth(t.label, 12), py(t.value)+4, 12, "soft", 1)
	}
	c.label(p.X, (left+pngWidth-right-textWidth(p.X, 13))/2, height-18, 13, "ink", 1.1)
	c.label(p.Y, pngEdge, top-12, 13, "ink", 1.1)
	for i, k := range p.Curves {
		look := lookOf(colourClass(i))
		var lineX, lineY []float64
		for _, q := range k.Points {
			if finite(q.X) && finite(q.Y) {
				lineX, lineY = append(lineX, px(q.X)), append(lineY, py(q.Y))
			}
		}
		c.stroke(lineX, lineY, look.width, nil)
		for j := range lineX {
			c.disc(lineX[j], lineY[j], 4)
		}
		c.paint(look.ink, 1)
		for _, q := range k.Points {
			if finite(q.X) && finite(q.Y) {
				c.label(q.Label, px(q.X)+8, py(q.Y)-7, 11, "soft", 1)
			}
		}
	}
	var out bytes.Buffer
	if err := png.Encode(&out, c.img); err != nil {
		return fmt.Errorf("report: %w", err)
	}
	if err := writeAtomically(path, out.Bytes()); err != nil {
		return fault.Write.Errorf("report: %w", err)
	}
	return nil
}
