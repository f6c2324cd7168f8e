package engine

import (
	"math"

	"palimpsest/engine/fault"
)

// stretch is a phase with its place in the run: steps [from, to).
type stretch struct {
	objective string
	from, to  int64
}

// timetable lays the phases end to end. An epoch is as many steps as the training tokens fill, rounded up for the phase
// as a whole, so that the length of a run is known when it begins and the schedule can end with it.
func timetable(c *Config, trainTokens float64) (list []stretch, err error) {
	perStep := float64(c.Data.TokensPerStep) * float64(c.Train.Accumulate)
	at := int64(0)
	for i, p := range c.phaseList() {
		n := p.Steps
		if p.Epochs > 0 {
			steps := math.Ceil(p.Epochs * trainTokens / perStep)
			if steps > 1<<40 {
				return nil, fault.Usage.Errorf("phases.%d: %g epochs are more than 2^40 steps", i, p.Epochs)
			}
			n = max(1, int64(steps))
		}
		list = append(list, stretch{p.Objective, at, at + n})
		at += n
	}
	if len(c.Phases) > 0 && c.Train.Steps != 0 && c.Train.Steps != at {
		return nil, fault.Usage.Errorf("train.steps is %d, but the phases add up to %d; hint: train.steps: 0 takes the sum", c.Train.Steps, at)
	}
	return list, nil
}

// phaseAt returns the index of the phase of a step.
func phaseAt(list []stretch, step int64) int {
	for i, s := range list {
		if step < s.to {
			return i
		}
	}
	return len(list) - 1
}
