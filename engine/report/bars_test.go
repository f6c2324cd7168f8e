package report

import (
	"image/png"
	"os"
	"path/filepath"
	"testing"

	"palimpsest/engine/fault"
)

func TestBarsHaveTheLengthOfTheirValues(t *testing.T) {
	path := filepath.Join(t.TempDir(), "bars.png")
	if err := WriteBars(path, Bars{Title: "Speed", Level: 1, Groups: []BarGroup{{"a", []Bar{{"x", 2, 2, 2}, {"y", 1, 1, 1}}}, {"b", []Bar{{"x", 0.5, 0.5, 0.5}}}}}); err != nil {
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
	longest := map[string]int{} // by colour: pixels of the longest row, right of the legend's marks
	for name, class := range map[string]string{"x": colourClass(0), "y": colourClass(1)} {
		ink := lookOf(class).ink
		for y := int(pngEdge+84) * pngScale; y < img.Bounds().Dy(); y++ {
			n := 0
			for x := range img.Bounds().Dx() {
				if r, g, b, _ := img.At(x, y).RGBA(); uint8(r>>8) == ink.R && uint8(g>>8) == ink.G && uint8(b>>8) == ink.B {
					n++
				}
			}
			longest[name] = max(longest[name], n)
		}
	}
	if x, y := longest["x"], longest["y"]; y < 100 || x < 2*y-8 || x > 2*y+8 {
		t.Errorf("bars of 2 and 1 are %d and %d pixels long", x, y)
	}
	for _, b := range []Bars{{}, {Groups: []BarGroup{{"a", nil}}}, {Groups: []BarGroup{{"a", []Bar{{Value: 0}}}}}} {
		if err := WriteBars(path, b); fault.Of(err) != fault.Usage {
			t.Errorf("%+v: %v", b, err)
		}
	}
}
