package report

import (
	"image"
	"image/color"
	"image/png"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"palimpsest/engine/fault"
)

// picture writes, reads back and returns the picture of some runs.
func picture(t *testing.T, runs ...*Run) image.Image {
	t.Helper()
	path := filepath.Join(t.TempDir(), "report.png")
	if err := WritePNG(path, runs); err != nil {
		t.Fatal(err)
	}
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	img, err := png.Decode(file)
	if err != nil {
		t.Fatal(err)
	}
	return img
}

// inked counts the pixels of each colour.
func inked(img image.Image) map[color.RGBA]int {
	pix := img.(*image.RGBA).Pix // what an opaque picture is read back as
	count := map[color.RGBA]int{}
	for i := 0; i < len(pix); i += 4 {
		count[color.RGBA{pix[i], pix[i+1], pix[i+2], pix[i+3]}]++
	}
	return count
}

func TestPNGShowsEveryCurveInItsColour(t *testing.T) {
	one := madeUp("one", 1, 60)
	img := picture(t, one)
	count := inked(img)
	if w := img.Bounds().Dx(); w != 2240 || count[palette["page"]] < 10_000 || count[palette["sheet"]] < 1_000_000 || count[palette["ink"]] < 1000 {
		t.Errorf("width %d, page %d, sheet %d, ink %d", w, count[palette["page"]], count[palette["sheet"]], count[palette["ink"]])
	}
	for i, want := range []bool{true, true, true, true, false, false, false, false} { // train and held-out of two phases
		if n := count[palette[colourClass(i)]]; (n > 500) != want {
			t.Errorf("colour %d: %d pixels", i, n)
		}
	}
	if count[palette["bad"]] > 0 {
		t.Error("crosses without a value that is not finite")
	}
	one.Steps[7].Loss = math.NaN()
	if inked(picture(t, one))[palette["bad"]] == 0 {
		t.Error("no cross for a value that is not finite")
	}
	three := inked(picture(t, one, madeUp("two", 2, 30), madeUp(strings.Repeat("three", 90), 3, 9)))
	for i := range 3 {
		if three[palette[colourClass(i)]] < 500 {
			t.Errorf("run %d is not in the picture", i)
		}
	}
}

func TestOddRunsStillMakeAPicture(t *testing.T) {
	flat := madeUp("flat \x00 ☃", 1, 9)
	for i := range flat.Steps {
		flat.Steps[i].Loss, flat.Steps[i].GradNorm, flat.Steps[i].LR = math.Inf(1), math.MaxFloat64, 5e-324
	}
	for _, runs := range [][]*Run{{{}}, {flat}, {{}, {}}, {flat, {Name: "none"}}, {madeUp("short", 1, 1)}} {
		if b := picture(t, runs...).Bounds(); b.Dx() != 2240 || b.Dy() < 200 || b.Dy() > 20_000 {
			t.Errorf("%v", b)
		}
	}
	if err := WritePNG("x.png", nil); fault.Of(err) != fault.Usage {
		t.Error(err)
	}
	if err := WritePNG(t.TempDir(), []*Run{flat}); fault.Of(err) != fault.Write {
		t.Error(err)
	}
}

// covered is the area that a shape covers, in pixels.
func covered(c *canvas) float64 {
	sum := 0.0
	for _, v := range c.cover {
		sum += float64(v)
	}
	return sum
}

func TestShapesCoverTheirArea(t *testing.T) {
	for name, x := range map[string]struct {
		draw func(c *canvas)
		want float64
	}{
		"upright":  {func(c *canvas) { c.segment(10, 10, 10, 30, 2) }, 4*40 + math.Pi*4},
		"oblique":  {func(c *canvas) { c.segment(5, 7, 35, 41, 1.5) }, 3*2*math.Hypot(30, 34) + math.Pi*2.25},
		"crossed":  {func(c *canvas) { c.stroke([]float64{10, 40, 10}, []float64{20, 20, 20}, 2, nil) }, 4*60 + math.Pi*4},
		"disc":     {func(c *canvas) { c.disc(20, 20, 8) }, math.Pi * 256},
		"box":      {func(c *canvas) { c.box(5, 5, 20, 10, 0) }, 40 * 20},
		"round":    {func(c *canvas) { c.box(5, 5, 20, 10, 4) }, 40*20 - (4-math.Pi)*64},
		"dashed":   {func(c *canvas) { c.stroke([]float64{2, 20, 42}, []float64{9, 9, 9}, 1, []float64{5, 5}) }, 4 * (2*10 + math.Pi)},
		"cut off":  {func(c *canvas) { c.box(-10, -10, 20, 20, 0) }, 400},
		"off page": {func(c *canvas) { c.disc(500, 500, 3) }, 0},
	} {
		c := newCanvas(50, 50, 2, palette["page"])
		x.draw(c)
		if got := covered(c); math.Abs(got-x.want) > 0.04*x.want {
			t.Errorf("%s: covers %.1f, want %.1f", name, got, x.want)
		}
		c.paint(palette["ink"], 0.5)
		if covered(c) != 0 {
			t.Errorf("%s: the shape is still there after it was painted", name)
		}
	}
}

func TestGlyphsAreWellFormedAndDiffer(t *testing.T) {
	seen := map[string]rune{}
	for r := ' '; r <= '~'; r++ {
		if _, ok := glyphs[r]; !ok {
			t.Errorf("no glyph for %q", r)
		}
	}
	for r, g := range glyphs {
		if other, ok := seen[g]; ok && !(r+other == 'I'+'l' || r+other == 'l'+'|') {
			t.Errorf("%q and %q look the same", r, other)
		}
		seen[g] = r
		for stroke := range strings.FieldsSeq(g) {
			last := len(stroke) - 2
			for i := 0; i < len(stroke); i += 2 {
				control := stroke[i] >= 'A' && stroke[i] <= 'M'
				if len(stroke)%2 != 0 || !control && (stroke[i] < 'a' || stroke[i] > 'm') || !strings.Contains("0123456789abcde", stroke[i+1:i+2]) ||
					control && (i == 0 || i == last || stroke[i+2] < 'a') {
					t.Fatalf("%q: stroke %q at %d", r, stroke, i)
				}
			}
		}
	}
	if textWidth("111", 12) != textWidth("888", 12) || textWidth("iii", 12) >= textWidth("mmm", 12) || textWidth("", 12) != 0 {
		t.Error("widths")
	}
	x, y := strokePoints("a3C3c5")
	if n := len(x); n != 9 || x[0] != 0 || x[8] != 2 || y[8] != 5 || x[4] != 1.5 || y[4] != 3.5 {
		t.Errorf("a curve: %v %v", x, y)
	}
}

func TestWrappedTextKeepsEveryLetter(t *testing.T) {
	text := "some words and " + strings.Repeat("long", 60) + " end"
	lines := wrapped(text, 13, 300)
	for _, line := range lines {
		if textWidth(line, 13) > 300 {
			t.Errorf("%q is too wide", line)
		}
	}
	if got := strings.ReplaceAll(strings.Join(lines, ""), " ", ""); got != strings.ReplaceAll(text, " ", "") {
		t.Errorf("got %q", got)
	}
}
