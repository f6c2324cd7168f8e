package objectives

import (
	"fmt"
	"math"
	"slices"

	"palimpsest/kernels"
	"palimpsest/kernels/philox"
)

// EXLM is the run file's section on the objective exlm. Which tokens are masked is for the section mask; its key replace is not
// read, as every selected token becomes the mask token.
type EXLM struct {
	K              int        `yaml:"k" min:"1" max:"4096" doc:"states of a masked, begin or end token"`
	DAG            string     `yaml:"dag" enum:"dense,sparse,none" doc:"links between states: dense to all later ones, sparse to those of later tokens only; none: no links, every token's states emit it by themselves (CTC)"`
	Rope           string     `yaml:"rope" enum:"2d,1d" doc:"positions: 2d the token's place and the number of its state, 1d the state's place in the expanded text (ours: the paper does not say which)"`
	LinkFeatures   string     `yaml:"link_features" enum:"hidden+position,hidden" doc:"what the transition head reads of a state: its hidden state and a learned vector of its place in the expanded text, or the hidden state alone"`
	LinkHeads      int        `yaml:"link_heads" min:"0" max:"4096" doc:"heads of the transition head; 0: as many as attention heads"`
	MaxPositions   int        `yaml:"max_positions" min:"1" max:"1048576" doc:"longest expanded text: rows of the transition head's table of places"`
	ExpandSpecials bool       `yaml:"expand_specials" doc:"begin and end tokens have k states too, and every text has both: the fixed ends of the graph; false: the graph begins with the first mask and ends with the last, and a text with one mask of several states bears no loss, as no path leads from its first state to its last in one step"`
	Blank          string     `yaml:"blank" enum:"unk,pad" doc:"token that a state emits for nothing under dag: none (pad: ours, for tokenizers without an unknown token)"`
	MaskInText     bool       `yaml:"allow_mask_in_text" doc:"texts may hold the mask token; it is then seen as it is, neither expanded nor asked for"`
	Compat         EXLMCompat `yaml:"compat" doc:"behaviour of the authors' code that this program otherwise mends; its defects in padded rows are not offered, as there is no padding here"`
}

// EXLMCompat switches on what is known to be wrong in the published code and can be said of unpadded texts.
type EXLMCompat struct {
	CountInvalid bool `yaml:"exlm_count_invalid" doc:"texts without a path through the graph count in the mean, with a loss of 0"`
	MaskSpecials bool `yaml:"exlm_mask_specials" doc:"special tokens may be masked"`
	Fallback     bool `yaml:"exlm_fallback_links" doc:"of dag: sparse: states without a link, those of the last token, have links to the ones behind them"`
}

// DefaultEXLM is the published configuration.
func DefaultEXLM() EXLM {
	return EXLM{K: 4, DAG: "dense", Rope: "2d", LinkFeatures: "hidden+position", MaxPositions: 2048, ExpandSpecials: true, Blank: "unk"}
}

// Linked reports whether a transition head is asked for.
func (x EXLM) Linked() bool { return x.DAG != "none" }

// expansion is what becomes of a masked token.
func (x EXLM) expansion() Expansion { return Expansion{K: x.K, Flat: x.Rope == "1d"} }

// exlm is masked language modelling with expanded states (ExLM, arXiv 2501.13397; official code zhengkangjie/ExLM). Every masked,
// begin and end token stands k times in the text; the states of a text are the vertices of a graph whose links the model
// predicts, and the loss is the likelihood of the targets (begin, the masked tokens in order, end) summed over all paths from
// the first state to the last that emit one target a state. With dag: none there are no links and each token's states emit it
// alone, by CTC with the unknown token as blank.
//
// The loss of a text is -log P over its number of targets, and the mean is that of the texts that have a path. Where ends are not
// expanded, a text with one masked token has none, unless k is 1; it is not masked. The same draws select the same tokens as mlm does. A text without a begin or end token gets it, where these are expanded: a graph needs its ends.
type exlm struct {
	mlm
	x     EXLM
	ends  *Ends
	blank int32

	// Memory of one call of Plan, by position of the framed text:
	seen, original, starts []int32
	many                   []bool
}

// termEXLM is the name of the one term.
const termEXLM = "exlm"

func newEXLM(s Settings) (*exlm, error) {
	v, x := s.Vocabulary, s.EXLM
	ids := []specialID{{"begin (bos)", v.BOS, "<s>"}, {"end (eos)", v.EOS, "</s>"}, {"mask", v.Mask, "<mask>"}}
	blank := v.Unk
	switch {
	case x.Linked():
	case x.Blank == "pad":
		blank = v.Pad
		ids = append(ids, specialID{"padding (exlm.blank: pad)", blank, "<pad>"})
	default:
		ids = append(ids, specialID{"unknown (exlm.blank: unk)", blank, "<unk>"})
	}
	if err := demand("exlm", ids); err != nil {
		if !x.Linked() && blank < 0 && x.Blank == "unk" {
			err = fmt.Errorf("%w, or exlm.blank: pad", err)
		}
		return nil, err
	}
	if x.K < 1 {
		return nil, fmt.Errorf("exlm.k: want 1 or more states, not %d", x.K)
	}
	if o := s.Loss; o.Smoothing != 0 || o.ZLoss != 0 || o.Focal != 0 || o.DFT || o.Reweigh.On() {
		return nil, fmt.Errorf("loss: the loss of exlm is the likelihood of a whole text, which knows neither smoothing, z_loss, focal, dft nor reweigh; hint: leave the section loss out")
	}
	s.Mask.Replace = [3]float64{1, 0, 0}
	m, err := newMasked("exlm", s)
	if err != nil {
		return nil, err
	}
	m.specials = x.Compat.MaskSpecials
	e := &exlm{mlm: *m, x: x, ends: s.Ends, blank: blank}
	if e.ends == nil {
		e.ends = new(Ends)
	}
	return e, nil
}

// A specialID is a special token that an objective needs, and how it may be spelt.
type specialID struct {
	name  string
	id    int32
	spelt string
}

// demand names the first token that a tokenizer lacks.
func demand(objective string, ids []specialID) error {
	for _, s := range ids {
		if s.id < 0 {
			return fmt.Errorf("objective %s: the tokenizer has no %s token; hint: palimpsest tokenizer train --special '%s'", objective, s.name, s.spelt)
		}
	}
	return nil
}

func (x *exlm) Name() string { return termEXLM }

// Cost bounds the rows of an expanded text of n tokens from above.
func (x *exlm) Cost(n int) int {
	if n == 0 {
		return 0
	}
	_, added := x.room()
	return n + added + (x.x.K-1)*x.expanded(n)
}

// room bounds the tokens that stand for ends, and those that are added.
func (x *exlm) room() (most, added int) {
	if !x.x.ExpandSpecials {
		return 0, 0
	}
	return x.ends.room()
}

// expanded bounds the tokens with several states of a text of n.
func (x *exlm) expanded(n int) int {
	most, added := x.room()
	return min(n+added, most+x.mostMasked(n))
}

// mostMasked bounds the masked tokens of n.
func (x *exlm) mostMasked(n int) int {
	m := x.Mask
	if m.Unit == "word" || m.Unit == "span" && m.Span.Of == "word" || len(m.Kinds) > 0 { // the last word is masked whole
		return n
	}
	p := m.P
	if m.Schedule.Kind == "linear" {
		p = max(p, m.Schedule.Final)
	}
	return min(n, int(p*float64(n))+1)
}

// prepares: the corpus is read once for its begin, end and mask tokens.
func (x *exlm) prepares() bool { return true }

// prepare refuses texts that hold the mask token and finds how much room texts take.
func (x *exlm) prepare(c Corpus) (notes []string, err error) {
	if err := x.ends.count(c, x.Vocabulary); err != nil {
		return nil, err
	}
	if !x.x.MaskInText && x.ends.mask != nil {
		return nil, x.ends.mask
	}
	if !x.Held {
		notes = append(notes, "exlm: what its paper and code leave open or do otherwise is ours: special tokens are not masked (exlm.compat), the mean is that of the texts that have a path, weight decay is decoupled")
	}
	if x.x.Compat.Fallback && x.x.DAG != "sparse" && !x.Held {
		notes = append(notes, fmt.Sprintf("exlm.compat.exlm_fallback_links changes nothing under exlm.dag: %s, where no state that a path goes on from lacks a link", x.x.DAG))
	}
	if n := x.ends.framed; x.x.ExpandSpecials && n > 0 && !x.Held {
		notes = append(notes, fmt.Sprintf("exlm: %d texts or pieces of one lack a begin or an end token and get it, as the graph of a text needs both ends", n))
	}
	return notes, nil
}

// Begin empties the plan and declares its one term.
func (x *exlm) Begin(p *Plan) {
	p.Reset()
	x.term(p)
}

func (x *exlm) term(p *Plan) *Term {
	t := p.term(termEXLM, Alignment, HeadLM, 1)
	t.Mode, t.Blank, t.Sparse, t.CountLost = kernels.DAG, x.blank, x.x.DAG == "sparse", x.x.Compat.CountInvalid
	t.Fallback = t.Sparse && x.x.Compat.Fallback
	if !x.x.Linked() {
		t.Mode = kernels.CTC
	}
	return t
}

// Plan appends a document as an expanded segment with its lattice, under dag: none with one for every expanded token.
func (x *exlm) Plan(doc Document, p *Plan) {
	d := draw(x.Seed, philox.StreamMask, doc)
	x.choose(doc, p.Progress, &d)
	masked := func(i int) bool { return x.chosen[i] != 0 }
	if !x.Held && x.pathless() {
		masked = func(int) bool { return false }
	}
	x.lay(doc, p, masked)
}

// pathless reports whether what was chosen is one token of a graph without other ends: no path emits one target at the first and at
// the last of its states. Evaluations mask it all the same, as they also ask the states without a path.
func (x *exlm) pathless() bool {
	if x.x.ExpandSpecials || !x.x.Linked() || x.x.K == 1 {
		return false
	}
	n := 0
	for _, c := range x.chosen {
		if c != 0 {
			n++
		}
	}
	return n == 1
}

// PlanMasked appends a text with mask tokens, as the objective exlm sees texts: its one term has a lattice over the states of the
// text, whose targets are those of original, the text before it was masked; where that is not known, the masked text again. It
// reports false for other objectives.
func PlanMasked(o Objective, seen, original []int32, p *Plan) bool {
	x, ok := o.(*exlm)
	if ok {
		x.lay(Document{Tokens: original}, p, func(i int) bool { return seen[i] == x.Vocabulary.Mask })
	}
	return ok
}

// lay appends a text of which some tokens are masked.
func (x *exlm) lay(doc Document, p *Plan, masked func(i int) bool) {
	x.seen, x.original, x.many = x.seen[:0], x.original[:0], x.many[:0]
	add := func(seen, original int32, many bool) {
		x.seen, x.original, x.many = append(x.seen, seen), append(x.original, original), append(x.many, many)
	}
	before, behind := 0, 0
	if x.x.ExpandSpecials {
		before, behind = x.Vocabulary.frames(doc.Tokens)
	}
	if before > 0 {
		add(x.Vocabulary.BOS, x.Vocabulary.BOS, true)
	}
	for i, id := range doc.Tokens {
		if masked(i) {
			add(x.Vocabulary.Mask, id, true)
		} else {
			add(id, id, x.x.ExpandSpecials && x.Vocabulary.End(id))
		}
	}
	if behind > 0 {
		add(x.Vocabulary.EOS, x.Vocabulary.EOS, true)
	}
	start := int32(len(p.Tokens))
	x.starts = p.expand(doc.ID, x.seen, x.original, x.many, kernels.Bidirectional, x.x.expansion(), x.starts[:0])
	x.ask(x.term(p), start)
	p.close()
}

// ask adds the lattice of the text that begins at row start.
func (x *exlm) ask(t *Term, start int32) {
	states, targets, lattices := len(t.Rows), len(t.Targets), len(t.Lattices)
	for i, many := range x.many {
		if !many || t.Mode == kernels.CTC && x.original[i] == x.blank { // a blank cannot be emitted
			continue
		}
		if t.Mode == kernels.CTC {
			t.Lattices = append(t.Lattices, kernels.Lattice{Start: int32(len(t.Rows)), End: int32(len(t.Rows) + x.x.K), First: int32(len(t.Targets)), Last: int32(len(t.Targets) + 1)})
		}
		for c := range int32(x.x.K) {
			t.Rows, t.Sources, t.Places = append(t.Rows, x.starts[i]+c), append(t.Sources, int32(i)), append(t.Places, x.starts[i]-start+c)
		}
		t.Targets = append(t.Targets, x.original[i])
	}
	n := len(t.Targets) - targets
	if n == 0 { // nothing is masked, and ends are not expanded
		return
	}
	if t.Mode == kernels.DAG {
		t.Lattices = append(t.Lattices, kernels.Lattice{Start: int32(states), End: int32(len(t.Rows)), First: int32(targets), Last: int32(len(t.Targets))})
	}
	for range len(t.Lattices) - lattices {
		t.Weights = append(t.Weights, float32(1/float64(n)))
	}
	t.Counted++
}

// LinkGroups are what sparse links go by: a state leads to those with a larger number. It is the place of the state's token; with
// Fallback the states of a lattice's last token have one each.
func (t *Term) LinkGroups() []int32 {
	if !t.Fallback {
		return t.Sources
	}
	groups := slices.Clone(t.Sources)
	for _, l := range t.Lattices {
		for u := l.End - 1; u >= l.Start && t.Sources[u] == t.Sources[l.End-1]; u-- {
			groups[u] += u - l.Start
		}
	}
	return groups
}

// checkLattices reports what is wrong with a term of kind Alignment, but for its rows.
func (t *Term) checkLattices(vocab int) error {
	n := len(t.Rows)
	switch {
	case t.Mode != kernels.DAG && t.Mode != kernels.CTC:
		return fmt.Errorf("plan: term %s has the mode %d", t.Name, t.Mode)
	case len(t.Weights) != len(t.Lattices):
		return fmt.Errorf("plan: term %s has %d lattices and %d weights", t.Name, len(t.Lattices), len(t.Weights))
	case len(t.Sources) != n || len(t.Places) != n:
		return fmt.Errorf("plan: term %s has %d states, %d sources and %d places", t.Name, n, len(t.Sources), len(t.Places))
	case t.Options.Reweigh.On():
		return fmt.Errorf("plan: term %s is about whole texts, whose rows are not weighed by their losses; hint: loss.reweigh.rule: none", t.Name)
	case t.Head != HeadLM:
		return fmt.Errorf("plan: term %s emits tokens, which only the head %s does, not %q", t.Name, HeadLM, t.Head)
	case t.Mode == kernels.CTC && (t.Blank < 0 || int(t.Blank) >= vocab):
		return fmt.Errorf("plan: term %s has the blank %d, outside the vocabulary of %d", t.Name, t.Blank, vocab)
	}
	end, target, segment := int32(0), int32(0), 1
	for i, l := range t.Lattices {
		states, targets := l.End-l.Start, l.Last-l.First
		switch w := float64(t.Weights[i]); {
		case l.Start != end || states < 1 || int(l.End) > n:
			return fmt.Errorf("plan: term %s lattice %d has the states [%d,%d) of %d, behind those before it %d", t.Name, i, l.Start, l.End, n, end)
		case l.First != target || targets < 1 || int(l.Last) > len(t.Targets):
			return fmt.Errorf("plan: term %s lattice %d has the targets [%d,%d) of %d, behind those before it %d", t.Name, i, l.First, l.Last, len(t.Targets), target)
		case targets > states:
			return fmt.Errorf("plan: term %s lattice %d has %d targets and only %d states to emit them; hint: a larger exlm.k", t.Name, i, targets, states)
		case !(w > 0) || math.IsInf(w, 0):
			return fmt.Errorf("plan: term %s lattice %d has weight %g", t.Name, i, w)
		}
		for segment < len(t.Offsets) && t.Offsets[segment] <= l.Start {
			segment++
		}
		if segment == len(t.Offsets) || l.End > t.Offsets[segment] {
			return fmt.Errorf("plan: term %s lattice %d has the states [%d,%d), which are not of one segment", t.Name, i, l.Start, l.End)
		}
		end, target = l.End, l.Last
	}
	if int(end) != n || int(target) != len(t.Targets) {
		return fmt.Errorf("plan: term %s has %d states and %d targets, its lattices %d and %d", t.Name, n, len(t.Targets), end, target)
	}
	for i, place := range t.Places {
		if place < 0 {
			return fmt.Errorf("plan: term %s state %d has the place %d", t.Name, i, place)
		}
	}
	return nil
}

// Positions bounds the positions of a text of n tokens, of either axis: what a model's context must hold.
func Positions(o Objective, n int) int {
	second := func(e Expansion, first int) int {
		if e.Flat {
			return o.Cost(n)
		}
		return max(first, e.K+1) // of the second axis, which counts from 1
	}
	switch o := o.(type) {
	case *exlm:
		_, added := o.room()
		return second(o.x.expansion(), n+added)
	case *rmlm:
		return o.Cost(n)
	case *classify:
		if o.expands() {
			return second(o.Expansion, n)
		}
	}
	return n
}

// MostStates bounds the states of a lattice over a text of n tokens; 0: the objective has no lattices.
func MostStates(o Objective, n int) int {
	x, ok := o.(*exlm)
	switch {
	case !ok:
		return 0
	case !x.x.Linked():
		return x.x.K
	}
	return x.x.K * x.expanded(n)
}
