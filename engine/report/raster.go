package report

import (
	"image"
	"image/color"
	"math"
)

// A canvas is a picture that shapes are drawn on with smooth edges. Coordinates and widths are in units of scale pixels.
// A shape covers a pixel by how far the pixel's centre lies inside its edge; the parts of one shape cover no pixel twice.
type canvas struct {
	img   *image.RGBA
	scale float64
	cover []float32       // of the shape that is being drawn, zero elsewhere
	dirty image.Rectangle // where cover is not zero
}

func newCanvas(width, height, scale float64, paper color.RGBA) *canvas {
	bounds := image.Rect(0, 0, int(math.Ceil(width*scale)), int(math.Ceil(height*scale)))
	c := &canvas{img: image.NewRGBA(bounds), scale: scale, cover: make([]float32, bounds.Dx()*bounds.Dy())}
	for i := 0; i < len(c.img.Pix); i += 4 {
		c.img.Pix[i], c.img.Pix[i+1], c.img.Pix[i+2], c.img.Pix[i+3] = paper.R, paper.G, paper.B, paper.A
	}
	return c
}

// region adds the pixels between two corners to the shape; distance is from a pixel's centre to its edge, negative inside.
func (c *canvas) region(x0, y0, x1, y1 float64, distance func(x, y float64) float64) {
	r := image.Rect(int(math.Floor(x0))-1, int(math.Floor(y0))-1, int(math.Ceil(x1))+1, int(math.Ceil(y1))+1).Intersect(c.img.Rect)
	if r.Empty() {
		return
	}
	c.dirty = c.dirty.Union(r)
	for y := r.Min.Y; y < r.Max.Y; y++ {
		row := c.cover[y*c.img.Rect.Dx():]
		for x := r.Min.X; x < r.Max.X; x++ {
			if inside := 0.5 - distance(float64(x)+0.5, float64(y)+0.5); inside > 0 {
				row[x] = max(row[x], float32(min(inside, 1)))
			}
		}
	}
}

// paint colours the shape and begins a new one.
func (c *canvas) paint(ink color.RGBA, opacity float64) {
	for y := c.dirty.Min.Y; y < c.dirty.Max.Y; y++ {
		for x := c.dirty.Min.X; x < c.dirty.Max.X; x++ {
			cover := &c.cover[y*c.img.Rect.Dx()+x]
			if *cover == 0 {
				continue
			}
			a := float64(*cover) * opacity
			*cover = 0
			pixel := c.img.Pix[y*c.img.Stride+4*x:][:3:3]
			for i, v := range [3]uint8{ink.R, ink.G, ink.B} {
				pixel[i] = uint8(float64(pixel[i])*(1-a) + float64(v)*a + 0.5)
			}
		}
	}
	c.dirty = image.Rectangle{}
}

// segment adds a straight stroke with round ends.
func (c *canvas) segment(x0, y0, x1, y1, width float64) {
	s := c.scale
	x0, y0, x1, y1 = x0*s, y0*s, x1*s, y1*s
	half := max(width*s, 1) / 2
	dx, dy := x1-x0, y1-y0
	square := dx*dx + dy*dy
	c.region(min(x0, x1)-half, min(y0, y1)-half, max(x0, x1)+half, max(y0, y1)+half, func(x, y float64) float64 {
		t := 0.0
		if square > 0 {
			t = min(max(((x-x0)*dx+(y-y0)*dy)/square, 0), 1)
		}
		return math.Hypot(x-x0-t*dx, y-y0-t*dy) - half
	})
}

// stroke adds a line through points; dashes are the lengths of strokes and gaps in turn, none for a solid line.
func (c *canvas) stroke(x, y []float64, width float64, dashes []float64) {
	if len(dashes) == 0 {
		for i := 1; i < len(x); i++ {
			c.segment(x[i-1], y[i-1], x[i], y[i], width)
		}
		return
	}
	n, left := 0, dashes[0]
	for i := 1; i < len(x); i++ {
		length := math.Hypot(x[i]-x[i-1], y[i]-y[i-1])
		for at := 0.0; at < length; {
			to := min(at+left, length)
			if n%2 == 0 {
				f, g := at/length, to/length
				c.segment(x[i-1]+f*(x[i]-x[i-1]), y[i-1]+f*(y[i]-y[i-1]), x[i-1]+g*(x[i]-x[i-1]), y[i-1]+g*(y[i]-y[i-1]), width)
			}
			if left -= to - at; left <= 1e-9 {
				n++
				left = dashes[n%len(dashes)]
			}
			at = to
		}
	}
}

func (c *canvas) disc(x, y, radius float64) { c.segment(x, y, x, y, 2*radius) }

// box adds a rectangle with round corners.
func (c *canvas) box(x, y, width, height, corner float64) {
	s := c.scale
	cx, cy, w, h, r := (x+width/2)*s, (y+height/2)*s, width/2*s, height/2*s, corner*s
	c.region(x*s, y*s, (x+width)*s, (y+height)*s, func(x, y float64) float64 {
		dx, dy := math.Abs(x-cx)-w+r, math.Abs(y-cy)-h+r
		return math.Hypot(max(dx, 0), max(dy, 0)) + min(max(dx, dy), 0) - r
	})
}
