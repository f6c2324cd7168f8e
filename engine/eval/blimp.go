package eval

import (
	"encoding/binary"
	"slices"

	"palimpsest/engine/fault"
	"palimpsest/engine/model"
	"palimpsest/kernels"
	"palimpsest/objectives"
)

// Scoring says how sentences are scored. Special tokens are -1 where there is none.
type Scoring struct {
	Causal, Masked bool
	Prefix         bool  // of pairs: what both sentences begin with is seen both ways, the rest is scored causally
	Next           bool  // the model was trained so that the state at t names the token hidden at t+1 (mntp)
	BOS, EOS, Mask int32 // Mask for Masked; BOS for Causal, and for Masked with Next
	PerToken       bool  // divide by the number of tokens that are scored
	// Recall returns the log-probabilities of targets at the one mask of each text, given without ends, for models that read masks
	// otherwise than with one state; nil: the masked score is made here.
	Recall func(texts, targets [][]int32) ([][]float64, error)
}

// Check reports what a scoring lacks.
func (s Scoring) Check() error {
	switch {
	case !s.Causal && !s.Masked && !s.Prefix:
		return fault.Usage.Errorf("no score is asked for")
	case s.Masked && s.Mask < 0:
		return fault.Data.Errorf("the masked score needs a mask token, which the tokenizer does not have; hint: --score clm")
	case s.BOS < 0 && (s.Causal || s.Prefix):
		return fault.Data.Errorf("the causal score of a first token needs a token before it, but documents begin with none; hint: --score mlm")
	case s.BOS < 0 && s.Masked && s.Next:
		return fault.Data.Errorf("the masked score of a model that answers one place before needs a token before the first, but documents begin with none")
	}
	return nil
}

// Scores are the log-likelihoods of a sentence in nats: summed over its tokens, those of its ends not counted.
type Scores struct {
	Causal float64 // sum over t of log p(x_t given BOS and all before t)
	Masked float64 // pseudo-log-likelihood, sum over t of log p(x_t given all but t): arXiv 1910.14659
	Prefix float64 // of one of a pair: sum over t behind the prompt of log p(x_t given the prompt, which sees itself both ways, and all before t)
}

// scorer packs the sequences that sentences are scored with, of both kinds, into as few steps as the activations hold.
type scorer struct {
	a        *model.Activations
	w        *model.Weights
	capacity model.Capacity
	o        Scoring
	stop     func() bool

	plan    objectives.Plan
	masked  map[string]int32 // first rows of the masked sequences in the plan
	key     []byte
	rows    []int32
	targets []int32
	into    []*float64 // by row, what its log-likelihood is added to

	recalled recalled
}

// recalled are the masked sequences for Scoring.Recall. Sentences that differ in one token alone share the one in which it is masked.
type recalled struct {
	texts, targets [][]int32
	into           [][]*float64
	tokens         int
}

// recalledAtOnce is about how many tokens of masked sequences are held in memory.
const recalledAtOnce = 1 << 15

// recall adds the sequence with the token at index t masked.
func (s *scorer) recall(ids []int32, t int, into *float64) error {
	r := &s.recalled
	s.keyOf(ids, t)
	at, known := s.masked[string(s.key)]
	if !known {
		text := slices.Clone(ids)
		text[t] = s.o.Mask
		at = int32(len(r.texts))
		s.masked[string(s.key)] = at
		r.texts, r.targets, r.into, r.tokens = append(r.texts, text), append(r.targets, nil), append(r.into, nil), r.tokens+len(text)
	}
	r.targets[at], r.into[at] = append(r.targets[at], ids[t]), append(r.into[at], into)
	if r.tokens < recalledAtOnce {
		return nil
	}
	return s.flushRecalled()
}

// flushRecalled scores the masked sequences that were gathered.
func (s *scorer) flushRecalled() error {
	r := &s.recalled
	if len(r.texts) == 0 {
		return nil
	}
	if s.stop != nil && s.stop() {
		return ErrInterrupted
	}
	logP, err := s.o.Recall(r.texts, r.targets)
	if err != nil {
		return err
	}
	for i, list := range r.into {
		for k, into := range list {
			*into += logP[i][k]
		}
	}
	*r = recalled{}
	clear(s.masked)
	return nil
}

// ScoreSentences returns the scores of sentences, given as token ids without special ones at their ends. All sequences of all
// sentences are one packed stream: for the causal score a sentence is one causal segment, for the masked one it is a
// bidirectional segment for each of its tokens, with that token masked; only rows that are asked reach the head. stop,
// polled between steps, may be nil.
func ScoreSentences(a *model.Activations, w *model.Weights, capacity model.Capacity, sentences [][]int32, o Scoring, stop func() bool) ([]Scores, error) {
	if err := o.Check(); err != nil {
		return nil, err
	}
	longest := min(w.Config.Context, capacity.Tokens)
	scores := make([]Scores, len(sentences))
	s := scorer{a: a, w: w, capacity: capacity, o: o, stop: stop, masked: map[string]int32{}}
	for i, ids := range sentences {
		if len(ids) == 0 {
			return nil, fault.Data.Errorf("sentence %d has no tokens", i)
		}
		if n := o.length(len(ids)); n > longest {
			return nil, fault.Data.Errorf("sentence %d has %d tokens with those at its ends, and the model takes %d", i, n, longest)
		}
		if err := s.add(ids, &scores[i]); err != nil {
			return nil, err
		}
	}
	if err := s.flush(); err != nil {
		return nil, err
	}
	if err := s.flushRecalled(); err != nil {
		return nil, err
	}
	if o.PerToken {
		for i, ids := range sentences {
			scores[i].Causal /= float64(len(ids))
			scores[i].Masked /= float64(len(ids))
		}
	}
	return scores, nil
}

// length is how many tokens the longest sequence of a sentence of n tokens has.
func (o Scoring) length(n int) int {
	if o.BOS >= 0 {
		n++
	}
	if o.Masked && !o.Next && o.EOS >= 0 {
		n++
	}
	return n
}

// add appends a sentence's sequences.
func (s *scorer) add(ids []int32, to *Scores) error {
	if s.o.Causal {
		start, err := s.segment(ids, -1, kernels.Causal, len(ids))
		if err != nil {
			return err
		}
		for t, id := range ids {
			s.ask(start+t, id, &to.Causal)
		}
	}
	if !s.o.Masked {
		return nil
	}
	before := 0
	if s.o.BOS >= 0 && !s.o.Next {
		before = 1
	}
	for t, id := range ids {
		if s.o.Recall != nil {
			if err := s.recall(ids, t, &to.Masked); err != nil {
				return err
			}
			continue
		}
		start, err := s.hide(ids, t)
		if err != nil {
			return err
		}
		s.ask(start+before+t, id, &to.Masked)
	}
	return nil
}

// hide returns the first row of the sequence with the token at index t masked. Sentences that differ in one token alone, as
// those of many pairs do, share the sequence in which it is masked.
func (s *scorer) hide(ids []int32, t int) (start int, err error) {
	s.keyOf(ids, t)
	if row, known := s.masked[string(s.key)]; known && len(s.rows) < s.capacity.Rows {
		return int(row), nil
	}
	if start, err = s.segment(ids, t, kernels.Bidirectional, 1); err == nil {
		s.masked[string(s.key)] = int32(start)
	}
	return start, err
}

// keyOf fills s.key with a sentence whose token at index t is masked.
func (s *scorer) keyOf(ids []int32, t int) {
	s.key = s.key[:0]
	for i, id := range ids {
		if i == t {
			id = -1
		}
		s.key = binary.LittleEndian.AppendUint32(s.key, uint32(id))
	}
}

func (s *scorer) ask(row int, target int32, into *float64) {
	s.rows, s.targets, s.into = append(s.rows, int32(row)), append(s.targets, target), append(s.into, into)
}

// segment appends one sequence with the token at index hide masked (none below 0), making room where there is none for it
// and its rows, and returns its first row.
func (s *scorer) segment(ids []int32, hide int, mask kernels.Mask, rows int) (start int, err error) {
	p, end := &s.plan, mask == kernels.Bidirectional && !s.o.Next && s.o.EOS >= 0
	if len(p.Tokens)+s.o.length(len(ids)) > s.capacity.Tokens || len(s.rows)+rows > s.capacity.Rows {
		if err := s.flush(); err != nil {
			return 0, err
		}
	}
	start = len(p.Tokens)
	if s.o.BOS >= 0 {
		p.Tokens = append(p.Tokens, s.o.BOS)
	}
	first := len(p.Tokens)
	p.Tokens = append(p.Tokens, ids...)
	if hide >= 0 {
		p.Tokens[first+hide] = s.o.Mask
	}
	if end {
		p.Tokens = append(p.Tokens, s.o.EOS)
	}
	for i := range len(p.Tokens) - start {
		p.Pos = append(p.Pos, int32(i), 0)
	}
	p.Segments = append(p.Segments, kernels.Segment{Start: int32(start), End: int32(len(p.Tokens)), Mask: mask})
	return start, nil
}

// flush runs the step that was packed.
func (s *scorer) flush() error {
	if len(s.rows) == 0 {
		return nil
	}
	if s.stop != nil && s.stop() {
		return ErrInterrupted
	}
	p := &s.plan
	p.OriginalTokens = p.Tokens
	if err := p.Check(int(s.w.Config.Vocab), s.w.Config.Context); err != nil {
		return err
	}
	if err := s.a.Load(p, model.Step{}); err != nil {
		return err
	}
	at := s.a.ForwardRows(s.w, s.rows)
	err := s.a.RowNLL(s.w, at, s.targets, func(i int, nll float32) { *s.into[i] -= float64(nll) })
	p.Reset()
	if s.o.Recall == nil { // whose sequences are none of this step
		clear(s.masked)
	}
	s.rows, s.targets, s.into = s.rows[:0], s.targets[:0], s.into[:0]
	return err
}
