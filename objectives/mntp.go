package objectives

import (
	"palimpsest/kernels"
	"palimpsest/kernels/philox"
)

// mntp is masked next-token prediction (GPT-BERT, arXiv 2410.24159, section 2): tokens are selected and replaced as mlm does, and
// attention looks both ways, but the state at t answers for the token hidden at t+1, so that the head means "the next token"
// as it does in clm. One shift of the rows is all the difference to mlm; the same draws select the same tokens.
//
// The first token of a segment has no state before it. It is not selected (ours; the reference code begins every segment with a
// special token, which is never selected either).
type mntp struct{ mlm }

func newMNTP(s Settings) (*mntp, error) {
	m, err := newMasked("mntp", s)
	if err != nil {
		return nil, err
	}
	m.first = 1
	return &mntp{*m}, nil
}

func (m *mntp) Name() string { return "mntp" }

// Begin empties the plan and declares its one term.
func (m *mntp) Begin(p *Plan) {
	p.Reset()
	m.lmTerm(p, m.Name())
}

// Plan appends a bidirectional segment with its selected tokens replaced; the row before each asks for the original.
func (m *mntp) Plan(doc Document, p *Plan) {
	start := p.segment(doc, kernels.Bidirectional)
	t := m.lmTerm(p, m.Name())
	d := draw(m.Seed, philox.StreamMask, doc)
	m.hide(doc, p, start, &d, func(i int, id int32) { t.ask(start+i-1, id, doc, i) })
	p.close()
}
