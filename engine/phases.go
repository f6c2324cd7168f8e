package engine

import (
	"math"

	"palimpsest/engine/fault"
	"palimpsest/objectives"
)

// stretch is a phase with its place in the run: steps [from, to).
type stretch struct {
	objective string
	mix       objectives.AntLM // of the objective antlm
	from, to  int64
}

// maxPhases bounds a run's phases, repetitions included.
const maxPhases = 4096

// timetable lays the phases end to end. An epoch is as many steps as the training tokens fill, rounded up for the phase
// as a whole, so that the length of a run is known when it begins and the schedule can end with it.
// growth is by how much the texts of an objective grow.
func timetable(c *Config, trainTokens float64, growth func(objective string) float64) (list []stretch, err error) {
	perStep := float64(c.Data.TokensPerStep) * float64(c.Train.Accumulate)
	at, phases, repeat := int64(0), c.phaseList(), max(1, c.Repeat)
	if int64(len(phases)) > maxPhases/repeat {
		return nil, fault.Usage.Errorf("repeat: %d times %d phases are more than %d", repeat, len(phases), maxPhases)
	}
	for number := range len(phases) * int(repeat) {
		i := number % len(phases)
		p := phases[i]
		n := p.Steps
		if p.Epochs > 0 {
			steps := math.Ceil(p.Epochs * trainTokens * growth(p.name()) / perStep)
			if steps > 1<<40 {
				return nil, fault.Usage.Errorf("phases.%d: %g epochs are more than 2^40 steps", i, p.Epochs)
			}
			n = max(1, int64(steps))
		}
		if len(c.Phases) > 0 && at > 1<<41-n {
			return nil, fault.Usage.Errorf("phases.%d: the phases add up to more than 2^41 steps", i)
		}
		list = append(list, stretch{p.name(), c.mixOf(p), at, at + n})
		at += n
	}
	if len(c.Phases) > 0 && c.Train.Steps != 0 && c.Train.Steps != at {
		return nil, fault.Usage.Errorf("train.steps is %d, but the phases add up to %d; hint: train.steps: 0 takes the sum", c.Train.Steps, at)
	}
	return list, nil
}

// factor is the share of the peak rate at a step: of one schedule over all phases, or of the phase's own.
func (j *job) factor(step int64) float64 {
	s := j.config.Schedule
	if !s.Restart {
		return s.Factor(step, j.total)
	}
	p := j.phases[phaseAt(j.phases, step)]
	return s.Factor(step-p.from, p.to-p.from)
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
