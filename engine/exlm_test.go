package engine

import (
	"path/filepath"
	"testing"

	"palimpsest/engine/report"
)

func exlmConfig(data string, steps int64) Config {
	c := tinyConfig(data, steps)
	c.Objective = "exlm"
	c.Model.Positions, c.Model.Context = "", 128
	return c
}

func TestEXLMTrains(t *testing.T) {
	c := exlmConfig(dataset(t, 300), 40)
	n, run := new(notes), t.TempDir()
	mustTrain(t, Options{Config: c, Out: run, Observe: n})
	for _, l := range n.lines {
		t.Log(l)
	}
	log, err := report.ReadLog(filepath.Join(run, LogFile))
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range log.Steps {
		t.Log(s.Step, s.Loss, s.Measures, s.Accuracy)
	}
	for _, e := range log.Evals {
		t.Logf("%+v %v", e, *e.Accuracy)
	}
}
