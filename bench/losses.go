package bench

import (
	"fmt"
	"math"
	"path/filepath"

	"palimpsest/engine"
	"palimpsest/engine/fault"
	"palimpsest/engine/report"
)

// LossComparison holds the losses of a run against those of the same run elsewhere, by step.
type LossComparison struct {
	Run        string  `json:"run"`
	Reference  string  `json:"reference"`
	Steps      int     `json:"steps"` // that both have
	Apart      float64 `json:"apart"` // largest |difference|
	ApartAt    int64   `json:"apart_at_step"`
	First      float64 `json:"loss_first"` // of the run
	Last       float64 `json:"loss_last"`  // mean over the last tenth
	LastOf     float64 `json:"loss_last_of_reference"`
	Early      int     `json:"early_steps"` // that the yardstick has too
	EarlyApart float64 `json:"early_apart"`
	Yardstick  float64 `json:"yardstick_apart"` // how far the yardstick is from the reference over these steps
	Correct    string  `json:"correct"`
	Reason     string  `json:"reason,omitempty"`
}

const (
	earlyFactor = 2    // how much farther than the yardstick a run may be over its steps
	lastApart   = 0.05 // nats that the means over the last tenth may be apart: bfloat16 runs part slowly
	leastApart  = 1e-4 // nats that are nothing
)

// CompareLosses reads the logs of two run folders, and of a third run that rounds to bfloat16 on the host ("": none). The
// run passes when it is at most twice as far from the reference as the yardstick over the yardstick's steps, and ends
// within 0.05 nats of the reference.
func CompareLosses(run, reference, yardstick string) (c LossComparison, err error) {
	c = LossComparison{Run: run, Reference: reference, Correct: Passed}
	mine, err := lossesOf(run)
	if err != nil {
		return c, err
	}
	theirs, err := lossesOf(reference)
	if err != nil {
		return c, err
	}
	rounded := map[int64]float64{}
	if yardstick != "" {
		steps, err := lossesOf(yardstick)
		if err != nil {
			return c, err
		}
		for _, s := range steps {
			rounded[s.Step] = s.Loss
		}
	}
	other := map[int64]float64{}
	for _, s := range theirs {
		other[s.Step] = s.Loss
	}
	var pairs [][2]float64
	for _, s := range mine {
		r, ok := other[s.Step]
		if !ok {
			continue
		}
		pairs = append(pairs, [2]float64{s.Loss, r})
		apart := math.Abs(s.Loss - r)
		if !(apart <= c.Apart) {
			c.Apart, c.ApartAt = apart, s.Step
		}
		if y, ok := rounded[s.Step]; ok {
			c.Early++
			c.EarlyApart, c.Yardstick = max(c.EarlyApart, apart), max(c.Yardstick, math.Abs(y-r))
		}
	}
	if c.Steps = len(pairs); c.Steps == 0 {
		return c, fault.Data.Errorf("%s and %s have no step in common; hint: train both with --set log.every=1", run, reference)
	}
	c.First = pairs[0][0]
	tail := pairs[len(pairs)-max(1, len(pairs)/10):]
	for _, p := range tail {
		c.Last, c.LastOf = c.Last+p[0]/float64(len(tail)), c.LastOf+p[1]/float64(len(tail))
	}
	switch {
	case len(rounded) > 0 && !(c.EarlyApart <= earlyFactor*c.Yardstick+leastApart):
		c.Correct, c.Reason = Incorrect, fmt.Sprintf("over %d steps it is up to %.3g nats from the reference, naive bfloat16 %.3g", c.Early, c.EarlyApart, c.Yardstick)
	case !(math.Abs(c.Last-c.LastOf) <= lastApart):
		c.Correct, c.Reason = Incorrect, fmt.Sprintf("it ends at %.4f nats, the reference at %.4f", c.Last, c.LastOf)
	}
	return c, nil
}

func lossesOf(folder string) ([]report.Step, error) {
	r, err := report.ReadLog(filepath.Join(folder, engine.LogFile))
	if err != nil {
		return nil, err
	}
	if len(r.Steps) == 0 {
		return nil, fault.Data.Errorf("%s has no step", r.Path)
	}
	return r.Steps, nil
}
