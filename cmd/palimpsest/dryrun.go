package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/urfave/cli/v2"

	"palimpsest/engine"
	"palimpsest/engine/report"
)

// dryRun shows what a run would do.
func dryRun(c *cli.Context, config engine.Config) error {
	p, err := engine.DryRun(engine.Options{Config: config, Version: c.App.Version})
	if err != nil {
		return err
	}
	return show(c, p, func(w io.Writer) {
		io.WriteString(w, p.Config)
		fmt.Fprintln(w)
		line := func(name, format string, args ...any) {
			fmt.Fprintf(w, "%-11s %s\n", name, fmt.Sprintf(format, args...))
		}
		line("device", "%s", p.Device)
		line("parameters", "%s", count(p.Parameters))
		reference := ""
		if p.Memory.Reference > 0 {
			reference = ", reference " + size(p.Memory.Reference)
		}
		line("memory", "%s: weights, gradients and moments %s, activations of a step %s%s, data %s, program %s; a checkpoint takes %s of disk",
			size(p.Memory.Total()), size(p.Memory.Weights), size(p.Memory.Activations), reference, size(p.Memory.Data), size(p.Memory.Program), size(p.Checkpoint))
		if d := p.Memory.Device; d != nil {
			line("device", "needs %s of the %s of its memory that are free, of %s", size(d.Need), size(d.Available), size(d.Total))
		}
		line("data", "%s documents, %s tokens; %s documents held out; packing %s",
			count(p.Data.Documents), count(p.Data.Tokens), count(p.Data.HeldOut), p.Data.Packing)
		for _, phase := range p.Phases {
			line("phase", "%s, steps %s to %s", phase.Objective, count(phase.From), count(phase.To))
		}
		line("length", "%s steps of %s tokens, which reads the training documents %.2f times", count(p.Steps), count(p.Data.TokensStep), p.Data.Epochs)
		line("work", "%.3g FLOP a step", p.FLOPs)
		for _, b := range append([]engine.PreviewBatch{p.Batch}, p.Later...) {
			first := "the first one"
			if b.Step > 0 {
				first = fmt.Sprintf("of %s, as at step %s", b.Phase, count(b.Step))
			}
			line("batch", "%s: %s tokens in %d segments (%.0f%% full), %s loss rows", first, count(b.Tokens), b.Segments, 100*b.Fill, count(b.Rows))
			for _, t := range b.Terms {
				line("term", "%s: %s rows, divided by %g over the update", t.Name, count(t.Rows), t.Den)
			}
		}
		for _, note := range p.Notes {
			line("note", "%s", note)
		}
		paint := palette{}
		if report.TakesColour(c.App.Writer) {
			paint = terminalPalette
		}
		paint.writeExamples(w, p.Batch.Examples)
		for _, b := range p.Later {
			fmt.Fprintf(w, "\n%s, as at step %s:\n", b.Phase, count(b.Step))
			paint.writeExamples(w, b.Examples)
		}
	})
}

// A palette is how a decoded batch is coloured: by escape sequences, or not at all where they are empty.
type palette struct {
	changed, original, target, partial, context, heading, plain string
}

// terminalPalette uses the sixteen colours that people choose for their terminals.
var terminalPalette = palette{
	changed: "\x1b[1;33m", original: "\x1b[36m", target: "\x1b[32m", partial: "\x1b[35m", context: "\x1b[2m", heading: "\x1b[1m", plain: "\x1b[0m",
}

// in puts text, padded to a width first, between escape sequences.
func (p palette) in(style, text string, width int) string {
	padded := fmt.Sprintf("%-*s", width, text)
	if style == "" || strings.TrimSpace(text) == "" {
		return padded
	}
	return style + text + p.plain + padded[len(text):]
}

// writeExamples writes decoded segments, a token a line: tokens that were masked or replaced in one colour, what stood there
// and what is asked for in others, weights apart from 1 in a fourth, and rows without a loss faint.
func (p palette) writeExamples(w io.Writer, segments []engine.PreviewSegment) {
	const width = 18
	for _, s := range segments {
		place := fmt.Sprintf("its first %d tokens", len(s.Tokens))
		if s.From > 0 {
			place = fmt.Sprintf("%d tokens behind the first %d, which are context only", len(s.Tokens), s.From)
		}
		fmt.Fprintf(w, "\n%s\n", p.in(p.heading, fmt.Sprintf("document %d, %s attention, %s", s.Document, s.Mask, place), 0))
		if s.Graph != "" {
			fmt.Fprintf(w, "  %s\n", s.Graph)
		}
		fmt.Fprintf(w, "  %-*s %-*s %-*s %s\n", width, "sees", width, "stood there", width, "is asked for", "weight")
		for _, t := range s.Tokens {
			sees, target, weight, weightStyle := "", t.Target, "", ""
			switch {
			case t.Original != "":
				sees = p.changed
			case t.Term == "":
				sees = p.context
			}
			if t.Term != "" {
				weight = fmt.Sprintf("%.6g %s", t.Weight, t.Term)
				if t.Class != "" {
					weight += ", " + t.Class
				}
				if t.Weight != 1 {
					weightStyle = p.partial
				}
			}
			for _, a := range t.Also {
				target, weight = target+"; "+a.Target, weight+fmt.Sprintf("; %.6g %s", a.Weight, a.Term)
			}
			line := p.in(sees, t.Input, width) + " " + p.in(p.original, t.Original, width) + " " + p.in(p.target, target, width) + " " + p.in(weightStyle, weight, 0)
			fmt.Fprintf(w, "  %s\n", strings.TrimRight(line, " "))
		}
	}
}
