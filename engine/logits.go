package engine

import (
	"palimpsest/engine/fault"
	"palimpsest/engine/model"
	"palimpsest/kernels"
	"palimpsest/objectives"
)

// Outputs are what a model says of a sequence of tokens, in n rows: one for every token, or its several states one behind the other.
type Outputs struct {
	Hidden []float32 // [n, width]: the state that the heads read, behind the last norm
	Logits []float32 // [n, vocabulary] of the language model's head
	Places []int32   // [n] place of a row's token in the sequence; nil where every token has one row
}

// Outputs runs the model over one sequence of token ids, as they are: nothing is put before or behind it. Attention looks the
// way that the model was trained, and tokens have as many states as there, unless single.
func (m *Model) Outputs(ids []int32, single bool) (Outputs, error) {
	n, c := len(ids), m.Config.Model
	if n == 0 || n > c.Context {
		return Outputs{}, fault.Data.Errorf("%d tokens, and the model takes 1 to %d", n, c.Context)
	}
	mask, p := kernels.Bidirectional, new(objectives.Plan)
	if looksBack(m.Config) {
		mask = kernels.Causal
	}
	e, many := m.states()
	if single {
		e = objectives.Expansion{}
	}
	var out Outputs
	starts := append(p.Lay(ids, many, mask, e), 0)
	if n = len(p.Tokens); e.Flat && n > c.Context {
		return Outputs{}, fault.Data.Errorf("%d tokens are %d with all states, and the model takes %d", len(ids), n, c.Context)
	}
	if e.On() {
		starts[len(ids)] = int32(n)
		for i := range ids {
			for range starts[i+1] - starts[i] {
				out.Places = append(out.Places, int32(i))
			}
		}
	}
	rows := make([]int32, n)
	for i := range rows {
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
	out.Hidden, out.Logits = make([]float32, n*c.Width), make([]float32, 0, n*int(c.Vocab))
	a.Hidden(out.Hidden)
	err := a.Logits(m.Weights, rows, func(_ int, logits []float32) { out.Logits = append(out.Logits, logits...) })
	return out, err
}
