package objectives

import (
	"fmt"
	"slices"
	"strings"

	"palimpsest/kernels"
	"palimpsest/kernels/philox"
)

// MSLM is the run file's section on the objective mslm.
type MSLM struct {
	Strategy        string    `yaml:"strategy" enum:"mslm,base,entity,span,pmi" doc:"what is masked: entities and other tokens (mslm), single tokens (base), entities alone (entity), spans of 1 to span_max tokens that begin with a word, or collocations of 2 to 4 words (pmi)"`
	Entity          float64   `yaml:"entity" min:"0" max:"1" doc:"share of a document's entities that are masked whole (mslm, entity)"`
	Base            float64   `yaml:"base" min:"0" max:"1" doc:"chance that any other token is masked (mslm, base); share of the tokens under span and pmi"`
	SpanMax         int       `yaml:"span_max" min:"1" max:"4096" doc:"longest span in tokens, under span"`
	PMI             PMI       `yaml:"pmi" doc:"collocations, under pmi"`
	Static          bool      `yaml:"static" doc:"masks are drawn once, as published; false: anew in each epoch"`
	Weights         string    `yaml:"weights" enum:"mslm,three_way,class_balanced,fixed,uniform" doc:"where w_e and w_b come from: the numbers of masked tokens of both kinds by the paper's rule, by an older state of its code, or by class-balanced weights; fixed: as given; uniform: both 0.5"`
	WE              float64   `yaml:"w_e" min:"0" doc:"additional weight of tokens of masked entities, under fixed"`
	WB              float64   `yaml:"w_b" min:"0" doc:"additional weight of other masked tokens, under fixed"`
	Beta            float64   `yaml:"beta" min:">0" max:"<1" doc:"of class-balanced weights: nearer to 1 rare classes weigh more"`
	UnmaskedWeight  float64   `yaml:"unmasked_weight" min:"0" doc:"weight of tokens that are not masked, which predict themselves; 0: ordinary masked language modelling"`
	Norm            string    `yaml:"norm" enum:"sample,weights" doc:"sample: a document's weighted losses over its tokens, mean of the documents; weights: over the sum of all weights"`
	SampleFactor    bool      `yaml:"sample_factor" doc:"under norm: sample, a document with K masked tokens weighs 1 + K; false: 1"`
	DetectionHead   string    `yaml:"detection_head" doc:"token head of model.classifiers that learns the tags of the bio plane; empty: the first"`
	DetectionWeight float64   `yaml:"detection_weight" min:"0" doc:"factor of the detection loss; 0: no detection (train it later, in a phase of objective tag)"`
	ClassHead       string    `yaml:"class_head" doc:"token head of model.classifiers that learns the type of every entity token; empty: the first that is not detection_head"`
	ClassWeight     float64   `yaml:"class_weight" min:"0" doc:"factor of the loss of entity types; 0: none"`
	LabelWeights    string    `yaml:"label_weights" enum:"none,balanced,list" doc:"weights of the labels of both heads: none, class-balanced over their counts, or label_list and class_list"`
	LabelList       []float64 `yaml:"label_list,omitempty" min:"0" doc:"weights of the tags O, B, I, ... under label_weights: list"`
	ClassList       []float64 `yaml:"class_list,omitempty" min:"0" doc:"weights of the types of entities under label_weights: list; empty: all 1"`
	Focal           float64   `yaml:"focal_gamma" min:"0" doc:"focal exponent of both heads"`
	Repair          bool      `yaml:"repair" doc:"in the bio plane, an I without B begins an entity; false: it is an error"`
	Compat          Compat    `yaml:"compat" doc:"behaviour of the authors' code that this program otherwise mends"`
}

// Compat switches on what is known to be wrong in the reference code of a paper.
type Compat struct {
	Floor      bool `yaml:"mslm_floor" doc:"the number of entities to mask is always rounded down, so a document with few has none"`
	PadCounts  bool `yaml:"mslm_pad_counts" doc:"documents are padded to data.length: padding is learned like an unmasked token of weight 1, and counts in a document's length; it costs its places of a step"`
	HalfTie    bool `yaml:"mslm_half_tie" doc:"when entity and other masked tokens are equally many, every mask counts twice"`
	UnkSpecial bool `yaml:"mslm_unk_special" doc:"the unknown token is masked in entities only"`
	EvalMasked bool `yaml:"mslm_eval_masked" doc:"detection is evaluated on masked text, whose masks give entities away: leaky"`
}

// DefaultMSLM is the published joint training.
func DefaultMSLM() MSLM {
	return MSLM{Strategy: "mslm", Entity: 0.5, Base: 0.15, SpanMax: 5, PMI: DefaultPMI(), Static: true, Weights: "mslm", WE: 0.5, WB: 0.5, Beta: 0.999,
		UnmaskedWeight: 1, Norm: "sample", SampleFactor: true, DetectionWeight: 1, LabelWeights: "none"}
}

// Validate returns what is wrong, each message beginning with the key.
func (m MSLM) Validate() (problems []error) {
	bad := func(format string, args ...any) { problems = append(problems, fmt.Errorf(format, args...)) }
	entity, base := m.rates()
	switch {
	case entity == 0 && base == 0:
		bad("base: strategy %s with entity %g and base %g masks nothing", m.Strategy, m.Entity, m.Base)
	case base == 1:
		bad("base: 1 masks every token, so nothing is left to predict from; hint: 0.15")
	}
	switch {
	case (m.LabelWeights == "list") != (len(m.LabelList)+len(m.ClassList) > 0):
		bad("label_list: it, or class_list, goes together with label_weights: list")
	case len(m.LabelList) > 0 && slices.Max(m.LabelList) == 0:
		bad("label_list: all weights are 0, so nothing is detected; hint: detection_weight: 0")
	case len(m.ClassList) > 0 && slices.Max(m.ClassList) == 0:
		bad("class_list: all weights are 0, so no type is learned; hint: class_weight: 0")
	case len(m.ClassList) > 0 && m.ClassWeight == 0:
		bad("class_list: class_weight is 0, so no type is learned; hint: class_weight: 1")
	}
	for _, given := range []struct {
		key            string
		value, missing float64
	}{{"w_e", m.WE, DefaultMSLM().WE}, {"w_b", m.WB, DefaultMSLM().WB}} {
		if m.Weights != "fixed" && given.value != given.missing {
			bad("%s: %g is not used under weights: %s; hint: weights: fixed", given.key, given.value, m.Weights)
		}
	}
	return append(problems, m.PMI.validate()...)
}

// rates are those that the strategy uses.
func (m MSLM) rates() (entity, base float64) {
	switch m.Strategy {
	case "mslm":
		return m.Entity, m.Base
	case "entity":
		return m.Entity, 0
	}
	return 0, m.Base
}

// mslm is masked language modelling with mask-specific losses (MSLM, arXiv 2403.18025): tokens of masked entities weigh more
// than other masked tokens, all tokens of a document that was masked much weigh more than those of another, and on the same
// pass a token head learns to detect entities, a second one, if asked, to classify them. A masked token is always the mask token.
//
// The authors' head (kind detector) puts an embedding of the original token beside the hidden state, so that it also sees what is
// masked; heads of kind token, and meta: false, read the hidden state alone, which measures what the encoder itself recovers.
// Tokens that are context only (plane loss) are never masked, bear no loss, and do not count in a document's length. Special
// tokens are never masked; as unmasked tokens they predict themselves.
//
// In evaluations only masked tokens are asked for, each with weight 1, and detection runs over an unmasked copy of the
// document (a second segment).
type mslm struct {
	Settings
	held             bool // an evaluation
	detector, classy Head // Classes 0: not asked for
	weighing
	labelWeights [2][]float64 // by label of detection and class; nil: 1
	collocations *collocations

	// Memory of one call of Plan:
	list    []unit
	kinds   []byte
	starts  []bool
	weights []float64
}

// Kinds of tokens of a document, those that a term's rows have.
const (
	TokenUnmasked = 'U'
	TokenEntity   = 'E'
	TokenBase     = 'B'
	TokenContext  = 'C' // context only: not counted
	TokenPad      = 'P' // padding, which is in plans under mslm_pad_counts only
)

func newMSLM(s Settings) (*mslm, error) {
	c := s.MSLM
	if s.Vocabulary.Mask < 0 {
		return nil, fmt.Errorf("objective mslm: the tokenizer has no mask token; hint: train one with '<mask>'")
	}
	if s.Loss.Reweigh.On() {
		return nil, fmt.Errorf("loss.reweigh.rule: the objective mslm has row weights of its own; hint: none")
	}
	m := &mslm{Settings: s, held: s.Held, weighing: weighing{unmasked: c.UnmaskedWeight, perWeight: c.Norm == "weights", factor: c.SampleFactor,
		pads: c.Compat.PadCounts && !s.Held}}
	var err error
	if m.pads && s.Vocabulary.Pad < 0 {
		return nil, fmt.Errorf("mslm.compat.mslm_pad_counts: the tokenizer has no padding token; hint: false")
	}
	if c.DetectionWeight > 0 {
		if m.detector, err = s.tokenHead("mslm.detection_head", c.DetectionHead, ""); err != nil {
			return nil, err
		}
		if n := len(c.LabelList); n > 0 && n != m.detector.Classes {
			return nil, fmt.Errorf("mslm.label_list: %d weights for the %d classes of head %q", n, m.detector.Classes, m.detector.Name)
		}
	}
	if c.ClassWeight > 0 {
		if m.classy, err = s.tokenHead("mslm.class_head", c.ClassHead, m.detector.Name); err != nil {
			return nil, err
		}
		if m.classy.Name == m.detector.Name {
			return nil, fmt.Errorf("mslm.class_head: %q is the detection head already; hint: a second entry in model.classifiers", m.classy.Name)
		}
		if n := len(c.ClassList); n > 0 && n != m.classy.Classes {
			return nil, fmt.Errorf("mslm.class_list: %d weights for the %d classes of head %q", n, m.classy.Classes, m.classy.Name)
		}
	}
	return m, nil
}

// tokenHead finds a head that reads every token: the named one, or the first other than taken.
func (s Settings) tokenHead(key, name, taken string) (Head, error) {
	var known []string
	for _, h := range s.Heads {
		if h.EveryToken() {
			if h.Name == name || name == "" && h.Name != taken {
				return h, nil
			}
			known = append(known, h.Name)
		}
	}
	if name != "" {
		return Head{}, fmt.Errorf("%s: the model has no token head %q; known: %s", key, name, strings.Join(known, ", "))
	}
	return Head{}, fmt.Errorf("%s: the model has no token head for it; hint: model.classifiers: [{name: entities, kind: detector, classes: 3}] (or kind: token), "+
		"1 + 2 classes for every type of entity to detect, one a type to classify", key)
}

func (m *mslm) Name() string { return "mslm" }

// Cost is that of the document, and in evaluations of its unmasked copy, or of the padding.
func (m *mslm) Cost(n int) int {
	if m.copies() {
		return 2 * n
	}
	return n + m.padding(n)
}

// padding is how much a document of n tokens is padded by.
func (m *mslm) padding(n int) int {
	if !m.pads {
		return 0
	}
	return max(0, m.Length-n)
}

func (m *mslm) copies() bool { return m.held && m.detector.Classes > 0 && !m.MSLM.Compat.EvalMasked }

// Planes names what masking and the heads read of the data set's planes.
func (m *mslm) Planes() (planes []string) {
	if entity, _ := m.MSLM.rates(); entity > 0 || m.detector.Classes > 0 || m.classy.Classes > 0 {
		planes = append(planes, planeBIO)
	}
	return m.contextPlane(planes)
}

// Begin empties the plan and declares its terms.
func (m *mslm) Begin(p *Plan) {
	p.Reset()
	m.terms(p)
}

// terms makes those of the plan, in their order; detection and class are nil where they are not asked for.
func (m *mslm) terms(p *Plan) (lm, detection, class *Term) {
	var list [3]*Term
	for range 2 { // the first time round the slice of terms may move
		list[0] = m.lmTerm(p, m.Name())
		for i, h := range []Head{m.detector, m.classy} {
			if h.Classes == 0 || m.held && i == 1 {
				continue
			}
			t := p.term([]string{"detection", "class"}[i], CrossEntropy, h.Name, []float64{m.MSLM.DetectionWeight, m.MSLM.ClassWeight}[i])
			t.Classes, t.Entities = h.Classes, i == 0
			if !m.held {
				t.Options = LossOptions{Focal: m.MSLM.Focal}
			}
			list[1+i] = t
		}
	}
	return list[0], list[1], list[2]
}

// Plan appends a bidirectional segment with masked tokens, and in evaluations its unmasked copy. Padding, where it counts, is a
// segment of its own, so that no document sees it.
func (m *mslm) Plan(doc Document, p *Plan) {
	start := p.segment(doc, kernels.Bidirectional)
	lm, detection, class := m.terms(p)
	m.choose(doc)
	for i, kind := range m.kinds {
		if masked := kind == TokenEntity || kind == TokenBase; masked {
			p.Tokens[start+i] = m.Vocabulary.Mask
			if m.held {
				lm.ask(start+i, doc.Tokens[i], doc, i)
			}
		}
	}
	tag := func(tag byte) int32 { return int32(tag) }
	if m.held {
		if m.copies() {
			p.close()
			start = p.segment(doc, kernels.Bidirectional)
		}
		if detection != nil {
			m.labels(detection, nil, start, doc, tag, nil)
		}
		p.close()
		return
	}
	pads := m.padding(len(doc.Tokens))
	for range pads {
		m.kinds = append(m.kinds, TokenPad)
	}
	var counted float64
	m.weights, counted = m.row(m.weights[:0], m.kinds)
	for i, w := range m.weights[:len(doc.Tokens)] {
		if w > 0 {
			lm.ask(start+i, doc.Tokens[i], doc, i)
			lm.Weights, lm.Kinds = append(lm.Weights, float32(w)), append(lm.Kinds, m.kinds[i])
		}
	}
	lm.Counted += counted
	if detection != nil {
		m.labels(detection, m.weights, start, doc, tag, m.labelWeights[0])
		detection.Counted += counted
	}
	if class != nil {
		m.labels(class, nil, start, doc, entityType, m.labelWeights[1])
	}
	p.close()
	if pads == 0 {
		return
	}
	start = p.segment(Document{ID: doc.ID, Tokens: slices.Repeat([]int32{m.Vocabulary.Pad}, pads)}, kernels.Bidirectional)
	for i, w := range m.weights[len(doc.Tokens):] {
		lm.ask(start+i, m.Vocabulary.Pad, doc, len(doc.Tokens)+i)
		lm.Weights, lm.Kinds = append(lm.Weights, float32(w)), append(lm.Kinds, TokenPad)
	}
	p.close()
}

// entityType is the label of an entity token for the class head, -1 for others.
func entityType(tag byte) int32 {
	if tag == 0 {
		return -1
	}
	return int32(tag-1) / 2
}

// labels asks a head for the labels of a document's tokens; weights are by token, byLabel by label, nil means 1. Tokens without
// a tag, context and tokens of weight 0 have no row.
func (m *mslm) labels(t *Term, weights []float64, start int, doc Document, label func(tag byte) int32, byLabel []float64) {
	for i, tag := range doc.Planes[planeBIO] {
		if tag == NoLabel || m.kinds[i] == TokenContext {
			continue
		}
		y, w := label(tag), 1.0
		if y < 0 {
			continue
		}
		if weights != nil {
			w = weights[i]
		}
		if byLabel != nil {
			w *= byLabel[y]
		}
		if w > 0 {
			t.Rows, t.Targets = append(t.Rows, int32(start+i)), append(t.Targets, y)
			if !m.held {
				t.Weights = append(t.Weights, float32(w))
			}
		}
	}
}

// draws is the random source of a document's masks.
func (m *mslm) draws(doc Document) philox.Draw {
	if m.MSLM.Static {
		doc.Epoch = 0
	}
	return draw(m.Seed, philox.StreamMask, doc)
}
