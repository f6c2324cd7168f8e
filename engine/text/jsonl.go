package text

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"unicode/utf8"
)

// jsonl reads one JSON object a line.
func (p *pass) jsonl(name string, br *bufio.Reader) bool {
	l := lineReader{r: br, max: p.r.o.MaxLine}
	r := recordReader{m: p.r.records, typeOf: p.types.of, classOf: p.classes.of}
	for {
		line, long, err := l.next()
		switch {
		case err == io.EOF:
			return true
		case err != nil:
			return p.fail("input: %w", err)
		case long > 0:
			if !p.bad("%s:%d: record of %d bytes, the limit is %d", name, l.number, long, l.max) {
				return false
			}
			continue
		case isBlank(line):
			p.r.report.Empty++
			continue
		}
		d, err := r.read(trimLineEnd(line))
		if err != nil {
			if !p.bad("%s:%d: %v", name, l.number, err) {
				return false
			}
			continue
		}
		d.Source, d.Line = name, l.number
		if !p.emit(d) {
			return false
		}
	}
}

// A recordReader turns JSON objects into documents. Its memory is used again for each.
type recordReader struct {
	m       *recordMap
	typeOf  func(label string) (int, error)
	classOf func(name string) (int, error)

	seen     map[string]struct{} // keys of the object at hand
	values   [][]byte
	messages []message
	spans    []charSpan

	generation generationFields
}

// read returns the document of one JSON object, in fresh memory. Escaped zero characters are text like any other; unescaped
// ones are no JSON.
func (r *recordReader) read(line []byte) (Document, error) {
	if !utf8.Valid(line) {
		return Document{}, fmt.Errorf("not valid UTF-8 at byte %d", invalidUTF8(line)+1)
	}
	s := scanner{data: line}
	if s.peek() != '{' {
		return Document{}, fmt.Errorf("expected a JSON object, found %s", s.kind())
	}
	if r.seen == nil {
		r.seen = map[string]struct{}{}
	}
	clear(r.seen)
	r.values, r.generation = append(r.values[:0], make([][]byte, len(r.m.keys))...), generationFields{}
	err := s.object(func(key []byte) error {
		if _, twice := r.seen[string(key)]; twice {
			return s.errorf("the key comes twice")
		}
		r.seen[string(key)] = struct{}{}
		role, wanted := r.m.index[string(key)]
		if !wanted {
			return s.skip()
		}
		return r.value(&s, role)
	})
	if err == nil {
		err = s.end()
	}
	if err != nil {
		return Document{}, err
	}
	for i, key := range r.m.keys {
		if _, ok := r.seen[key]; !ok && !r.m.mayLack(r.m.roles[i]) {
			return Document{}, missing(key, line)
		}
	}
	d, err := r.document()
	if err == nil {
		err = r.m.classify(&d, r.values, r.classOf)
	}
	return d, err
}

func (r *recordReader) document() (Document, error) {
	switch r.m.name {
	case "messages":
		return r.m.conversation(r.messages)
	case "spans":
		d := Document{Text: r.values[0]}
		return d, annotate(&d, r.spans, r.typeOf)
	case shapeGeneration:
		return r.m.generated(r.values, &r.generation)
	}
	return r.m.document(r.values)
}

// value reads the value of a role.
func (r *recordReader) value(s *scanner, role int) error {
	if r.m.mayLack(r.m.roles[role]) && s.null() {
		return nil
	}
	if r.m.name == shapeGeneration {
		if ok, err := r.generationValue(s, r.m.roles[role]); ok || err != nil {
			return err
		}
	}
	switch r.m.roles[role] {
	case "messages":
		r.messages = r.messages[:0]
		return s.array(func(int) error { return r.message(s) })
	case "spans":
		r.spans = r.spans[:0]
		return s.array(func(int) error { return r.span(s) })
	case labelRole:
		value, err := classValue(s)
		r.values[role] = value
		return err
	}
	value, fresh, err := s.text()
	if err == nil && !fresh {
		value = bytes.Clone(value)
	}
	r.values[role] = value
	return err
}

// message reads one turn; other keys than role and content are none of our business.
func (r *recordReader) message(s *scanner) error {
	var m message
	err := r.element(s, func(i int) (err error) {
		if i == 0 {
			m.role, _, err = s.text()
		} else {
			m.content, _, err = s.text()
		}
		return err
	})
	r.messages = append(r.messages, m)
	return err
}

// span reads one entity.
func (r *recordReader) span(s *scanner) error {
	var c charSpan
	err := r.element(s, func(i int) (err error) {
		switch i {
		case 0:
			c.start, err = s.integer()
		case 1:
			c.end, err = s.integer()
		default:
			var label []byte
			label, _, err = s.text()
			c.label = string(label)
		}
		return err
	})
	r.spans = append(r.spans, c)
	return err
}

// element reads an object that has each of the inner keys once; visit reads the value of the i-th.
func (r *recordReader) element(s *scanner, visit func(i int) error) error {
	var seen [3]bool
	err := s.object(func(key []byte) error {
		for i, k := range r.m.innerKeys {
			if string(key) != k {
				continue
			}
			if seen[i] {
				return s.errorf("the key comes twice")
			}
			seen[i] = true
			return visit(i)
		}
		return s.skip()
	})
	if err != nil {
		return err
	}
	for i, k := range r.m.innerKeys {
		if !seen[i] {
			return s.errorf("no key %q", k)
		}
	}
	return nil
}

// missing names the fields that a record, known to be well formed, has instead of the one wanted.
func missing(field string, line []byte) error {
	s := scanner{data: line}
	var have []string
	enough := errors.New("enough")
	err := s.object(func(key []byte) error {
		if len(have) == 8 {
			return enough
		}
		have = append(have, clip(string(key)))
		return s.skip()
	})
	if err != nil {
		have = append(have, "...")
	}
	hint := ""
	if slices.Contains(have, shapeGeneration) {
		hint = "; hint: the shape generation is for what a model wrote"
	}
	return fmt.Errorf("no field %q; the record has %q%s", field, have, hint)
}
