package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/urfave/cli/v2"

	"palimpsest/engine"
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
		line("memory", "%s: weights, gradients and moments %s, activations of a step %s; a checkpoint takes %s of disk",
			size(p.Memory.Weights+p.Memory.Activations), size(p.Memory.Weights), size(p.Memory.Activations), size(p.Checkpoint))
		line("data", "%s documents, %s tokens; %s documents held out; packing %s",
			count(p.Data.Documents), count(p.Data.Tokens), count(p.Data.HeldOut), p.Data.Packing)
		for _, phase := range p.Phases {
			line("phase", "%s, steps %s to %s", phase.Objective, count(phase.From), count(phase.To))
		}
		line("length", "%s steps of %s tokens, which reads the training documents %.2f times", count(p.Steps), count(p.Data.TokensStep), p.Data.Epochs)
		line("work", "%.3g FLOP a step", p.FLOPs)
		b := p.Batch
		line("batch", "the first one: %s tokens in %d segments (%.0f%% full), %s loss rows", count(b.Tokens), b.Segments, 100*b.Fill, count(b.Rows))
		for _, t := range b.Terms {
			line("term", "%s: %s rows, divided by %g over the update", t.Name, count(t.Rows), t.Den)
		}
		for _, note := range p.Notes {
			line("note", "%s", note)
		}
		for _, s := range b.Examples {
			fmt.Fprintf(w, "\ndocument %d, %s attention, its first %d tokens\n", s.Document, s.Mask, len(s.Tokens))
			fmt.Fprintf(w, "  %-18s %-18s %-18s %s\n", "sees", "stood there", "is asked for", "weight")
			for _, t := range s.Tokens {
				weight := ""
				if t.Term != "" {
					weight = fmt.Sprintf("%g %s", t.Weight, t.Term)
				}
				fmt.Fprintf(w, "  %s\n", strings.TrimRight(fmt.Sprintf("%-18s %-18s %-18s %s", t.Input, t.Original, t.Target, weight), " "))
			}
		}
	})
}
