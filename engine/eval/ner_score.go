package eval

// Entity is a run [Start, End) of words with a type.
type Entity struct{ Start, End, Type int }

// Entities decodes tags: 0 outside, 1+2k the first word of an entity of type k, 2+2k a further one.
//
// By default, as conlleval and seqeval do, an entity goes on as long as words are tagged as further ones of its type, and
// a further word of no entity, or of one of another type, begins an entity. strict is seqeval's strict mode for IOB2: only
// a first word begins one, and further words without it are no part of any.
func Entities(dst []Entity, tags []byte, strict bool) []Entity {
	open := false
	for i, tag := range tags {
		if tag == 0 {
			open = false
			continue
		}
		kind, first := int(tag-1)/2, tag%2 == 1
		switch {
		case !first && open && dst[len(dst)-1].Type == kind:
			dst[len(dst)-1].End = i + 1
		case first || !strict:
			dst, open = append(dst, Entity{i, i + 1, kind}), true
		default:
			open = false
		}
	}
	return dst
}

// PRF are precision, recall and their harmonic mean. A quotient without any case is 0.
type PRF struct {
	Precision float64 `json:"precision"`
	Recall    float64 `json:"recall"`
	F1        float64 `json:"f1"`
}

// EntityCounts are those of one type.
type EntityCounts struct {
	Type      int   `json:"type"`
	Support   int64 `json:"support"`   // entities there are
	Predicted int64 `json:"predicted"` // entities answered
	Right     int64 `json:"right"`     // with the right start, end and type
	PRF
}

// EntityScores compare entities by exact match: start, end and type must agree.
type EntityScores struct {
	Micro    PRF            `json:"micro"`    // over all entities
	Macro    PRF            `json:"macro"`    // mean of the types that occur or were answered
	Weighted PRF            `json:"weighted"` // mean of these by their support
	Types    []EntityCounts `json:"types"`
	Accuracy float64        `json:"tag_accuracy"` // share of words with the right tag
	Words    int64          `json:"words"`
}

// An EntityScorer sums up sentences.
type EntityScorer struct {
	Strict        bool
	types         []EntityCounts // by type
	words, right  int64
	truth, answer []Entity
}

// Add compares the tags of a sentence with the answered ones, which are as many.
func (s *EntityScorer) Add(truth, answer []byte) {
	s.truth, s.answer = Entities(s.truth[:0], truth, s.Strict), Entities(s.answer[:0], answer, s.Strict)
	for i := range truth {
		s.words++
		if truth[i] == answer[i] {
			s.right++
		}
	}
	for _, e := range s.truth {
		s.of(e.Type).Support++
	}
	at := 0
	for _, e := range s.answer { // both are in order, and the entities of a sentence do not overlap
		s.of(e.Type).Predicted++
		for at < len(s.truth) && s.truth[at].Start < e.Start {
			at++
		}
		if at < len(s.truth) && s.truth[at] == e {
			s.of(e.Type).Right++
		}
	}
}

func (s *EntityScorer) of(kind int) *EntityCounts {
	for len(s.types) <= kind {
		s.types = append(s.types, EntityCounts{Type: len(s.types)})
	}
	return &s.types[kind]
}

// Scores returns what the sentences so far give.
func (s *EntityScorer) Scores() EntityScores {
	r := EntityScores{Types: append([]EntityCounts{}, s.types...), Words: s.words, Accuracy: ratio(s.right, s.words)}
	var all EntityCounts
	occurring := 0.0
	for i := range r.Types {
		t := &r.Types[i]
		t.PRF = prf(*t)
		all.Support, all.Predicted, all.Right = all.Support+t.Support, all.Predicted+t.Predicted, all.Right+t.Right
		if t.Support+t.Predicted > 0 {
			occurring++
			r.Macro.add(t.PRF, 1)
			r.Weighted.add(t.PRF, float64(t.Support))
		}
	}
	r.Micro = prf(all)
	r.Macro.divide(occurring)
	r.Weighted.divide(float64(all.Support))
	return r
}

func prf(c EntityCounts) PRF {
	return PRF{ratio(c.Right, c.Predicted), ratio(c.Right, c.Support), ratio(2*c.Right, c.Predicted+c.Support)}
}

func (p *PRF) add(q PRF, weight float64) {
	p.Precision += weight * q.Precision
	p.Recall += weight * q.Recall
	p.F1 += weight * q.F1
}

func (p *PRF) divide(n float64) {
	if n > 0 {
		p.Precision, p.Recall, p.F1 = p.Precision/n, p.Recall/n, p.F1/n
	}
}
