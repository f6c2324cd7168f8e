package objectives

import (
	"fmt"
	"slices"
	"strings"

	"palimpsest/kernels"
)

// TNT is the run file's section on the objective tnt.
type TNT struct {
	Variant      string     `yaml:"variant" enum:"TNFF,TNRR,TNRF,TNFLL,TNRLL,NL,UL" doc:"pull of unwanted and of kept tokens to the reference's distribution without the unwanted token: forward (F) or reverse (R) KL, or likelihood (LL); NL and UL are negative likelihood and unlikelihood, without a reference (default ours)"`
	Alpha        AutoFactor `yaml:"alpha" doc:"factor of unwanted tokens; auto: 10 under reduce: mean (ours), 10000 under sum (the code's)"`
	Reduce       string     `yaml:"reduce" enum:"mean,sum" doc:"mean over all tokens that are trained (ours), or their sum (the code's)"`
	Eps          float64    `yaml:"eps" min:">0" max:"<1" doc:"probability that reverse KL leaves to the removed token"`
	NLFloor      LogFloor   `yaml:"nl_floor" doc:"log-probability below which an unwanted token is left alone under NL; none: never"`
	StrictLength bool       `yaml:"strict_length" doc:"unwanted tokens that are cut away are an error"`
	Compat       TNTCompat  `yaml:"compat" doc:"behaviour of the authors' code that this program otherwise mends"`
}

// TNTCompat switches on what is known to be wrong in the reference code.
type TNTCompat struct {
	Sum         bool `yaml:"tnt_sum" doc:"as reduce: sum"`
	EpsPerEntry bool `yaml:"tnt_eps_per_entry" doc:"eps is added to every entry of the vocabulary, also at kept tokens"`
	NLThreshold bool `yaml:"tnt_nl_threshold" doc:"under NL kept tokens stop at nl_floor, and unwanted ones never"`
	ULClip      bool `yaml:"tnt_ul_clip" doc:"unlikelihood has no gradient where the model is most certain"`
}

// DefaultTNT follows the published code where it is sound.
func DefaultTNT() TNT { return TNT{Variant: "TNFF", Reduce: "mean", Eps: 1e-6, NLFloor: -10.3} }

// sum reports whether the loss is a sum.
func (t TNT) sum() bool { return t.Reduce == "sum" || t.Compat.Sum }

// Factor is the factor of unwanted tokens, given or not.
func (t TNT) Factor() float64 {
	switch {
	case t.Alpha.Given:
		return t.Alpha.Value
	case t.sum():
		return 1e4
	}
	return 10
}

// tntPulls are those of unwanted and of kept tokens.
var tntPulls = map[string][2]kernels.Pull{
	"TNFF": {kernels.ForwardKL, kernels.ForwardKL}, "TNRR": {kernels.ReverseKL, kernels.ReverseKL}, "TNRF": {kernels.ReverseKL, kernels.ForwardKL},
	"TNFLL": {kernels.ForwardKL, kernels.Likelihood}, "TNRLL": {kernels.ReverseKL, kernels.Likelihood},
	"NL": {kernels.Likelihood, kernels.Likelihood}, "UL": {kernels.Unlikelihood, kernels.Likelihood},
}

// tnt is targeted negative training (TNT, arXiv 2406.13660) of a causal model on its own outputs, whose tokens the plane sign
// marks: at unwanted ones the model goes to the frozen reference's distribution without that token, at kept ones to the
// reference's. Unwanted and kept tokens are two terms over one denominator, the number of both, so that the log has the loss of
// each. Tokens that are not trained, such as prompts, reach no head.
//
// Where the run has a reference, evaluations also measure the KL of the model from it at kept tokens, whatever the variant: it
// is the third term, with a share of 0, where the loss does not have it.
type tnt struct {
	Settings
	pulls [2]kernels.Pull
}

func newTNT(s Settings) (*tnt, error) {
	if s.Loss.Reweigh.On() {
		return nil, fmt.Errorf("loss.reweigh.rule: the objective tnt has row weights of its own; hint: none")
	}
	return &tnt{Settings: s, pulls: tntPulls[s.TNT.Variant]}, nil
}

func (o *tnt) Name() string     { return "tnt" }
func (o *tnt) Cost(n int) int   { return n }
func (o *tnt) Planes() []string { return o.contextPlane([]string{PlaneSign}) }

// Begin empties the plan and declares its terms.
func (o *tnt) Begin(p *Plan) {
	p.Reset()
	o.terms(p)
}

// Names of the terms.
const (
	TermUnwanted = "unwanted"
	TermKept     = "kept"
	TermDrift    = "drift"
)

// terms makes those of the plan, in their order; drift is nil where it is not measured.
func (o *tnt) terms(p *Plan) (unwanted, kept, drift *Term) {
	measured := o.Held && o.Reference && o.pulls[1] != kernels.ForwardKL
	for range 2 { // the first time round the slice of terms may move
		unwanted, kept = o.term(p, TermUnwanted), o.term(p, TermKept)
		if measured {
			drift = DriftTerm(p)
		}
	}
	return unwanted, kept, drift
}

// DriftTerm is the term of a plan that measures the KL of the model from the reference, and adds nothing to the loss.
func DriftTerm(p *Plan) *Term {
	t := p.term(TermDrift, ReferenceKL, HeadLM, 0)
	t.Pulls, t.NeedsReference = Pulls{Unwanted: kernels.ForwardKL, Kept: kernels.ForwardKL}, true
	return t
}

func (o *tnt) term(p *Plan, name string) *Term {
	t, c := p.term(name, ReferenceKL, HeadLM, 1), o.TNT
	t.Sum, t.Unwanted = c.sum(), name == TermUnwanted
	t.Pulls = Pulls{Unwanted: o.pulls[0], Kept: o.pulls[1], Eps: c.Eps, EpsPerEntry: c.Compat.EpsPerEntry, ClipUnlikelihood: c.Compat.ULClip, FloorKept: c.Compat.NLThreshold}
	switch {
	case c.Variant == "NL":
		t.Pulls.Floor = float64(c.NLFloor)
	case name == TermKept && !diverges(o.pulls[1]) && !(c.Compat.EpsPerEntry && o.pulls[0] == kernels.ReverseKL):
		t.Pulls.Unwanted = kernels.Likelihood // this term has no unwanted rows, and needs no reference
	}
	t.NeedsReference = t.Pulls.Diverges()
	return t
}

// leastWeight is next to nothing, but a weight still.
const leastWeight = 1e-30

// Plan appends a causal segment with a row for every signed token, at the place before it.
func (o *tnt) Plan(doc Document, p *Plan) {
	start := p.segment(doc, kernels.Causal)
	unwanted, kept, drift := o.terms(p)
	alpha, counted := float32(o.TNT.Factor()), 0.0
	for i, sign := range doc.Planes[PlaneSign] {
		if i == 0 || doc.context(i) {
			continue
		}
		switch sign {
		case SignUnwanted:
			counted++
			if weight := alpha; weight > 0 || o.Held {
				if weight == 0 { // nothing in the loss, but evaluations measure the row
					weight = leastWeight
				}
				unwanted.ask(start+i-1, doc.Tokens[i], doc, i)
				unwanted.Weights = append(unwanted.Weights, -weight)
			}
		case SignKeep:
			counted++
			kept.ask(start+i-1, doc.Tokens[i], doc, i)
			if drift != nil {
				drift.ask(start+i-1, doc.Tokens[i], doc, i)
			}
		}
	}
	unwanted.Counted += counted
	kept.Counted += counted
	p.close()
}

func (o *tnt) prepares() bool { return !o.Held }

// prepare counts what there is to train, and refuses a corpus in which nothing is unwanted, or nothing is kept.
func (o *tnt) prepare(c Corpus) (notes []string, err error) {
	var n signs
	lost, err := n.census(c)
	if err != nil {
		return nil, err
	}
	if n.unwanted == 0 || n.kept == 0 {
		return nil, fmt.Errorf("objective tnt: of the tokens of %d documents %d are unwanted and %d to keep, and it needs both; hint: palimpsest data annotate marks them in the plane sign", n.documents, n.unwanted, n.kept)
	}
	if notes, err = lostNote("tnt", lost, o.TNT.StrictLength); err != nil {
		return nil, err
	}
	for _, k := range []struct {
		key      string
		set      bool
		variants []string
	}{{"tnt_eps_per_entry", o.TNT.Compat.EpsPerEntry, []string{"TNRR", "TNRF", "TNRLL"}}, {"tnt_nl_threshold", o.TNT.Compat.NLThreshold, []string{"NL"}}, {"tnt_ul_clip", o.TNT.Compat.ULClip, []string{"UL"}}} {
		if k.set && !slices.Contains(k.variants, o.TNT.Variant) {
			notes = append(notes, fmt.Sprintf("tnt.compat.%s changes nothing of %s, only %s", k.key, o.TNT.Variant, strings.Join(k.variants, ", ")))
		}
	}
	return append(notes, fmt.Sprintf("tnt: %s with alpha %g over the %s of %d unwanted and %d kept tokens; %d of %d documents have an unwanted one; variant, alpha under mean and reduce are this program's choices, not the paper's",
		o.TNT.Variant, o.TNT.Factor(), map[bool]string{true: "sum", false: "mean"}[o.TNT.sum()], n.unwanted, n.kept, n.marked, n.documents)), nil
}
