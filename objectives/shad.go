package objectives

import (
	"fmt"
	"iter"

	"palimpsest/kernels"
	"palimpsest/kernels/philox"
)

// SHAD is the run file's section on telling reasoning tokens from boilerplate, and on the objective rft that weighs them.
type SHAD struct {
	Method          string  `yaml:"method" enum:"rft,alpha,sft,rho1,dft,focal,random,regex" doc:"weights of rft: rft by the losses of both classes, alpha fixed; sft none, rho1 only the tokens of largest loss above the reference's, dft and focal by the probability of the token; controls: random (classes shuffled in each sample), regex (classes of 'data annotate --plane class')"`
	Then            string  `yaml:"then" enum:"rft,alpha" doc:"what random and regex do with their classes"`
	Tau             float64 `yaml:"tau" min:">0" doc:"temperature of rft, in nats (ours; 2 to 5 is reported robust)"`
	Alpha           float64 `yaml:"alpha" min:"0" max:"1" doc:"weight of reasoning under alpha; boilerplate has the rest (ours)"`
	Ratio           float64 `yaml:"ratio" min:">0" max:"1" doc:"share of the tokens that rho1 keeps (ours)"`
	Gamma           float64 `yaml:"gamma" min:"0" doc:"exponent of focal"`
	Agg             string  `yaml:"agg" enum:"mean,sum" doc:"whether losses of a class (of a sample) are averaged or summed (ours)"`
	Detach          bool    `yaml:"detach" doc:"weights of rft are constants (ours); false: the gradient goes through them, and can drive the loss of boilerplate up"`
	Scope           string  `yaml:"scope" enum:"sample,batch" doc:"tokens that are weighed against each other: those of a sample, or of a micro-batch"`
	Threshold       float64 `yaml:"threshold" doc:"a token is reasoning when its loss grew by more than this, in nats, with shuffled tuning"`
	Deadzone        float64 `yaml:"deadzone" min:"0" doc:"smaller differences of losses count as 0 (ours)"`
	Smooth          string  `yaml:"smooth" enum:"none,word" doc:"word: all tokens of a word have the class of its mean difference (ours)"`
	ShuffleFraction float64 `yaml:"shuffle_fraction" min:">0" max:"1" doc:"share of the pairs that are shuffled and tuned on"`
	StrictLength    bool    `yaml:"strict_length" doc:"response tokens that are cut away are an error"`
	AnyModel        bool    `yaml:"any_model" doc:"take classes that were made with another model than train.init's"`
}

// DefaultSHAD has the paper's values where they are known; which of them are ours is said with the keys.
func DefaultSHAD() SHAD {
	return SHAD{Method: "rft", Then: "rft", Tau: 3, Alpha: 0.5, Ratio: 0.6, Gamma: 2, Agg: "mean", Detach: true, Scope: "sample", Smooth: "none", ShuffleFraction: 0.01}
}

// PlaneClass is the plane that says of every response token whether it is boilerplate or reasoning.
const PlaneClass = planeClass

// Classes of the plane class.
const (
	ClassBoilerplate = 0
	ClassReasoning   = 1
	NoTokenClass     = 255 // of tokens that are in no class
)

// Names of the terms that evaluations of rft have, by class.
const (
	TermBoilerplate = "boilerplate"
	TermReasoning   = "reasoning"
	TermUnclassed   = "unclassed"
)

// rule is how the method weighs: rft and alpha also for those that only choose the classes.
func (s SHAD) rule() string {
	if s.Method == "random" || s.Method == "regex" {
		return s.Then
	}
	return s.Method
}

// UsesClasses reports whether the weights depend on the plane class.
func (s SHAD) UsesClasses() bool { return s.rule() == "rft" || s.rule() == "alpha" }

// Loss returns the options of the objective's term: one of the rules of Reweigh, whose groups are samples.
func (s SHAD) Loss(base LossOptions) LossOptions {
	r := DefaultLoss().Reweigh
	r.Rule, r.Aggregate, r.Tau, r.Share, r.Alpha, r.Detach = "uniform", s.Agg, s.Tau, s.Ratio, s.Alpha, s.Detach
	if s.Scope == "batch" {
		r.Scope = "batch"
	}
	switch s.rule() {
	case "rft":
		r.Rule = "class"
	case "alpha":
		r.Rule = "fixed"
	case "rho1":
		r.Rule = "top"
	case "dft":
		base.DFT = true
	case "focal":
		base.Focal = s.Gamma
	}
	base.Reweigh = r
	return base
}

// rft is reweighted fine-tuning on responses (arXiv 2412.14780) and its neighbours: a causal model whose tokens weigh by their
// class, boilerplate or reasoning, and the losses of both classes in their sample. A term is one cross-entropy under a rule
// of Reweigh with a group a sample: a segment, so that a document that is split counts as several. A sample that has
// only one class is its plain mean; one without a counted token adds nothing and is not in the mean.
//
// Evaluations ask for the plain losses of both classes, and of tokens without a class, in terms of their own: together they
// are the mean over all response tokens.
type rft struct {
	Settings
	options LossOptions
}

// check refuses what the rule cannot compute with, as the run file's ranges do.
func (s SHAD) check() error {
	switch rule := s.rule(); {
	case rule == "rft" && !(s.Tau > 0):
		return fmt.Errorf("shad.tau: %g, want more than 0", s.Tau)
	case rule == "alpha" && !(s.Alpha >= 0 && s.Alpha <= 1):
		return fmt.Errorf("shad.alpha: %g, want 0 to 1", s.Alpha)
	case rule == "rho1" && !(s.Ratio > 0 && s.Ratio <= 1):
		return fmt.Errorf("shad.ratio: %g, want more than 0, at most 1", s.Ratio)
	}
	return nil
}

func newRFT(s Settings) (*rft, error) {
	if err := s.SHAD.check(); err != nil {
		return nil, err
	}
	o := &rft{s, s.SHAD.Loss(s.Loss)}
	if problems := o.options.Validate(); len(problems) > 0 && !s.Held {
		return nil, fmt.Errorf("objective rft, shad.method %s: loss.%w", s.SHAD.Method, problems[0])
	}
	return o, nil
}

func (o *rft) Name() string   { return "rft" }
func (o *rft) Cost(n int) int { return n }

// reads reports whether the plane class is read: for the weights, or only to tell the losses of the classes apart.
func (o *rft) reads() bool { return o.Classes || o.SHAD.UsesClasses() }

// Planes names the planes that are read.
func (o *rft) Planes() (planes []string) {
	if o.reads() {
		planes = []string{planeClass}
	}
	return o.contextPlane(planes)
}

// Begin empties the plan and declares its terms.
func (o *rft) Begin(p *Plan) {
	p.Reset()
	if o.Held && o.reads() {
		for _, name := range []string{TermBoilerplate, TermReasoning, TermUnclassed} {
			o.lmTerm(p, name)
		}
		return
	}
	o.weighed(p)
}

// weighed is the one term of training.
func (o *rft) weighed(p *Plan) *Term {
	t := p.term(o.Name(), CrossEntropy, HeadLM, 1)
	if o.Held {
		t.Options = o.Settings.Loss
		return t
	}
	t.Options = o.options
	t.NeedsReference = o.SHAD.Method == "rho1"
	return t
}

// Plan appends a causal segment that asks for the response tokens.
func (o *rft) Plan(doc Document, p *Plan) {
	start, classes := p.segment(doc, kernels.Causal), doc.Planes[planeClass]
	if o.Held && o.reads() {
		o.planHeld(doc, p, start, classes)
		p.close()
		return
	}
	t, own := o.weighed(p), classes
	if o.SHAD.Method == "random" && !o.Held {
		own = o.shuffled(doc, classes)
	}
	for i := 1; i < len(doc.Tokens); i++ {
		if doc.context(i) {
			continue
		}
		t.Rows, t.Targets = append(t.Rows, int32(start+i-1)), append(t.Targets, doc.Tokens[i])
		if i < len(classes) && !o.Held {
			t.Watched = append(t.Watched, classes[i])
			if t.Options.Reweigh.classes() {
				t.RowClasses = append(t.RowClasses, own[i])
			}
		}
	}
	p.close()
}

// planHeld gives each class the term of its own, and all of them the denominator of the whole.
func (o *rft) planHeld(doc Document, p *Plan, start int, classes []byte) {
	terms := [3]*Term{}
	for k, name := range []string{TermBoilerplate, TermReasoning, TermUnclassed} {
		terms[k] = p.term(name, CrossEntropy, HeadLM, 1)
	}
	rows := 0
	for i := 1; i < len(doc.Tokens); i++ {
		if doc.context(i) {
			continue
		}
		t := terms[2]
		if i < len(classes) && classes[i] <= ClassReasoning {
			t = terms[classes[i]]
		}
		t.Rows, t.Targets = append(t.Rows, int32(start+i-1)), append(t.Targets, doc.Tokens[i])
		rows++
	}
	for _, t := range terms {
		t.Counted += float64(rows)
	}
}

// randomSeed separates the draws that shuffle classes.
const randomSeed = 1<<63 + 1

// shuffled permutes the classes of a document's response tokens among them, the same in every epoch.
func (o *rft) shuffled(doc Document, classes []byte) []byte {
	doc.Epoch = 0
	var at []int
	for i := 1; i < len(classes); i++ {
		if !doc.context(i) && classes[i] <= ClassReasoning {
			at = append(at, i)
		}
	}
	mixed := append([]byte(nil), classes...)
	d := draw(philox.Derive(o.Seed, randomSeed), philox.StreamMask, doc)
	d.Permute(len(at), func(i, j int) { mixed[at[i]], mixed[at[j]] = mixed[at[j]], mixed[at[i]] })
	return mixed
}

func (o *rft) prepares() bool { return !o.Held && (o.SHAD.UsesClasses() || o.Context) }

// prepare counts the classes of all documents and refuses those that weigh nothing, and says what is cut away.
func (o *rft) prepare(c Corpus) (notes []string, err error) {
	if o.SHAD.UsesClasses() {
		if notes, err = o.census(c); err != nil {
			return nil, err
		}
	}
	whole, err := o.learned(c.Uncut)
	if err != nil || whole == 0 {
		return notes, err
	}
	seen, err := o.learned(c.Documents)
	if err != nil || seen == whole {
		return notes, err
	}
	text := fmt.Sprintf("rft: %d of %d response tokens are not trained: they are behind data.length, or the first of a piece", whole-seen, whole)
	if o.SHAD.StrictLength {
		return nil, fmt.Errorf("%s; hint: a longer data.length, or shad.strict_length: false", text)
	}
	return append(notes, text), nil
}

// learned counts the response tokens of documents, of which there may be none, that are in a class where the method reads it.
func (o *rft) learned(documents iter.Seq2[Document, error]) (n int64, err error) {
	if documents == nil {
		return 0, nil
	}
	for doc, err := range documents {
		if err != nil {
			return 0, err
		}
		for i := 1; i < len(doc.Tokens); i++ {
			if !doc.context(i) && (!o.SHAD.UsesClasses() || doc.Planes[planeClass][i] <= ClassReasoning) {
				n++
			}
		}
	}
	return n, nil
}

// census counts the classes.
func (o *rft) census(c Corpus) (notes []string, err error) {
	var tokens [3]int64 // boilerplate, reasoning, response tokens without a class
	var samples, one, none int64
	for doc, err := range c.Documents {
		if err != nil {
			return nil, err
		}
		classes := doc.Planes[planeClass]
		if len(classes) != len(doc.Tokens) {
			return nil, fmt.Errorf("document %d has %d tokens, but %d classes in the plane class; hint: make the plane again with 'palimpsest shad score'", doc.ID, len(doc.Tokens), len(classes))
		}
		var own [3]int64
		for i, class := range classes {
			switch {
			case class > ClassReasoning && class != NoTokenClass:
				return nil, fmt.Errorf("document %d, token %d: class %d in the plane class, expected 0 (boilerplate), 1 (reasoning) or 255 (none)", doc.ID, doc.Offset+i, class)
			case i == 0 || doc.context(i):
			case class == NoTokenClass:
				own[2]++
			default:
				own[class]++
			}
		}
		samples++
		switch {
		case own[0]+own[1] == 0:
			none++
		case own[0] == 0 || own[1] == 0:
			one++
		}
		for k := range tokens {
			tokens[k] += own[k]
		}
	}
	switch counted := tokens[0] + tokens[1]; {
	case counted == 0:
		return nil, fmt.Errorf("rft: none of %d samples has a response token in a class; hint: 'palimpsest shad score' makes classes", samples)
	case tokens[0] == 0 || tokens[1] == 0:
		return nil, fmt.Errorf("rft: of %d response tokens %.1f %% are boilerplate and %.1f %% reasoning, so there is nothing to weigh; hint: another shad.threshold for 'palimpsest shad score', or shad.method: sft",
			counted, 100*float64(tokens[0])/float64(counted), 100*float64(tokens[1])/float64(counted))
	}
	notes = append(notes, fmt.Sprintf("rft: of %d response tokens %.1f %% are boilerplate; %d of %d samples have one class only, which is their plain mean",
		tokens[0]+tokens[1], 100*float64(tokens[0])/float64(tokens[0]+tokens[1]), one, samples))
	if none > 0 {
		notes = append(notes, fmt.Sprintf("rft: %d samples have no token in a class and add nothing", none))
	}
	if tokens[2] > 0 {
		notes = append(notes, fmt.Sprintf("rft: %d response tokens are in no class (context, or beyond the length, when the data set was scored) and are not learned", tokens[2]))
	}
	return notes, nil
}
