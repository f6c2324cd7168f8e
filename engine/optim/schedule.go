package optim

import (
	"fmt"
	"math"
)

// Schedule is the run file's section on the learning rate over the run.
type Schedule struct {
	Kind   string  `yaml:"kind" enum:"cosine,linear,constant" doc:"shape after the warm-up"`
	Warmup float64 `yaml:"warmup" min:"0" doc:"share of the steps (below 1) or number of steps over which the rate rises linearly from 0"`
	Final  float64 `yaml:"final" min:"0" max:"1" doc:"rate at the last step, as a share of the peak"`
}

// DefaultSchedule is that of a run file that says nothing.
func DefaultSchedule() Schedule { return Schedule{Kind: "cosine", Warmup: 0.05, Final: 0.1} }

// Validate returns what is wrong, each message beginning with the key.
func (s Schedule) Validate() (problems []error) {
	if s.Warmup >= 1 && s.Warmup != math.Trunc(s.Warmup) {
		problems = append(problems, fmt.Errorf("warmup: want a share below 1 or a whole number of steps, not %g", s.Warmup))
	}
	return problems
}

// WarmupSteps returns the length of the warm-up in a run of that many steps.
func (s Schedule) WarmupSteps(total int64) int64 {
	if s.Warmup < 1 {
		return int64(math.Round(s.Warmup * float64(total)))
	}
	return int64(s.Warmup)
}

// Factor returns the share of the peak rate at a step, which counts from 0: (step+1)/warmup in the warm-up, then from 1 to
// Final at the last step. One schedule runs over all phases of a run.
func (s Schedule) Factor(step, total int64) float64 {
	warmup := s.WarmupSteps(total)
	if step < warmup {
		return float64(step+1) / float64(warmup)
	}
	progress := 1.0
	if last := total - 1; last > warmup {
		progress = min(1, float64(step-warmup)/float64(last-warmup))
	} else if step == warmup {
		progress = 0
	}
	switch s.Kind {
	case "cosine":
		return s.Final + (1-s.Final)*0.5*(1+math.Cos(math.Pi*progress))
	case "linear":
		return 1 - (1-s.Final)*progress
	}
	return 1
}
