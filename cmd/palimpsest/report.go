package main

import (
	"fmt"
	"io"
	"path/filepath"
	"slices"

	"github.com/urfave/cli/v2"

	"palimpsest/engine"
	"palimpsest/engine/fault"
	"palimpsest/engine/report"
	"palimpsest/kernels/philox"
)

const reportFile = "report.html"

func reportCommand() *cli.Command {
	return &cli.Command{
		Name:        "report",
		Usage:       "write a page with the curves of one or several runs, and answers of a masked model",
		ArgsUsage:   "RUN...",
		Description: example("palimpsest report runs/first", "palimpsest report --out compare.html runs/first runs/second"),
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "out", Usage: "HTML `FILE`; without it report.html in the run's folder, or here for several runs"},
			&cli.IntFlag{Name: "examples", Value: 6, Usage: "`NUMBER` of held-out lines that a masked model answers"},
			&cli.StringFlag{Name: "device", Value: "auto", Usage: "where the answers are computed: auto, cpu or cuda"},
		},
		Action: writeReport,
	}
}

func writeReport(c *cli.Context) error {
	folders := c.Args().Slice()
	if len(folders) == 0 {
		return fault.Usage.Errorf("name the run folders; hint: palimpsest %s --help", verbOf(c))
	}
	out := c.String("out")
	if out == "" {
		out = reportFile
		if len(folders) == 1 {
			out = filepath.Join(folders[0], reportFile)
		}
	}
	notes, err := reportOn(out, folders, max(0, c.Int("examples")), c.String("device"))
	if err != nil {
		return err
	}
	return show(c, map[string]any{"file": out, "notes": notes}, func(w io.Writer) {
		for _, note := range notes {
			fmt.Fprintln(w, "note:", note)
		}
		fmt.Fprintf(w, "%s is written; open it in a browser\n", out)
	})
}

// reportOn writes the page of some runs; notes say what it had to leave out.
func reportOn(out string, folders []string, examples int, device string) (notes []string, err error) {
	notes = []string{}
	var runs []*report.Run
	for _, folder := range folders {
		if !exists(folder) {
			return nil, fault.Data.Errorf("there is no run folder %s", folder)
		}
		run, err := report.ReadLog(filepath.Join(folder, engine.LogFile))
		if err != nil {
			return nil, err
		}
		if examples > 0 && len(run.Examples) == 0 {
			if run.Examples, err = reportExamples(folder, device, examples); err != nil {
				notes = append(notes, fmt.Sprintf("no examples of %s: %v", folder, err))
			}
		}
		runs = append(runs, run)
	}
	return notes, report.WriteHTML(out, runs)
}

// reportExamples lets a masked model answer held-out lines; a run that trained no masks has none.
func reportExamples(folder, device string, n int) (list []report.Example, err error) {
	m, err := engine.OpenModel(folder, device, 0)
	if err != nil {
		return nil, err
	}
	defer m.Close()
	if !slices.Contains(trainedFor(m.Config), "mlm") || m.Tokenizer.Mask < 0 {
		return nil, nil
	}
	lines, err := heldOutLines(m, n)
	if err != nil {
		return nil, err
	}
	clozes := make([]cloze, len(lines))
	for i, line := range lines {
		draw := philox.New(1, philox.StreamMask, uint64(i), 0)
		clozes[i] = maskWords(m.Tokenizer, line, 0.15, &draw)
	}
	answers, err := answer(m, clozes, 5)
	if err != nil {
		return nil, err
	}
	for i, view := range clozeViews(m.Tokenizer, clozes, answers) {
		example := report.Example{Step: m.Step, Text: view.Text, Mask: m.Tokenizer.Token(m.Tokenizer.Mask)}
		for k, mask := range view.Masks {
			hole := report.Hole{Expected: clozes[i].truth[k]}
			for _, a := range mask.Answers {
				hole.Answers = append(hole.Answers, report.Answer{Token: a.Token, P: a.P})
			}
			example.Masks = append(example.Masks, hole)
		}
		list = append(list, example)
	}
	return list, nil
}
