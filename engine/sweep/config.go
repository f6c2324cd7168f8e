// Package sweep runs one run file many times over, with other values of some of its keys, and finds the values that serve
// best: every point of a grid, points drawn at random, or successive halving, which gives more steps to the better half
// only. Every trial is an ordinary run folder; a sweep that was killed anywhere goes on with the same call.
package sweep

import (
	"math"
	"slices"
	"strings"

	"palimpsest/engine/runfile"
)

// Config is the sweep file.
type Config struct {
	Run         string           `yaml:"run" doc:"run file that every trial starts from, or the name of a preset"`
	Method      string           `yaml:"method" enum:"grid,random,halving" doc:"every combination; points drawn at random; random points of which the better ones get more steps"`
	Trials      int              `yaml:"trials" min:"0" max:"10000" doc:"points of random and halving; a grid has as many as it has combinations"`
	Seed        uint64           `yaml:"seed" doc:"of the draws; a run's own seed is train.seed"`
	Seeds       int              `yaml:"seeds" min:"1" max:"1000" doc:"runs of every point, with train.seed, train.seed + 1, ...: mean and standard deviation"`
	Keys        map[string]Range `yaml:"keys" doc:"keys of the run file, by dotted path, and the values they take"`
	Metric      Metric           `yaml:"metric" doc:"what the trials are compared by, on held-out documents"`
	Halving     Halving          `yaml:"halving" doc:"successive halving"`
	SkipInvalid bool             `yaml:"skip_invalid" doc:"leave out combinations that make no valid run, and count them; false: such a combination is an error"`
	Skip        []int            `yaml:"skip,omitempty" min:"1" doc:"trials to leave out, by number: those that fail for other reasons than divergence"`
}

// Range is the values of a key: exactly one of its lists is given.
type Range struct {
	Values     []string  `yaml:"values,omitempty" doc:"these; a list or section as a value stands in quotes"`
	Uniform    []float64 `yaml:"uniform,omitempty" doc:"between two numbers"`
	LogUniform []float64 `yaml:"log_uniform,omitempty" doc:"between two positive numbers, evenly in their logarithm"`
	Int        []int64   `yaml:"int,omitempty" doc:"whole numbers from the first to the second, both included"`
	Points     int       `yaml:"points,omitempty" min:"0" max:"10000" doc:"of the key in a grid, evenly over its range; 0: every whole number"`
}

// Metric is what trials are compared by.
type Metric struct {
	Name  string            `yaml:"name" enum:"loss,accuracy,perplexity" doc:"number of the evaluation"`
	Goal  string            `yaml:"goal" enum:"auto,min,max" doc:"auto: max for accuracy, else min"`
	Under map[string]string `yaml:"under,omitempty" doc:"keys of the objective and their values under which every trial is measured, so that trials with different tasks (mask.p) are compared on the same one"`
}

// Halving lays out successive halving.
type Halving struct {
	Rungs  int   `yaml:"rungs" min:"2" max:"30" doc:"comparisons; the last one is at the end of the run"`
	Factor int   `yaml:"factor" min:"2" max:"1000" doc:"one in so many trials goes on, with so many times the steps"`
	Steps  int64 `yaml:"steps" min:"0" doc:"steps of the first rung; 0: the whole run's / factor^(rungs - 1)"`
}

// Default is the configuration of an empty sweep file.
func Default() Config {
	return Config{Method: "grid", Seeds: 1, Seed: 1, Metric: Metric{Name: "loss", Goal: "auto"}, Halving: Halving{Rungs: 3, Factor: 3}}
}

// maxTrials bounds a grid; it is the max of Trials.
const maxTrials = 10_000

// Validate reports what no single key shows.
func (c *Config) Validate() (problems []runfile.Problem) {
	add := func(key, format string, args ...any) {
		problems = append(problems, runfile.Problemf(key, format, args...))
	}
	if len(c.Keys) == 0 {
		add("keys", "no key to vary is named; hint: keys: {optimizer.learning_rate: {log_uniform: [1e-4, 1e-2]}}")
	}
	if c.Method != "grid" && c.Trials == 0 {
		add("trials", "%s wants the number of points", c.Method)
	}
	if c.Method == "grid" && c.Trials > 0 {
		add("trials", "a grid has a trial for every combination; hint: leave trials out, or method: random")
	}
	for key, r := range c.Keys {
		if key == "train.seed" && c.Seeds > 1 {
			add("keys."+key, "seeds: %d varies it already", c.Seeds)
		}
		if c.Method == "grid" && r.Points == 0 && len(r.Uniform)+len(r.LogUniform) > 0 {
			add("keys."+key, "a grid wants the number of points; hint: {..., points: 5}")
		}
	}
	if n := c.combinations(); c.Method == "grid" && n > maxTrials {
		add("keys", "the grid has more than %d combinations; hint: method: random", maxTrials)
	}
	for key := range c.Metric.Under {
		if section, _, _ := strings.Cut(key, "."); slices.Contains(fixedSections, section) {
			add("metric.under."+key, "only keys of the objective can be set for the evaluation, such as mask.p")
		}
	}
	return problems
}

// fixedSections of a run file are what a trained model is, or say nothing about the task that it is measured on.
var fixedSections = []string{"phases", "model", "data", "optimizer", "schedule", "ema", "train", "checkpoint", "log", "eval", "stop_after"}

// combinations is the number of a grid's points, at most maxTrials + 1.
func (c *Config) combinations() int {
	n := 1
	for _, key := range c.keys() {
		n = min(n*max(c.Keys[key].size(), 1), maxTrials+1)
	}
	return n
}

// keys lists the varied keys by name. A grid's last key changes fastest.
func (c *Config) keys() (list []string) {
	for key := range c.Keys {
		list = append(list, key)
	}
	slices.Sort(list)
	return list
}

// maximise says whether more of the metric is better.
func (m Metric) maximise() bool { return m.Goal == "max" || m.Goal == "auto" && m.Name == "accuracy" }

// goal is "min" or "max".
func (m Metric) goal() string {
	if m.maximise() {
		return "max"
	}
	return "min"
}

// Validate reports what no single key shows.
func (r *Range) Validate() (problems []runfile.Problem) {
	given := 0
	for _, n := range []int{len(r.Values), len(r.Uniform), len(r.LogUniform), len(r.Int)} {
		if n > 0 {
			given++
		}
	}
	if given != 1 {
		return []runfile.Problem{runfile.Problemf("", "want exactly one of values, uniform, log_uniform and int")}
	}
	check := func(name string, n int, lo, hi float64) {
		switch {
		case n != 2:
			problems = append(problems, runfile.Problemf(name, "want two numbers, the least and the greatest, not %d", n))
		case !(lo < hi) || math.IsInf(lo, 0) || math.IsInf(hi, 0):
			problems = append(problems, runfile.Problemf(name, "want a least and a greatest number, not [%g, %g]", lo, hi))
		case name == "log_uniform" && lo <= 0:
			problems = append(problems, runfile.Problemf(name, "a logarithm wants numbers above 0, not %g", lo))
		case math.IsInf(hi-lo, 0) || name == "int" && hi-lo >= 1<<53:
			problems = append(problems, runfile.Problemf(name, "the range is too wide to draw from evenly"))
		}
	}
	if n := len(r.Uniform); n > 0 {
		check("uniform", n, r.Uniform[0], r.Uniform[n-1])
	}
	if n := len(r.LogUniform); n > 0 {
		check("log_uniform", n, r.LogUniform[0], r.LogUniform[n-1])
	}
	if n := len(r.Int); n > 0 {
		check("int", n, float64(r.Int[0]), float64(r.Int[n-1]))
	}
	if r.Points > 0 && len(r.Values) > 0 {
		problems = append(problems, runfile.Problemf("points", "values are points already"))
	}
	return problems
}
