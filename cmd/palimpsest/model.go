package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"palimpsest/engine"
	"palimpsest/engine/fault"
)

// modelFlags choose a trained model and where it runs.
func modelFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "model", Usage: "run `FOLDER` (its best checkpoint, else the newest) or one of its checkpoints"},
		&cli.StringFlag{Name: "device", Value: "auto", Usage: "auto, cpu or cuda"},
		&cli.IntFlag{Name: "threads", Usage: "`NUMBER` of CPU threads; 0 takes all"},
	}
}

func openModel(c *cli.Context) (*engine.Model, error) {
	if err := need(c, "model"); err != nil {
		return nil, err
	}
	return engine.OpenModel(c.String("model"), c.String("device"), c.Int("threads"))
}

// trainedFor lists the objectives that a run trained; of antlm those that it mixed.
func trainedFor(c engine.Config) []string { return c.Trained() }

// verbFor names a verb that answers with a model of these objectives.
func verbFor(c engine.Config) string {
	trained := trainedFor(c)
	has := func(names ...string) bool {
		return slices.ContainsFunc(trained, func(name string) bool { return slices.Contains(names, name) })
	}
	switch {
	case c.Causal():
		return "palimpsest generate"
	case has("mlm", "mslm", "exlm"):
		return "palimpsest fill-mask"
	case has("tag"):
		return "palimpsest eval ner"
	case has("classify"):
		return "palimpsest eval classify"
	}
	return "palimpsest eval loss"
}

// maxLine bounds a line of input.
const maxLine = 16 << 20

// inputLines are the texts that a verb works on: its arguments, or the lines of --input, or those of standard input.
func inputLines(c *cli.Context) ([]string, error) {
	if c.Args().Present() {
		if c.String("input") != "" {
			return nil, fault.Usage.Errorf("give the text as arguments or as --input, not both")
		}
		return c.Args().Slice(), nil
	}
	name, from := "standard input", c.App.Reader
	if file := c.String("input"); file != "" && file != "-" {
		f, err := os.Open(file)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, fault.Data.Errorf("--input: there is no file %s", file)
		}
		if err != nil {
			return nil, fault.Data.Errorf("--input: %w", err)
		}
		defer f.Close()
		name, from = file, f
	}
	lines, err := readLines(from)
	if err != nil {
		return nil, fault.Data.Errorf("%s, line %d: %w", name, len(lines)+1, err)
	}
	if len(lines) == 0 {
		return nil, fault.Data.Errorf("%s has no line of text; hint: palimpsest %s --help", name, verbOf(c))
	}
	return lines, nil
}

// readLines returns the lines that are not blank.
func readLines(r io.Reader) (lines []string, err error) {
	scanner := bufio.NewScanner(r)
	scanner.Buffer(nil, maxLine)
	for scanner.Scan() {
		if line := scanner.Text(); strings.TrimSpace(line) != "" {
			lines = append(lines, line)
		}
	}
	if errors.Is(scanner.Err(), bufio.ErrTooLong) {
		return lines, fmt.Errorf("more than %d bytes", maxLine)
	}
	return lines, scanner.Err()
}

func inputFlag() cli.Flag {
	return &cli.StringFlag{Name: "input", Usage: "`FILE` with a text on each line; without it and without arguments standard input is read"}
}
