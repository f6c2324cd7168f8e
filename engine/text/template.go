package text

import (
	"fmt"
	"slices"
	"strings"
)

// Templates by name. Every other name is taken for a pattern.
var (
	messageTemplates = map[string]string{
		"plain":  `{content}\n`,
		"chatml": `<|im_start|>{role}\n{content}<|im_end|>\n`,
	}
	pairTemplates   = map[string]string{"plain": `{prompt}\n{completion}`}
	alpacaTemplates = map[string]string{"plain": `{instruction}\n\n{input}\n\n{output}`}
)

// A template lays values out as text. It is a list of literals and places; no two literals follow each other.
type template struct {
	parts  []templatePart
	answer string // place whose value is to be learned
	spare  string // place that goes, with the literal before it, when it has no value
}

type templatePart struct {
	literal []byte
	place   string // when not empty
}

// parseTemplate reads a pattern such as `<|{role}|>\n{content}\n`: places in braces, \n, \t and \\ for line end, tab and
// backslash, {{ and }} for braces. Every place of needed must come once, those of optional at most once.
func parseTemplate(pattern, answer string, needed, optional []string) (template, error) {
	t := template{answer: answer}
	var literal []byte
	flush := func() {
		if len(literal) > 0 {
			t.parts = append(t.parts, templatePart{literal: literal})
			literal = nil
		}
	}
	seen := map[string]bool{}
	for i := 0; i < len(pattern); i++ {
		c := pattern[i]
		next := byte(0)
		if i+1 < len(pattern) {
			next = pattern[i+1]
		}
		switch {
		case c == '\\':
			at := strings.IndexByte(`nt\`, next)
			if at < 0 || next == 0 {
				return t, fmt.Errorf("template %q: a backslash at byte %d must be followed by n, t or a backslash", pattern, i+1)
			}
			literal = append(literal, "\n\t\\"[at])
			i++
		case (c == '{' || c == '}') && next == c:
			literal = append(literal, c)
			i++
		case c == '}':
			return t, fmt.Errorf("template %q: a brace at byte %d closes nothing; hint: a brace as text is written twice", pattern, i+1)
		case c == '{':
			end := strings.IndexByte(pattern[i:], '}')
			if end < 0 {
				return t, fmt.Errorf("template %q: the brace at byte %d is not closed", pattern, i+1)
			}
			place := pattern[i+1 : i+end]
			if !slices.Contains(needed, place) && !slices.Contains(optional, place) {
				return t, fmt.Errorf("template %q: unknown place {%s}, expected one of %q", pattern, place, slices.Concat(needed, optional))
			}
			if seen[place] {
				return t, fmt.Errorf("template %q: {%s} comes twice", pattern, place)
			}
			seen[place] = true
			flush()
			t.parts = append(t.parts, templatePart{place: place})
			i += end
		default:
			literal = append(literal, c)
		}
	}
	flush()
	for _, place := range needed {
		if !seen[place] {
			return t, fmt.Errorf("template %q: {%s} is missing", pattern, place)
		}
	}
	return t, nil
}

// write appends the values in the places to a document. With learn, the answer and the literal that closes it, which tells
// that the answer is over, become an Answer.
func (t *template) write(d *Document, value func(place string) []byte, learn bool) {
	open := -1 // start of an answer that the next place ends
	closeAnswer := func() {
		if open >= 0 && open < len(d.Text) {
			d.Spans = append(d.Spans, LabelSpan{Start: open, End: len(d.Text), Kind: Answer})
		}
		open = -1
	}
	for i, p := range t.parts {
		if p.place == "" {
			if i+1 < len(t.parts) && t.parts[i+1].place == t.spare && len(value(t.spare)) == 0 {
				continue
			}
			d.markup(p.literal)
			continue
		}
		closeAnswer()
		if learn && p.place == t.answer {
			open = len(d.Text)
		}
		if p.place == "role" {
			d.markup(value(p.place))
		} else {
			d.Text = append(d.Text, value(p.place)...)
		}
	}
	closeAnswer()
}

// markup appends to the text and to the last Markup span, if that ends there, so that the name of a special token may consist
// of a role and what is around it.
func (d *Document) markup(text []byte) {
	start := len(d.Text)
	d.Text = append(d.Text, text...)
	for i := len(d.Spans) - 1; i >= 0; i-- {
		if s := &d.Spans[i]; s.Kind == Markup {
			if s.End == start {
				s.End = len(d.Text)
				return
			}
			break
		}
	}
	if len(text) > 0 {
		d.Spans = append(d.Spans, LabelSpan{Start: start, End: len(d.Text), Kind: Markup})
	}
}
