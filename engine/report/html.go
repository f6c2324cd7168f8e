package report

import (
	"bytes"
	_ "embed"
	"fmt"
	"html/template"
	"strings"

	"palimpsest/engine/fault"
)

//go:embed page.html.tmpl
var pageText string

var pageTemplate = template.Must(template.New("page").Parse(pageText))

type page struct {
	Title    string
	Subtitle string
	Runs     []runView
	Single   bool
	Cards    []card
	Charts   []*chart
	Compare  comparison // of several runs
	Summary  []row
	Config   []row // of a single run
	Shared   []row // keys on which several runs agree
	Warnings []string
}

type runView struct {
	Name, Class string
	Notes       []Note
	Phases      phaseTable
	Step        int64 // of the examples
	Examples    []exampleView
	Classes     *classesView
}

type exampleView struct {
	Pieces []piece
	Holes  []holeView
}

// A piece is text of an example, or one of its masks when Number is not zero.
type piece struct {
	Text   string
	Number int
}

type holeView struct {
	Number   int
	Expected string
	Answers  []answerView
}

type answerView struct {
	Token, Percent string
	Width          float64 // of its bar, 0 to 100
	Right          bool
}

// WriteHTML writes a page about one run, or several on the same axes, that needs nothing but itself: pictures, styles and the
// read-out under the pointer are inside. The file is replaced atomically; errors are of kind fault.Write, or fault.Usage
// when there is no run.
func WriteHTML(path string, runs []*Run) error {
	if len(runs) == 0 {
		return fault.Usage.Errorf("report: expected at least one run; hint: name a run folder")
	}
	var out bytes.Buffer
	if err := pageTemplate.Execute(&out, newPage(runs)); err != nil {
		return fmt.Errorf("report: %w", err)
	}
	if err := writeAtomically(path, out.Bytes()); err != nil {
		return fault.Write.Errorf("report: %w", err)
	}
	return nil
}

func newPage(runs []*Run) page {
	p := page{Single: len(runs) == 1, Charts: chartsOf(runs), Summary: summaryRows(runs)}
	var names []string
	for i, run := range runs {
		names = append(names, run.Name)
		p.Runs = append(p.Runs, viewOf(run, i))
		p.Warnings = append(p.Warnings, run.Warnings...)
	}
	p.Title = strings.Join(names, ", ")
	for _, r := range configRows(runs) {
		switch {
		case p.Single:
			p.Config = append(p.Config, r)
		case r.Same:
			p.Shared = append(p.Shared, r)
		}
	}
	if !p.Single {
		p.Compare = compare(runs)
	}
	if p.Single {
		h := runs[0].Header
		p.Cards = cardsOf(runs[0])
		var parts []string
		for _, part := range []string{h.Objective, h.Device, h.Time} {
			if part != "" {
				parts = append(parts, part)
			}
		}
		p.Subtitle = strings.Join(parts, " · ")
	} else {
		p.Subtitle = fmt.Sprintf("%d runs on the same axes", len(runs))
	}
	return p
}

func viewOf(run *Run, i int) runView {
	v := runView{Name: run.Name, Class: colourClass(i), Notes: run.Notes, Phases: phaseTableOf(run), Classes: viewOfClasses(run.Classes)}
	for _, e := range run.Examples {
		v.Step = max(v.Step, e.Step)
	}
	for _, e := range run.Examples {
		if e.Step == v.Step { // earlier answers of the same texts would only repeat them
			v.Examples = append(v.Examples, viewOfExample(e))
		}
	}
	return v
}

func viewOfExample(e Example) exampleView {
	var v exampleView
	rest := e.Text
	for i := range e.Masks {
		before, after, found := strings.Cut(rest, e.Mask)
		if !found || e.Mask == "" {
			break
		}
		v.Pieces = append(v.Pieces, piece{Text: before}, piece{Text: e.Mask, Number: i + 1})
		rest = after
	}
	v.Pieces = append(v.Pieces, piece{Text: rest})
	for i, hole := range e.Masks {
		h := holeView{Number: i + 1, Expected: visible(hole.Expected)}
		for _, a := range hole.Answers {
			h.Answers = append(h.Answers, answerView{visible(a.Token), percent(a.P), roundTo(100*min(max(a.P, 0), 1), 4), a.Token == hole.Expected})
		}
		v.Holes = append(v.Holes, h)
	}
	return v
}

// visible makes the blanks at a token's ends and its control characters readable.
func visible(token string) string {
	inner := strings.Trim(token, " ")
	lead := len(token) - len(strings.TrimLeft(token, " "))
	trail := len(token) - lead - len(inner)
	if inner == "" {
		lead, trail = len(token), 0
	}
	inner = strings.NewReplacer("\n", "↵", "\t", "⇥", "\r", "␍").Replace(inner)
	return strings.Repeat("␣", lead) + inner + strings.Repeat("␣", trail)
}
