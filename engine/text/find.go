package text

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"palimpsest/engine/fault"
)

// A SpanFinder finds spans of bytes in a text of valid UTF-8, in order and not overlapping. It may be used concurrently.
type SpanFinder interface {
	Find(text []byte) ([][2]int, error)
}

// A WordList finds words and phrases of a list, as whole words and by default whatever their case. A blank in a phrase stands
// for any white space. At each place the longest one counts. It looks at no context: a word that is harmless there is found
// all the same.
type WordList struct {
	root     wordNode
	keepCase bool
}

// A wordNode is where the characters so far lead.
type wordNode struct {
	next map[rune]*wordNode
	ends bool // a word does
}

// ReadWords reads a list in the formats of ReadTerms; types and weights do not count. Errors are fault.Data with the line, also of an
// entry without a letter or digit.
func ReadWords(path string, keepCase bool) (*WordList, error) {
	terms, err := ReadTerms(path, "")
	if err != nil {
		return nil, err
	}
	w := &WordList{keepCase: keepCase}
	for _, t := range terms {
		if !strings.ContainsFunc(t.Text, func(r rune) bool { return unicode.IsLetter(r) || unicode.IsDigit(r) }) {
			return nil, fault.Data.Errorf("%s:%d: entry %.40q has no letter; hint: for marks and other characters use patterns", path, t.Line, t.Text)
		}
		n := &w.root
		for _, r := range strings.Join(strings.Fields(t.Text), " ") {
			r = w.fold(r)
			if n.next[r] == nil {
				if n.next == nil {
					n.next = map[rune]*wordNode{}
				}
				n.next[r] = &wordNode{}
			}
			n = n.next[r]
		}
		n.ends = true
	}
	return w, nil
}

// fold maps characters that differ in case alone to one of them.
func (w *WordList) fold(r rune) rune {
	if w.keepCase {
		return r
	}
	least := r
	for f := unicode.SimpleFold(r); f != r; f = unicode.SimpleFold(f) {
		least = min(least, f)
	}
	return least
}

// ofWord says whether a character goes on with a word.
func ofWord(r rune) bool {
	return unicode.IsLetter(r) || unicode.IsDigit(r) || unicode.IsMark(r) || r == '_'
}

// Find implements SpanFinder.
func (w *WordList) Find(text []byte) (spans [][2]int, _ error) {
	before := rune(' ')
	for at := 0; at < len(text); {
		r, size := utf8.DecodeRune(text[at:])
		if end := w.match(text, at); end > at && !(ofWord(before) && ofWord(r)) {
			spans = append(spans, [2]int{at, end})
			before, _ = utf8.DecodeLastRune(text[:end])
			at = end
			continue
		}
		before, at = r, at+size
	}
	return spans, nil
}

// match returns the end of the longest entry that begins at a place and ends with a word; the place itself if there is none.
func (w *WordList) match(text []byte, at int) (end int) {
	end = at
	for n, i := &w.root, at; i < len(text); {
		r, size := utf8.DecodeRune(text[i:])
		if unicode.IsSpace(r) {
			if n = n.next[' ']; n == nil {
				break
			}
			for i < len(text) && unicode.IsSpace(r) {
				i += size
				r, size = utf8.DecodeRune(text[i:])
			}
			continue
		}
		if n = n.next[w.fold(r)]; n == nil {
			break
		}
		i += size
		if next, _ := utf8.DecodeRune(text[i:]); n.ends && (i == len(text) || !(ofWord(r) && ofWord(next))) {
			end = i
		}
	}
	return end
}

// Patterns finds what regular expressions match, where they overlap as one span.
type Patterns []*regexp.Regexp

// maxPatterns bounds the bytes of a file of patterns.
const maxPatterns = 16 << 20

// ReadPatterns reads a file with a regular expression (RE2 syntax) on each line; blank lines, and lines that begin with #, are
// none. Errors are fault.Data with the line.
func ReadPatterns(path string) (Patterns, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fault.Data.Wrap(err)
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, maxPatterns+1))
	switch {
	case err != nil:
		return nil, fault.Data.Errorf("%s: %w", path, err)
	case len(raw) > maxPatterns:
		return nil, fault.Data.Errorf("%s: more than %d bytes", path, maxPatterns)
	}
	var list Patterns
	number := 0
	for line := range bytes.Lines(bytes.TrimPrefix(raw, []byte("\xEF\xBB\xBF"))) {
		number++
		expression := strings.TrimRight(string(line), "\r\n")
		if strings.TrimSpace(expression) == "" || strings.HasPrefix(expression, "#") {
			continue
		}
		p, err := NewPatterns(expression)
		if err != nil {
			return nil, fault.Data.Errorf("%s:%d: %w", path, number, err)
		}
		list = append(list, p...)
	}
	if len(list) == 0 {
		return nil, fault.Data.Errorf("%s: no regular expressions", path)
	}
	return list, nil
}

// NewPatterns makes a list of one regular expression.
func NewPatterns(expression string) (Patterns, error) {
	re, err := regexp.Compile(expression)
	if err != nil {
		return nil, fault.Usage.Errorf("%w; hint: a backslash before ( [ . * + ? | $ makes them plain characters", err)
	}
	return Patterns{re}, nil
}

// Find implements SpanFinder. Empty matches are none.
func (p Patterns) Find(text []byte) ([][2]int, error) {
	var spans [][2]int
	for _, re := range p {
		for _, m := range re.FindAllIndex(text, -1) {
			spans = append(spans, [2]int{m[0], m[1]})
		}
	}
	return Joined(spans), nil
}

// A Marked finds in texts what another program marked in them.
type Marked struct {
	source string
	spans  map[string][][2]int // by text
}

// ReadMarked reads a file of records of the shape generation (JSON lines) with spans.
func ReadMarked(path string) (*Marked, error) {
	r, err := Open(ReaderOptions{Paths: []string{path}, Format: "jsonl", Shape: "generation"})
	if err != nil {
		return nil, err
	}
	m := &Marked{path, map[string][][2]int{}}
	for d, err := range r.Documents() {
		if err != nil {
			return nil, err
		}
		g := d.Generation
		if !g.Spanned {
			return nil, fault.Data.Errorf("%s:%d: no spans; hint: a text without any has \"spans\": []", path, d.Line)
		}
		text, spans := string(d.Text[g.Start:]), [][2]int{}
		for _, s := range d.Spans {
			if s.Kind == Unwanted {
				spans = append(spans, [2]int{s.Start - g.Start, s.End - g.Start})
			}
		}
		spans = Joined(spans)
		if other, twice := m.spans[text]; twice && !slices.Equal(other, spans) {
			return nil, fault.Data.Errorf("%s:%d: the text %.60q has other spans here than before; hint: a detector must say the same of the same text", path, d.Line, text)
		}
		m.spans[text] = spans
	}
	return m, nil
}

// Find implements SpanFinder; a text that was not marked is a fault.Data.
func (m *Marked) Find(text []byte) ([][2]int, error) {
	spans, ok := m.spans[string(text)]
	if !ok {
		return nil, fault.Data.Errorf("%s has no spans for the text %.60q (%d texts have some); hint: write the texts to a file, mark all of them, and try again", m.source, text, len(m.spans))
	}
	return spans, nil
}

// charRange turns a span of code points of a generation into bytes. Errors tell the length of the text, and whether it looks as if
// the span counted bytes.
func charRange(text []byte, start, end int64) (from, to int, err error) {
	points := int64(utf8.RuneCount(text))
	if start < 0 || end > points || start >= end {
		what := "lies outside of"
		switch {
		case start == end:
			what = "is empty in"
		case start > end:
			what = "ends before it begins in"
		}
		hint := ""
		if end > points && end <= int64(len(text)) {
			hint = "; hint: it has that many bytes, but spans count code points"
		}
		return 0, 0, fmt.Errorf("span %d to %d %s the generation of %d code points (%d bytes)%s", start, end, what, points, len(text), hint)
	}
	for range start {
		_, size := utf8.DecodeRune(text[from:])
		from += size
	}
	to = from
	for range end - start {
		_, size := utf8.DecodeRune(text[to:])
		to += size
	}
	return from, to, nil
}
