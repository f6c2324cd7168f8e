package text

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"strings"
)

// conll reads sentences of one token a line, with its tag in another column; blank lines end a sentence, and so do
// -DOCSTART- lines, which are no tokens. A document is a sentence, its tokens joined by spaces.
func (p *pass) conll(path string, br *bufio.Reader) bool {
	name, scheme := sourceName(path), Scheme(p.r.o.Scheme)
	if scheme == "auto" {
		var err error
		if scheme, err = p.detectScheme(path); err != nil {
			return p.fail("%w", err)
		}
	}
	p.r.report.countScheme(scheme)
	c := conllReader{o: &p.r.o, lines: lineReader{r: br, max: p.r.o.MaxLine}}
	defer func() { p.r.report.DocStarts += c.docStarts }()
	for {
		err := c.next()
		switch {
		case err == io.EOF:
			return true
		case c.readErr != nil:
			return p.fail("input: %w", err)
		case err == nil:
			err = p.sentence(name, &c, scheme)
		}
		if err != nil && !p.bad("%s:%v", name, err) {
			return false
		}
		if p.stopped {
			return false
		}
	}
}

// sentence emits what the reader stands at; an error begins with the line.
func (p *pass) sentence(name string, c *conllReader, scheme Scheme) error {
	runs, repaired, err := scheme.runs(c.tags, p.r.o.Repair)
	if err != nil {
		return fmt.Errorf("%d: %w", c.lineOf[err.at], err)
	}
	d := Document{Text: bytes.Clone(c.text), Source: name, Line: c.lineOf[0], Tagged: true}
	for _, r := range runs {
		t, err := p.types.of(r.label)
		if err != nil {
			return fmt.Errorf("%d: %w", c.lineOf[r.start], err)
		}
		d.Spans = append(d.Spans, LabelSpan{Start: c.starts[r.start], End: c.ends[r.end-1], Kind: Entity, Type: t})
	}
	if len(repaired) > 0 {
		p.r.report.Repaired.Documents++
		p.r.report.Repairs += len(repaired)
		if rep := &p.r.report.Repaired; len(rep.First) < maxExamples {
			rep.First = append(rep.First, fmt.Sprintf("%s:%d: %v", name, c.lineOf[repaired[0].at], repaired[0]))
		}
	}
	p.emit(d)
	return nil
}

// detectScheme reads a file once to see how it writes tags.
func (p *pass) detectScheme(path string) (Scheme, error) {
	in, err := p.r.openInput(path, nil)
	if err != nil {
		return "", fmt.Errorf("input: %w", err)
	}
	defer in.close()
	br := bufio.NewReaderSize(in, readBuffer)
	if err := skipBOM(br); err != nil {
		return "", fmt.Errorf("input %s: %w", path, err)
	}
	c := conllReader{o: &p.r.o, lines: lineReader{r: br, max: p.r.o.MaxLine}}
	var s schemeStats
	for {
		err := c.next()
		if err == io.EOF {
			break
		}
		if c.readErr != nil {
			return "", fmt.Errorf("input: %w", err)
		}
		if err == nil { // errors will be met again
			for i := range c.tags {
				s.see(c.tags, i)
			}
		}
	}
	scheme, err := s.decide()
	if err != nil {
		return "", fmt.Errorf("%s: %w", path, err)
	}
	return scheme, nil
}

// A conllReader reads sentences. Its slices are those of the last one.
type conllReader struct {
	o         *ReaderOptions
	lines     lineReader
	width     int // columns of the first line of the file
	docStarts int
	readErr   error

	text         []byte
	starts, ends []int // of the tokens in text
	lineOf       []int
	tags         []tag
	types        map[string]string // one string for each type name met
}

// next reads a sentence. An error that is neither io.EOF nor readErr is about the sentence, begins with the line and leaves
// the reader after it.
func (c *conllReader) next() error {
	c.text, c.starts, c.ends, c.lineOf, c.tags = c.text[:0], c.starts[:0], c.ends[:0], c.lineOf[:0], c.tags[:0]
	var bad error
	size := 0
	for {
		line, long, err := c.lines.next()
		if err != nil && err != io.EOF {
			c.readErr = err
			return err
		}
		line = trimLineEnd(line)
		start := long == 0 && bytes.HasPrefix(line, []byte("-DOCSTART-"))
		if start {
			c.docStarts++
		}
		if err == io.EOF || start || long == 0 && isBlank(line) {
			switch {
			case bad != nil:
				return bad
			case len(c.tags) > 0:
				return nil
			case err == io.EOF:
				return io.EOF
			}
			continue // blank lines in a row
		}
		size += int(long) + len(line)
		switch {
		case bad != nil: // the rest of a bad sentence
		case long > 0:
			bad = fmt.Errorf("%d: line of %d bytes, the limit is %d", c.lines.number, long, c.lines.max)
		case size > c.o.MaxDocument:
			bad = fmt.Errorf("%d: sentence of more than %d bytes; hint: blank lines end sentences", c.lines.number, c.o.MaxDocument)
		default:
			if e := c.token(line); e != nil {
				bad = fmt.Errorf("%d: %w", c.lines.number, e)
			}
		}
	}
}

// token adds one line to the sentence.
func (c *conllReader) token(line []byte) error {
	columns := splitColumns(line)
	if c.width == 0 {
		c.width = len(columns)
	}
	if len(columns) != c.width {
		return fmt.Errorf("%d columns, the first line has %d; hint: comments and sentence ids are no part of CoNLL, take them out",
			len(columns), c.width)
	}
	if c.width < 2 {
		return fmt.Errorf("one column %.40q, expected a token and a tag", line)
	}
	word, label := c.o.TokenColumn-1, c.o.TagColumn-1
	if c.o.TagColumn == 0 {
		label = c.width - 1
	}
	if word >= c.width || label >= c.width {
		return fmt.Errorf("%d columns, token and tag are in %d and %d", c.width, word+1, label+1)
	}
	if len(bytes.TrimSpace(columns[word])) == 0 {
		return fmt.Errorf("the token is empty")
	}
	if c.types == nil {
		c.types = map[string]string{}
	}
	t, err := parseTag(columns[label], c.types)
	if err != nil {
		return err
	}
	if len(c.text) > 0 {
		c.text = append(c.text, ' ')
	}
	c.starts = append(c.starts, len(c.text))
	c.text = append(c.text, columns[word]...)
	c.ends = append(c.ends, len(c.text))
	c.lineOf = append(c.lineOf, c.lines.number)
	c.tags = append(c.tags, t)
	return nil
}

// splitColumns cuts at tabs when there is one, otherwise at runs of white space.
func splitColumns(line []byte) [][]byte {
	if bytes.IndexByte(line, '\t') >= 0 {
		return bytes.Split(line, []byte("\t"))
	}
	return bytes.Fields(line)
}

// A tag is a prefix (B, I, E or S; 0 for O, which is outside) and a type.
type tag struct {
	prefix byte
	label  string
	as     byte // the prefix as written: L and U are E and S
}

func (t tag) String() string {
	if t.prefix == 0 {
		return "O"
	}
	return string(t.as) + "-" + t.label
}

// parseTag reads O, or a prefix with a type behind a hyphen. A prefix alone has the type "entity".
func parseTag(text []byte, types map[string]string) (tag, error) {
	if string(text) == "O" {
		return tag{}, nil
	}
	if len(text) == 0 {
		return tag{}, fmt.Errorf("the tag is empty; outside of entities it is O")
	}
	t := tag{prefix: text[0], label: "entity", as: text[0]}
	switch t.prefix {
	case 'L':
		t.prefix = 'E'
	case 'U':
		t.prefix = 'S'
	}
	if !strings.ContainsRune("BIES", rune(t.prefix)) || len(text) > 1 && (text[1] != '-' || len(text) == 2) {
		return tag{}, fmt.Errorf("tag %.40q: expected O, or B-, I-, E-, S-, L- or U- and a type", text)
	}
	if len(text) > 2 {
		label, known := types[string(text[2:])]
		if !known {
			if label = string(text[2:]); len(types) < 2*MaxEntityTypes { // beyond that the pass fails or nothing repeats
				types[label] = label
			}
		}
		t.label = label
	}
	return t, nil
}
