package text

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"unicode"
	"unicode/utf8"

	"palimpsest/engine/fault"
)

const (
	maxTypeName  = 64   // bytes of the name of an entity type or a class
	maxTypeTable = 3500 // of all names, quoted: they must fit a plane's provenance
)

// A tableKind says what a typeTable numbers.
type tableKind struct {
	what, all string // one and many, for messages
	most      int
}

var (
	entityTypeTable = tableKind{"entity type", "entity types", MaxEntityTypes}
	labelTable      = tableKind{"class", "classes", MaxClasses}
)

// A typeTable numbers entity types or classes: the given ones in their order, or all as they come.
type typeTable struct {
	tableKind
	names []string
	ids   map[string]int
	fixed bool
	size  int // bytes of the names, quoted
}

// newTypeTable checks given types; errors are fault.Usage.
func newTypeTable(kind tableKind, given []string) (typeTable, error) {
	t := typeTable{tableKind: kind, ids: map[string]int{}}
	for _, name := range given {
		if slices.Contains(t.names, name) {
			return t, fault.Usage.Errorf("%s %q is given twice", t.what, name)
		}
		if _, err := t.of(name); err != nil {
			return t, fault.Usage.Wrap(err)
		}
	}
	t.fixed = len(given) > 0
	return t, nil
}

// of returns the number of a type.
func (t *typeTable) of(name string) (int, error) {
	if id, ok := t.ids[name]; ok {
		return id, nil
	}
	switch {
	case t.fixed:
		return 0, fmt.Errorf("%s %.80q is none of %q", t.what, name, clipAll(t.names))
	case name == "" || len(name) > maxTypeName || !utf8.ValidString(name) || slices.ContainsFunc([]rune(name), unicode.IsControl):
		return 0, fmt.Errorf("%s %.80q: expected 1 to %d bytes of text", t.what, name, maxTypeName)
	case len(t.names) == t.most:
		return 0, fmt.Errorf("%s %q would be the %dth, the most is %d; hint: is this the right field or column?",
			t.what, name, t.most+1, t.most)
	}
	size := t.size + len(strconv.Quote(name)) + 1
	if size > maxTypeTable {
		return 0, fmt.Errorf("%s %q: the names of %d %s together have more than %d bytes; hint: shorten them",
			t.what, name, len(t.names)+1, t.all, maxTypeTable)
	}
	t.size = size
	id := len(t.names)
	t.names = append(t.names, name)
	t.ids[name] = id
	return id, nil
}

func (t *typeTable) clone() typeTable {
	return typeTable{t.tableKind, slices.Clone(t.names), maps.Clone(t.ids), t.fixed, t.size}
}
