package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/urfave/cli/v2"

	"palimpsest/bench"
	"palimpsest/engine/fault"
)

func benchKernelsCommand() *cli.Command {
	return &cli.Command{
		Name:  "kernels",
		Usage: "time and rate of every op at a sweep of shapes, with the share of this device's own peaks and a check of the results",
		Description: "Every op is first held against the float64 oracle; what is incorrect is not timed, and ends the command with exit code 1.\n" +
			"On a GPU times are between its events, products run by cuBLASLt and by the built-in kernels.\n\n" +
			example("palimpsest bench kernels --quick", "palimpsest bench kernels --device cuda --ops attention,norm --out bench/results/h200"),
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "device", Value: "auto", Usage: "auto, cpu, cuda, or an oracle: ref32, ref64, refbf16"},
			&cli.IntFlag{Name: "threads", Usage: "`NUMBER` of CPU threads; 0: all processors"},
			&cli.StringFlag{Name: "ops", Usage: "`LIST` of beginnings of ops, with commas, such as attention,norm,linear (gemm: linear); without it all"},
			&cli.BoolFlag{Name: "quick", Usage: "about a third of the shapes, and a fifth of the time for each"},
			&cli.StringFlag{Name: "scale", Usage: strings.Join(bench.Scales(), ", ") + ": how large the shapes are; without it what fits the device"},
			&cli.DurationFlag{Name: "budget", Usage: "`TIME` for each figure; without it 300ms, or 60ms when quick"},
			&cli.StringFlag{Name: "beside", Usage: "JSON lines `FILE` with another program's seconds for the same ops and shapes (bench/baselines/kernels.py)"},
			&cli.BoolFlag{Name: "csv", Usage: "print CSV"},
			&cli.StringFlag{Name: "out", Usage: "also write `STEM`.json, STEM.csv and STEM.md"},
			&cli.BoolFlag{Name: "list", Usage: "list ops and shapes instead; with --json with their sizes, a line each"},
		},
		Action: benchKernels,
	}
}

func benchKernels(c *cli.Context) error {
	if err := noArguments(c); err != nil {
		return err
	}
	o := bench.KernelOptions{Device: c.String("device"), Threads: c.Int("threads"), Ops: list(c.String("ops")), Quick: c.Bool("quick"), Scale: c.String("scale"),
		Budget: c.Duration("budget"), Version: c.App.Version}
	if o.Threads < 0 || o.Budget < 0 {
		return fault.Usage.Errorf("want --threads and --budget of at least 0")
	}
	if c.Bool("csv") && c.Bool("json") {
		return fault.Usage.Errorf("--csv and --json: want one of them")
	}
	if c.Bool("list") {
		return listKernels(c, o)
	}
	if file := c.String("beside"); file != "" {
		var err error
		if o.Beside, err = readBeside(file); err != nil {
			return err
		}
	}
	status := newStatusLine(c)
	o.Progress = func(text string) { status.update(func() string { return text }) }
	r, failure := bench.Kernels(o)
	status.clear()
	if failure != nil && len(r.Results) == 0 {
		return failure
	}
	write := r.Text
	if c.Bool("csv") {
		write = r.CSV
	}
	if err := show(c, r, func(w io.Writer) { _ = write(w) }); err != nil {
		return err
	}
	if stem := c.String("out"); stem != "" {
		if err := writeKernels(stem, r); err != nil {
			return err
		}
	}
	if failure != nil {
		return failure
	}
	if r.Verdicts()[bench.Incorrect] > 0 {
		return fault.Internal.Errorf("%s; the incorrect ones are named above", r.Summary())
	}
	return nil
}

func listKernels(c *cli.Context, o bench.KernelOptions) error {
	cases, err := bench.KernelCases(o)
	if err != nil {
		return err
	}
	for _, k := range cases {
		if c.Bool("json") {
			err = printJSON(c.App.Writer, k)
		} else {
			_, err = fmt.Fprintf(c.App.Writer, "%-28s %s\n", k.Op, k.Shape)
		}
		if err != nil {
			return fault.Write.Wrap(err)
		}
	}
	return nil
}

// readBeside reads what bench/baselines/kernels.py writes; its lines that say why there is no figure are left out.
func readBeside(file string) (all []bench.Beside, err error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, fault.Data.Wrap(err)
	}
	lines := bufio.NewScanner(bytes.NewReader(data))
	for n := 1; lines.Scan(); n++ {
		var b bench.Beside
		if err := json.Unmarshal(lines.Bytes(), &b); err != nil {
			return nil, fault.Data.Errorf("%s:%d: %w", file, n, err)
		}
		if b.Seconds > 0 {
			all = append(all, b)
		}
	}
	return all, fault.Data.Wrap(lines.Err())
}

func writeKernels(stem string, r bench.KernelReport) error {
	if err := os.MkdirAll(filepath.Dir(stem), 0o777); err != nil {
		return fault.Write.Wrap(err)
	}
	for suffix, write := range map[string]func(io.Writer) error{".csv": r.CSV, ".md": r.Markdown, ".json": func(w io.Writer) error { return printJSON(w, r) }} {
		var page bytes.Buffer
		if err := write(&page); err != nil {
			return err
		}
		if err := os.WriteFile(stem+suffix, page.Bytes(), 0o666); err != nil {
			return fault.Write.Wrap(err)
		}
	}
	return nil
}
