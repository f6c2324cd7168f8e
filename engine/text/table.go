package text

import (
	"bufio"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
)

// table reads rows of fields that commas or tabs separate, as RFC 4180 has it and encoding/csv enforces it: a quote stands at
// the ends of a field or twice inside a quoted one, and all rows have as many fields as the first. Inside quotes \r\n becomes
// \n. Lines of nothing at all are no rows.
func (p *pass) table(name string, br *bufio.Reader, comma rune) bool {
	m := p.r.records
	if len(m.inner) > 0 {
		return p.fail("%s: records of the shape %s cannot be rows of a table; hint: use JSON lines", name, m.name)
	}
	rows := rowReader{max: p.r.o.MaxLine, quoted: p.r.o.Quotes == "csv", comma: string(comma)}
	rows.open(br, comma)
	columns, ok := p.columns(name, &rows)
	if !ok {
		return p.err == nil // an empty file, or a header that cannot be used
	}
	values := make([][]byte, len(columns))
	for {
		row, line, err := rows.next()
		switch {
		case err == io.EOF:
			return true
		case err != nil:
			if !p.badRow(name, line, err) {
				return false
			}
			continue
		}
		for i, c := range columns {
			values[i] = nil
			if c >= len(row) {
				return p.fail("%s:%d: the %s is in column %d, the rows have %d", name, line, m.roles[i], c+1, len(row))
			}
			if c >= 0 {
				values[i] = []byte(row[c])
			}
		}
		d, err := m.document(values)
		if err == nil {
			err = m.classify(&d, values, p.classes.of)
		}
		if err != nil {
			if !p.bad("%s:%d: %v", name, line, err) {
				return false
			}
			continue
		}
		d.Source, d.Line = name, line
		if !p.emit(d) {
			return false
		}
	}
}

// badRow treats the error of a row. What is no matter of a single row ends the pass.
func (p *pass) badRow(name string, line int, err error) bool {
	var row rowError
	if errors.As(err, &row) {
		return p.bad("%s:%d: %v", name, line, err)
	}
	return p.fail("input %s: %w", name, err)
}

// columns finds the column of each role, -1 for one that is not there and need not be; not ok ends the file. Without a
// header the fields are named by numbers from 1, and the shape text takes the first column unless told otherwise.
func (p *pass) columns(name string, rows *rowReader) (columns []int, ok bool) {
	m := p.r.records
	if p.r.o.NoHeader {
		for i, key := range m.keys {
			n, err := strconv.Atoi(key)
			if err != nil || n < 1 {
				if key == m.roles[i] && i == 0 && m.name == "text" {
					n = 1
				} else {
					return nil, p.fail("%s: column %q of the %s: without a header, columns are numbers from 1; hint: set the field of %q",
						name, key, m.name, m.roles[i])
				}
			}
			if other := slices.Index(columns, n-1); other >= 0 {
				return nil, p.fail("%s: the %s and the %s are both in column %d; hint: set the field of each", name, m.roles[other], m.roles[i], n)
			}
			columns = append(columns, n-1)
		}
		return columns, true
	}
	header, line, err := rows.next()
	if err == io.EOF {
		return nil, false
	}
	if err != nil {
		return nil, p.fail("%s:%d: the header: %w", name, line, err)
	}
	for i, key := range m.keys {
		c := slices.Index(header, key)
		switch {
		case m.name == shapeGeneration && slices.Contains([]string{"spans", "tokens", "ended"}, m.roles[i]):
			if c >= 0 {
				return nil, p.fail("%s:%d: column %q: in a table, a generation has no %s; hint: use JSON lines", name, line, key, m.roles[i])
			}
		case c < 0 && m.mayLack(m.roles[i]):
		case c < 0:
			return nil, p.fail("%s:%d: no column %q; the header has %q; hint: name the columns with fields, say that there is no "+
				"header, or read tokens with tags in the format conll", name, line, key, clipAll(header))
		case slices.Contains(header[c+1:], key):
			return nil, p.fail("%s:%d: two columns are called %q", name, line, key)
		}
		columns = append(columns, c)
	}
	return columns, true
}

// clipAll shortens a list for a message; "..." at its end stands for more.
func clipAll(list []string) []string {
	short := slices.Clone(list[:min(len(list), 12)])
	for i := range short {
		short[i] = clip(short[i])
	}
	if len(short) < len(list) {
		short = append(short, "...")
	}
	return short
}

// A rowError is about one row, after which reading can go on.
type rowError string

func (e rowError) Error() string { return string(e) }

var errOpenQuote = errors.New("a row longer than the limit")

const quotesHint = "hint: where quotes are plain text, read with quotes: none"

// A rowReader gives rows of equal width. Without quoting, a row is a line and its fields are what is between separators.
type rowReader struct {
	max    int
	quoted bool
	comma  string

	width int // fields of the first row; 0 before it
	line  int // that the last row begins on
	csv   *csv.Reader
	limit *limitReader
	lines lineReader
}

func (r *rowReader) open(br *bufio.Reader, comma rune) {
	if !r.quoted {
		r.lines = lineReader{r: br, max: r.max}
		return
	}
	r.limit = &limitReader{r: br}
	r.csv = csv.NewReader(r.limit)
	r.csv.Comma = comma
	r.csv.ReuseRecord = true
	r.csv.FieldsPerRecord = -1 // checked here
}

// next returns a row, valid until the next call, and the line that it begins on. After a rowError the next row follows.
func (r *rowReader) next() (row []string, line int, err error) {
	if r.quoted {
		row, err = r.nextQuoted()
	} else {
		row, err = r.nextLine()
	}
	if err != nil {
		return nil, r.line, err
	}
	if r.width == 0 {
		r.width = len(row)
	}
	if len(row) != r.width {
		return nil, r.line, rowError(fmt.Sprintf("%d fields, the first row has %d", len(row), r.width))
	}
	return row, r.line, nil
}

func (r *rowReader) nextQuoted() ([]string, error) {
	// The csv reader may have read ahead already: the limit is loose by its buffer, never tight.
	r.limit.left = int64(r.max) + readBuffer
	row, err := r.csv.Read()
	var parse *csv.ParseError
	switch {
	case errors.Is(err, errOpenQuote):
		return nil, fmt.Errorf("the row after the one at line %d has more than %d bytes; hint: is a quote left open there?", r.line, r.max)
	case errors.As(err, &parse):
		r.line = parse.StartLine
		return nil, rowError(fmt.Sprintf("line %d, column %d: %v; %s", parse.Line, parse.Column, parse.Err, quotesHint))
	case err != nil:
		return nil, err
	}
	r.line, _ = r.csv.FieldPos(0)
	return row, nil
}

func (r *rowReader) nextLine() ([]string, error) {
	for {
		text, long, err := r.lines.next()
		r.line = r.lines.number
		switch {
		case err != nil:
			return nil, err
		case long > 0:
			return nil, rowError(fmt.Sprintf("row of %d bytes, the limit is %d", long, r.max))
		}
		if text = trimLineEnd(text); len(text) > 0 {
			return strings.Split(string(text), r.comma), nil
		}
	}
}

// A limitReader fails when more is read than left says.
type limitReader struct {
	r    io.Reader
	left int64
}

func (l *limitReader) Read(b []byte) (int, error) {
	if l.left <= 0 {
		return 0, errOpenQuote
	}
	n, err := l.r.Read(b[:min(int64(len(b)), l.left)])
	l.left -= int64(n)
	return n, err
}
