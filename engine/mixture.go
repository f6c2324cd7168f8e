package engine

import (
	"slices"
	"strings"

	"palimpsest/engine/eval"
	"palimpsest/kernels/philox"
	"palimpsest/objectives"
)

// An evaluator is an objective that held-out documents are planned with, and its name in the log.
type evaluator struct {
	name      string
	objective objectives.Objective
}

// otherLoss is the loss of an evaluator beside the phase's own.
type otherLoss struct {
	index int
	loss  eval.Loss
}

// makeObjectives makes the objectives of all phases, equal ones once, and their evaluators; behind these come evaluators of
// the parts that a run of several language-model objectives has.
func (j *job) makeObjectives() error {
	c := j.config
	type pair struct {
		objective objectives.Objective
		evaluator evaluator
	}
	made := map[string]pair{}
	get := func(name string, mix objectives.AntLM) (p pair, err error) {
		key := Phase{Objective: name, Mix: mix.Mix}.String()
		if p, ok := made[key]; ok {
			return p, nil
		}
		if p.objective, err = j.objective(name, mix, c.Train.Seed, c.Loss); err != nil {
			return p, err
		}
		mix.By = "document" // there are no turns in an evaluation
		p.evaluator.name = name
		p.evaluator.objective, err = j.objective(name, mix, philox.Derive(c.Train.Seed, 1), objectives.DefaultLoss())
		made[key] = p
		return p, err
	}
	var parts []string
	for _, phase := range j.phases {
		p, err := get(phase.objective, phase.mix)
		if err != nil {
			return err
		}
		j.objectives, j.evaluators = append(j.objectives, p.objective), append(j.evaluators, p.evaluator)
		if phase.objective == "antlm" {
			parts = append(parts, phase.mix.Parts()...)
		} else if !classifies(phase.objective) {
			parts = append(parts, phase.objective)
		}
	}
	slices.Sort(parts)
	if parts = slices.Compact(parts); len(parts) < 2 {
		return nil
	}
	for _, name := range parts {
		p, err := get(name, objectives.AntLM{})
		if err != nil {
			return err
		}
		j.evaluators = append(j.evaluators, p.evaluator)
	}
	j.note("the run trains %s; what the paper of AntLM leaves open (label of a masked token: mlm its own place, mntp the place before; optimiser, rate, sizes) is as configured here, not from the paper",
		strings.Join(parts, ", "))
	return nil
}

// Causal reports whether a run trains a causal language model, which can generate, beside whatever else it trains.
func (c *Config) Causal() bool {
	return slices.ContainsFunc(c.Trained(), func(name string) bool { return slices.Contains([]string{"clm", "rft", "tnt", "npo"}, name) })
}

// Trained lists the language-model objectives and classifications that a run trains, in the order of its phases; of antlm
// those that it mixes.
func (c *Config) Trained() (names []string) {
	for _, p := range c.phaseList() {
		names = append(names, c.partsOf(p)...)
	}
	return names
}

// evaluateOthers measures the run's language-model objectives that the phase does not train alone.
func (t *Trainer) evaluateOthers(phase int) (list []otherLoss, err error) {
	c, evaluators := t.job.config.Eval, t.job.evaluators
	if !c.Others {
		return nil, nil
	}
	for i := len(t.job.phases); i < len(evaluators); i++ {
		if evaluators[i].name == evaluators[phase].name {
			continue
		}
		loss, err := t.job.evaluate(t.acts, t.judged(), i, c.Tokens, t.stopping)
		if err != nil {
			return nil, err
		}
		list = append(list, otherLoss{i, loss})
	}
	return list, nil
}

// asks reports whether any row of the update belongs to a term.
func (u *update) asks(term int) bool {
	return u.rowsOf(term) > 0
}

// rowsOf counts the rows of a term.
func (u *update) rowsOf(term int) (n int64) {
	for _, p := range u.plans {
		n += int64(len(p.Terms[term].Rows) - p.Terms[term].Filled)
	}
	return n
}
