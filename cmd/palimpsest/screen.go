package main

import (
	"fmt"
	"io"
	"path/filepath"
	"time"

	"github.com/urfave/cli/v2"

	"palimpsest/engine"
	"palimpsest/engine/eval"
	"palimpsest/engine/report"
)

// screen shows a run to the person who started it, on standard error.
type screen struct {
	w        io.Writer
	name     string // of the run folder
	quiet    bool   // --json: only notes
	progress *report.Progress
}

func newScreen(c *cli.Context) *screen {
	return &screen{w: c.App.ErrWriter, name: c.String("out"), quiet: c.Bool("json")}
}

// Note shows what the user should know.
func (s *screen) Note(text string) {
	if s.progress != nil {
		s.progress.Println("note: " + text)
		return
	}
	fmt.Fprintln(s.w, "note:", text)
}

// Begin shows what is about to run.
func (s *screen) Begin(h report.Header, first int64) {
	if s.quiet {
		return
	}
	fmt.Fprintf(s.w, "%s: %s, %s parameters, steps %s to %s, seed %d\n", s.name, h.Objective, count(h.Parameters), count(first), count(h.Steps), h.Seed)
	fmt.Fprintf(s.w, "device: %s\n", h.Device)
	s.progress = report.NewProgress(s.w, h.Steps)
}

// Step shows a log step.
func (s *screen) Step(line report.Step) {
	if s.progress != nil {
		s.progress.Step(line)
	}
}

// Eval shows an evaluation.
func (s *screen) Eval(line report.Eval) {
	if s.progress != nil {
		s.progress.Eval(line)
	}
}

// Saved shows a checkpoint that took long enough to be noticed.
func (s *screen) Saved(step int64, took time.Duration) {
	if s.progress != nil && took > time.Second {
		s.progress.Println(fmt.Sprintf("checkpoint of step %d saved in %.1f s", step, took.Seconds()))
	}
}

func (s *screen) close() {
	if s.progress != nil {
		s.progress.Close()
	}
}

// summary tells how a finished run went, from its log.
func summary(c *cli.Context) error {
	out := c.String("out")
	run, err := report.ReadLog(filepath.Join(out, engine.LogFile))
	if err != nil {
		return err
	}
	result := struct {
		Run     string       `json:"run"`
		Steps   int64        `json:"steps"`
		Tokens  int64        `json:"tokens"`
		Seconds float64      `json:"seconds"`
		Last    *report.Step `json:"last,omitempty"`
		Eval    *report.Eval `json:"eval,omitempty"`
		Notes   []string     `json:"notes"`
	}{Run: out, Notes: []string{}}
	if n := len(run.Steps); n > 0 {
		last := run.Steps[n-1]
		result.Last, result.Steps, result.Tokens, result.Seconds = &last, last.Step, last.Tokens, last.Seconds
	}
	if n := len(run.Evals); n > 0 {
		e := &run.Evals[n-1]
		result.Eval = e
		if e.NLL != nil && e.BaselineLoss != nil {
			if note := eval.Astray(*e.NLL, *e.BaselineLoss, e.Measures); note != "" {
				result.Notes = append(result.Notes, note)
			}
		}
	}
	page := filepath.Join(out, reportFile)
	if err := reportOn(page, out); err != nil { // the run itself is whole
		result.Notes = append(result.Notes, fmt.Sprintf("%s could not be written: %v", page, err))
	}
	return show(c, result, func(w io.Writer) {
		for _, note := range result.Notes {
			fmt.Fprintln(w, "note:", note)
		}
		fmt.Fprintf(w, "%s: %s steps, %s tokens, %.0f s\n", out, count(result.Steps), count(result.Tokens), result.Seconds)
		if e := result.Eval; e != nil && e.Accuracy != nil && e.BaselineAccuracy != nil {
			fmt.Fprintf(w, "held out: loss %.4f, accuracy %.1f%% (unigram baseline %.1f%%)\n", e.Loss, 100**e.Accuracy, 100**e.BaselineAccuracy)
		}
		fmt.Fprintf(w, "next: open %s in a browser; palimpsest eval loss --model %s\n", page, out)
	})
}
