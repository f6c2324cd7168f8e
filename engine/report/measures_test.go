package report

import (
	"strings"
	"testing"
)

// Further figures of an objective are on the progress line, in the line of an evaluation, and a chart each.
func TestMeasuresAreShown(t *testing.T) {
	run := madeUp("tnt", 3, 40)
	for i := range run.Steps {
		run.Steps[i].Measures = map[string]float64{"kl": 0.5, "unwanted_log_p": -3 - float64(i)}
	}
	run.Evals[0].Measures = map[string]float64{"kl": 0.25, "unwanted_first": 0.125}
	text := htmlOf(t, run)
	if n := len(pictures(t, text)); n != 8 {
		t.Errorf("%d charts, want 8", n)
	}
	if !strings.Contains(text, "unwanted_log_p") || strings.Contains(text, "unwanted_first") {
		t.Error("the page has other measures than those of training")
	}
	fields := joinFields(stepFields(run.Steps[1], 400, 0))
	if held := evalText(run.Evals[0]); !strings.Contains(fields, "kl 0.5000  unwanted_log_p -4.0000") || !strings.Contains(held, "kl 0.2500  unwanted_first 0.1250") {
		t.Errorf("%s\n%s", fields, held)
	}
}
