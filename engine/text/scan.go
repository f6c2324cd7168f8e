package text

import (
	"bytes"
	"fmt"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

// maxDepth bounds the nesting of JSON, and with it the stack.
const maxDepth = 200

// A scanner reads JSON (RFC 8259) strictly and without building a tree: the caller says what it expects next. Unlike
// encoding/json it lets the caller see duplicate keys, refuses escapes that are not Unicode, and knows the path of what it
// reads. The data must be valid UTF-8 already.
type scanner struct {
	data []byte
	pos  int
	path []step
}

// A step of a path is a key, or an index where key is nil.
type step struct {
	key   []byte
	index int
}

// errorf reports what is wrong where the scanner stands.
func (s *scanner) errorf(format string, args ...any) error {
	where := []byte("$")
	for _, p := range s.path {
		if p.key == nil {
			where = fmt.Appendf(where, "[%d]", p.index)
		} else if key := p.key; len(key) > 100 {
			where = fmt.Appendf(where, ".%s...", bytes.ToValidUTF8(key[:100], nil))
		} else {
			where = fmt.Appendf(where, ".%s", key)
		}
	}
	return fmt.Errorf("%s (byte %d): %w", where, s.pos+1, fmt.Errorf(format, args...))
}

// peek returns the byte that the next value begins with, 0 at the end.
func (s *scanner) peek() byte {
	for s.pos < len(s.data) {
		switch c := s.data[s.pos]; c {
		case ' ', '\t', '\n', '\r':
			s.pos++
		default:
			return c
		}
	}
	return 0
}

// kind names the next value for messages.
func (s *scanner) kind() string {
	switch c := s.peek(); {
	case c == '{':
		return "an object"
	case c == '[':
		return "an array"
	case c == '"':
		return "a string"
	case s.begins("true") || s.begins("false"):
		return "a boolean"
	case s.begins("null"):
		return "null"
	case c == '-' || '0' <= c && c <= '9':
		return "a number"
	case s.pos == len(s.data):
		return "the end of the text"
	}
	r, _ := utf8.DecodeRune(s.data[s.pos:])
	return fmt.Sprintf("%q", r)
}

// begins reports whether a literal is next.
func (s *scanner) begins(literal string) bool {
	return bytes.HasPrefix(s.data[s.pos:], []byte(literal))
}

// end checks that nothing but white space follows.
func (s *scanner) end() error {
	if s.peek(); s.pos < len(s.data) {
		return s.errorf("%s after the end of the JSON value", s.kind())
	}
	return nil
}

// object calls visit for every member with the scanner at its value; visit must consume it. The key is valid during the
// call only.
func (s *scanner) object(visit func(key []byte) error) error {
	return s.list('{', '}', "an object", func(int) error {
		if c := s.peek(); c != '"' {
			return s.errorf("expected a key, found %s", s.kind())
		}
		key, _, err := s.text()
		if err != nil {
			return err
		}
		if s.peek() != ':' {
			return s.errorf("expected a colon after key %.100q, found %s", key, s.kind())
		}
		s.pos++
		s.path[len(s.path)-1].key = key
		return visit(key)
	})
}

// array calls visit for every element with the scanner at it; visit must consume it.
func (s *scanner) array(visit func(i int) error) error {
	return s.list('[', ']', "an array", visit)
}

func (s *scanner) list(open, end byte, name string, visit func(i int) error) error {
	if s.peek() != open {
		return s.errorf("expected %s, found %s", name, s.kind())
	}
	if len(s.path) == maxDepth {
		return s.errorf("nested deeper than %d", maxDepth)
	}
	s.pos++
	if s.peek() == end {
		s.pos++
		return nil
	}
	s.path = append(s.path, step{})
	for i := 0; ; i++ {
		s.path[len(s.path)-1] = step{index: i}
		if err := visit(i); err != nil {
			return err
		}
		switch s.peek() {
		case ',':
			s.pos++
		case end:
			s.pos++
			s.path = s.path[:len(s.path)-1]
			return nil
		default:
			return s.errorf("expected a comma or %q, found %s", end, s.kind())
		}
	}
}

// text reads a string. Without escapes it is a part of the data, otherwise fresh memory, as fresh says.
func (s *scanner) text() (text []byte, fresh bool, err error) {
	raw, escaped, err := s.rawText()
	if err != nil || !escaped {
		return raw, false, err
	}
	text, err = s.unescape(raw)
	return text, true, err
}

// rawText finds the end of a string and returns what is between the quotes.
func (s *scanner) rawText() (raw []byte, escaped bool, err error) {
	if s.peek() != '"' {
		return nil, false, s.errorf("expected a string, found %s", s.kind())
	}
	s.pos++
	start := s.pos
	for ; s.pos < len(s.data); s.pos++ {
		switch c := s.data[s.pos]; {
		case c == '"':
			s.pos++
			return s.data[start : s.pos-1], escaped, nil
		case c == '\\':
			escaped = true
			s.pos++
			if err := s.checkEscape(); err != nil {
				return nil, false, err
			}
		case c < ' ':
			return nil, false, s.errorf("control character 0x%02X in a string must be escaped", c)
		}
	}
	return nil, false, s.errorf("the text ends inside a string")
}

// checkEscape stands behind a backslash and moves to the last character of the escape.
func (s *scanner) checkEscape() error {
	rest := s.data[s.pos:]
	switch {
	case len(rest) == 0:
		return s.errorf("the text ends inside a string")
	case rest[0] == 'u':
		if len(rest) < 5 || hex4(rest[1:]) < 0 {
			return s.errorf("\\u needs four hexadecimal digits")
		}
		s.pos += 4
	case bytes.IndexByte([]byte(`"\/bfnrt`), rest[0]) < 0:
		r, _ := utf8.DecodeRune(rest)
		return s.errorf("unknown escape \\%c", r)
	}
	return nil
}

// unescape decodes a string whose escapes have been checked.
func (s *scanner) unescape(raw []byte) ([]byte, error) {
	out := make([]byte, 0, len(raw))
	for {
		i := bytes.IndexByte(raw, '\\')
		if i < 0 {
			return append(out, raw...), nil
		}
		out = append(out, raw[:i]...)
		c := raw[i+1]
		raw = raw[i+2:]
		switch c {
		case 'b':
			c = '\b'
		case 'f':
			c = '\f'
		case 'n':
			c = '\n'
		case 'r':
			c = '\r'
		case 't':
			c = '\t'
		case 'u':
			r := hex4(raw)
			raw = raw[4:]
			if utf16.IsSurrogate(r) {
				low := rune(-1)
				if len(raw) >= 6 && raw[0] == '\\' && raw[1] == 'u' {
					low = hex4(raw[2:])
				}
				pair := utf16.DecodeRune(r, low)
				if pair == utf8.RuneError {
					return nil, s.errorf("\\u%04x is half of a surrogate pair, not a character", r)
				}
				r, raw = pair, raw[6:]
			}
			out = utf8.AppendRune(out, r)
			continue
		}
		out = append(out, c)
	}
}

// hex4 reads four hexadecimal digits; -1 when they are none.
func hex4(b []byte) rune {
	if len(b) < 4 {
		return -1
	}
	var r rune
	for _, c := range b[:4] {
		switch {
		case '0' <= c && c <= '9':
			r = r<<4 | rune(c-'0')
		case 'a' <= c|0x20 && c|0x20 <= 'f':
			r = r<<4 | rune(c|0x20-'a'+10)
		default:
			return -1
		}
	}
	return r
}

// number consumes a number as the grammar has it and returns its digits.
func (s *scanner) number() ([]byte, error) {
	s.peek()
	start := s.pos
	accept := func(set string) bool {
		if s.pos < len(s.data) && bytes.IndexByte([]byte(set), s.data[s.pos]) >= 0 {
			s.pos++
			return true
		}
		return false
	}
	digits := func() bool {
		from := s.pos
		for s.pos < len(s.data) && '0' <= s.data[s.pos] && s.data[s.pos] <= '9' {
			s.pos++
		}
		return s.pos > from
	}
	accept("-")
	ok := accept("0") || digits()
	if ok && accept(".") {
		ok = digits()
	}
	if ok && accept("eE") {
		accept("+-")
		ok = digits()
	}
	if !ok {
		return nil, s.errorf("not a JSON number")
	}
	return s.data[start:s.pos], nil
}

// integer reads a number without fraction or exponent that fits int64.
func (s *scanner) integer() (int64, error) {
	if k := s.kind(); k != "a number" {
		return 0, s.errorf("expected an integer, found %s", k)
	}
	digits, err := s.number()
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseInt(string(digits), 10, 64)
	if err != nil {
		return 0, s.errorf("expected an integer, found %.40s", digits)
	}
	return n, nil
}

// word consumes a literal name when it is there.
func (s *scanner) word(name string) bool {
	if s.peek(); !bytes.HasPrefix(s.data[s.pos:], []byte(name)) {
		return false
	}
	s.pos += len(name)
	return true
}

func (s *scanner) null() bool { return s.word("null") }

func (s *scanner) boolean() (bool, error) {
	switch {
	case s.word("true"):
		return true, nil
	case s.word("false"):
		return false, nil
	}
	return false, s.errorf("expected true or false, found %s", s.kind())
}

// skip consumes any value and checks its grammar.
func (s *scanner) skip() error {
	switch c := s.peek(); {
	case c == '{':
		return s.object(func([]byte) error { return s.skip() })
	case c == '[':
		return s.array(func(int) error { return s.skip() })
	case c == '"':
		_, _, err := s.rawText()
		return err
	case c == '-' || '0' <= c && c <= '9':
		_, err := s.number()
		return err
	case s.null() || s.word("true") || s.word("false"):
		return nil
	}
	return s.errorf("expected a value, found %s", s.kind())
}
