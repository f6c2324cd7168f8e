package engine

import (
	"fmt"
	"slices"
	"sort"

	"palimpsest/engine/eval"
	"palimpsest/engine/fault"
	"palimpsest/engine/model"
	"palimpsest/engine/report"
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
	if n := x.LinkHeads; m.Links.On() && n > 0 && m.Width > 0 && m.Width%n != 0 {
		problems = append(problems, fmt.Errorf("exlm.link_heads: width %d is not a multiple of %d heads", m.Width, n))
	} else if m.Links.On() {
		agree("link_heads", x.LinkHeads, "links.heads", &m.Links.Heads)
	}
	if m.Links.Features == "hidden+position" {
		agree("max_positions", x.MaxPositions, "links.positions", &m.Links.Positions)
	}
	states := x.K
	if !x.ExpandSpecials {
		states = 0
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
		context, fits := c.Model.Context, func(n, context int) bool { return objectives.Positions(o, n) <= context }
		if o.Cost(8) == 8 && fits(8, 8) {
			continue
		}
		if c.packing() == "cut" {
			return fault.Usage.Errorf("data.packing: cut fills steps by tokens, and %s expands them; hint: whole, with data.long: split", name)
		}
		room, key := c.expandedRoom(name)
		whole := min(context, c.Data.TokensPerStep)
		longest := sort.Search(whole, func(n int) bool { return o.Cost(n+1) > room || !fits(n+1, context) })
		if longest == 0 && !fits(1, context) {
			return fault.Usage.Errorf("model.context: %d is not enough for a text of one token, which takes %d positions with %s; hint: a lower k, or a larger context", context, objectives.Positions(o, 1), name)
		}
		if longest == 0 {
			return fault.Usage.Errorf("%s: %d is not enough for a text of one token, which %s expands to %d; hint: a lower k, or more room", key, room, name, o.Cost(1))
		}
		switch d := &c.Data; {
		case d.Length == 0 && longest < whole:
			if d.Length = longest; o.Cost(longest+1) <= room {
				key, room = "model.context", context
			}
			j.note("data.length is %d: %s expands texts, and those of %d tokens fit %s: %d", longest, name, longest, key, room)
		case d.Length > whole: // an error for every objective
		case d.Length > longest && !fits(d.Length, context):
			return fault.Usage.Errorf("data.length: %s gives texts of %d tokens up to %d positions, and model.context is %d; hint: data.length: %d, or a larger model.context",
				name, d.Length, objectives.Positions(o, d.Length), context, longest)
		case d.Length > longest:
			return tooLong(name, key, d.Length, o.Cost(d.Length), room)
		}
	}
	return nil
}

// growth is about how many rows a token of the data set becomes under an objective, in texts of the mean length.
func (j *job) growth(objective string) float64 {
	c, n := j.config, float64(j.data.Tokens())/float64(max(1, j.data.Documents()))
	n = max(1, min(n, float64(c.Data.Length)))
	switch objective {
	case "rmlm":
		return float64(c.RMLM.K)
	case "exlm":
		ends := 0.0
		if c.EXLM.ExpandSpecials {
			ends = 2
		}
		return 1 + float64(c.EXLM.K-1)*(c.Mask.P+ends/n)
	}
	return 1
}

// expandedRoom is how many rows an expanded text may have, and the key that says so.
func (c *Config) expandedRoom(objective string) (room int, key string) {
	room, key = c.Data.TokensPerStep, "data.tokens_per_step"
	less := func(n int, k string) {
		if n < room {
			room, key = n, k
		}
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
		length, context := j.config.Data.Length, j.config.Model.Context
		room, key := j.config.expandedRoom(p.objective)
		need := j.objectives[i].Cost(length)
		if need <= room && objectives.Positions(j.objectives[i], length) > context {
			room, key = context, "model.context" // of positions that count rows
		}
		if need > room && need > length {
			return fmt.Errorf("texts of this data set have begin or end tokens inside, which are expanded too: %w", tooLong(p.objective, key, length, need, room))
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

// latticeAsks says of every state which token it may emit, and its number among that token's states.
func (j *job) latticeAsks(p *objectives.Plan, t *objectives.Term, asks map[int32][]PreviewAsk) {
	for i, l := range t.Lattices {
		for r := l.Start; r < l.End; {
			end := r + 1
			for end < l.End && t.Sources[end] == t.Sources[r] {
				end++
			}
			for u := r; u < end; u++ {
				row := t.Rows[u]
				target := fmt.Sprintf("%s %d/%d", j.show(p.OriginalTokens[row]), u-r+1, end-r)
				asks[row] = append(asks[row], PreviewAsk{target, float64(t.Weights[i]), t.Name})
			}
			r = end
		}
	}
}

// graphOf describes the lattices of a segment; "" where there are none.
func graphOf(p *objectives.Plan, segment int) string {
	for i := range p.Terms {
		t := &p.Terms[i]
		if t.Kind != objectives.Alignment {
			continue
		}
		groups := t.LinkGroups()
		from, to, lattices, targets := t.Offsets[segment], t.Offsets[segment+1], 0, int32(0)
		links := int64(0)
		for _, l := range t.Lattices {
			if l.Start < from || l.End > to {
				continue
			}
			lattices, targets = lattices+1, targets+l.Last-l.First
			for u := l.Start; u < l.End; u++ {
				for v := u + 1; v < l.End; v++ {
					if !t.Sparse || groups[v] > groups[u] {
						links++
					}
				}
			}
		}
		switch {
		case lattices == 0:
			return "nothing is masked: the text bears no loss"
		case t.Mode == kernels.CTC:
			return fmt.Sprintf("%d states; the states of each of %d tokens emit it alone", to-from, targets)
		default:
			return fmt.Sprintf("a graph of %d states and %d links: every path from the first to the last state that emits the %d targets in order counts", to-from, links, targets)
		}
	}
	return ""
}

// logExpanded is logExamples of expanded texts, of which every token is shown once.
func (t *Trainer) logExpanded(p *objectives.Plan) error {
	j, term := t.job, &p.Terms[0]
	answers, err := eval.FillLattices(t.acts, t.judged(), p, j.vocabulary.Mask, exampleAnswers)
	if err != nil {
		return err
	}
	first := map[int32]bool{} // by row of a state: it is the first of its token
	for r, row := range term.Rows {
		first[row] = r == 0 || term.Sources[r] != term.Sources[r-1] || row != term.Rows[r-1]+1
	}
	written := 0
	for i, s := range p.Segments {
		if len(answers[i]) == 0 || written == exampleCount {
			continue
		}
		e, tokens := report.Example{Step: t.state.Step, Mask: j.tokenizer.Token(j.vocabulary.Mask)}, []int32{}
		for row := s.Start; row < s.End && len(tokens) < exampleTokens; row++ {
			id := p.Tokens[row]
			begins, state := first[row]
			switch {
			case state && !begins:
			case state && id == j.vocabulary.Mask:
				hole := report.Hole{Expected: j.show(p.OriginalTokens[row])}
				for _, a := range answers[i][len(e.Masks)] {
					hole.Answers = append(hole.Answers, report.Answer{Token: j.show(a.ID), P: a.Probability})
				}
				e.Masks, tokens = append(e.Masks, hole), append(tokens, id)
			case !j.vocabulary.Special(id):
				tokens = append(tokens, id)
			}
		}
		e.Text = string(j.tokenizer.Decode(tokens))
		t.record.log.Write(e)
		written++
	}
	return nil
}

// fullLattices makes the term of a plan that rehearses a step one of as many and as long lattices as there may be.
func (j *job) fullLattices(t *objectives.Term) {
	states, k := j.mostStates(), max(1, j.config.EXLM.K)
	if states == 0 {
		return
	}
	*t = objectives.Term{Name: t.Name, Kind: objectives.Alignment, Head: t.Head, Rows: t.Rows, Share: 1, Den: 1, Mode: kernels.DAG, Sparse: j.config.EXLM.DAG == "sparse",
		Sources: t.Rows, Places: t.Rows}
	if !j.config.EXLM.Linked() {
		t.Mode = kernels.CTC
	}
	for from := 0; from < len(t.Rows); from += states {
		l := kernels.Lattice{Start: int32(from), End: int32(min(from+states, len(t.Rows))), First: int32(len(t.Targets))}
		l.Last = l.First + max(1, (l.End-l.Start)/int32(k))
		t.Lattices, t.Weights = append(t.Lattices, l), append(t.Weights, 1)
		t.Targets = append(t.Targets, make([]int32, l.Last-l.First)...)
	}
}

// endStates are the states of begin and end tokens in what the model was tuned on; K is 0 where they are not expanded.
func (m *Model) endStates() (e objectives.Expansion) {
	trained := m.Config.Trained()
	if m.Config.Classify.Expand && classifies(trained[len(trained)-1]) {
		e = m.Config.Model.Expansion()
	}
	return e
}

// states are the tokens that have several states in what the model was trained on last, and how many; K is 0 where none has.
func (m *Model) states() (e objectives.Expansion, many func(id int32) bool) {
	c, v := m.Config, vocabularyOf(m.Tokenizer)
	trained := c.Trained()
	switch e = m.endStates(); {
	case e.On():
		return e, v.End
	case slices.Contains(trained, "exlm"):
		return objectives.Expansion{K: c.EXLM.K, Flat: c.EXLM.Rope == "1d"}, func(id int32) bool { return id == v.Mask || c.EXLM.ExpandSpecials && v.End(id) }
	case trained[len(trained)-1] == "rmlm":
		return objectives.Expansion{K: c.RMLM.K, Flat: true}, func(int32) bool { return true }
	}
	return e, v.End
}

// Unexpanded says that a model is read with one state for every token where it was trained with several only; "" where it was not.
func (m *Model) Unexpanded() string {
	trained := m.Config.Trained()
	only := func(name string) bool {
		return !slices.ContainsFunc(trained, func(other string) bool { return other != name })
	}
	switch e := m.endStates(); {
	case only("exlm"):
		tokens := "masked tokens"
		if m.Config.EXLM.ExpandSpecials {
			tokens = "masked, begin and end tokens"
		}
		return fmt.Sprintf("exlm trained this model with %d states for %s; here every token has one, which it has not seen in training; eval loss, eval sensitivity, eval logits, the mlm score of eval blimp and fill-mask read it as trained", m.Config.EXLM.K, tokens)
	case only("rmlm") && m.Config.RMLM.K > 1:
		return fmt.Sprintf("rmlm trained this model with every token %d times side by side; here every token stands once; eval loss and eval logits read it as trained", m.Config.RMLM.K)
	case e.On():
		return fmt.Sprintf("this model was tuned with %d states for begin and end tokens; here every token has one", e.K)
	}
	return ""
}
