package sweep

import (
	"time"

	"palimpsest/engine/report"
)

// Note passes on.
func (g *gauge) Note(text string) {
	if g.next != nil {
		g.next.Note(text)
	}
}

// Begin stops a run that stands beyond its rung already.
func (g *gauge) Begin(h report.Header, first int64) {
	if g.next != nil {
		g.next.Begin(h, first)
	}
	if first > g.step {
		g.leave()
	}
}

// Step stops a run that went past its rung without being measured.
func (g *gauge) Step(s report.Step) {
	if g.next != nil {
		g.next.Step(s)
	}
	if s.Step > g.step {
		g.leave()
	}
}

func (g *gauge) leave() {
	g.beyond = !g.measured
	g.stop()
}

// Eval stops a run at its rung, or when there is no number to go on with.
func (g *gauge) Eval(e report.Eval) {
	if g.next != nil {
		g.next.Eval(e)
	}
	if !finite(e.Loss) {
		g.broken = true
		g.stop()
	}
	if e.Step == g.step {
		if g.measured = true; !g.last {
			g.stop()
		}
	}
}

// Saved passes on.
func (g *gauge) Saved(step int64, took time.Duration) {
	if g.next != nil {
		g.next.Saved(step, took)
	}
}
