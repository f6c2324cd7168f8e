package objectives

import (
	"fmt"
	"slices"
)

// census is what mslm counts of a corpus: training and held-out documents, with the masks of epoch 0.
type census struct {
	nE, nB, nU         int64 // masked tokens of entities, other masked ones, unmasked ones
	ordinary           int64 // tokens that may be masked
	documents, without int64 // all; those in which nothing is masked
	plain              int64 // documents without an entity
	entities, repairs  int64
	split              int64 // entities that the border of two pieces of a document cuts in two
	tokens             int64
	labels             [256]int64 // by tag
}

func (m *mslm) prepares() bool { return !m.held || m.MSLM.Strategy == "pmi" }

// prepare counts masks and labels, from which the weights follow, and refuses tags that cannot be learned.
func (m *mslm) prepare(c Corpus) (notes []string, err error) {
	if m.MSLM.Strategy == "pmi" {
		if m.collocations, err = collect(m.MSLM.PMI, m.Vocabulary, c); err != nil {
			return nil, err
		}
		if !m.held {
			notes = append(notes, fmt.Sprintf("mslm: %d collocations", len(m.collocations.rank)))
		}
	}
	if m.held {
		return nil, nil
	}
	var n census
	for doc, err := range c.Documents {
		if err == nil {
			err = m.count(&n, doc, len(c.Types))
		}
		if err != nil {
			return nil, err
		}
	}
	if err := m.judge(&n, c.Types); err != nil {
		return nil, err
	}
	if err := m.setWeights(n.nE, n.nB, n.nU); err != nil {
		return nil, fmt.Errorf("mslm: %w", err)
	}
	if err := m.balance(&n); err != nil {
		return nil, err
	}
	notes = append(notes, fmt.Sprintf("mslm: of %d tokens %d are masked in entities and %d elsewhere, w_e %.6f, w_b %.6f; %d of %d documents have nothing masked, %d have no entity",
		n.nE+n.nB+n.nU, n.nE, n.nB, m.wE, m.wB, n.without, n.documents, n.plain))
	short, err := m.shortened(c, &n)
	if err != nil {
		return nil, err
	}
	notes = append(notes, short...)
	if n.repairs > 0 {
		notes = append(notes, fmt.Sprintf("mslm.repair: %d tokens tagged I that follow no entity of their type begin one", n.repairs))
	}
	return notes, nil
}

// shortened says what the corpus loses by the length of pieces.
func (m *mslm) shortened(c Corpus, n *census) (notes []string, err error) {
	if n.split > 0 {
		notes = append(notes, fmt.Sprintf("mslm: the borders of pieces cut %d entities in two: their second halves are of none; hint: a larger data.length", n.split))
	}
	if c.Uncut == nil || !slices.Contains(m.Planes(), planeBIO) {
		return notes, nil
	}
	var tokens, entities int64
	longest := 0
	for doc, err := range c.Uncut {
		if err != nil {
			return nil, err
		}
		m.list = m.entitiesOf(m.list, doc)
		tokens, entities = tokens+int64(len(doc.Tokens)), entities+int64(len(m.list))
		longest = max(longest, len(doc.Tokens))
	}
	if cut := tokens - n.tokens; cut > 0 {
		notes = append(notes, fmt.Sprintf("mslm: the ends of long documents are cut off, %d tokens and %d entities with them; the longest has %d tokens; hint: a larger data.length, data.long: split, or error",
			cut, max(0, entities-n.entities), longest))
	}
	return notes, nil
}

// count adds a document to the census.
func (m *mslm) count(n *census, doc Document, types int) error {
	if tags := doc.Planes[planeBIO]; len(m.Planes()) > 0 && tags != nil {
		if err := m.checkTags(n, doc, tags, types); err != nil {
			return err
		}
	}
	if tags := doc.Planes[planeBIO]; doc.Offset > 0 && len(tags) > 0 && tags[0] != 0 && tags[0]%2 == 0 {
		n.split++
	}
	n.tokens += int64(len(doc.Tokens))
	m.choose(doc)
	before := n.nE + n.nB
	for i, kind := range m.kinds {
		switch kind {
		case TokenEntity:
			n.nE++
		case TokenBase:
			n.nB++
		case TokenUnmasked:
			n.nU++
		}
		if kind == TokenEntity || kind != TokenContext && m.ordinary(doc, i) {
			n.ordinary++
		}
	}
	n.documents++
	if n.nE+n.nB == before {
		n.without++
	}
	entities := m.entitiesOf(m.list, doc)
	m.list = entities
	n.entities += int64(len(entities))
	if len(entities) == 0 {
		n.plain++
	}
	return nil
}

// checkTags counts the tags of a document and refuses what no head can learn.
func (m *mslm) checkTags(n *census, doc Document, tags []byte, types int) error {
	if len(tags) != len(doc.Tokens) {
		return fmt.Errorf("document %d has %d tokens, but %d tags in the plane bio; hint: make the plane again with 'palimpsest data annotate'",
			doc.ID, len(doc.Tokens), len(tags))
	}
	last := byte(0) // tag of the token before
	for i, tag := range tags {
		place := func() string { return fmt.Sprintf("document %d, token %d", doc.ID, doc.Offset+i) }
		if tag == NoLabel {
			if m.Vocabulary.Special(doc.Tokens[i]) {
				last = 0
			}
			continue
		}
		n.labels[tag]++
		switch {
		case types > 0 && int(tag) > 2*types:
			return fmt.Errorf("%s: tag %d in the plane bio, but its %d types of entities have the tags 1 to %d", place(), tag, types, 2*types)
		case m.detector.Classes > 0 && int(tag) >= m.detector.Classes:
			return fmt.Errorf("%s: tag %d in the plane bio, but head %q has %d classes; hint: model.classifiers gives it 1 + 2 for every type of entity",
				place(), tag, m.detector.Name, m.detector.Classes)
		case m.classy.Classes > 0 && int(entityType(tag)) >= m.classy.Classes:
			return fmt.Errorf("%s: an entity of type %d, but head %q has %d classes", place(), entityType(tag), m.classy.Name, m.classy.Classes)
		}
		if inside := tag > 0 && tag%2 == 0; inside && last != tag && last != tag-1 && !(doc.Offset > 0 && i == 0) {
			if !m.MSLM.Repair {
				return fmt.Errorf("%s: tag %d (I) follows %d, which is no entity of its type; hint: mend the plane, or mslm.repair: true", place(), tag, last)
			}
			n.repairs++
		}
		last = tag
	}
	return nil
}

// judge refuses a corpus that cannot be trained on.
func (m *mslm) judge(n *census, types []string) error {
	entity, base := m.MSLM.rates()
	occurring := 0
	for tag := 1; tag < NoLabel; tag += 2 {
		if n.labels[tag]+n.labels[tag+1] > 0 {
			occurring++
		}
	}
	switch {
	case entity > 0 && n.entities == 0:
		return fmt.Errorf("mslm.entity is %g, but no token of the %d documents is tagged B in the plane bio; hint: palimpsest data annotate tags terms or spans, and mslm.entity: 0 does without", entity, n.documents)
	case n.nE+n.nB == 0:
		return fmt.Errorf("nothing would be masked in %d documents of %d ordinary tokens with %d entities: mslm.entity is %g and mslm.base %g",
			n.documents, n.ordinary, n.entities, entity, base)
	case n.nE+n.nB == n.ordinary:
		return fmt.Errorf("all %d ordinary tokens of %d documents would be masked, and nothing is left to predict from: mslm.entity is %g and mslm.base %g",
			n.ordinary, n.documents, entity, base)
	case m.detector.Classes > 0 && len(types) > 0 && m.detector.Classes != 1+2*len(types):
		return fmt.Errorf("head %q has %d classes, the data set's %d types of entities %q need %d; hint: model.classifiers",
			m.detector.Name, m.detector.Classes, len(types), types, 1+2*len(types))
	case m.classy.Classes > 0 && len(types) > 1 && m.classy.Classes != len(types):
		return fmt.Errorf("head %q has %d classes, the data set has %d types of entities %q; hint: model.classifiers",
			m.classy.Name, m.classy.Classes, len(types), types)
	case m.classy.Classes > 0 && occurring < 2:
		return fmt.Errorf("mslm.class_weight asks for the type of entities, but the data set has %d: there is nothing to tell apart", occurring)
	}
	return nil
}

// balance makes the weights of labels.
func (m *mslm) balance(n *census) (err error) {
	switch m.MSLM.LabelWeights {
	case "list":
		for i, list := range [][]float64{m.MSLM.LabelList, m.MSLM.ClassList} {
			if len(list) > 0 {
				m.labelWeights[i] = list
			}
		}
	case "balanced":
		if m.detector.Classes > 0 {
			if m.labelWeights[0], err = classBalanced(m.MSLM.Beta, n.labels[:m.detector.Classes]); err != nil {
				return fmt.Errorf("mslm.label_weights: %w", err)
			}
		}
		if m.classy.Classes > 0 {
			counts := make([]int64, m.classy.Classes)
			for tag, count := range n.labels[:NoLabel] {
				if y := entityType(byte(tag)); y >= 0 && int(y) < len(counts) {
					counts[y] += count
				}
			}
			if m.labelWeights[1], err = classBalanced(m.MSLM.Beta, counts); err != nil {
				return fmt.Errorf("mslm.label_weights: %w", err)
			}
		}
	}
	return nil
}
