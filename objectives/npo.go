package objectives

import (
	"fmt"

	"palimpsest/kernels"
)

// NPO is the run file's section on the objective npo.
type NPO struct {
	Variant      string  `yaml:"variant" enum:"npo,simnpo" doc:"npo: likelihood of a document against that under the reference; simnpo: its mean log-likelihood against a margin, without a reference"`
	Beta         float64 `yaml:"beta" min:">0" doc:"inverse temperature: towards 0 the gradient is that of plain ascent; 0.1 suits npo, 2.5 simnpo (ours)"`
	Gamma        float64 `yaml:"gamma" doc:"margin of simnpo"`
	Retain       string  `yaml:"retain" enum:"none,ce,kl" doc:"what keeps the model on tokens of sign 1: nothing, cross-entropy, or KL to the reference"`
	RetainWeight float64 `yaml:"retain_weight" min:"0" doc:"factor of what keeps the model"`
}

// DefaultNPO is NPO with a retain loss.
func DefaultNPO() NPO { return NPO{Variant: "npo", Beta: 0.1, Retain: "ce", RetainWeight: 1} }

// npo makes a causal model forget documents without driving it anywhere else: negative preference optimisation (NPO, arXiv
// 2404.05868), and its form without a reference (SimNPO, arXiv 2410.07163). With the log-likelihood ratio or mean of a
// document's unwanted tokens (sign -1),
//
//	npo     2/beta * mean over documents of log(1 + exp(beta * log(p(y)/p_ref(y))))
//	simnpo  2/beta * mean over documents of log(1 + exp(beta/|y| * log p(y) + gamma))
//
// both of which are the rule sigmoid of kernels.Reweigh: over summed losses above the reference's with slope -beta and scale
// -2, and over mean losses above the constant gamma/beta. Tokens of sign 1, of any document, bear the retain loss. A document
// that is split counts as several.
type npo struct{ Settings }

func newNPO(s Settings) (*npo, error) {
	if s.Loss.Reweigh.On() {
		return nil, fmt.Errorf("loss.reweigh.rule: the objective npo has a rule of its own; hint: none")
	}
	return &npo{s}, nil
}

func (o *npo) Name() string     { return "npo" }
func (o *npo) Cost(n int) int   { return n }
func (o *npo) Planes() []string { return o.contextPlane([]string{PlaneSign}) }

// Begin empties the plan and declares its terms.
func (o *npo) Begin(p *Plan) {
	p.Reset()
	o.terms(p)
}

// terms makes those of the plan; kept and drift are nil where they are not asked for.
func (o *npo) terms(p *Plan) (forget, kept, drift *Term) {
	c := o.NPO
	for range 2 { // the first time round the slice of terms may move
		forget = p.term(TermUnwanted, CrossEntropy, HeadLM, 1)
		forget.Unwanted, forget.NeedsReference = true, c.Variant == "npo"
		forget.Options = LossOptions{Reweigh: Reweigh{Rule: "sigmoid", Scope: "segment", Aggregate: "sum", Slope: -c.Beta, Scale: -2}}
		if c.Variant == "simnpo" {
			forget.Options.Reweigh.Aggregate = "mean"
		}
		switch {
		case c.Retain == "ce":
			kept = p.term(TermKept, CrossEntropy, HeadLM, c.RetainWeight)
			kept.Options = o.Loss
		case c.Retain == "kl":
			kept = p.term(TermKept, ReferenceKL, HeadLM, c.RetainWeight)
			kept.Pulls, kept.NeedsReference = Pulls{Unwanted: kernels.ForwardKL, Kept: kernels.ForwardKL}, true
		}
		if o.Held && o.Reference && c.Retain != "kl" {
			drift = DriftTerm(p)
		}
	}
	return forget, kept, drift
}

// Plan appends a causal segment with a row for every signed token, at the place before it.
func (o *npo) Plan(doc Document, p *Plan) {
	start := p.segment(doc, kernels.Causal)
	forget, kept, drift := o.terms(p)
	for i, sign := range doc.Planes[PlaneSign] {
		if i == 0 || doc.context(i) {
			continue
		}
		ask := func(t *Term) {
			if t != nil {
				t.ask(start+i-1, doc.Tokens[i], doc, i)
			}
		}
		switch sign {
		case SignUnwanted:
			ask(forget)
			if o.NPO.Variant == "simnpo" {
				forget.Reference = append(forget.Reference, float32(o.NPO.Gamma/o.NPO.Beta))
			}
		case SignKeep:
			ask(kept)
			ask(drift)
		}
	}
	p.close()
}

func (o *npo) prepares() bool { return !o.Held }

// prepare counts what there is to forget and to keep.
func (o *npo) prepare(c Corpus) (notes []string, err error) {
	var n signs
	lost, err := n.census(c)
	const none = "objective npo: of the tokens of %d documents %d are unwanted and %d to keep, and "
	switch {
	case err != nil:
		return nil, err
	case n.unwanted == 0:
		return nil, fmt.Errorf(none+"there is nothing to forget; hint: palimpsest data annotate marks tokens in the plane sign", n.documents, n.unwanted, n.kept)
	case n.kept == 0 && o.NPO.Retain != "none":
		return nil, fmt.Errorf(none+"npo.retain: %s needs some; hint: npo.retain: none", n.documents, n.unwanted, n.kept, o.NPO.Retain)
	}
	notes, err = lostNote("npo", lost, false)
	return append(notes, fmt.Sprintf("npo: %s with beta %g over %d unwanted tokens of %d documents; retain %s with factor %g over %d tokens",
		o.NPO.Variant, o.NPO.Beta, n.unwanted, n.marked, o.NPO.Retain, o.NPO.RetainWeight, n.kept)), err
}
