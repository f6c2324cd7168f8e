package main

import (
	"regexp"
	"strings"
	"testing"

	"palimpsest/engine"
)

func TestColouredBatchesSayTheSame(t *testing.T) {
	segments := []engine.PreviewSegment{{Document: 7, Mask: "bidirectional", Tokens: []engine.PreviewToken{
		{Input: "The"},
		{Input: "<mask>", Original: " light", Target: " light", Weight: 1, Term: "mlm"},
		{Input: " of", Target: " of", Weight: 0.25, Term: "mlm"},
		{Input: " a word that is longer than its column"},
		{Input: "☃"},
	}}}
	var plain, coloured strings.Builder
	palette{}.writeExamples(&plain, segments)
	terminalPalette.writeExamples(&coloured, segments)
	if strings.Contains(plain.String(), "\x1b") {
		t.Errorf("colours where none were asked for: %q", plain.String())
	}
	p := terminalPalette
	for _, want := range []string{p.changed + "<mask>" + p.plain, p.original + " light" + p.plain, p.target + " of" + p.plain, p.partial + "0.25 mlm" + p.plain,
		p.context + "The" + p.plain, p.heading + "document 7, bidirectional attention, its first 5 tokens" + p.plain} {
		if !strings.Contains(coloured.String(), want) {
			t.Errorf("%q is not in %q", want, coloured.String())
		}
	}
	if strings.Contains(coloured.String(), p.partial+"1 mlm") {
		t.Error("the weight 1 is nothing special")
	}
	if got := regexp.MustCompile("\x1b\\[[0-9;]*m").ReplaceAllString(coloured.String(), ""); got != plain.String() {
		t.Errorf("without colours:\n%q\nwant\n%q", got, plain.String())
	}
	if lines := strings.Split(plain.String(), "\n"); lines[3] != "  The" || lines[4] != "  <mask>              light              light             1 mlm" {
		t.Errorf("lines %q", lines[1:5])
	}
}
