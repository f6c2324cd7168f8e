package shad

import (
	"bytes"
	_ "embed"
	"fmt"
	"html/template"
	"math"

	"palimpsest/engine/fault"
	"palimpsest/engine/vfs"
)

//go:embed page.html.tmpl
var pageText string

var pageTemplate = template.Must(template.New("shad").Parse(pageText))

// A Page shows documents with every response token in the colour of its class, so that a person sees what was called
// boilerplate. It needs nothing but itself.
type Page struct {
	Title     string
	Facts     []string
	Bars      []PageBar
	Top       [2][]TokenCount // by class
	Documents []PageDocument
}

// A PageBar is a bin of the histogram.
type PageBar struct {
	Name  string
	Count int64
	Width float64 // percent of the widest
	Class string
}

// A PageDocument is one document.
type PageDocument struct {
	Number int64
	Parts  []PagePart
}

// A PagePart is a token of the response, or a stretch of context.
type PagePart struct {
	Text, Class, Title string
	Strength           float64 // of the colour, 0 to 1
}

// Context is a stretch that is in no class.
func Context(text string) PagePart { return PagePart{Text: text, Class: "context"} }

// Token is a token of a response with what decided its class.
func Token(text string, class byte, base, tuned float32, difference float64) PagePart {
	p := PagePart{Text: text, Class: "boilerplate", Title: fmt.Sprintf("LD %+.3f: loss %.3f, after shuffled tuning %.3f", difference, base, tuned)}
	if class == Reasoning {
		p.Class = "reasoning"
	}
	p.Strength = math.Round(100*(0.2+0.8*min(1, math.Abs(difference)/2))) / 100
	return p
}

// SetHistogram takes the bars of a summary, without the empty ends.
func (p *Page) SetHistogram(s *Summary, threshold float64) {
	first, last, most := histogramBins, -1, int64(1)
	for k, n := range s.Histogram {
		if n > 0 {
			first, last, most = min(first, k), k, max(most, n)
		}
	}
	for k := first; k <= last; k++ {
		p.Bars = append(p.Bars, PageBar{BinName(k), s.Histogram[k], math.Round(10000*float64(s.Histogram[k])/float64(most)) / 100, BinClass(k, threshold)})
	}
}

// Write writes the page; an existing file is replaced atomically.
func (p *Page) Write(path string) error {
	var out bytes.Buffer
	if err := pageTemplate.Execute(&out, p); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return fault.Write.Wrap(vfs.WriteAtomic(vfs.OS{}, path, out.Bytes()))
}
