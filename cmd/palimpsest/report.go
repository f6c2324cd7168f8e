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
		Usage:       "write a page with the curves and settings of one or several runs",
		ArgsUsage:   "RUN...",
		Description: example("palimpsest report runs/first", "palimpsest report --out compare.html runs/first runs/second"),
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "out", Usage: "HTML `FILE`; without it report.html in the run's folder, or here for several runs"},
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
	if err := reportOn(out, folders...); err != nil {
		return err
	}
	return show(c, map[string]string{"file": out}, func(w io.Writer) {
		fmt.Fprintf(w, "%s is written; open it in a browser\n", out)
	})
}

// reportOn writes the page of some runs.
func reportOn(out string, folders ...string) error {
	var runs []*report.Run
	for _, folder := range folders {
		if !exists(folder) {
			return fault.Data.Errorf("there is no run folder %s", folder)
		}
		run, err := report.ReadLog(filepath.Join(folder, engine.LogFile))
		if err != nil {
			return err
		}
		runs = append(runs, run)
	}
	return report.WriteHTML(out, runs)
}
