package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"strings"
)

// JSON is the result for programs.
func (r Result) JSON() ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", " ")
	err := e.Encode(r)
	return b.Bytes(), err
}

// Markdown is the result for people.
func (r Result) Markdown() string {
	var b strings.Builder
	say := func(format string, args ...any) { fmt.Fprintf(&b, format, args...) }
	say("# %s\n\n%s\n\n", r.spec.Title, strings.TrimSpace(r.spec.About))
	say("## Are the effects there?\n\n%s\n", r.verdictTable())
	say("Rule: an effect is seen when the difference of the means is more than twice its standard error, sqrt(s1²/n + s2²/n) over %d seeds; "+
		"with so few seeds that is a low hurdle. Status: paper, what the paper says; paper\\*, the value as others quote it, unchecked; code, the authors' code; ours, this project's.\n\n", len(r.Seeds))
	if remark := strings.TrimSpace(r.spec.Remarks[r.Size]); remark != "" {
		say("%s\n\n", remark)
	}
	say("## Figures\n\nMean and standard deviation over the seeds %s.\n\n", strings.Join(r.Seeds, ", "))
	r.figures(&b)
	say("\n")
	for _, c := range r.spec.Columns {
		if c.About != "" && r.has(c.Name) {
			say("* %s: %s\n", c.Name, c.About)
		}
	}
	say("* (n): n seeds have such a figure\n* tokens/s: tokens of training, masked or not, over its time; s: all commands of one seed of the arm\n\n")
	if p := strings.TrimSpace(r.spec.Published); p != "" {
		say("## Published\n\n%s\n\n", p)
	}
	say("## Conditions\n\n")
	say("* %s; device of the runs: %s\n", r.Machine, strings.Join(r.Devices, "; "))
	say("* commit %s; %s; %.0f s in all%s\n", strings.Join(r.Versions, ", "), r.Time[:len("2006-01-02")], r.Seconds, map[bool]string{true: "; " + r.Note}[r.Note != ""])
	for _, f := range r.Data {
		say("* %s: %d bytes, sha256 %s\n", f.File, f.Bytes, f.SHA256)
	}
	say("\n## Commands\n\nOf the preparation, and of one seed of the arm %s; `bench/experiments/%s/run.sh` runs all, SIZE=%s.\n\n", r.Arms[0].Arm, r.Name, r.Size)
	for _, line := range r.Commands {
		say("    %s\n", line)
	}
	return b.String()
}

func (r Result) verdictTable() string {
	var b strings.Builder
	b.WriteString("| claim | status | figure | difference | standard error | by seed | verdict |\n| --- | --- | --- | --- | --- | --- | --- |\n")
	for _, v := range r.Verdicts {
		c := r.column(v.Column)
		what := v.Column + ": " + v.Arm + " − " + v.Over
		if v.Of != "" {
			what = v.Arm + ", " + v.Column + " − " + v.Over + ", " + v.Of
		}
		var bySeed []string
		for _, d := range v.BySeed {
			bySeed = append(bySeed, fmt.Sprintf("%+.*f", c.Digits, d))
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %+.*f | %.*f | %s | **%s** |\n", v.Says, escape(v.Status), what, c.Digits, v.Difference, c.Digits, v.StdErr,
			strings.Join(bySeed, " "), v.Verdict)
	}
	return b.String()
}

func (r Result) figures(b *strings.Builder) {
	head := []string{"arm", "what"}
	for _, c := range r.spec.Columns {
		if r.has(c.Name) {
			head = append(head, c.Name)
		}
	}
	head = append(head, "M parameters", "tokens", "tokens/s", "s")
	fmt.Fprintf(b, "| %s |\n|%s\n", strings.Join(head, " | "), strings.Repeat(" --- |", len(head)))
	for _, m := range r.Arms {
		row := []string{m.Arm, r.spec.Rows[m.Arm]}
		for _, c := range r.spec.Columns {
			if !r.has(c.Name) {
				continue
			}
			cell := "-"
			if f, ok := m.Figures[c.Name]; ok {
				cell = c.format(f.Mean) + " ± " + c.format(f.SD)
				if n := len(f.Values); n < len(r.Seeds) {
					cell += fmt.Sprintf(" (%d)", n)
				}
			}
			row = append(row, cell)
		}
		row = append(row, fmt.Sprintf("%.2f", float64(m.Parameters)/1e6), thousands(m.Tokens.Mean), thousands(m.TokensPerS.Mean), fmt.Sprintf("%.0f", m.Seconds.Mean))
		fmt.Fprintf(b, "| %s |\n", strings.Join(row, " | "))
	}
}

// has reports whether the table shows a column.
func (r Result) has(column string) bool {
	if r.column(column).Hidden {
		return false
	}
	for _, m := range r.Arms {
		if _, ok := m.Figures[column]; ok {
			return true
		}
	}
	return false
}

func (r Result) column(name string) Column {
	for _, c := range r.spec.Columns {
		if c.Name == name {
			return c
		}
	}
	return Column{Digits: 2}
}

func escape(s string) string { return strings.ReplaceAll(s, "*", "\\*") }

// thousands writes a number with thousands separated.
func thousands(v float64) string {
	digits := fmt.Sprintf("%.0f", math.Abs(v))
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}
