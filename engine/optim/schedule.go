package optim

import (
	"fmt"
	"math"
)

// Schedule is the run file's section on the learning rate over the run.
type Schedule struct {
	Kind     string  `yaml:"kind" enum:"cosine,linear,constant,trapezoid" doc:"shape after the warm-up; trapezoid is constant, then falls over the cool-down"`
	Warmup   float64 `yaml:"warmup" min:"0" doc:"share of the steps (below 1) or number of steps over which the rate rises linearly from 0"`
	Final    float64 `yaml:"final" min:"0" max:"1" doc:"rate at the last step (or, but for trapezoid, before the cool-down), as a share of the peak"`
	Cooldown float64 `yaml:"cooldown" min:"0" doc:"share of the steps (below 1) or number of steps at the end over which the rate falls linearly: for trapezoid to final, otherwise from final towards 0"`
	Restart  bool    `yaml:"restart" doc:"an ablation: every phase has the whole schedule by itself, warm-up and cool-down included; false: one over all phases"`
}

// DefaultSchedule is that of a run file that says nothing.
func DefaultSchedule() Schedule { return Schedule{Kind: "cosine", Warmup: 0.05, Final: 0.1} }

// Validate returns what is wrong, each message beginning with the key.
func (s Schedule) Validate() (problems []error) {
	for i, value := range []float64{s.Warmup, s.Cooldown} {
		if value >= 1 && value != math.Trunc(value) {
			problems = append(problems, fmt.Errorf("%s: want a share below 1 or a whole number of steps, not %g", [...]string{"warmup", "cooldown"}[i], value))
		}
	}
	if s.Warmup < 1 && s.Cooldown < 1 && s.Warmup+s.Cooldown > 1 {
		problems = append(problems, fmt.Errorf("cooldown: %g and warmup %g are more than the whole run", s.Cooldown, s.Warmup))
	}
	if s.Kind == "trapezoid" && s.Cooldown == 0 {
		problems = append(problems, fmt.Errorf("cooldown: kind trapezoid needs one; hint: 0.2, or kind constant"))
	}
	return problems
}

// WarmupSteps returns the length of the warm-up in a run of that many steps.
func (s Schedule) WarmupSteps(total int64) int64 { return stepsOf(s.Warmup, total) }

// CooldownSteps returns the length of the cool-down in a run of that many steps: at most what the warm-up leaves.
func (s Schedule) CooldownSteps(total int64) int64 {
	return min(stepsOf(s.Cooldown, total), max(0, total-s.WarmupSteps(total)))
}

func stepsOf(length float64, total int64) int64 {
	if length < 1 {
		return int64(math.Round(length * float64(total)))
	}
	return int64(min(length, 1<<52))
}

// Factor returns the share of the peak rate at a step, which counts from 0: (step+1)/warmup in the warm-up, then from 1 to
// Final at the last step before the cool-down. In the cool-down of k steps, step i = 1..k of it has the rate before it
// times 1 - i/(k+1), or for trapezoid 1 - (1-Final)*i/k. One schedule runs over all phases of a run, unless Restart
// is set: then the caller gives steps and total of the phase.
func (s Schedule) Factor(step, total int64) float64 {
	warmup, cooldown := s.WarmupSteps(total), s.CooldownSteps(total)
	if step < warmup {
		return float64(step+1) / float64(warmup)
	}
	last := total - 1 - cooldown // before the cool-down
	if step <= last || cooldown == 0 {
		return s.shape(step, warmup, last)
	}
	i := float64(min(step-last, cooldown))
	if s.Kind == "trapezoid" {
		return 1 - (1-s.Final)*i/float64(cooldown)
	}
	return s.shape(max(last, warmup), warmup, last) * (1 - i/float64(cooldown+1))
}

// shape is the rate from the end of the warm-up to step last.
func (s Schedule) shape(step, warmup, last int64) float64 {
	progress := 1.0
	if last > warmup {
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
