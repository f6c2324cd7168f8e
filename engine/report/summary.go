package report

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// A card is one figure in large type.
type card struct{ Label, Value, Note string }

// A row is a line of a table with one cell for each run.
type row struct {
	Label string
	Cells []string
	Same  bool // all runs agree
}

// finalEval returns the last evaluation, and the one of the least finite loss among those of its phase.
func finalEval(run *Run) (last, best *Eval) {
	if n := len(run.Evals); n > 0 {
		last = &run.Evals[n-1]
	}
	for i := range run.Evals {
		if e := &run.Evals[i]; e.Phase == last.Phase && finite(e.Loss) && (best == nil || e.Loss < best.Loss) {
			best = e
		}
	}
	return last, best
}

// bestAccuracy is the evaluation of the greatest accuracy among those of the last one's phase.
func bestAccuracy(run *Run) (best *Eval) {
	for i := range run.Evals {
		e := &run.Evals[i]
		if e.Phase == run.Evals[len(run.Evals)-1].Phase && e.Accuracy != nil && finite(*e.Accuracy) && (best == nil || *e.Accuracy > *best.Accuracy) {
			best = e
		}
	}
	return best
}

func lastStep(run *Run) Step {
	if len(run.Steps) == 0 {
		return Step{}
	}
	return run.Steps[len(run.Steps)-1]
}

func speed(run *Run) float64 {
	_, y := column(run.Steps, func(s Step) float64 { return s.TokensPerS })
	return median(y)
}

// cardsOf are the figures a reader looks for first, of a single run.
func cardsOf(run *Run) []card {
	var out []card
	last, best := finalEval(run)
	if last != nil {
		note := ""
		if best != nil && best.Step != last.Step {
			note = fmt.Sprintf("best %s at step %d", decimals(best.Loss), best.Step)
		} else if best != nil {
			note = "the best of the run"
		}
		if last.NLL != nil {
			note += "; nll " + decimals(*last.NLL)
		}
		if last.BaselineLoss != nil {
			note += "; unigram " + decimals(*last.BaselineLoss)
		}
		out = append(out, card{"held-out loss", decimals(last.Loss), strings.TrimPrefix(note, "; ")})
		if last.Accuracy != nil {
			note := ""
			if last.BaselineAccuracy != nil {
				note = "unigram " + percent(*last.BaselineAccuracy)
			}
			out = append(out, card{"held-out accuracy", percent(*last.Accuracy), note})
		}
	}
	s := lastStep(run)
	if len(run.Steps) > 0 {
		note := fmt.Sprintf("at step %d", s.Step)
		if run.Header.Steps > 0 {
			note += fmt.Sprintf(" of %d", run.Header.Steps)
		}
		out = append(out, card{"train loss", decimals(s.Loss), note})
		out = append(out, card{"tokens", quantity(float64(s.Tokens)), fmt.Sprintf("%s epochs", short(s.Epoch))})
		out = append(out, card{"throughput", quantity(speed(run)) + "/s", "tokens, median"})
		out = append(out, card{"time", duration(s.Seconds), times(len(run.Resumes), "resume")})
	}
	if n := run.Header.Parameters; n > 0 {
		out = append(out, card{"parameters", quantity(float64(n)), strconv.FormatInt(n, 10)})
	}
	return out
}

func times(n int, what string) string {
	switch n {
	case 0:
		return "no " + what
	case 1:
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// summaryRows is the table of all runs: a row for each fact that at least one of them has.
func summaryRows(runs []*Run) []row {
	var rows []row
	add := func(label string, get func(*Run) string) {
		r := row{Label: label}
		any := false
		for _, run := range runs {
			cell := get(run)
			any = any || cell != ""
			r.Cells = append(r.Cells, cell)
		}
		r.Same = len(slices.Compact(slices.Clone(r.Cells))) == 1
		if any {
			rows = append(rows, r)
		}
	}
	eval := func(get func(last, best *Eval) string) func(*Run) string {
		return func(run *Run) string {
			if last, best := finalEval(run); last != nil {
				return get(last, best)
			}
			return ""
		}
	}
	optional := func(f *float64, text func(float64) string) string {
		if f == nil {
			return ""
		}
		return text(*f)
	}
	add("objective", func(r *Run) string { return r.Header.Objective })
	add("steps", func(r *Run) string {
		if r.Header.Steps > 0 {
			return fmt.Sprintf("%d of %d", lastStep(r).Step, r.Header.Steps)
		}
		return strconv.FormatInt(lastStep(r).Step, 10)
	})
	add("held-out loss, last", eval(func(last, _ *Eval) string { return decimals(last.Loss) }))
	add("held-out loss, best", eval(func(_, best *Eval) string {
		if best == nil {
			return ""
		}
		return fmt.Sprintf("%s at step %d", decimals(best.Loss), best.Step)
	}))
	add("held-out nll, last", eval(func(last, _ *Eval) string { return optional(last.NLL, decimals) }))
	add("unigram loss", eval(func(last, _ *Eval) string { return optional(last.BaselineLoss, decimals) }))
	add("held-out perplexity, last", eval(func(last, _ *Eval) string { return short(last.Perplexity) }))
	add("held-out accuracy, last", eval(func(last, _ *Eval) string { return optional(last.Accuracy, percent) }))
	add("held-out accuracy, best", func(r *Run) string {
		best := bestAccuracy(r)
		if best == nil {
			return ""
		}
		return fmt.Sprintf("%s at step %d", percent(*best.Accuracy), best.Step)
	})
	add("unigram accuracy", eval(func(last, _ *Eval) string { return optional(last.BaselineAccuracy, percent) }))
	add("held-out rows", eval(func(last, _ *Eval) string { return strconv.FormatInt(last.Rows, 10) }))
	add("train loss, last", func(r *Run) string {
		if len(r.Steps) == 0 {
			return ""
		}
		return decimals(lastStep(r).Loss)
	})
	add("tokens", func(r *Run) string { return quantity(float64(lastStep(r).Tokens)) })
	add("time", func(r *Run) string { return duration(lastStep(r).Seconds) })
	add("throughput, median", func(r *Run) string {
		if len(r.Steps) == 0 {
			return ""
		}
		return quantity(speed(r)) + " tokens/s"
	})
	add("MFU, median", func(r *Run) string {
		var seen []float64
		for _, s := range r.Steps {
			if s.MFU != nil {
				seen = append(seen, *s.MFU)
			}
		}
		if len(seen) == 0 {
			return ""
		}
		return percent(median(seen))
	})
	add("FLOP rule", func(r *Run) string { return r.Header.FLOPRule })
	add("memory, most", func(r *Run) string {
		var most int64
		for _, s := range r.Steps {
			most = max(most, s.MemoryBytes)
		}
		if most == 0 {
			return ""
		}
		return Bytes(most)
	})
	add("updates skipped", func(r *Run) string { return strconv.FormatInt(lastStep(r).Skipped, 10) })
	add("resumes", func(r *Run) string {
		var at []string
		for _, one := range r.Resumes {
			at = append(at, strconv.FormatInt(one.Step, 10))
		}
		if len(at) == 0 {
			return "none"
		}
		return "after step " + strings.Join(at, ", ")
	})
	add("parameters", func(r *Run) string {
		if r.Header.Parameters == 0 {
			return ""
		}
		return strconv.FormatInt(r.Header.Parameters, 10)
	})
	add("device", func(r *Run) string { return r.Header.Device })
	add("seed", func(r *Run) string { return strconv.FormatUint(r.Header.Seed, 10) })
	add("started", func(r *Run) string { return r.Header.Time })
	var programs []string
	for _, run := range runs {
		programs = append(programs, slices.Collect(maps.Keys(run.Header.Versions))...)
	}
	slices.Sort(programs)
	for _, name := range slices.Compact(programs) {
		add("version of "+name, func(r *Run) string { return r.Header.Versions[name] })
	}
	return rows
}

// configRows is the configuration of all runs, key by key in the order of the first run that has it.
func configRows(runs []*Run) []row {
	var order []string
	values := make([]map[string]string, len(runs))
	for i, run := range runs {
		values[i] = map[string]string{}
		raw, _ := run.Header.Configuration.(json.RawMessage)
		for _, pair := range flatten(raw) {
			if !slices.Contains(order, pair[0]) {
				order = append(order, pair[0])
			}
			values[i][pair[0]] = pair[1]
		}
	}
	var rows []row
	for _, name := range order {
		r := row{Label: name}
		for i := range runs {
			r.Cells = append(r.Cells, values[i][name])
		}
		r.Same = len(slices.Compact(slices.Clone(r.Cells))) == 1
		rows = append(rows, r)
	}
	return rows
}

// flatten lists the leaves of a JSON value by dotted path, in the order of the text. Lists of plain values are one leaf.
func flatten(raw json.RawMessage) [][2]string {
	var out [][2]string
	var walk func(path string, raw json.RawMessage)
	walk = func(path string, raw json.RawMessage) {
		raw = bytes.TrimSpace(raw)
		switch {
		case len(raw) == 0:
		case raw[0] == '{':
			members(raw, func(name string, value json.RawMessage) { walk(strings.TrimPrefix(path+"."+name, "."), value) })
		case raw[0] == '[' && bytes.ContainsAny(raw, "{"):
			var items []json.RawMessage
			if json.Unmarshal(raw, &items) == nil {
				for i, item := range items {
					walk(path+"."+strconv.Itoa(i), item)
				}
			}
		case raw[0] == '"':
			var text string
			if json.Unmarshal(raw, &text) == nil {
				out = append(out, [2]string{path, text})
			}
		default:
			out = append(out, [2]string{path, string(raw)})
		}
	}
	walk("", raw)
	return out
}

// members calls f for each member of a JSON object in order.
func members(object json.RawMessage, f func(name string, value json.RawMessage)) {
	dec := json.NewDecoder(bytes.NewReader(object))
	if _, err := dec.Token(); err != nil {
		return
	}
	for dec.More() {
		name, err := dec.Token()
		if err != nil {
			return
		}
		var value json.RawMessage
		if dec.Decode(&value) != nil {
			return
		}
		f(fmt.Sprint(name), value)
	}
}
