package text

import (
	"bytes"
	"fmt"
	"math"
	"slices"
)

// shapeGeneration is the name of records with what a model wrote.
const shapeGeneration = "generation"

// A Generation is what a record of the shape generation says beside its text and spans. The text of its document is the
// prompt and, right behind it, the generation, which is an Answer; its spans are of the kind Unwanted.
type Generation struct {
	Start      int     // of the generation in the document's text
	Spanned    bool    // the record has spans, maybe none at all
	Corrected  bool    // and a Correction, which would take the generation's place
	Correction []byte  //
	Tokens     []int32 // of the generation, as the model drew them; nil: they are those of the text
	Cut        bool    // the model did not end it: there is no end token to learn
}

// generationFields are those of a record of the shape generation that are not strings.
type generationFields struct {
	spans   []markedSpan
	spanned bool
	tokens  []int32
	cut     bool
}

// A markedSpan is an unwanted span in code points, as a record has it.
type markedSpan struct {
	start, end int64
	text       []byte // what it should be; nil: not given
}

// generationValue reads the value of a role that is not a string. ok is false for the others.
func (r *recordReader) generationValue(s *scanner, role string) (ok bool, err error) {
	g := &r.generation
	switch role {
	case "spans":
		g.spans, g.spanned = g.spans[:0], true
		return true, s.array(func(int) error {
			m, err := readMarkedSpan(s)
			g.spans = append(g.spans, m)
			return err
		})
	case "tokens":
		g.tokens = []int32{}
		return true, s.array(func(int) error {
			id, err := s.integer()
			if err == nil && (id < 0 || id > math.MaxInt32) {
				err = s.errorf("%d is no token id", id)
			}
			g.tokens = append(g.tokens, int32(id))
			return err
		})
	case "ended":
		ended, err := s.boolean()
		g.cut = !ended
		return true, err
	}
	return false, nil
}

// readMarkedSpan reads {"start", "end", "text"}; text may be missing, and other keys are none of our business.
func readMarkedSpan(s *scanner) (m markedSpan, err error) {
	var seen [3]bool
	keys := []string{"start", "end", "text"}
	err = s.object(func(key []byte) (err error) {
		i := slices.Index(keys, string(key))
		if i < 0 {
			return s.skip()
		}
		if seen[i] {
			return s.errorf("the key comes twice")
		}
		seen[i] = true
		switch i {
		case 0:
			m.start, err = s.integer()
		case 1:
			m.end, err = s.integer()
		default:
			m.text, _, err = s.text()
			m.text = bytes.Clone(m.text)
			if m.text == nil {
				m.text = []byte{}
			}
		}
		return err
	})
	if err == nil && !(seen[0] && seen[1]) {
		err = s.errorf("a span needs the keys start and end")
	}
	return m, err
}

// generated makes a document of the values of a generation's roles; nil is one that the record does not have.
func (m *recordMap) generated(values [][]byte, f *generationFields) (Document, error) {
	value := func(role string) []byte { return values[slices.Index(m.roles, role)] }
	prompt, generation, correction := value("prompt"), value("generation"), value("correction")
	if len(generation) == 0 {
		return Document{}, fmt.Errorf("field %q is empty: there is nothing to judge", m.keys[slices.Index(m.roles, "generation")])
	}
	if correction != nil && len(correction) == 0 {
		return Document{}, fmt.Errorf("field %q is empty; hint: leave it out, and use the rule full for a generation that is wrong as a whole", m.keys[slices.Index(m.roles, "correction")])
	}
	g := &Generation{Start: len(prompt), Spanned: f.spanned, Corrected: correction != nil, Correction: correction, Tokens: slices.Clone(f.tokens), Cut: f.cut}
	d := Document{Text: slices.Concat(prompt, generation), Generation: g}
	d.Spans = append(d.Spans, LabelSpan{Start: g.Start, End: len(d.Text), Kind: Answer})
	var spans [][2]int
	for _, s := range f.spans {
		from, to, err := charRange(generation, s.start, s.end)
		if err != nil {
			return Document{}, err
		}
		if s.text != nil && !bytes.Equal(s.text, generation[from:to]) {
			return Document{}, fmt.Errorf("span %d to %d of the generation is %.40q, the record says %.40q; hint: spans count code points from 0, their end is excluded",
				s.start, s.end, generation[from:to], s.text)
		}
		spans = append(spans, [2]int{g.Start + from, g.Start + to})
	}
	for _, s := range Joined(spans) {
		d.Spans = append(d.Spans, LabelSpan{Start: s[0], End: s[1], Kind: Unwanted})
	}
	return d, nil
}
