package engine

import (
	"fmt"
	"slices"
	"strings"

	"palimpsest/engine/eval"
	"palimpsest/engine/fault"
	"palimpsest/engine/shard"
	"palimpsest/engine/text"
	"palimpsest/kernels/philox"
	"palimpsest/objectives"
)

// NEROptions say what entity recognition is measured on.
type NEROptions struct {
	Data   string // data set with the plane bio, all of it; "": what the run held out
	Head   string // token head; "": that of mslm, or the first
	Unit   string // what is compared: UnitWord, of which the first token answers, UnitSpace, the same, or UnitToken
	Tokens int64  // 0: all
	// Each, if not nil, gets the words of every document with their tags and the answered ones.
	Each func(words, tags, answers []string) error
}

// NER is how well a head recognises entities.
type NER struct {
	Head      string            `json:"head"`
	Documents int64             `json:"documents"`
	Entities  []string          `json:"entity_types"` // names by type; empty where the data set does not tell
	Default   eval.EntityScores `json:"default"`      // as conlleval and seqeval decode tags
	Strict    eval.EntityScores `json:"strict"`       // IOB2: an I without B is part of no entity
	Leaky     bool              `json:"leaky"`        // on masked text, as mslm.compat.mslm_eval_masked asks: not to be compared
	Notes     []string          `json:"notes"`
}

// NER measures a token head by the entities of the plane bio, exact matches of start, end and type. Documents longer than the
// run's segments are read in pieces, and their answers put together.
func (m *Model) NER(o NEROptions) (r NER, err error) {
	t, err := m.openTagged(o.Data)
	if err != nil {
		return r, err
	}
	defer t.ds.Close()
	head, err := t.tagHead(o.Head)
	if err != nil {
		return r, err
	}
	if o.Unit == UnitSpace && !t.keepsSpaces() {
		return r, fault.Usage.Errorf("the tokenizer of %s drops white space, so nothing tells which words it sets apart; hint: unit %s", m.Dir, UnitWord)
	}
	r.Head, r.Entities, r.Leaky = head.Name, append([]string{}, t.types...), m.Config.MSLM.Compat.EvalMasked
	masked, err := m.leaky(r.Leaky)
	if err != nil {
		return r, err
	}
	loose, strict := eval.EntityScorer{}, eval.EntityScorer{Strict: true}
	found := false
	score := func(d shard.Document, tags, answers []byte) error {
		words := t.words(d.Tokens, tags, o.Unit)
		truth, answer := make([]byte, len(words)), make([]byte, len(words))
		for i, w := range words {
			truth[i], answer[i] = tags[w.at], answers[w.at]
			if n := 1 + 2*len(t.types); len(t.types) > 0 && int(truth[i]) >= n {
				return fault.Data.Errorf("document %d, token %d: tag %d in the plane bio, its %d types of entities have the tags 1 to %d", d.ID, w.at, truth[i], len(t.types), n-1)
			}
		}
		found = found || len(words) > 0
		loose.Add(truth, answer)
		strict.Add(truth, answer)
		if o.Each == nil || len(words) == 0 {
			return nil
		}
		columns := [3][]string{}
		for i, w := range words {
			word := strings.Join(strings.Fields(string(m.Tokenizer.Decode(d.Tokens[w.from:w.to]))), "_")
			if word == "" {
				word = "_"
			}
			columns[0], columns[1], columns[2] = append(columns[0], word), append(columns[1], t.tagName(truth[i])), append(columns[2], t.tagName(answer[i]))
		}
		return o.Each(columns[0], columns[1], columns[2])
	}
	if err := t.answer(head.Name, o.Tokens, masked, &r.Documents, score); err != nil {
		return r, err
	}
	if !found {
		return r, fault.Data.Errorf("no token of %d documents has a tag in the plane bio; hint: --data DIR with tagged documents", r.Documents)
	}
	r.Default, r.Strict, r.Notes = loose.Scores(), strict.Scores(), append([]string{}, t.notes...)
	if r.Leaky {
		r.Notes = append(r.Notes, "leaky: entities are masked by the right answers, as in the authors' code (mslm.compat.mslm_eval_masked); not to be compared with other results")
	}
	return r, nil
}

// leaky returns what masks documents as in training, or nil.
func (m *Model) leaky(wanted bool) (func(d shard.Document) []int32, error) {
	if !wanted {
		return nil, nil
	}
	c := m.Config.MSLM
	if c.Strategy == "pmi" {
		return nil, fault.Usage.Errorf("mslm.compat.mslm_eval_masked: masks of strategy pmi need the training documents; hint: train without the switch")
	}
	c.DetectionWeight, c.ClassWeight = 0, 0
	o, err := objectives.New("mslm", objectives.Settings{Seed: philox.Derive(m.Config.Train.Seed, 1), Vocabulary: vocabularyOf(m.Tokenizer), MSLM: c, Held: true})
	if err != nil {
		return nil, fault.Usage.Wrap(err)
	}
	return func(d shard.Document) []int32 {
		p := new(objectives.Plan)
		o.Begin(p)
		o.Plan(objectives.Document{ID: d.ID, Tokens: d.Tokens, Planes: d.Planes}, p)
		return p.Tokens
	}, nil
}

// answer lets a head tag the documents, some at a time, and hands each with its tags and answers to score.
func (t *tagged) answer(head string, tokens int64, masked func(shard.Document) []int32, documents *int64, score func(d shard.Document, tags, answers []byte) error) error {
	a, capacity, length, mask := t.m.activations()
	ends := t.m.endStates()
	if ends.On() { // room for a begin and an end
		length = max(1, min(length, capacity.Tokens-2*(ends.K-1)))
	}
	var batch []shard.Document
	size, long := 0, int64(0)
	flush := func() error {
		var pieces, originals [][]int32
		for _, d := range batch {
			ids := d.Tokens
			if masked != nil {
				ids = masked(d)
			}
			for piece := range slices.Chunk(ids, length) {
				pieces = append(pieces, piece)
			}
			for piece := range slices.Chunk(d.Tokens, length) {
				originals = append(originals, piece)
			}
		}
		tag := func() ([][]byte, error) {
			return eval.TagTokens(a, t.m.Weights, capacity, mask, head, pieces, originals)
		}
		if ends.On() {
			tag = func() ([][]byte, error) {
				return eval.TagExpanded(a, t.m.Weights, capacity, mask, head, pieces, vocabularyOf(t.m.Tokenizer).End, ends)
			}
		}
		answers, err := tag()
		if err != nil {
			return err
		}
		for _, d := range batch {
			var whole []byte
			for len(whole) < len(d.Tokens) {
				whole, answers = append(whole, answers[0]...), answers[1:]
			}
			if err := score(d, d.Planes[text.PlaneBIO], whole); err != nil {
				return err
			}
		}
		batch, size = batch[:0], 0
		return nil
	}
	err := t.each(t.ds, t.split, tokens, func(d shard.Document, _ []byte) error {
		*documents++
		if len(d.Tokens) > length {
			long++
		}
		batch, size = append(batch, d), size+len(d.Tokens)
		if size < 4*capacity.Tokens {
			return nil
		}
		return flush()
	})
	if err == nil {
		err = flush()
	}
	if long > 0 {
		t.notes = append(t.notes, fmt.Sprintf("%d documents of more than %d tokens were read in pieces", long, length))
	}
	return err
}
