package report

import (
	"fmt"
	"io"
	"maps"
	"math"
	"os"
	"slices"
	"strings"
	"sync"
	"unicode/utf8"
)

// A Progress shows the steps of a run to a person: on a terminal as one line that is rewritten in place, elsewhere as plain
// lines. Messages and evaluations are lines of their own. When the reader goes away (a closed pipe) it falls silent and the
// run goes on. Safe for concurrent use.
type Progress struct {
	mu    sync.Mutex
	w     io.Writer
	total int64
	width func() (columns int, live bool)
	shown bool // a live line stands on the terminal, its cursor at the start
	quiet bool
	live  string

	recent []point // of the last steps, for the time that is left
}

type point struct {
	step    int64
	seconds float64
}

// NewProgress reports a run of total steps (0 when that is not known) to w. The live line needs w to be a terminal, and is
// given up for NO_COLOR or TERM=dumb. Standard output gets EPIPE handling instead of death by signal.
func NewProgress(w io.Writer, total int64) *Progress {
	p := &Progress{w: w, total: total, width: func() (int, bool) { return 0, false }}
	if file, ok := w.(*os.File); ok {
		if file == os.Stdout || file == os.Stderr {
			keepSIGPIPE()
		}
		if styled() {
			p.width = func() (int, bool) { return terminalWidth(w) }
		}
	}
	return p
}

// styled is false where the environment asks for plain text.
func styled() bool { return os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb" }

// TakesColour says whether w is a terminal that may be written to in colour: not with NO_COLOR or TERM=dumb.
func TakesColour(w io.Writer) bool {
	_, terminal := terminalWidth(w)
	return terminal && styled()
}

// Step shows a log step.
func (p *Progress) Step(s Step) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.recent = append(p.recent, point{s.Step, s.Seconds})
	if n := len(p.recent); n > 32 {
		p.recent = slices.Delete(p.recent, 0, n-32)
	}
	fields := stepFields(s, p.total, p.left(s))
	columns, live := p.width()
	if !live {
		p.write(joinFields(fields) + "\n")
		return
	}
	if bar := p.bar(s.Step); bar != "" {
		fields = slices.Insert(fields, 0, shownField{bar, 5})
	}
	p.live = fit(fields, columns-1) // the last column may wrap
	p.draw()
}

// Eval shows an evaluation as a line of its own.
func (p *Progress) Eval(e Eval) { p.Println(evalText(e)) }

// Println shows a message, above the live line when there is one.
func (p *Progress) Println(text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.shown {
		p.write("\x1b[K")
		p.shown = false
	}
	p.write(text + "\n")
	if _, live := p.width(); live && p.live != "" {
		p.draw()
	}
}

// Close leaves the last live line standing and the cursor below it.
func (p *Progress) Close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.shown {
		p.write(p.live + "\n")
	}
	p.shown, p.live = false, ""
}

// draw writes the live line and returns to its start, so that whatever else is printed overwrites it.
func (p *Progress) draw() {
	p.write("\r" + p.live + "\x1b[K\r")
	p.shown = true
}

func (p *Progress) write(text string) {
	if p.quiet {
		return
	}
	if _, err := io.WriteString(p.w, text); err != nil {
		p.quiet = true
	}
}

// left estimates the seconds that remain from the pace of the last steps, NaN when there is none yet.
func (p *Progress) left(s Step) float64 {
	first := p.recent[0]
	if p.total <= s.Step || s.Step <= first.step || s.Seconds <= first.seconds {
		return math.NaN()
	}
	return float64(p.total-s.Step) * (s.Seconds - first.seconds) / float64(s.Step-first.step)
}

func (p *Progress) bar(step int64) string {
	const cells = 12
	if p.total <= 0 {
		return ""
	}
	done := int(min(max(step, 0), p.total) * cells / p.total)
	return "[" + strings.Repeat("#", done) + strings.Repeat(".", cells-done) + "]"
}

// A shownField is one word of the line; on a narrow terminal those of the highest rank go first.
type shownField struct {
	text string
	rank int
}

func stepFields(s Step, total int64, left float64) []shownField {
	var out []shownField
	add := func(rank int, format string, args ...any) {
		out = append(out, shownField{fmt.Sprintf(format, args...), rank})
	}
	if total > 0 {
		add(0, "step %d/%d", s.Step, total)
	} else {
		add(0, "step %d", s.Step)
	}
	if s.Phase != "" {
		add(9, "%s", s.Phase)
	}
	add(1, "loss %s", decimals(s.Loss))
	if len(s.LossParts) > 1 {
		names := make([]string, 0, len(s.LossParts))
		for name := range s.LossParts {
			names = append(names, name)
		}
		slices.Sort(names)
		for i, name := range names {
			names[i] = name + " " + decimals(s.LossParts[name])
		}
		add(10, "(%s)", strings.Join(names, ", "))
	}
	for _, name := range slices.Sorted(maps.Keys(s.Measures)) {
		add(5, "%s %s", name, decimals(s.Measures[name]))
	}
	if s.Accuracy != nil {
		add(4, "acc %s", percent(*s.Accuracy))
	}
	add(6, "norm %s", short(s.GradNorm))
	add(7, "lr %s", short(s.LR))
	add(3, "%s tok/s", quantity(s.TokensPerS))
	switch {
	case s.MFU != nil:
		add(8, "MFU %s", percent(*s.MFU))
	case s.FLOPsPerS > 0:
		add(8, "%sFLOP/s", scaled(s.FLOPsPerS, " "))
	}
	add(11, "wait %s", percent(s.DataWait))
	if s.MemoryBytes > 0 {
		add(12, "mem %s", Bytes(s.MemoryBytes))
	}
	if s.DeviceBytes > 0 {
		add(11, "device %s", Bytes(s.DeviceBytes))
	}
	if s.Skipped > 0 {
		add(2, "skipped %d", s.Skipped)
	}
	if !math.IsNaN(left) {
		add(2, "ETA %s", duration(left))
	}
	return out
}

func joinFields(fields []shownField) string {
	words := make([]string, len(fields))
	for i := range fields {
		words[i] = fields[i].text
	}
	return strings.Join(words, "  ")
}

// fit joins the fields in at most columns; those of the highest rank go first.
func fit(fields []shownField, columns int) string {
	for len(fields) > 1 && utf8.RuneCountInString(joinFields(fields)) > columns {
		worst := 0
		for i := range fields {
			if fields[i].rank > fields[worst].rank {
				worst = i
			}
		}
		fields = slices.Delete(slices.Clone(fields), worst, worst+1)
	}
	line := []rune(joinFields(fields))
	return string(line[:min(len(line), max(columns, 0))])
}

func evalText(e Eval) string {
	var b strings.Builder
	fmt.Fprintf(&b, "held-out at step %d", e.Step)
	if e.Phase != "" {
		fmt.Fprintf(&b, " (%s)", e.Phase)
	}
	fmt.Fprintf(&b, ": loss %s", decimals(e.Loss))
	if e.NLL != nil {
		fmt.Fprintf(&b, "  nll %s", decimals(*e.NLL))
	}
	if e.BaselineLoss != nil {
		fmt.Fprintf(&b, " (unigram %s)", decimals(*e.BaselineLoss))
	}
	if e.Accuracy != nil {
		fmt.Fprintf(&b, "  accuracy %s", percent(*e.Accuracy))
		if e.BaselineAccuracy != nil {
			fmt.Fprintf(&b, " (unigram %s)", percent(*e.BaselineAccuracy))
		}
	}
	fmt.Fprintf(&b, "  perplexity %s  rows %d", short(e.Perplexity), e.Rows)
	for _, name := range slices.Sorted(maps.Keys(e.Measures)) {
		fmt.Fprintf(&b, "  %s %s", name, decimals(e.Measures[name]))
	}
	return b.String()
}
