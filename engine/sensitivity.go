package engine

import (
	"fmt"
	"slices"
	"strings"

	"palimpsest/engine/eval"
	"palimpsest/engine/fault"
	"palimpsest/engine/model"
	"palimpsest/engine/shard"
	"palimpsest/engine/text"
	"palimpsest/kernels"
	"palimpsest/kernels/philox"
	"palimpsest/objectives"
)

// Sensitivity compares how well a masked model recovers domain terms (entities) and ordinary tokens.
type Sensitivity struct {
	Entities   int64         `json:"entities"`
	Domain     eval.Recovery `json:"domain"`     // each entity masked whole, one at a time
	Ordinary   eval.Recovery `json:"ordinary"`   // as many random tokens of the same document
	Difference eval.Recovery `json:"difference"` // domain minus ordinary; tokens: how many fewer ordinary ones there were
	// Heads is the recall of first words of entities by the detection head on unmasked text, nil without one.
	Heads *HeadRecall `json:"heads,omitempty"`
	Notes []string    `json:"notes"`
}

// HeadRecall is the share of entities whose first word the detection head tags as the beginning of one of its type.
type HeadRecall struct {
	Head    string `json:"head"`
	Seen    Recall `json:"seen"`    // entities whose text is that of a training entity
	Unseen  Recall `json:"unseen"`  // others
	Unknown Recall `json:"unknown"` // all, where the training documents cannot be read
}

// Recall is a share of cases.
type Recall struct {
	Entities int64   `json:"entities"`
	Recall   float64 `json:"recall"`
}

func (r *Recall) add(hit bool) {
	r.Entities++
	if hit {
		r.Recall++
	}
}

// Sensitivity measures on a data set with the plane bio ("": what the run held out), up to a number of tokens (0: all). head names
// the detection head; "" takes that of mslm or the first, if there is one.
func (m *Model) Sensitivity(data, head string, tokens int64) (r Sensitivity, err error) {
	if m.Tokenizer.Mask < 0 {
		return r, fault.Data.Errorf("the tokenizer of %s has no mask token", m.Dir)
	}
	if trained := m.Config.Trained(); !slices.ContainsFunc(trained, func(name string) bool { return name == "mlm" || name == "mslm" || name == "exlm" || name == "tag" }) {
		return r, fault.Usage.Errorf("%s was trained for %s, which fills no masks; hint: a run of mlm, mslm or exlm", m.Dir, strings.Join(trained, ", "))
	}
	t, err := m.openTagged(data)
	if err != nil {
		return r, err
	}
	defer t.ds.Close()
	if err := t.recover(&r, tokens); err != nil {
		return r, err
	}
	h, err := t.tagHead(head)
	switch {
	case err == nil:
		r.Heads = &HeadRecall{Head: h.Name}
		if err := t.headRecall(r.Heads, tokens); err != nil {
			return r, err
		}
	case head != "" || fault.Of(err) != fault.Usage:
		return r, err
	default:
		t.notes = append(t.notes, "the model has no token head: nothing to say of detection")
	}
	r.Notes = append([]string{}, t.notes...)
	return r, nil
}

// recover masks every entity, and in another copy of its document as many ordinary tokens.
func (t *tagged) recover(r *Sensitivity, tokens int64) error {
	recoverAll, length := t.recoverer()
	var domain, ordinary []eval.Masked
	size, cut := 0, int64(0)
	var sums [2]recoverySum
	flush := func() error {
		for i, list := range [][]eval.Masked{domain, ordinary} {
			part, err := recoverAll(list)
			if err != nil {
				return err
			}
			sums[i].add(part)
		}
		domain, ordinary, size = domain[:0], ordinary[:0], 0
		return nil
	}
	err := t.each(t.ds, t.split, tokens, func(d shard.Document, tags []byte) error {
		draw := philox.New(t.m.Config.Train.Seed, philox.StreamSample, uint64(d.ID), 0)
		outside := t.outside(d.Tokens, tags)
		for _, e := range t.entities(d.Tokens, tags) {
			// Of a long document, what fits around the entity.
			from := max(0, min(e[0]-max(0, length-(e[1]-e[0]))/2, len(d.Tokens)-length)) // a longer entity is cut
			to := min(from+length, len(d.Tokens))
			var places, free []int
			for i := from; i < to; i++ {
				switch {
				case i >= e[0] && i < e[1]:
					places = append(places, i-from)
				case outside[i]:
					free = append(free, i-from)
				}
			}
			if to-from < len(d.Tokens) {
				cut++
			}
			r.Entities++
			domain = append(domain, t.masked(d.Tokens[from:to], places))
			n := min(len(places), len(free))
			for i := range n {
				j := i + draw.IntN(len(free)-i)
				free[i], free[j] = free[j], free[i]
			}
			if n > 0 {
				ordinary = append(ordinary, t.masked(d.Tokens[from:to], free[:n]))
			}
			size += 2 * (to - from)
		}
		if size < maskedAtOnce {
			return nil
		}
		return flush()
	})
	if err == nil {
		err = flush()
	}
	if err != nil {
		return err
	}
	if r.Entities == 0 {
		return fault.Data.Errorf("there is no entity in the plane bio of these documents; hint: --data DIR with tagged documents")
	}
	if cut > 0 {
		t.notes = append(t.notes, fmt.Sprintf("%d entities stand in documents of more than %d tokens: as many around them were read", cut, length))
	}
	r.Domain, r.Ordinary = sums[0].mean(), sums[1].mean()
	r.Difference = eval.Recovery{Tokens: r.Domain.Tokens - r.Ordinary.Tokens, Accuracy: r.Domain.Accuracy - r.Ordinary.Accuracy,
		Confidence: r.Domain.Confidence - r.Ordinary.Confidence, CrossEntropy: r.Domain.CrossEntropy - r.Ordinary.CrossEntropy}
	return nil
}

// maskedAtOnce is about how many tokens of masked texts are held in memory.
const maskedAtOnce = 1 << 15

// recoverer returns how masked texts are run, and the longest: as exlm sees them in models that it trained, otherwise with one state a
// token.
func (t *tagged) recoverer() (run func(list []eval.Masked) (eval.Recovery, error), length int) {
	m := t.m
	if !slices.Contains(m.Config.Trained(), "exlm") {
		if note := m.Unexpanded(); note != "" {
			t.notes = append(t.notes, note)
		}
		a, capacity, length, _ := m.activations()
		return func(list []eval.Masked) (eval.Recovery, error) {
			return eval.Recover(a, m.Weights, capacity, kernels.Bidirectional, list)
		}, length
	}
	return func(list []eval.Masked) (r eval.Recovery, err error) {
		texts, targets := make([][]int32, len(list)), []int32{}
		for i, masked := range list {
			texts[i], targets = masked.Tokens, append(targets, masked.Targets...)
		}
		var sum recoverySum
		err = m.overLattices(texts, texts, func(a *model.Activations, p *objectives.Plan) error {
			part, err := eval.RecoverLattices(a, m.Weights, p, m.Tokenizer.Mask, targets)
			targets = targets[part.Tokens:]
			sum.add(part)
			return err
		})
		return sum.mean(), err
	}, m.longest()
}

// masked is a copy of a document with some places masked.
func (t *tagged) masked(tokens []int32, places []int) eval.Masked {
	m := eval.Masked{Tokens: append([]int32{}, tokens...), Places: append([]int{}, places...)}
	for _, i := range places {
		m.Targets = append(m.Targets, tokens[i])
		m.Tokens[i] = t.m.Tokenizer.Mask
	}
	return m
}

// entities returns the tokens [from, to) of a document's entities, later parts of words without a tag included.
func (t *tagged) entities(tokens []int32, tags []byte) (list [][2]int) {
	open := byte(0)
	for i, tag := range tags {
		switch {
		case tag == text.TagNone && open != 0 && !t.m.Tokenizer.IsSpecial(tokens[i]), tag != 0 && tag != text.TagNone && tag == open:
			list[len(list)-1][1] = i + 1
		case tag != 0 && tag != text.TagNone: // an I of no entity begins one, as conlleval reads it
			list, open = append(list, [2]int{i, i + 1}), tag+tag%2
		default:
			open = 0
		}
	}
	return list
}

// outside says which tokens are ordinary ones, in no entity; as in entities, later parts of words without a tag belong to the token
// before them.
func (t *tagged) outside(tokens []int32, tags []byte) []bool {
	list, is := make([]bool, len(tags)), false
	for i, tag := range tags {
		special := t.m.Tokenizer.IsSpecial(tokens[i])
		if tag != text.TagNone || special {
			is = tag == text.TagOutside
		}
		list[i] = is && !special
	}
	return list
}

// recoverySum adds up means by their tokens.
type recoverySum struct{ total eval.Recovery }

func (s *recoverySum) add(r eval.Recovery) {
	n := float64(r.Tokens)
	s.total.Tokens += r.Tokens
	s.total.Accuracy += n * r.Accuracy
	s.total.Confidence += n * r.Confidence
	s.total.CrossEntropy += n * r.CrossEntropy
}

func (s *recoverySum) mean() eval.Recovery {
	r, n := s.total, float64(max(1, s.total.Tokens))
	r.Accuracy, r.Confidence, r.CrossEntropy = r.Accuracy/n, r.Confidence/n, r.CrossEntropy/n
	return r
}

// headRecall lets the detection head tag unmasked documents.
func (t *tagged) headRecall(h *HeadRecall, tokens int64) error {
	seen := map[string]bool{}
	known := t.trainingEntities(seen)
	documents := int64(0)
	err := t.answer(h.Head, tokens, nil, &documents, func(d shard.Document, tags, answers []byte) error {
		for _, e := range t.entities(d.Tokens, tags) {
			at := e[0]
			for _, w := range t.words(d.Tokens[e[0]:e[1]], tags[e[0]:e[1]], UnitWord)[:1] {
				at += w.at
			}
			first := tags[at] - 1 + tags[at]%2 // the tag of a beginning
			hit := answers[at] == first
			switch {
			case !known:
				h.Unknown.add(hit)
			case seen[t.surface(d.Tokens[e[0]:e[1]])]:
				h.Seen.add(hit)
			default:
				h.Unseen.add(hit)
			}
		}
		return nil
	})
	for _, r := range []*Recall{&h.Seen, &h.Unseen, &h.Unknown} {
		r.Recall /= float64(max(1, r.Entities))
	}
	return err
}

// trainingEntities collects the texts of the training documents' entities; false when these cannot be read.
func (t *tagged) trainingEntities(seen map[string]bool) bool {
	c := t.m.Config.Data
	ds, err := shard.Open(c.Train)
	if err == nil {
		defer ds.Close()
		err = t.each(ds, shard.Split{Valid: c.Valid.Share, Part: shard.Train}, 0, func(d shard.Document, tags []byte) error {
			for _, e := range t.entities(d.Tokens, tags) {
				seen[t.surface(d.Tokens[e[0]:e[1]])] = true
			}
			return nil
		})
	}
	if err != nil {
		t.notes = append(t.notes, fmt.Sprintf("the training documents cannot be read, so nobody knows which entities the run has seen: %v", err))
		return false
	}
	return true
}
