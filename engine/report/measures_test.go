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

// The losses of both classes have charts of their own, and none by their name beside them.
func TestClassMeasuresAreDrawnOnce(t *testing.T) {
	run := madeUp("rft", 3, 40)
	without := len(pictures(t, htmlOf(t, run)))
	for i := range run.Steps {
		run.Steps[i].Measures = map[string]float64{boilerplateLoss: 2, reasoningLoss: 3 + float64(i), reasoningWeight: 0.5, effectiveTokens: 100, "boilerplate_share": 0.3}
	}
	text := htmlOf(t, run)
	if n := len(pictures(t, text)); n != without+4 || strings.Contains(text, effectiveTokens) || !strings.Contains(text, "boilerplate_share") {
		t.Errorf("%d charts, want %d", n, without+4)
	}
}

// Where the objective's loss is another figure than the likelihood of the rows, the unigram baseline stands beside the latter.
func TestBaselineOfOtherLosses(t *testing.T) {
	run := madeUp("exlm", 3, 40)
	last := &run.Evals[len(run.Evals)-1]
	last.Loss, last.BaselineLoss = 4.4307, new(5.4524)
	for i := range run.Evals {
		run.Evals[i].NLL = new(5.3849)
	}
	if text := evalText(*last); !strings.Contains(text, "loss 4.4307  nll 5.3849 (unigram 5.4524)") {
		t.Error(text)
	}
	if levels := lossChart([]*Run{run}).levels; len(levels) != 0 {
		t.Errorf("%v", levels)
	}
	if text := htmlOf(t, run); !strings.Contains(text, "nll 5.3849; unigram 5.4524") {
		t.Error("the card does not tell the likelihood")
	}
}
