package objectives

import (
	"fmt"
	"strings"

	"palimpsest/kernels"
)

// Head is a classification head of the model: its name, what it reads and how many classes it tells apart.
type Head struct {
	Name    string `yaml:"name" doc:"of the head, in tensor names and terms"`
	Kind    string `yaml:"kind" enum:"sequence,token,detector" doc:"sequence: dense, GELU, norm, then logits, for a whole document; token: logits alone, for every token; detector: MSLM's, dense, ReLU, then logits, for every token"`
	Classes int    `yaml:"classes" min:"2" max:"255" doc:"number of classes"`
	Meta    string `yaml:"meta,omitempty" enum:",true,false" doc:"detector: beside the hidden state it reads an embedding of the original token, as MSLM's authors do, also where that is masked; open: true; false: the hidden state alone"`
}

// MetaWidth is the width of the embedding of original tokens in a head of kind detector (MSLM's code).
const MetaWidth = 100

// EveryToken reports whether the head tells classes of tokens.
func (h Head) EveryToken() bool { return h.Kind == "token" || h.Kind == "detector" }

// ReadsTokens reports whether the head reads an embedding of the original tokens.
func (h Head) ReadsTokens() bool { return h.Kind == "detector" && h.Meta != "false" }

// NoLabel, in a plane of labels, is a token or a document without a class.
const NoLabel = 255

// Classify is the run file's section on the objectives classify and tag.
type Classify struct {
	Head   string `yaml:"head" doc:"head of model.classifiers that learns; empty: the first of the objective's kind"`
	Plane  string `yaml:"plane" enum:",label,bio,class" doc:"plane with the class of every token, 255 for none; empty: label for classify, bio for tag"`
	Read   string `yaml:"read" enum:"first,last" doc:"token whose state stands for a document (classify); last is for causal attention"`
	Expand bool   `yaml:"expand" doc:"begin and end tokens have as many states as in the exlm run that the model comes from (model.links.states), and the first state of the first stands for a document; false: one"`
	Attend string `yaml:"attend" enum:"both,back" doc:"both: all tokens see all; back: a token sees what is before it, as in causal models"`
}

// DefaultClassify is for bidirectional models: the first token sees the whole document and stands for it.
func DefaultClassify() Classify { return Classify{Read: "first", Attend: "both", Expand: true} }

// Validate returns what is wrong, each message beginning with the key.
func (c Classify) Validate() (problems []error) {
	if c.Read == "first" && c.Attend == "back" {
		problems = append(problems, fmt.Errorf("read: under attend: back the first token sees nothing but itself; hint: read: last"))
	}
	return problems
}

// classify learns the class of every document (objective classify) or of every token (objective tag), by cross-entropy on a
// classification head, as BERT is fine-tuned (arXiv 1810.04805, section 3.2). The class of a document is that of its first token.
type classify struct {
	Settings
	name, plane string
	head        Head
	mask        kernels.Mask

	starts []int32 // memory of one call of Plan
	many   []bool
}

func newClassify(name string, s Settings) (*classify, error) {
	c := &classify{Settings: s, name: name, plane: s.Classify.Plane}
	kind, plane := "sequence", "label"
	if name == "tag" {
		kind, plane = "token", "bio"
	}
	if c.plane == "" {
		c.plane = plane
	}
	if s.Classify.Attend == "back" {
		c.mask = kernels.Causal
	}
	var known []string
	for _, h := range s.Heads {
		if h.Kind != kind && !(kind == "token" && h.EveryToken()) {
			continue
		}
		if s.Classify.Head == h.Name || s.Classify.Head == "" {
			c.head = h
			return c, nil
		}
		known = append(known, h.Name)
	}
	if s.Classify.Head != "" {
		return nil, fmt.Errorf("classify.head: the model has no %s head %q; known: %s", kind, s.Classify.Head, strings.Join(known, ", "))
	}
	return nil, fmt.Errorf("objective %s: the model has no %s head; hint: model.classifiers: [{name: NAME, kind: %s, classes: NUMBER}]", name, kind, kind)
}

func (c *classify) Name() string { return c.name }

// Cost counts the states of begin and end tokens, where they have several.
func (c *classify) Cost(n int) int {
	if !c.expands() {
		return n
	}
	most, _ := c.Ends.room()
	return n + (c.Expansion.K-1)*min(n, most)
}

func (c *classify) expands() bool { return c.Settings.Classify.Expand && c.Expansion.On() }

// prepares: the room of expanded texts is known once they are read.
func (c *classify) prepares() bool { return c.expands() && c.Ends != nil }

func (c *classify) prepare(corpus Corpus) (notes []string, err error) {
	err = c.Ends.count(corpus, c.Vocabulary)
	if n := c.Ends.headless; err == nil && n > 0 && c.name == "classify" && c.Settings.Classify.Read == "first" && !c.Held {
		notes = append(notes, fmt.Sprintf("classify: %d texts or pieces of one lack the begin token that exlm gave every text; the state of their first token stands for them; hint: palimpsest data build --bos", n))
	}
	return notes, err
}

// Planes names the plane that holds the classes.
func (c *classify) Planes() []string { return []string{c.plane} }

// Begin empties the plan and declares its one term.
func (c *classify) Begin(p *Plan) {
	p.Reset()
	c.term(p)
}

func (c *classify) term(p *Plan) *Term {
	t := p.term(c.name, CrossEntropy, c.head.Name, 1)
	t.Classes, t.Options, t.Entities = c.head.Classes, c.Loss, c.name == "tag" && c.plane == planeBIO
	return t
}

// Plan appends a segment, with one row for the document or one for every token that has a class.
func (c *classify) Plan(doc Document, p *Plan) {
	row := c.rows(doc, p)
	t, labels := c.term(p), doc.Planes[c.plane]
	ask := func(at int, label byte) {
		if label != NoLabel {
			t.Rows, t.Targets = append(t.Rows, row(at)), append(t.Targets, int32(label))
		}
	}
	switch {
	case len(labels) == 0 || len(doc.Tokens) == 0:
	case c.name == "tag":
		for i, label := range labels {
			ask(i, label)
		}
	case c.Settings.Classify.Read == "last":
		ask(len(doc.Tokens)-1, labels[0])
	default:
		ask(0, labels[0])
	}
	p.close()
}

// rows appends the document's segment and returns the first row of each of its tokens.
func (c *classify) rows(doc Document, p *Plan) func(at int) int32 {
	if !c.expands() {
		start := p.segment(doc, c.mask)
		return func(at int) int32 { return int32(start + at) }
	}
	c.many = c.many[:0]
	for _, id := range doc.Tokens {
		c.many = append(c.many, c.Vocabulary.End(id))
	}
	c.starts = p.expand(doc.ID, doc.Tokens, doc.Tokens, c.many, c.mask, c.Expansion, c.starts[:0])
	return func(at int) int32 { return c.starts[at] }
}

// PlanesOf lists the planes that an objective reads of every document.
func PlanesOf(o Objective) []string {
	if r, ok := o.(interface{ Planes() []string }); ok {
		return r.Planes()
	}
	return nil
}
