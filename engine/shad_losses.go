package engine

import (
	"errors"
	"fmt"
	"io"
	"math"

	"palimpsest/engine/eval"
	"palimpsest/engine/fault"
	"palimpsest/engine/model"
	"palimpsest/engine/shad"
	"palimpsest/engine/shard"
	"palimpsest/kernels"
	"palimpsest/objectives"
)

// responses lists the tokens of a document that a loss is asked of, of the first length tokens: those of the response that
// have a token before them. cut counts the response tokens behind.
func responses(d shard.Document, length int) (at []int, cut int) {
	for i, learned := range d.Planes[objectives.PlaneLoss] {
		switch {
		case learned == 0 || i == 0:
		case i < length:
			at = append(at, i)
		default:
			cut++
		}
	}
	return at, cut
}

// A lossScorer gives the losses of response tokens under a model: teacher forcing, without dropout or gradients, only
// response rows reach the head.
type lossScorer struct {
	m        *Model
	a        *model.Activations
	capacity model.Capacity
	length   int  // tokens of a document that are seen
	strict   bool // a response behind them is an error

	documents [][]int32 // of the next step
	places    [][]int
	ids       []int64
	tokens    int
}

func newLossScorer(m *Model, length, tokensPerStep int) (*lossScorer, error) {
	context := m.Config.Model.Context
	if length == 0 {
		length = context
	}
	if length > context {
		return nil, fault.Usage.Errorf("data.length: %d exceeds model.context %d of %s", length, context, m.Dir)
	}
	if !looksBack(m.Config) {
		return nil, fault.Usage.Errorf("%s was not trained for text that goes on, so it has no loss of a response given its prompt; hint: a model of the objective clm", m.Dir)
	}
	capacity := model.Capacity{Tokens: max(length, tokensPerStep), Rows: max(length, tokensPerStep)}
	return &lossScorer{m: m, a: model.NewActivations(m.Backend, m.Weights.Config, capacity, false), capacity: capacity, length: length}, nil
}

// full reports whether a document must wait for the next step.
func (s *lossScorer) full(d shard.Document) bool {
	return s.tokens > 0 && s.tokens+min(len(d.Tokens), s.length) > s.capacity.Tokens
}

// add takes a document into the next step.
func (s *lossScorer) add(d shard.Document) (cut int) {
	at, cut := responses(d, s.length)
	tokens := d.Tokens[:min(len(d.Tokens), s.length)]
	s.documents, s.places, s.ids = append(s.documents, tokens), append(s.places, at), append(s.ids, d.ID)
	s.tokens += len(tokens)
	return cut
}

// run computes the step that was collected and yields the losses of each document.
func (s *lossScorer) run(yield func(losses []float32) error) error {
	err := eval.Packed(s.a, s.m.Weights, s.capacity, kernels.Causal, s.documents, func(first, last int, starts []int32) error {
		var rows, targets []int32
		for i := first; i < last; i++ {
			for _, at := range s.places[i] {
				rows, targets = append(rows, starts[i-first]+int32(at-1)), append(targets, s.documents[i][at])
			}
		}
		losses := make([]float32, len(rows))
		if err := s.a.RowNLL(s.m.Weights, rows, targets, func(i int, nll float32) { losses[i] = nll }); err != nil {
			return err
		}
		for i := first; i < last; i++ {
			n := len(s.places[i])
			for k, l := range losses[:n] {
				if f := float64(l); math.IsNaN(f) || math.IsInf(f, 0) {
					return fault.Data.Errorf("%s gives token %d of document %d the loss %g; hint: a model that diverged, or the wrong one", s.m.Dir, s.places[i][k], s.ids[i], f)
				}
			}
			if err := yield(losses[:n]); err != nil {
				return err
			}
			losses = losses[n:]
		}
		return nil
	})
	s.documents, s.places, s.ids, s.tokens = s.documents[:0], s.places[:0], s.ids[:0], 0
	return err
}

// meanLoss is the mean loss of the response tokens of some documents of a data set; nil: of all.
func (s *lossScorer) meanLoss(ds *shard.Dataset, sample []int64) (float64, error) {
	sum, n := 0.0, 0
	add := func(losses []float32) error {
		for _, l := range losses {
			sum += float64(l)
		}
		n += len(losses)
		return nil
	}
	each := func(_ int, d shard.Document) error {
		if s.full(d) {
			if err := s.run(add); err != nil {
				return err
			}
		}
		s.add(d)
		return nil
	}
	if sample == nil {
		for i := range ds.Documents() {
			sample = append(sample, i)
		}
	}
	if err := chosen(ds, sample, each); err != nil {
		return 0, err
	}
	if err := s.run(add); err != nil {
		return 0, err
	}
	if n == 0 {
		return 0, fault.Data.Errorf("none of %d documents has a response token", len(sample))
	}
	return sum / float64(n), nil
}

// commitEvery is the number of steps of scoring after which losses are made durable.
const commitEvery = 64

// losses writes the losses of all documents to NAME.f32, behind those that are there already. Steps end where they would without an
// interruption, so that the result has the same bits.
func (s *lossScorer) losses(ds *shard.Dataset, name string, stop func() bool, progress func(documents int64)) (_ shad.Scored, err error) {
	info := s.m.Backend.Info()
	w, err := shad.WriteLosses(name, shad.Scored{Model: s.m.Hash, Path: s.m.Dir, Data: responsesHash(ds), Tokenizer: ds.Index().Tokenizer.Hash,
		Length: s.length, Compute: fmt.Sprint(info.Compute), Device: deviceLine(s.m.Backend)})
	if err != nil {
		return shad.Scored{}, err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	if w.Done {
		return w.Scored, nil
	}
	stream, err := ds.Stream(shard.StreamConfig{Epochs: 1, Planes: []string{objectives.PlaneLoss}}, shard.Cursor{})
	if err != nil {
		return w.Scored, err
	}
	defer stream.Close()
	steps := 0
	var cuts []int // by document of the step
	flush := func() error {
		i := 0
		if err := s.run(func(losses []float32) error {
			if cuts[i] > 0 {
				w.Truncated++
				w.Cut += int64(cuts[i])
			}
			i++
			return w.Append(losses)
		}); err != nil {
			return err
		}
		cuts = cuts[:0]
		progress(w.Documents)
		stopping := stop != nil && stop()
		if steps++; stopping || steps%commitEvery == 0 {
			if err := w.Commit(false); err != nil {
				return err
			}
		}
		if stopping {
			return fault.Preempted.Errorf("stopped after %d of %d documents; their losses are kept; hint: the same command goes on from there", w.Documents, ds.Documents())
		}
		return nil
	}
	done := w.Documents
	for {
		d, err := stream.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return w.Scored, err
		}
		if d.ID < done {
			continue
		}
		if s.full(d) {
			if err := flush(); err != nil {
				return w.Scored, err
			}
		}
		cut := s.add(d)
		if cut > 0 && s.strict {
			return w.Scored, fault.Data.Errorf("document %d has %d tokens, %d are seen, and %d response tokens lie behind them; hint: a larger data.length or model.context, or leave out --strict-length (shad.strict_length)", d.ID, len(d.Tokens), s.length, cut)
		}
		cuts = append(cuts, cut)
	}
	if err := flush(); err != nil {
		return w.Scored, err
	}
	if w.Documents != ds.Documents() {
		return w.Scored, fault.Internal.Errorf("%d of %d documents were scored", w.Documents, ds.Documents())
	}
	return w.Scored, w.Commit(true)
}
