package report

import (
	"reflect"
	"strings"
	"testing"
)

// Three phases by hand: the last evaluation of each objective inside a phase, with its step where the phase went on.
func TestPhaseTable(t *testing.T) {
	half := 0.5
	run := &Run{Name: "r"}
	for i := int64(1); i <= 6; i++ {
		run.Steps = append(run.Steps, Step{Step: i, Phase: []string{"clm", "mlm", "clm"}[(i-1)/2], Loss: 2})
	}
	base := [2]float64{3, 4}
	for _, e := range []Eval{{Step: 1, Phase: "clm", Loss: 5}, {Step: 2, Phase: "mlm", Loss: 6}, {Step: 2, Phase: "clm", Loss: 4, Accuracy: &half}, {Step: 3, Phase: "mlm", Loss: 3},
		{Step: 6, Phase: "mlm", Loss: 3.5}, {Step: 6, Phase: "clm", Loss: 2}} {
		if e.Phase == "clm" {
			e.BaselineLoss = &base[0]
		} else {
			e.BaselineLoss = &base[1]
		}
		run.Evals = append(run.Evals, e)
	}
	want := phaseTable{Objectives: []string{"clm", "mlm"}, Rows: []phaseRow{
		{"clm", "0 to 2", []string{"4.0000, 50.0%", "6.0000"}},
		{"mlm", "2 to 4", []string{"-", "3.0000 (step 3)"}},
		{"clm", "4 to 6", []string{"2.0000", "3.5000"}},
	}}
	if got := phaseTableOf(run); !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, want %+v", got, want)
	}
	text := htmlOf(t, run)
	for _, part := range []string{"<h2>Phases</h2>", "<td>2 to 4</td>", "3.0000 (step 3)", "unigram baseline clm", "unigram baseline mlm"} {
		if !strings.Contains(text, part) {
			t.Errorf("the page lacks %s", part)
		}
	}
	run.Steps = run.Steps[:2]
	if got := phaseTableOf(run); len(got.Rows) != 0 || strings.Contains(htmlOf(t, run), "<h2>Phases") {
		t.Errorf("one phase makes %+v", got)
	}
}
