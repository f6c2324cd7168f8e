package engine

import (
	"errors"
	"io"

	"palimpsest/engine/eval"
	"palimpsest/engine/fault"
	"palimpsest/engine/model"
	"palimpsest/engine/shard"
	"palimpsest/engine/text"
)

// Runner returns the model with buffers for sequences of up to its context.
func (m *Model) Runner() eval.Runner {
	const tokens = 4096 // enough for the products to run well
	capacity := model.Capacity{Tokens: max(m.Config.Model.Context, tokens)}
	capacity.Rows = capacity.Tokens
	return eval.Runner{Activations: model.NewActivations(m.Backend, m.Weights.Config, capacity, false), Weights: m.Weights, Capacity: capacity}
}

// SameTokens refuses a model that does not read and write tokens as m does, with both hashes.
func (m *Model) SameTokens(other *Model) error {
	if a, b := m.Tokenizer.Hash(), other.Tokenizer.Hash(); a != b {
		return fault.Data.Errorf("%s was trained with tokenizer %s, %s with %s; hint: models can be compared that began with the same one", m.Dir, a, other.Dir, b)
	}
	if a, b := m.Config.Model.Vocab, other.Config.Model.Vocab; a != b {
		return fault.Data.Errorf("%s has a vocabulary of %d, %s of %d (tokenizer %s of both)", m.Dir, a, other.Dir, b, m.Tokenizer.Hash())
	}
	return nil
}

// SignedText is what a data set says about the tokens of its documents.
type SignedText struct {
	Sequences []eval.Signed
	Documents int64
	Unwanted  int64 // tokens
	Kept      int64
	// Cut are the unwanted tokens that lie behind the context and do not count.
	Cut int64
}

// ReadSigned reads a data set made with the model's tokenizer, up to a number of tokens (0: all). By its plane sign tokens are unwanted,
// kept or not asked for; without signs all that its plane loss does not call context are kept. Of a document with signs
// the first tokens that fit the context count; one without them is read in pieces.
func (m *Model) ReadSigned(data string, signs bool, context int, tokens int64) (s SignedText, err error) {
	ds, err := shard.Open(data)
	if err != nil {
		return s, err
	}
	defer ds.Close()
	if err := ds.CheckTokenizer(m.Tokenizer.Hash(), m.Tokenizer.Vocab()); err != nil {
		return s, err
	}
	var planes []string
	if hasPlane(ds, text.PlaneLoss) {
		planes = append(planes, text.PlaneLoss)
	}
	if signs {
		if !hasPlane(ds, text.PlaneSign) {
			return s, fault.Data.Errorf("data set %s has no plane sign with unwanted tokens; hint: palimpsest data annotate %s --plane sign --words FILE", data, data)
		}
		planes = append(planes, text.PlaneSign)
	}
	stream, err := ds.Stream(shard.StreamConfig{Epochs: 1, Planes: planes}, shard.Cursor{})
	if err != nil {
		return s, err
	}
	defer stream.Close()
	for seen := int64(0); tokens == 0 || seen < tokens; {
		d, err := stream.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return s, err
		}
		if err := s.add(d, signs, context); err != nil {
			return s, err
		}
		seen += int64(len(d.Tokens))
	}
	if s.Kept+s.Unwanted == 0 {
		return s, fault.Data.Errorf("data set %s: no token of %d documents is asked for; hint: planes sign and loss leave all out", data, s.Documents)
	}
	return s, nil
}

// add takes the tokens of a document.
func (s *SignedText) add(d shard.Document, signs bool, context int) error {
	s.Documents++
	all := eval.Signed{Tokens: append([]int32(nil), d.Tokens...), Signs: make([]int8, len(d.Tokens))}
	loss, sign := d.Planes[text.PlaneLoss], d.Planes[text.PlaneSign]
	for i := range all.Tokens {
		switch {
		case loss != nil && loss[i] == 0:
		case !signs || sign[i] == text.SignKeep:
			all.Signs[i] = 1
		case sign[i] == text.SignUnwanted:
			all.Signs[i] = -1
		case sign[i] != text.SignNone:
			return fault.Data.Errorf("document %d, token %d: %d in the plane sign, want -1, 0 or 1", d.ID, i, int8(sign[i]))
		}
	}
	for len(all.Tokens) > 0 {
		n := min(len(all.Tokens), context)
		piece := eval.Signed{Tokens: all.Tokens[:n], Signs: all.Signs[:n]}
		for i, v := range piece.Signs {
			switch {
			case i == 0: // nothing stands before it to answer
			case v > 0:
				s.Kept++
			case v < 0:
				s.Unwanted++
			}
		}
		s.Sequences = append(s.Sequences, piece)
		all.Tokens, all.Signs = all.Tokens[n:], all.Signs[n:]
		if signs {
			for _, v := range all.Signs {
				if v < 0 {
					s.Cut++
				}
			}
			break
		}
	}
	return nil
}
