package main

import (
	"github.com/urfave/cli/v2"

	"palimpsest/engine/fault"
)

func reportCommand() *cli.Command {
	return &cli.Command{
		Name:        "report",
		Usage:       "write a page with the curves of one or several runs",
		ArgsUsage:   "RUN...",
		Description: example("palimpsest report runs/first", "palimpsest report --out compare.html runs/first runs/second"),
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "out", Usage: "HTML `FILE`; without it report.html in the first run's folder"},
		},
		Action: writeReport,
	}
}

func writeReport(c *cli.Context) error {
	if !c.Args().Present() {
		return fault.Usage.Errorf("name the run folders; hint: palimpsest %s --help", verbOf(c))
	}
	return nil
}
