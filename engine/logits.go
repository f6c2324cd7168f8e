package engine

import (
	"palimpsest/engine/fault"
	"palimpsest/engine/model"
	"palimpsest/kernels"
	"palimpsest/objectives"
)

// Outputs are what a model says of a sequence of n tokens.
type Outputs struct {
	Hidden []float32 // [n, width]: the state that the heads read, behind the last norm
	Logits []float32 // [n, vocabulary] of the language model's head
}

// Outputs runs the model over one sequence of token ids, as they are: nothing is put before or behind it. Attention looks the
// way that the model was trained.
func (m *Model) Outputs(ids []int32) (Outputs, error) {
	n, c := len(ids), m.Config.Model
	if n == 0 || n > c.Context {
		return Outputs{}, fault.Data.Errorf("%d tokens, and the model takes 1 to %d", n, c.Context)
	}
	p := &objectives.Plan{Tokens: ids, OriginalTokens: ids, Segments: []kernels.Segment{{End: int32(n), Mask: kernels.Bidirectional}}}
	if looksBack(m.Config) {
		p.Segments[0].Mask = kernels.Causal
	}
	rows := make([]int32, n)
	for i := range ids {
		p.Pos = append(p.Pos, int32(i), 0)
		rows[i] = int32(i)
	}
	if err := p.Check(int(c.Vocab), c.Context); err != nil {
		return Outputs{}, fault.Data.Wrap(err)
	}
	a := model.NewActivations(m.Backend, c, model.Capacity{Tokens: n, Rows: n}, false)
	if err := a.Load(p, model.Step{}); err != nil {
		return Outputs{}, err
	}
	a.Forward(m.Weights)
	out := Outputs{Hidden: make([]float32, n*c.Width), Logits: make([]float32, 0, n*int(c.Vocab))}
	a.Hidden(out.Hidden)
	err := a.Logits(m.Weights, rows, func(_ int, logits []float32) { out.Logits = append(out.Logits, logits...) })
	return out, err
}
