package text

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"

	"palimpsest/engine/fault"
)

const (
	// MaxClasses is the number of classes of documents.
	MaxClasses = 254
	// NoClass, in the label plane, stands for no class.
	NoClass = 255

	labelRole = "label" // of the field that holds the class, beside the roles of a shape
)

// setLabel adds the field of the class to those that are read, behind those of the shape.
func (m *recordMap) setLabel(field string) error {
	if field == "" {
		return nil
	}
	if role, twice := m.index[field]; twice {
		return fault.Usage.Errorf("label: field %q holds the %s already", field, m.roles[role])
	}
	m.index[field] = len(m.keys)
	m.keys = append(m.keys, field)
	m.roles = append(slices.Clone(m.roles), labelRole) // the shape's own list is everyone's
	m.labelled = true
	return nil
}

// classify gives a document the class that its record names.
func (m *recordMap) classify(d *Document, values [][]byte, classOf func(name string) (int, error)) (err error) {
	if !m.labelled {
		return nil
	}
	last := len(m.keys) - 1
	d.Labelled = true
	if d.Class, err = classOf(string(bytes.TrimSpace(values[last]))); err != nil {
		return fmt.Errorf("field %q: %w", m.keys[last], err)
	}
	return nil
}

// classValue reads a class in JSON: a string or an integer.
func classValue(s *scanner) ([]byte, error) {
	switch c := s.peek(); {
	case c == '"':
		value, fresh, err := s.text()
		if err == nil && !fresh {
			value = bytes.Clone(value)
		}
		return value, err
	case c == '-' || '0' <= c && c <= '9':
		n, err := s.integer()
		return strconv.AppendInt(nil, n, 10), err
	}
	return nil, s.errorf("expected a class, a string or an integer, found %s", s.kind())
}

// checkLabels makes sure that all files have fields when one of them holds the class.
func (r *Reader) checkLabels() error {
	if r.o.Label == "" {
		if len(r.o.Labels) > 0 {
			return fault.Usage.Errorf("labels: the classes are given, but not the field of records that holds them; hint: set label")
		}
		return nil
	}
	for _, name := range r.files {
		if format := r.format(name); format == "txt" || format == "conll" {
			return fault.Usage.Errorf("label %q: %s is read as %s, which has no fields; hint: JSON lines, csv and tsv have, choose them "+
				"with format or include patterns", r.o.Label, name, format)
		}
	}
	return nil
}

// A classTable numbers classes. Those that are not given are either all names, numbered as they come, or all numbers, which
// number themselves: a class 1 that comes before a class 0 is 1 all the same.
type classTable struct {
	typeTable
	numbers bool // at least one name is a number
}

func newClassTable(given []string) (t classTable, err error) {
	if t.typeTable, err = newTypeTable(labelTable, given); err != nil {
		return t, err
	}
	t.numbers = slices.ContainsFunc(given, func(name string) bool { _, ok := plainNumber(name); return ok })
	return t, nil
}

func (t *classTable) clone() classTable { return classTable{t.typeTable.clone(), t.numbers} }

// of returns the number of a class.
func (t *classTable) of(name string) (int, error) {
	n, number := plainNumber(name)
	if id, ok := t.ids[name]; ok {
		return id, nil
	}
	switch {
	case name == "":
		return 0, fmt.Errorf("the class is empty")
	case t.fixed && number && !t.numbers && 0 <= n && n < len(t.names):
		return n, nil
	case t.fixed:
		return t.typeTable.of(name)
	case len(t.names) > 0 && number != t.numbers:
		return 0, fmt.Errorf("class %.80q among classes such as %q: names and numbers cannot be mixed; hint: give all names with labels",
			name, t.names[0])
	case number && (n < 0 || n >= MaxClasses):
		return 0, fmt.Errorf("class %s: as a number expected 0 to %d; hint: with other numbers as names, give all of them with labels",
			name, MaxClasses-1)
	case !number:
		return t.typeTable.of(name)
	}
	t.numbers = true
	for len(t.names) <= n {
		if _, err := t.typeTable.of(strconv.Itoa(len(t.names))); err != nil {
			return 0, err
		}
	}
	return n, nil
}

// plainNumber reads an integer as strconv.Itoa writes it; "01" and "+1" are names.
func plainNumber(s string) (int, bool) {
	n, err := strconv.Atoi(s)
	return n, err == nil && strconv.Itoa(n) == s
}
