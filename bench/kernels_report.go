package bench

import (
	"encoding/csv"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"text/tabwriter"
)

var kernelColumns = []string{"op", "shape", "products", "time", "p10 to p90", "rate", "of peak", "of library", "of other", "correct"}

// cells are a result's columns for people.
func (r KernelResult) cells() []string {
	c := []string{r.Op, r.Shape, r.Products, "-", "-", "-", "-", "-", "-", r.Correct}
	if r.Reason != "" {
		c[9] += ": " + r.Reason
	}
	if r.Correct != Passed {
		return c
	}
	c[3] = duration(r.Seconds.Median)
	if r.Cached {
		c[3] += "*"
	}
	c[4] = duration(r.Seconds.P10) + " to " + duration(r.Seconds.P90)
	c[5], c[6] = perSecond(r.ByteRate, "B/s"), percent(r.OfPeak)
	if r.FLOPs > 0 {
		c[5] = perSecond(r.FLOPRate, "FLOP/s")
	}
	if r.OfLibrary > 0 {
		c[7] = percent(r.OfLibrary)
	}
	if r.Beside != nil {
		c[8] = percent(r.OfBeside) + " of " + r.Beside.What
	}
	return c
}

// duration writes seconds with three digits.
func duration(s float64) string {
	switch {
	case s < 1e-3:
		return digits(s*1e6) + " us"
	case s < 1:
		return digits(s*1e3) + " ms"
	}
	return digits(s) + " s"
}

// digits writes three significant ones, without an exponent.
func digits(v float64) string {
	places := 2
	if v > 0 {
		places = max(0, 2-int(math.Floor(math.Log10(v))))
	}
	return strconv.FormatFloat(v, 'f', min(places, 6), 64)
}

func perSecond(v float64, unit string) string {
	for _, p := range []struct {
		size float64
		name string
	}{{1e12, "T"}, {1e9, "G"}, {1e6, "M"}, {1e3, "k"}} {
		if v >= p.size {
			return digits(v/p.size) + " " + p.name + unit
		}
	}
	return digits(v) + " " + unit
}

func percent(v float64) string { return fmt.Sprintf("%.1f %%", 100*v) }

// head is what stands above a table, a line each.
func (r KernelReport) head() (lines []string) {
	add := func(format string, args ...any) { lines = append(lines, fmt.Sprintf(format, args...)) }
	add("%s; products: %s; %d threads; %s; scale %s", r.Device, r.Products, r.Threads, r.Compute, r.Scale)
	add("palimpsest %s, %s, %s", r.Version, r.Go, r.Time)
	for _, n := range r.Notes {
		add("note: %s", n)
	}
	for _, s := range []struct {
		when  string
		state *DeviceState
	}{{"before", r.Idle}, {"after the products", r.Busy}, {"at the end", r.Finished}} {
		if s.state != nil {
			add("%s: %s", s.when, s.state)
		}
	}
	p := r.Peaks
	add("peaks: copy %s, addition %s; product %s (%s); last-level cache %.0f MiB", perSecond(p.Copy, "B/s"), perSecond(p.Add, "B/s"),
		perSecond(p.Product, "FLOP/s"), p.ProductShape, float64(r.CacheBytes)/(1<<20))
	if a := r.After; a.Product > 0 {
		add("the same at the end: copy %s, addition %s; product %s", perSecond(a.Copy, "B/s"), perSecond(a.Add, "B/s"), perSecond(a.Product, "FLOP/s"))
	}
	if d := p.Datasheet; d != nil {
		add("datasheet of %s (dense bfloat16): %s, %s: the product reaches %s, memory %s of it", d.Device, perSecond(d.Product, "FLOP/s"),
			perSecond(d.Memory, "B/s"), percent(p.Product/d.Product), percent(p.Memory/d.Memory))
	}
	return append(lines, r.Rules...)
}

// Text writes the report for a terminal.
func (r KernelReport) Text(w io.Writer) error {
	for _, line := range r.head() {
		fmt.Fprintln(w, line)
	}
	fmt.Fprintln(w)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	used := r.usedColumns()
	row := func(cells []string) {
		var kept []string
		for i, c := range cells {
			if used[i] {
				kept = append(kept, c)
			}
		}
		fmt.Fprintln(t, strings.Join(kept, "\t"))
	}
	row(kernelColumns)
	for _, k := range r.Results {
		row(k.cells())
	}
	if err := t.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintln(w, r.Summary())
	return err
}

// usedColumns leaves out the columns that no result of the run fills.
func (r KernelReport) usedColumns() map[int]bool {
	used := map[int]bool{}
	for i := range kernelColumns {
		used[i] = i != 2 && i != 7 && i != 8
	}
	for _, k := range r.Results {
		used[2] = used[2] || k.Products != ""
		used[7] = used[7] || k.OfLibrary > 0
		used[8] = used[8] || k.Beside != nil
	}
	return used
}

// Markdown writes the report as a page's section.
func (r KernelReport) Markdown(w io.Writer) error {
	for _, line := range r.head() {
		fmt.Fprintf(w, "* %s\n", line)
	}
	fmt.Fprintf(w, "\n| %s |\n|%s\n", strings.Join(kernelColumns, " | "), strings.Repeat(" --- |", len(kernelColumns)))
	for _, k := range r.Results {
		fmt.Fprintf(w, "| %s |\n", strings.Join(k.cells(), " | "))
	}
	_, err := fmt.Fprintf(w, "\n%s\n", r.Summary())
	return err
}

// CSV writes a line a result, in plain numbers.
func (r KernelReport) CSV(w io.Writer) error {
	c := csv.NewWriter(w)
	_ = c.Write([]string{"op", "shape", "products", "correct", "reason", "seconds", "seconds_p10", "seconds_p90", "samples", "flops", "bytes", "flops_per_s", "bytes_per_s",
		"of_peak", "of_library", "beside", "of_beside", "buffer_sets", "set_bytes", "cached", "calls_a_sample", "how", "device", "version", "time"})
	number := func(v float64) string { return strconv.FormatFloat(v, 'g', -1, 64) }
	for _, k := range r.Results {
		what := ""
		if k.Beside != nil {
			what = k.Beside.What
		}
		_ = c.Write([]string{k.Op, k.Shape, k.Products, k.Correct, k.Reason, number(k.Seconds.Median), number(k.Seconds.P10), number(k.Seconds.P90),
			strconv.Itoa(k.Seconds.Runs), number(k.FLOPs), number(k.Bytes), number(k.FLOPRate), number(k.ByteRate), number(k.OfPeak), number(k.OfLibrary), what,
			number(k.OfBeside), strconv.Itoa(k.Sets), strconv.Itoa(k.SetBytes), strconv.FormatBool(k.Cached), strconv.Itoa(k.Calls), k.How, r.Device, r.Version, r.Time})
	}
	c.Flush()
	return c.Error()
}

// Verdicts counts results by what they came out as.
func (r KernelReport) Verdicts() map[string]int {
	n := map[string]int{}
	for _, k := range r.Results {
		n[k.Correct]++
	}
	return n
}

// Summary is the last line.
func (r KernelReport) Summary() string {
	n := r.Verdicts()
	return fmt.Sprintf("%d results: %d passed, %d incorrect, %d not run", len(r.Results), n[Passed], n[Incorrect], n[NotRun])
}
