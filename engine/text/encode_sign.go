package text

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"palimpsest/engine/fault"
)

// given appends the tokens of a prompt and those that the model drew behind it, and finds their places in the document.
func (e *documentEncoder) given(dst []int32, d *Document) ([]int32, error) {
	g, t := d.Generation, e.e.t
	for i, id := range g.Tokens {
		switch {
		case !t.valid(id):
			return nil, fmt.Errorf("token %d of the generation is %d, outside the vocabulary of %d; hint: the tokens are another tokenizer's, leave the field out", i, id, t.Vocab())
		case t.IsSpecial(id):
			return nil, fmt.Errorf("token %d of the generation is %s; hint: the end is no token of it, say \"ended\": true", i, t.Token(id))
		}
	}
	spelled, starts, ends := t.Spell(g.Tokens)
	if !bytes.Equal(spelled, d.Text[g.Start:]) {
		return nil, fmt.Errorf("the tokens spell %.60q, the generation is %.60q; hint: leave the field of the tokens out", spelled, d.Text[g.Start:])
	}
	prompt := d.Text[:g.Start]
	e.e.begin(prompt, true)
	dst = e.e.encode(dst, 0, len(prompt), false)
	e.starts, e.ends = make([]int, 0, len(e.e.places)+len(starts)), e.ends[:0]
	for _, p := range e.e.places {
		e.starts, e.ends = append(e.starts, p.start), append(e.ends, p.end)
	}
	for i := range starts {
		e.starts, e.ends = append(e.starts, g.Start+starts[i]), append(e.ends, g.Start+ends[i])
	}
	return append(dst, g.Tokens...), nil
}

// corrected is the document of a record under a corrective rule: its correction in the place of the generation.
func (e *documentEncoder) corrected(d *Document) (*Document, error) {
	g := d.Generation
	switch {
	case g == nil:
		return nil, fmt.Errorf("a text without a record, which the rule %s needs; hint: JSON lines", e.o.Sign.Name)
	case !g.Corrected:
		return nil, fmt.Errorf("no correction, which the rule %s is about", e.o.Sign.Name)
	}
	c := *d
	c.Text = append(append([]byte(nil), d.Text[:g.Start]...), g.Correction...)
	c.Spans = []LabelSpan{{Start: g.Start, End: len(c.Text), Kind: Answer}}
	c.Generation = &Generation{Start: g.Start, Corrected: true, Correction: d.Text[g.Start:]}
	return &c, nil
}

// learned makes the signs of a corrected document from the differences that the rules diff and first find: what differs is learned.
func (e *documentEncoder) learned(d *Document, content []int32, loss []byte) (signs []byte, end byte, err error) {
	if e.o.Sign.Name == RuleCorrect {
		return append([]byte(nil), loss...), SignKeep, nil // SignKeep is 1, as what is learned
	}
	rule := RuleDiff
	if e.o.Sign.Name == RuleCorrectFirst {
		rule = RuleFirst
	}
	signs, end, err = e.compared(d, content, loss, rule)
	turn := func(sign byte) byte {
		if sign == SignUnwanted {
			return SignKeep
		}
		return SignNone
	}
	for i, s := range signs {
		signs[i] = turn(s)
	}
	return signs, turn(end), err
}

// signs makes the sign plane of a document's content, of which e.ends are the places, and the sign of its end token. lost
// counts unwanted spans without a token.
func (e *documentEncoder) signs(d *Document, content []int32) (signs []byte, end byte, lost int, err error) {
	rule, g := e.o.Sign, d.Generation
	if rule.Name == RuleAuto && g != nil {
		switch {
		case g.Spanned:
			rule.Name = RuleSpans
		case g.Corrected:
			rule.Name = RuleAlign
		}
	}
	switch {
	case g == nil && rule.Name != RuleFind && rule.Name != RuleFull:
		return nil, 0, 0, fmt.Errorf("a text without a record, which the rule %s needs; hint: JSON lines, or a word list or patterns", rule.Name)
	case rule.Name == RuleAuto:
		return nil, 0, 0, fmt.Errorf("neither a correction nor spans say what is unwanted; hint: a word list or patterns do without, the rule full takes all")
	case rule.Name == RuleSpans && !g.Spanned:
		return nil, 0, 0, fmt.Errorf("no spans; hint: a generation without any has \"spans\": []")
	case rule.Name != RuleSpans && rule.Name != RuleFind && rule.Name != RuleFull && !g.Corrected:
		return nil, 0, 0, fmt.Errorf("no correction, which the rule %s compares with", rule.Name)
	}
	starts := e.starts
	if starts == nil {
		starts = make([]int, len(e.ends))
		for i := 1; i < len(starts); i++ {
			starts[i] = e.ends[i-1]
		}
	}
	learned := lossPlane(d.Spans, starts, e.ends)
	end = SignKeep
	switch rule.Name {
	case RuleCorrect, RuleCorrectDiff, RuleCorrectFirst:
		if signs, end, err = e.learned(d, content, learned); err != nil {
			return nil, 0, 0, err
		}
	case RuleSpans, RuleFind:
		spans, err := e.unwanted(d, rule)
		if err != nil {
			return nil, 0, 0, err
		}
		signs, lost = SpanSigns(spans, starts, e.ends, rule.FirstToken)
		for i, l := range learned {
			if l == 0 {
				signs[i] = SignNone
			}
		}
	default:
		if signs, end, err = e.compared(d, content, learned, rule.Name); err != nil {
			return nil, 0, 0, err
		}
	}
	if g != nil && g.Cut {
		end = SignNone
	}
	return signs, end, lost, nil
}

// unwanted lists the spans of bytes of a document's text that its record or a finder marks.
func (e *documentEncoder) unwanted(d *Document, rule SignRule) (spans [][2]int, err error) {
	if rule.Name == RuleSpans {
		for _, s := range d.Spans {
			if s.Kind == Unwanted {
				spans = append(spans, [2]int{s.Start, s.End})
			}
		}
		return spans, nil
	}
	from := 0
	if d.Generation != nil {
		from = d.Generation.Start
	}
	spans, err = rule.Find.Find(d.Text[from:])
	for i := range spans {
		spans[i][0], spans[i][1] = spans[i][0]+from, spans[i][1]+from
	}
	return spans, err
}

// compared makes the signs of a document's content and of its end token by a rule that compares the learned tokens with the
// correction's.
func (e *documentEncoder) compared(d *Document, content []int32, learned []byte, rule string) (signs []byte, end byte, err error) {
	g, eos := d.Generation, e.o.EOS
	first := bytes.IndexByte(learned, 1)
	if first < 0 {
		first = len(content)
	}
	generation := append([]int32(nil), content[first:]...)
	var correction []int32
	if rule != RuleFull {
		correction = e.correction(d)
	}
	whole := eos >= 0 && (g == nil || !g.Cut)
	if whole {
		generation, correction = append(generation, eos), append(correction, eos)
	}
	found, err := CorrectionSigns(rule, generation, correction)
	if err != nil {
		return nil, 0, err
	}
	signs = append(make([]byte, first), found[:len(content)-first]...)
	if whole {
		end = found[len(found)-1]
	}
	return signs, end, nil
}

// correction returns the tokens of a correction: those that it has behind the prompt. Behind tokens that the model drew it is
// encoded by itself, as they were, unless the tokenizer would then add something of its own.
func (e *documentEncoder) correction(d *Document) []int32 {
	g, t := d.Generation, e.e.t
	if g.Tokens != nil && t.Lossless() {
		e.e.begin(g.Correction, false)
		return e.e.encode(nil, 0, len(g.Correction), false)
	}
	text := append(append([]byte(nil), d.Text[:g.Start]...), g.Correction...)
	e.e.begin(text, true)
	ids := e.e.encode(nil, 0, len(text), false)
	for i, p := range e.e.places {
		if p.end > g.Start {
			return ids[i:]
		}
	}
	return nil
}

// checkSigns refuses a rule that the documents cannot follow and what Check of the counts refuses; after an interruption
// the counts are not those of all documents.
func (o *EncodeOptions) checkSigns(stats *EncodeStats) error {
	for _, name := range o.Planes {
		if name == PlaneSign && stats.Passed == 0 {
			if err := stats.Signs.Check(o.Sign.Name); err != nil {
				return fault.Data.Errorf("plane sign of %d documents: %w", stats.Documents, err)
			}
		}
	}
	return nil
}

// hash appends what a generation says beside the text and spans of its document.
func (g *Generation) hash(b []byte) []byte {
	b = fmt.Appendf(b, "%d %t %t %t %d ", g.Start, g.Spanned, g.Corrected, g.Cut, len(g.Correction))
	b = append(b, g.Correction...)
	for _, id := range g.Tokens {
		b = binary.LittleEndian.AppendUint32(b, uint32(id))
	}
	return b
}
