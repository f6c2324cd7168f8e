package report

import (
	"image"
	"image/png"
	"math"
	"os"
	"path/filepath"
	"testing"

	"palimpsest/engine/fault"
)

// Points stand where their values say: the mean places of the discs of three one-point curves are as far apart as the values.
func TestCurvesPutPointsInTheirPlaces(t *testing.T) {
	path := filepath.Join(t.TempDir(), "curves.png")
	at := func(x, y float64) []CurvePoint { return []CurvePoint{{x, y, ""}, {math.NaN(), y, "left out"}} }
	err := WriteCurves(path, Curves{Title: "Trade-off", X: "reduction", Y: "similarity", Percent: true, Curves: []PointCurve{{"", at(0, 0.5)}, {"", at(0.5, 1)}, {"", at(1, 0)}}})
	if err != nil {
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
	centre := func(class string) (x, y float64) {
		ink, n := lookOf(class).ink, 0.0
		for py := int(pngEdge+90) * pngScale; py < img.Bounds().Dy(); py++ {
			for px := range img.Bounds().Dx() {
				if r, g, b, _ := img.At(px, py).RGBA(); uint8(r>>8) == ink.R && uint8(g>>8) == ink.G && uint8(b>>8) == ink.B {
					x, y, n = x+float64(px), y+float64(py), n+1
				}
			}
		}
		if n < 20 {
			t.Fatalf("%.0f pixels of %s in a picture of %v", n, class, image.Pt(img.Bounds().Dx(), img.Bounds().Dy()))
		}
		return x / n, y / n
	}
	x0, y0 := centre(colourClass(0))
	x1, y1 := centre(colourClass(1))
	x2, y2 := centre(colourClass(2))
	if math.Abs((x1-x0)-(x2-x1)) > 2 || x1-x0 < 200 || math.Abs((y0-y1)-(y2-y0)) > 2 || y0-y1 < 200 {
		t.Errorf("(%.0f,%.0f) (%.0f,%.0f) (%.0f,%.0f)", x0, y0, x1, y1, x2, y2)
	}
	if err := WriteCurves(path, Curves{Curves: []PointCurve{{"", []CurvePoint{{math.Inf(1), 0, ""}}}}}); fault.Of(err) != fault.Usage {
		t.Errorf("no point: %v", err)
	}
}
