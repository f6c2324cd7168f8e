package engine

import (
	"fmt"
	"slices"
	"sort"

	"palimpsest/engine/fault"
	"palimpsest/engine/model"
	"palimpsest/kernels"
	"palimpsest/objectives"
)

// trainsAny reports whether a phase of the run trains one of the objectives.
func (c *Config) trainsAny(names ...string) bool {
	return slices.ContainsFunc(c.phaseList(), func(p Phase) bool { return slices.Contains(names, p.name()) })
}

// withLinks is the model section with what the section exlm says of the model: positions on two axes and the transition head.
// What both say must agree.
func (c *Config) withLinks() (m model.Config, problems []error) {
	m = c.Model
	if !c.trainsAny("exlm") {
		return m, nil
	}
	x := c.EXLM
	differ := func(key string, value any, other string, theirs any) {
		problems = append(problems, fmt.Errorf("exlm.%s: %v does not go with model.%s: %v; hint: leave the key of the section model out, or change both", key, value, other, theirs))
	}
	positions := map[string]string{"2d": "rope2d", "1d": "rope"}[x.Rope]
	if m.Positions == "" {
		m.Positions = positions
	} else if m.Positions != positions {
		differ("rope", x.Rope, "positions", m.Positions)
	}
	features, key := x.LinkFeatures, "link_features"
	if !x.Linked() {
		features, key = "none", "dag"
	}
	if m.Links.Features == "" {
		m.Links.Features = features
	} else if m.Links.Features != features {
		differ(key, map[bool]string{true: features, false: x.DAG}[x.Linked()], "links.features", m.Links.Features)
	}
	agree := func(key string, value int, other string, theirs *int) {
		if *theirs == 0 {
			*theirs = value
		} else if value > 0 && *theirs != value {
			differ(key, value, other, *theirs)
		}
	}
	if m.Links.On() {
		agree("link_heads", x.LinkHeads, "links.heads", &m.Links.Heads)
	}
	if m.Links.Features == "hidden+position" {
		agree("max_positions", x.MaxPositions, "links.positions", &m.Links.Positions)
	}
	states := x.K
	if !x.ExpandSpecials {
		states = 1
	}
	agree("k", states, "links.states", &m.Links.States)
	return m, problems
}

// fitExpansion resolves and checks data.length for objectives whose texts grow: the longest text must fit in a step and in what
// the model knows of places.
func (j *job) fitExpansion() error {
	c := &j.config
	for _, name := range []string{"exlm", "rmlm", "classify", "tag"} {
		if !c.trainsAny(name) {
			continue
		}
		o, err := j.objective(name, objectives.AntLM{}, c.Train.Seed, c.Loss)
		if err != nil {
			return err
		}
		if o.Cost(8) == 8 {
			continue
		}
		if c.packing() == "cut" {
			return fault.Usage.Errorf("data.packing: cut fills steps by tokens, and %s expands them; hint: whole, with data.long: split", name)
		}
		room, key := c.expandedRoom(name)
		longest := sort.Search(min(c.Model.Context, c.Data.TokensPerStep), func(n int) bool { return o.Cost(n+1) > room })
		if longest == 0 {
			return fault.Usage.Errorf("%s: %d is not enough for a text of one token, which %s expands to %d; hint: a lower k, or more room", key, room, name, o.Cost(1))
		}
		switch d := &c.Data; {
		case d.Length == 0 && longest < min(c.Model.Context, d.TokensPerStep):
			d.Length = longest
			j.note("data.length is %d: %s expands texts, and those of %d tokens fit %s: %d", longest, name, longest, key, room)
		case d.Length > longest:
			return tooLong(name, key, d.Length, o.Cost(d.Length), room)
		}
	}
	return nil
}

// expandedRoom is how long an expanded text may be, and the key that says so.
func (c *Config) expandedRoom(objective string) (room int, key string) {
	room, key = c.Data.TokensPerStep, "data.tokens_per_step"
	less := func(n int, k string) {
		if n < room {
			room, key = n, k
		}
	}
	if objective == "rmlm" || c.Model.Positions != "rope2d" {
		less(c.Model.Context, "model.context")
	}
	if objective == "exlm" {
		less(c.EXLM.MaxPositions, "exlm.max_positions")
	}
	return room, key
}

// tooLong is the error of texts whose expansion has no room.
func tooLong(name, key string, length, need, room int) error {
	return fault.Usage.Errorf("data.length: %s expands texts of %d tokens to up to %d, and %s is %d; hint: a lower data.length, exlm.k or mask.p, or a larger %s",
		name, length, need, key, room, key)
}

// checkExpansion is fitExpansion's check again, once it is known how many begin and end tokens texts have inside.
func (j *job) checkExpansion() error {
	for i, p := range j.phases {
		if p.objective != "exlm" && !classifies(p.objective) {
			continue
		}
		room, key := j.config.expandedRoom(p.objective)
		if need := j.objectives[i].Cost(j.config.Data.Length); need > room && need > j.config.Data.Length {
			return fmt.Errorf("texts of this data set have begin or end tokens inside, which are expanded too: %w", tooLong(p.objective, key, j.config.Data.Length, need, room))
		}
	}
	return nil
}

// mostStates bounds the states of a lattice of the run.
func (j *job) mostStates() (n int) {
	for _, o := range j.objectives {
		n = max(n, objectives.MostStates(o, j.config.Data.Length))
	}
	for _, e := range j.evaluators {
		n = max(n, objectives.MostStates(e.objective, j.config.Data.Length))
	}
	return n
}

// maxLost is the share of an update's lattices that may have no path.
const maxLost = 0.01

// correctMean waits for the number of the update's lattices without a path, when it has lattices, and makes the gradient that of
// the mean over the others.
func (t *Trainer) correctMean(u *update) error {
	if t.lost == nil {
		return nil
	}
	lost, err := t.lost()
	if t.lost = nil; err != nil || lost == 0 {
		return err
	}
	term, all := 0, 0
	for _, p := range u.plans {
		for i := range p.Terms {
			if p.Terms[i].Kind == objectives.Alignment {
				term, all = i, all+len(p.Terms[i].Lattices)
			}
		}
	}
	if lost > maxLost*float64(all) {
		return t.pathless(u, lost, all)
	}
	if u.plans[0].Terms[term].CountLost || len(u.plans[0].Terms) > 1 {
		return nil
	}
	factor := float64(all) / (float64(all) - lost)
	t.b.Combine(kernels.Combine{Dst: t.weights.Grad, X: t.weights.Grad, A: factor})
	for _, p := range u.plans { // the losses that are reported
		p.Terms[term].Den /= factor
	}
	return nil
}

// pathless is the error of too many lattices without a path, with the first of them.
func (t *Trainer) pathless(u *update, lost float64, all int) error {
	first, err := t.firstLost(u)
	if err != nil {
		return err
	}
	return fault.Diverged.Errorf("step %d: %g of %d texts have no path through their graph, more than %g %%: a target, or every link to a state, has probability 0%s; hint: a lower optimizer.learning_rate",
		t.state.Step, lost, all, 100*maxLost, first)
}

// firstLost computes the update's micro-batches again, up to the first lattice without a path, and describes it.
func (t *Trainer) firstLost(u *update) (text string, err error) {
	const most = 200 // bytes of the text
	for k, p := range u.plans {
		if err := t.acts.Load(p, t.microStep(t.state.Micro-int64(len(u.plans)-k))); err != nil {
			return "", err
		}
		t.acts.Forward(t.weights)
		for i := range p.Terms {
			term := &p.Terms[i]
			at, err := t.acts.FirstLost(t.weights, i)
			if err != nil {
				return "", err
			}
			if at < 0 {
				continue
			}
			l := term.Lattices[at]
			segment := 0
			for term.Offsets[segment+1] <= l.Start {
				segment++
			}
			s := p.Segments[segment]
			decoded := t.job.tokenizer.Decode(p.OriginalTokens[s.Start:s.End])
			return fmt.Sprintf("; the first is of document %d, with %d states for %d targets: %q", p.Documents[segment], l.End-l.Start, l.Last-l.First, decoded[:min(most, len(decoded))]), nil
		}
	}
	return "", nil
}
