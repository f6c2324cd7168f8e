package objectives

import (
	"palimpsest/kernels"
	"palimpsest/kernels/philox"
)

// RMLM is the run file's section on the objective rmlm.
type RMLM struct {
	K int `yaml:"k" min:"1" max:"4096" doc:"how often every token stands side by side"`
}

// DefaultRMLM is one point of the study: with mask.p 0.387 as many tokens lose all their copies as under 15 % masking.
func DefaultRMLM() RMLM { return RMLM{K: 2} }

// rmlm is repeated masked language modelling, the preliminary study of ExLM (arXiv 2501.13397): every token stands k times side by
// side, and each copy is masked by itself with probability mask.p, so that a share p of what the network sees is unreal, but
// only a share p^k of the tokens is lost. Cross-entropy asks every masked copy for its token; positions count copies (both
// ours, the paper leaves them open). A masked copy is always the mask token; special tokens and those that are context only are
// repeated, but not masked. Of the section mask only p and schedule are read.
//
// Evaluations ask the copies of lost tokens, of which none is left, in a term of their own: what the study is about, and with
// k copies at mask.p = 0.15^(1/k) as many tokens as for any other k.
type rmlm struct {
	Settings
}

// Names of the terms of evaluations.
const (
	TermLost    = "lost"    // masked copies of tokens all of whose copies are masked
	termPartial = "partial" // of tokens of which a copy is seen
)

func newRMLM(s Settings) (*rmlm, error) {
	return &rmlm{s}, demand("rmlm", []specialID{{"mask", s.Vocabulary.Mask, "<mask>"}})
}

func (r *rmlm) Name() string { return "rmlm" }

// Cost is that of all copies.
func (r *rmlm) Cost(n int) int { return r.RMLM.K * n }

// Planes names what the loss reads of the data set's planes.
func (r *rmlm) Planes() []string { return r.contextPlane(r.Loss.Reweigh.planes()) }

// Begin empties the plan and declares its one term.
func (r *rmlm) Begin(p *Plan) {
	p.Reset()
	r.terms(p)
}

// terms are the one of training, or those of evaluations, which share their denominator.
func (r *rmlm) terms(p *Plan) (lost, partial *Term) {
	if !r.Held {
		t := r.lmTerm(p, r.Name())
		return t, t
	}
	r.lmTerm(p, TermLost)
	partial = r.lmTerm(p, termPartial) // which may move the other
	return r.lmTerm(p, TermLost), partial
}

// Plan appends a bidirectional segment of all copies.
func (r *rmlm) Plan(doc Document, p *Plan) {
	start, d, rate := len(p.Tokens), draw(r.Seed, philox.StreamMask, doc), Mask{P: r.Mask.P, Schedule: r.Mask.Schedule}.rate(KindBase, p.Progress)
	for i, id := range doc.Tokens {
		for range r.RMLM.K {
			seen := id
			if !r.Vocabulary.Special(id) && !doc.context(i) && d.Float64() < rate {
				seen = r.Vocabulary.Mask
			}
			p.Pos = append(p.Pos, int32(len(p.Tokens)-start), 0)
			p.Tokens, p.OriginalTokens = append(p.Tokens, seen), append(p.OriginalTokens, id)
		}
	}
	p.Segments = append(p.Segments, kernels.Segment{Start: int32(start), End: int32(len(p.Tokens)), Mask: kernels.Bidirectional})
	p.Documents = append(p.Documents, doc.ID)
	lost, partial := r.terms(p)
	k, asked := r.RMLM.K, 0
	for i := range doc.Tokens {
		first, t := start+i*k, lost
		for row := first; row < first+k; row++ {
			if p.Tokens[row] == p.OriginalTokens[row] {
				t = partial
			}
		}
		for row := first; row < first+k; row++ {
			if p.Tokens[row] != p.OriginalTokens[row] {
				t.ask(row, p.OriginalTokens[row], doc, i)
				asked++
			}
		}
	}
	if r.Held {
		lost.Counted += float64(asked)
		partial.Counted += float64(asked)
	}
	p.close()
}
