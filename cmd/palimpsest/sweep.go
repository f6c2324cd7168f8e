package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/urfave/cli/v2"

	"palimpsest/engine"
	"palimpsest/engine/fault"
	"palimpsest/engine/report"
	"palimpsest/engine/runfile"
	"palimpsest/engine/signals"
	"palimpsest/engine/sweep"
)

func sweepCommand() *cli.Command {
	return &cli.Command{
		Name:  "sweep",
		Usage: "train one run file with many values of some keys, and find the best ones",
		Description: example("palimpsest sweep --preset mlm-cpu-tiny --data shards --vary 'mask.p=[0.15, 0.3]' --steps 500 --out sweeps/p",
			"palimpsest sweep --config sweep.yaml --data shards --dry-run",
			"palimpsest sweep --config sweep.yaml --data shards --out sweeps/rate") +
			"\n\nA sweep file, whose 'run' is a run file or the name of a preset:\n" +
			"  run: mlm-cpu-tiny\n" +
			"  method: halving               # or grid, random\n" +
			"  trials: 27\n" +
			"  seeds: 3                      # runs of every point: mean and standard deviation\n" +
			"  keys:\n" +
			"    optimizer.learning_rate: {log_uniform: [1e-4, 1e-2]}\n" +
			"    model.layers: {int: [2, 6]}\n" +
			"    mask.p: {values: [0.15, 0.3]}\n" +
			"  metric: {name: loss, under: {mask.p: 0.15}}   # every trial measured on the same task\n" +
			"  halving: {rungs: 3, factor: 3}\n\n" +
			"Every trial is a run folder below --out. The same command goes on where the sweep was left, also with more trials " +
			"or seeds; SIGTERM and SIGINT commit and leave with exit code 75.",
		Flags: append([]cli.Flag{
			&cli.StringFlag{Name: "config", Usage: "sweep `FILE` (YAML)"},
			&cli.StringSliceFlag{Name: "vary", Usage: "a key of the run file and its values, `KEY=[A, B]` or KEY={log_uniform: [LOW, HIGH]}; may be repeated"},
			&cli.StringFlag{Name: "method", Usage: "grid, random or halving (method)"},
			&cli.IntFlag{Name: "trials", DefaultText: "the sweep file's", Usage: "`NUMBER` of points of random and halving (trials)"},
			&cli.IntFlag{Name: "seeds", DefaultText: "the sweep file's", Usage: "`NUMBER` of runs of every point (seeds)"},
			&cli.StringFlag{Name: "out", Usage: "sweep `FOLDER`: trials, sweep.html, report.html, best.yaml"},
			&cli.BoolFlag{Name: "dry-run", Usage: "check and list the trials; train nothing"},
		}, slices.DeleteFunc(configFlags(), func(f cli.Flag) bool { return f.Names()[0] == "config" })...),
		Action: runSweep,
	}
}

func runSweep(c *cli.Context) error {
	if err := noArguments(c); err != nil {
		return err
	}
	options, err := loadSweep(c)
	if err != nil {
		return err
	}
	if c.Bool("dry-run") {
		plan, err := sweep.NewPlan(options)
		if err != nil {
			return err
		}
		return show(c, plan, func(w io.Writer) { listTrials(w, plan) })
	}
	if err := need(c, "out"); err != nil {
		return err
	}
	options.Watch = signals.Watch(context.Background())
	defer options.Watch.Close()
	screen := &sweepScreen{w: c.App.ErrWriter, line: newStatusLine(c), quiet: c.Bool("json"), told: map[string]bool{}}
	options.Observe = screen
	result, err := sweep.Run(options)
	screen.line.clear()
	if err != nil {
		return err
	}
	return show(c, result, func(w io.Writer) {
		result.WriteTable(w)
		if n := len(result.LeftOut); n > 0 {
			fmt.Fprintf(w, "%s trials were left out, the first one: trial %d, %s\n", count(n), result.LeftOut[0].Number, result.LeftOut[0].Left)
		}
		fmt.Fprintf(w, "next: open %s in a browser; palimpsest train --config %s --out runs/best\n", filepath.Join(c.String("out"), sweep.PageFile), result.Best)
	})
}

// loadSweep reads the sweep file and what the options change in it, and finds the run file.
func loadSweep(c *cli.Context) (sweep.Options, error) {
	o := sweep.Options{Sweep: sweep.Default(), Out: c.String("out"), Version: c.App.Version}
	loader := runfile.New(&o.Sweep)
	if file := c.String("config"); file != "" {
		content, err := readConfig("--config", file)
		if err != nil {
			return o, err
		}
		loader.Decode(file, content)
	}
	for _, name := range []string{"method", "trials", "seeds"} {
		if c.IsSet(name) {
			loader.Override("--"+name, name, fmt.Sprint(c.Value(name)))
		}
	}
	varied := map[string]bool{}
	for _, v := range c.StringSlice("vary") {
		key, values, err := vary(v)
		if err != nil {
			return o, err
		}
		if o.Sweep.Keys == nil {
			o.Sweep.Keys = map[string]sweep.Range{}
		}
		o.Sweep.Keys[key], varied[key] = values, true
	}
	loader.Check()
	if err := loader.Err(); err != nil {
		return o, err
	}
	o.Origin = func(path string) (string, int) {
		if key, ok := strings.CutPrefix(path, "keys."); ok && varied[key] {
			return "--vary", 0
		}
		return loader.Origin(path)
	}
	name, content, err := sweepRun(c, o.Sweep.Run)
	if err != nil {
		return o, err
	}
	o.Base = func(l *runfile.Loader) {
		l.Decode(name, content)
		applyOptions(c, l)
	}
	return o, nil
}

// vary reads KEY=[A, B] or KEY={...}.
func vary(assignment string) (key string, values sweep.Range, err error) {
	key, text, _ := strings.Cut(assignment, "=")
	switch {
	case strings.HasPrefix(text, "["):
		text = "{values: " + text + "}"
	case key == "" || !strings.HasPrefix(text, "{"):
		return "", values, fault.Usage.Errorf("--vary %s: want KEY=[A, B, ...] or KEY={log_uniform: [LOW, HIGH]}", assignment)
	}
	var one sweep.Config
	if err := runfile.Decode("--vary "+assignment, []byte("keys: {"+strconv.Quote(key)+": "+text+"}"), &one); err != nil {
		return "", values, err
	}
	return key, one.Keys[key], nil
}

// sweepRun reads the run file that the trials start from: --preset, or the sweep file's run.
func sweepRun(c *cli.Context, run string) (name string, content []byte, err error) {
	preset := c.String("preset")
	switch {
	case preset != "" && run != "":
		return "", nil, fault.Usage.Errorf("--preset %s and the sweep file's run: %s exclude each other", preset, run)
	case preset == "" && run == "":
		return "", nil, fault.Usage.Errorf("say what to run: --preset NAME, or run: FILE in the sweep file; hint: palimpsest preset ls")
	case preset == "" && (strings.ContainsRune(run, filepath.Separator) || filepath.Ext(run) != ""):
		content, err = readConfig("run", run)
		return run, content, err
	case preset == "":
		preset = run
	}
	content, err = readPreset(preset)
	return "preset " + preset, content, err
}

func readConfig(what, file string) ([]byte, error) {
	content, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fault.Usage.Errorf("%s: there is no file %s", what, file)
	}
	if err != nil {
		return nil, fault.Usage.Errorf("%s: %w", what, err)
	}
	return content, nil
}

// listTrials shows what a sweep would do.
func listTrials(w io.Writer, p *sweep.Plan) {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, strings.Join(append(append([]string{"trial"}, p.Keys...), "parameters", "steps"), "\t"))
	for _, t := range p.Trials {
		fmt.Fprint(table, t.Number)
		for _, key := range p.Keys {
			fmt.Fprint(table, "\t", t.Values[key])
		}
		if t.Left != "" {
			fmt.Fprintf(table, "\t-\t%s\n", strings.ReplaceAll(t.Left, "\n", "; "))
			continue
		}
		fmt.Fprintf(table, "\t%s\t%s\n", count(t.Parameters), count(t.Steps))
	}
	table.Flush()
	fmt.Fprintf(w, "%s: %s runs, %s steps together", p.Method, count(p.Runs), count(p.Steps))
	if len(p.Rungs) > 0 {
		fmt.Fprintf(w, ", compared at steps %s", strings.Trim(fmt.Sprint(p.Rungs), "[]"))
	}
	fmt.Fprintln(w)
	for _, note := range p.Notes {
		fmt.Fprintln(w, "note:", note)
	}
}

// sweepScreen shows a sweep to the person who started it, on standard error: a line for every run, and on a terminal one
// that follows the run at work.
type sweepScreen struct {
	w     io.Writer
	line  *statusLine
	quiet bool // --json: only notes
	told  map[string]bool
	stage sweep.Stage
}

// Note shows what the user should know, once: trials have much in common.
func (s *sweepScreen) Note(text string) {
	if s.told[text] {
		return
	}
	s.told[text] = true
	s.line.clear()
	fmt.Fprintln(s.w, "note:", text)
}

// Begin follows a run.
func (s *sweepScreen) Begin(stage sweep.Stage) engine.Observer {
	s.stage = stage
	return sweepRunScreen{s}
}

// End shows what a run gave.
func (s *sweepScreen) End(stage sweep.Stage, r sweep.Record, earlier bool) {
	if s.quiet {
		return
	}
	s.line.clear()
	result := r.Status
	if r.Loss != nil {
		result = fmt.Sprintf("loss %.4f", *r.Loss)
		if r.Accuracy != nil {
			result += fmt.Sprintf(", accuracy %.1f%%", 100**r.Accuracy)
		}
	}
	if earlier {
		result += " (measured earlier)"
	}
	fmt.Fprintf(s.w, "%s: %s at step %s, %.0f tokens/s, %.1f s\n", headOf(stage), result, count(r.Step), r.TokensPerS, r.Seconds)
}

func headOf(s sweep.Stage) string {
	return fmt.Sprintf("run %d of %d, trial %d, seed %d, %s", s.Number, s.Of, s.Trial.Number, s.Seed, s.Trial.Point())
}

// sweepRunScreen is a run within a sweep.
type sweepRunScreen struct{ s *sweepScreen }

// Note shows a run's note.
func (r sweepRunScreen) Note(text string) { r.s.Note(text) }

// Begin shows nothing: the sweep tells which run begins.
func (r sweepRunScreen) Begin(report.Header, int64) {}

// Step shows where the run is.
func (r sweepRunScreen) Step(line report.Step) {
	r.s.line.update(func() string {
		return fmt.Sprintf("%s: step %d of %d, loss %.4f", headOf(r.s.stage), line.Step, r.s.stage.Step, line.Loss)
	})
}

// Eval shows nothing: the sweep tells what a run gave.
func (r sweepRunScreen) Eval(report.Eval) {}

// Saved shows nothing.
func (r sweepRunScreen) Saved(int64, time.Duration) {}
