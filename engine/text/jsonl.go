package text

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"unicode/utf8"
)

// jsonl reads one JSON object a line and takes the text from one field.
func (p *pass) jsonl(name string, br *bufio.Reader) bool {
	l := lineReader{r: br, max: p.r.o.MaxLine}
	seen := map[string]struct{}{}
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
		clear(seen)
		text, err := record(trimLineEnd(line), p.r.o.Field, seen)
		if err != nil {
			if !p.bad("%s:%d: %v", name, l.number, err) {
				return false
			}
		} else if !p.emit(Document{text, name, l.number}) {
			return false
		}
	}
}

// record returns the text of one JSON object in fresh memory. seen must be empty. Escaped zero characters are text like any
// other; unescaped ones are no JSON.
func record(line []byte, field string, seen map[string]struct{}) ([]byte, error) {
	if !utf8.Valid(line) {
		return nil, fmt.Errorf("not valid UTF-8 at byte %d", invalidUTF8(line)+1)
	}
	s := scanner{data: line}
	if s.peek() != '{' {
		return nil, fmt.Errorf("expected a JSON object, found %s", s.kind())
	}
	var text []byte
	err := s.object(func(key []byte) error {
		if _, twice := seen[string(key)]; twice {
			return s.errorf("the key comes twice")
		}
		seen[string(key)] = struct{}{}
		if string(key) != field {
			return s.skip()
		}
		value, fresh, err := s.text()
		if err == nil && !fresh {
			value = bytes.Clone(value)
		}
		text = value
		return err
	})
	if err == nil {
		err = s.end()
	}
	if err != nil {
		return nil, err
	}
	if _, ok := seen[field]; !ok {
		return nil, missing(field, line)
	}
	return text, nil
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
	return fmt.Errorf("no field %q; the record has %q", field, have)
}
