package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"

	"palimpsest/bench"
	"palimpsest/engine/fault"
)

func benchCompareCommand() *cli.Command {
	return &cli.Command{
		Name:  "compare",
		Usage: "training steps of the same models here and in PyTorch, in turn in one run",
		Description: "Every side trains the same weights on the same batch with the same AdamW, in a process of its own; ratios are taken\n" +
			"within rounds. PyTorch runs as eager, sdpa, compile and, for masked models, with the head on all rows.\n\n" +
			example("palimpsest bench compare --cases gpt2-tiny,bert-base/128",
				"palimpsest bench compare --python venv/bin/python --out bench/results/compare"),
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "cases", Usage: "`LIST` of SIZE, SIZE/LENGTH or /LENGTH, with commas; without it all: --list shows them"},
			&cli.StringFlag{Name: "variants", Usage: "`LIST` of " + strings.Join(bench.CompareVariants(), ", ") + "; without it all, but above 50 million parameters not eager"},
			&cli.StringFlag{Name: "python", EnvVars: []string{bench.PythonVariable}, Value: "python3", Usage: "`FILE` of a Python interpreter that has torch"},
			&cli.StringFlag{Name: "device", Value: "cpu", Usage: "cpu or cuda, for both sides"},
			&cli.IntFlag{Name: "threads", Usage: "`NUMBER` of threads of each side; 0: all processors"},
			&cli.IntFlag{Name: "rounds", Value: 5, Usage: "`NUMBER` of turns that every side has"},
			&cli.DurationFlag{Name: "turn", Value: 300 * time.Millisecond, Usage: "least `TIME` of a turn here; the others take as many steps"},
			&cli.StringFlag{Name: "out", Usage: "also write DATE-DEVICE.jsonl, .md and .png into this `FOLDER`"},
			&cli.BoolFlag{Name: "list", Usage: "list the cases"},
			&cli.BoolFlag{Name: "serve", Usage: "be the side that is measured: requests on standard input (compare starts this itself)"},
		},
		Action: benchCompare,
	}
}

func benchCompare(c *cli.Context) error {
	if err := noArguments(c); err != nil {
		return err
	}
	if c.Bool("serve") {
		return bench.Serve(c.App.Reader, c.App.Writer)
	}
	cases, err := bench.CompareCases(list(c.String("cases")))
	if err != nil {
		return err
	}
	if c.Bool("list") {
		for _, k := range cases {
			fmt.Fprintln(c.App.Writer, k.Name)
		}
		return nil
	}
	variants := list(c.String("variants"))
	if err := bench.CheckVariants(variants); err != nil {
		return err
	}
	if c.Int("rounds") < 1 || c.Int("threads") < 0 || c.Duration("turn") <= 0 {
		return fault.Usage.Errorf("want --rounds of at least 1, --turn above 0 and --threads of at least 0")
	}
	status := newStatusLine(c)
	var results []bench.CompareResult
	var lines bytes.Buffer
	ctx, stop := signal.NotifyContext(c.Context, os.Interrupt, syscall.SIGTERM)
	defer stop()
	err = bench.Compare(ctx, bench.CompareOptions{Cases: cases, Variants: variants, Python: c.String("python"), Device: c.String("device"), Threads: c.Int("threads"),
		Rounds: c.Int("rounds"), Turn: c.Duration("turn"), Version: c.App.Version,
		Progress: func(text string) { status.update(func() string { return text }) },
		Done: func(r bench.CompareResult) error {
			status.clear()
			results = append(results, r)
			if err := json.NewEncoder(&lines).Encode(r); err != nil {
				return err
			}
			if c.Bool("json") {
				return printJSON(c.App.Writer, r)
			}
			_, err := fmt.Fprint(c.App.Writer, bench.CompareText(r))
			return err
		}})
	status.clear()
	if c.String("out") == "" || len(results) == 0 {
		return err
	}
	return errors.Join(err, writeComparison(c, results, lines.Bytes()))
}

// writeComparison writes the lines, the table and the plot of a run; results of an earlier run of that day give way.
func writeComparison(c *cli.Context, results []bench.CompareResult, lines []byte) error {
	stem := filepath.Join(c.String("out"), time.Now().UTC().Format(time.DateOnly)+"-"+c.String("device"))
	if err := os.MkdirAll(c.String("out"), 0o777); err != nil {
		return fault.Write.Wrap(err)
	}
	if err := os.WriteFile(stem+".jsonl", lines, 0o666); err != nil {
		return fault.Write.Wrap(err)
	}
	if err := os.WriteFile(stem+".md", []byte(bench.CompareTable(results)), 0o666); err != nil {
		return fault.Write.Wrap(err)
	}
	return bench.ComparePlot(stem+".png", results)
}

// list splits at commas; nothing gives nil.
func list(text string) []string {
	if text == "" {
		return nil
	}
	return strings.Split(text, ",")
}
