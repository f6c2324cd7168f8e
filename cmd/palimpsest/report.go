package main

import (
	"fmt"
	"io"
	"path/filepath"

	"github.com/urfave/cli/v2"

	"palimpsest/engine"
	"palimpsest/engine/fault"
	"palimpsest/engine/report"
)

const reportFile = "report.html"

func reportCommand() *cli.Command {
	return &cli.Command{
		Name:        "report",
		Usage:       "write a page with the curves and settings of one run, or compare several on the same axes",
		ArgsUsage:   "RUN...",
		Description: example("palimpsest report runs/first", "palimpsest report --out compare.html --png compare.png runs/first runs/second"),
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "out", Usage: "HTML `FILE`; without it report.html in the run's folder, or here for several runs"},
			&cli.StringFlag{Name: "png", Usage: "also write the curves, and the table that compares several runs, as a picture to `FILE`"},
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
	runs, err := readRuns(folders...)
	if err != nil {
		return err
	}
	if err := report.WriteHTML(out, runs); err != nil {
		return err
	}
	result := struct {
		File string `json:"file"`
		PNG  string `json:"png,omitempty"`
	}{out, c.String("png")}
	if result.PNG != "" {
		if err := report.WritePNG(result.PNG, runs); err != nil {
			return err
		}
	}
	return show(c, result, func(w io.Writer) {
		fmt.Fprintf(w, "%s is written; open it in a browser\n", out)
		if result.PNG != "" {
			fmt.Fprintf(w, "%s is written\n", result.PNG)
		}
	})
}

// readRuns reads the logs of run folders.
func readRuns(folders ...string) ([]*report.Run, error) {
	var runs []*report.Run
	for _, folder := range folders {
		if !exists(folder) {
			return nil, fault.Data.Errorf("there is no run folder %s", folder)
		}
		run, err := report.ReadLog(filepath.Join(folder, engine.LogFile))
		if err != nil {
			return nil, err
		}
		runs = append(runs, run)
	}
	return runs, nil
}

// reportOn writes the page of some runs.
func reportOn(out string, folders ...string) error {
	runs, err := readRuns(folders...)
	if err != nil {
		return err
	}
	return report.WriteHTML(out, runs)
}
