package objectives

import "palimpsest/kernels"

// clm is causal language modelling: every token predicts the next one of its segment.
type clm struct{ Settings }

func (c *clm) Name() string   { return "clm" }
func (c *clm) Cost(n int) int { return n }

// Planes names what the loss reads of the data set's planes.
func (c *clm) Planes() []string { return c.contextPlane(c.Loss.Reweigh.planes()) }

// Begin empties the plan and declares its one term.
func (c *clm) Begin(p *Plan) {
	p.Reset()
	c.lmTerm(p, c.Name())
}

// Plan appends a causal segment. The last token of a segment has no target: labels never cross a border.
// Tokens that are context only are seen, not asked for.
func (c *clm) Plan(doc Document, p *Plan) {
	start := p.segment(doc, kernels.Causal)
	t := c.lmTerm(p, c.Name())
	for i := 1; i < len(doc.Tokens); i++ {
		if doc.context(i) || c.compat.NoEOS && doc.Tokens[i] == c.Vocabulary.EOS {
			continue
		}
		t.ask(start+i-1, doc.Tokens[i], doc, i)
	}
	p.close()
}
