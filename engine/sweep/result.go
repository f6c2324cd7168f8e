package sweep

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"

	"palimpsest/engine"
	"palimpsest/engine/fault"
	"palimpsest/engine/report"
	"palimpsest/engine/runfile"
	"palimpsest/engine/vfs"
)

// Row is what became of a trial.
type Row struct {
	Rank       int               `json:"rank"` // from 1; diverged trials are last
	Trial      int               `json:"trial"`
	Values     map[string]string `json:"values"`
	Status     string            `json:"status"`         // Done, Stopped or Diverged
	Step       int64             `json:"step"`           // at which it was measured
	Mean       *float64          `json:"mean,omitempty"` // of the metric over the seeds
	Std        *float64          `json:"std,omitempty"`  // sample standard deviation, with two seeds or more
	Seeds      []SeedResult      `json:"seeds"`
	TokensPerS float64           `json:"tokens_per_s"` // mean over the seeds
	Seconds    float64           `json:"seconds"`      // of training, all seeds together
}

// SeedResult is one run of a trial.
type SeedResult struct {
	Seed   uint64   `json:"seed"`
	Metric *float64 `json:"metric,omitempty"` // none: it diverged
	Run    string   `json:"run"`              // folder, below the sweep's
}

// newRow sums up the runs of a trial. One run that diverged makes a trial that diverged.
func newRow(t *Trial, records []Record, m Metric) Row {
	row := Row{Trial: t.Number, Values: t.Values, Status: Done}
	var metrics []float64
	for _, r := range records {
		seed := SeedResult{Seed: r.Seed, Run: filepath.ToSlash(t.Folder(r.Seed))}
		if row.Step = r.Step; r.Status == Diverged {
			row.Status = Diverged
		} else if seed.Metric = r.metric(m); seed.Metric != nil {
			metrics = append(metrics, *seed.Metric)
		} else {
			row.Status = Diverged // a perplexity beyond all numbers
		}
		row.Seeds = append(row.Seeds, seed)
		row.TokensPerS += r.TokensPerS / float64(len(records))
		row.Seconds += r.Seconds
	}
	if row.Status == Diverged {
		return row
	}
	mean, squares := 0.0, 0.0
	for _, v := range metrics {
		mean += v / float64(len(metrics))
	}
	for _, v := range metrics {
		squares += (v - mean) * (v - mean)
	}
	row.Mean = &mean
	if n := len(metrics); n > 1 {
		std := math.Sqrt(squares / float64(n-1))
		row.Std = &std
	}
	return row
}

// rank sorts rows that were measured at the same rung, the best first; equals stand by number.
func rank(rows []Row, m Metric) {
	slices.SortStableFunc(rows, func(a, b Row) int {
		switch {
		case a.Mean == nil || b.Mean == nil:
			if a.Mean == nil && b.Mean == nil {
				return cmp.Compare(a.Trial, b.Trial)
			} else if a.Mean == nil {
				return 1
			}
			return -1
		case m.maximise():
			return cmp.Or(cmp.Compare(*b.Mean, *a.Mean), cmp.Compare(a.Trial, b.Trial))
		}
		return cmp.Or(cmp.Compare(*a.Mean, *b.Mean), cmp.Compare(a.Trial, b.Trial))
	})
}

// Result is a finished sweep.
type Result struct {
	Method  string            `json:"method"`
	Metric  string            `json:"metric"`
	Goal    string            `json:"goal"` // min or max
	Under   map[string]string `json:"under,omitempty"`
	Keys    []string          `json:"keys"`
	Rungs   []int64           `json:"rungs,omitempty"`
	Rows    []Row             `json:"rows"` // by rank
	LeftOut []Trial           `json:"left_out,omitempty"`
	Best    string            `json:"best,omitempty"` // the winner's run file
	Notes   []string          `json:"notes,omitempty"`
}

func newResult(o *Options, p *Plan, rows []Row) *Result {
	r := &Result{Method: p.Method, Metric: o.Sweep.Metric.Name, Goal: o.Sweep.Metric.goal(),
		Under: o.Sweep.Metric.Under, Keys: p.Keys, Rungs: p.Rungs, Rows: rows, Notes: p.Notes}
	for i := range rows {
		rows[i].Rank = i + 1
	}
	for _, t := range p.Trials {
		if t.Left != "" {
			r.LeftOut = append(r.LeftOut, t)
		}
	}
	return r
}

// compared is how many runs the report puts on one page: as many as it has colours.
const compared = 8

// write leaves the results in the sweep's folder. The error is of kind fault.Diverged when there is no winner.
func (r *Result) write(o *Options, p *Plan) error {
	winner := r.Rows[0]
	if winner.Status != Diverged {
		r.Best = filepath.Join(o.Out, BestFile)
		t := p.Trials[winner.Trial-1]
		text := fmt.Sprintf("# Best of %d trials (%s): trial %d, %s\n# %s\n", len(r.Rows), r.Method, winner.Trial, t.Point(), r.metricText(winner))
		if err := vfs.WriteAtomic(o.FS, r.Best, append([]byte(text), runfile.Marshal(t.config)...)); err != nil {
			return fault.Write.Wrap(err)
		}
	}
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	if err := vfs.WriteAtomic(o.FS, filepath.Join(o.Out, ResultFile), append(data, '\n')); err != nil {
		return fault.Write.Wrap(err)
	}
	var page bytes.Buffer
	if err := r.writePage(&page, o); err != nil {
		return err
	}
	if err := vfs.WriteAtomic(o.FS, filepath.Join(o.Out, PageFile), page.Bytes()); err != nil {
		return fault.Write.Wrap(err)
	}
	var runs []*report.Run
	for _, row := range r.Rows[:min(compared, len(r.Rows))] {
		run, err := report.ReadLog(filepath.Join(o.Out, row.Seeds[0].Run, engine.LogFile))
		if err != nil {
			return err
		}
		run.Name = fmt.Sprintf("%d: %s", row.Trial, p.Trials[row.Trial-1].Point())
		runs = append(runs, run)
	}
	if err := report.WriteHTML(filepath.Join(o.Out, ReportFile), runs); err != nil {
		return err
	}
	if r.Best == "" {
		return fault.Diverged.Errorf("all %d trials diverged, and there is no winner; hint: a lower optimizer.learning_rate, a longer schedule.warmup, or optimizer.clip; see %s",
			len(r.Rows), filepath.Join(o.Out, ReportFile))
	}
	return nil
}

// metricText is a row's result in words.
func (r *Result) metricText(row Row) string {
	if row.Mean == nil {
		return row.Status
	}
	text := r.Metric + " " + number(*row.Mean)
	if row.Std != nil {
		text += fmt.Sprintf(" ± %s over %d seeds", number(*row.Std), len(row.Seeds))
	}
	return fmt.Sprintf("%s at step %d", text, row.Step)
}

// number writes a metric: four decimals, more for small ones.
func number(f float64) string {
	if a := math.Abs(f); a != 0 && a < 0.01 || a >= 1e6 {
		return strconv.FormatFloat(f, 'g', 4, 64)
	}
	return strconv.FormatFloat(f, 'f', 4, 64)
}

// columns heads the table, and cells are a row of it.
func (r *Result) columns() []string {
	list := append([]string{"rank", "trial"}, r.Keys...)
	list = append(list, r.Metric)
	if r.Method == "halving" {
		list = append(list, "steps")
	}
	return append(list, "tokens/s", "time", "")
}

func (r *Result) cells(row Row) []string {
	list := []string{strconv.Itoa(row.Rank), strconv.Itoa(row.Trial)}
	for _, key := range r.Keys {
		list = append(list, row.Values[key])
	}
	metric := "-"
	if row.Mean != nil {
		if metric = number(*row.Mean); row.Std != nil {
			metric += " ± " + number(*row.Std)
		}
	}
	list = append(list, metric)
	if r.Method == "halving" {
		list = append(list, strconv.FormatInt(row.Step, 10))
	}
	status := row.Status
	if status == Done {
		status = ""
	}
	return append(list, strconv.FormatFloat(row.TokensPerS, 'f', 0, 64), fmt.Sprintf("%.1f s", row.Seconds), status)
}

// WriteTable writes the results as text, the best first.
func (r *Result) WriteTable(w io.Writer) error {
	var text bytes.Buffer
	table := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, strings.Join(r.columns(), "\t"))
	for _, row := range r.Rows {
		fmt.Fprintln(table, strings.Join(r.cells(row), "\t"))
	}
	if err := table.Flush(); err != nil {
		return err
	}
	for line := range strings.Lines(text.String()) {
		if _, err := fmt.Fprintln(w, strings.TrimRight(line, " \n")); err != nil {
			return err
		}
	}
	return nil
}
