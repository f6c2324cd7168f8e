package report

import (
	"fmt"
	"slices"
)

// A phaseRow is a line of the table of phases: what was trained from one step to another, and what every objective of the run
// gave on held-out text when it ended. Beside the phases' own objectives stand those that they forget.
type phaseRow struct {
	Phase, Steps string
	Losses       []string // by objective of phaseTable, each with its accuracy
}

// A phaseTable tells the phases of one run apart; without two of them it is empty.
type phaseTable struct {
	Objectives []string
	Rows       []phaseRow
}

func phaseTableOf(run *Run) (t phaseTable) {
	bands := phasesOf(run.Steps)
	if len(bands) < 2 {
		return t
	}
	for _, name := range allPhases([]*Run{run}) {
		if name != "" && slices.ContainsFunc(run.Evals, func(e Eval) bool { return e.Phase == name }) {
			t.Objectives = append(t.Objectives, name)
		}
	}
	for _, b := range bands {
		row := phaseRow{Phase: b.phase, Steps: fmt.Sprintf("%s to %s", num(b.from), num(b.to))}
		for _, name := range t.Objectives {
			row.Losses = append(row.Losses, heldAt(run, name, b))
		}
		t.Rows = append(t.Rows, row)
	}
	return t
}

// heldAt is the last evaluation of an objective inside a phase.
func heldAt(run *Run, name string, b band) string {
	for i := len(run.Evals) - 1; i >= 0; i-- {
		e := &run.Evals[i]
		if x := float64(e.Step); e.Phase != name || x <= b.from || x > b.to {
			continue
		}
		text := decimals(e.Loss)
		if e.Accuracy != nil {
			text += ", " + percent(*e.Accuracy)
		}
		if float64(e.Step) < b.to {
			text += fmt.Sprintf(" (step %d)", e.Step)
		}
		return text
	}
	return "-"
}
