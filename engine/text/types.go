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
	maxTypeName  = 64   // bytes of the name of an entity type
	maxTypeTable = 3500 // of all names, quoted: they must fit a plane's provenance
)

// A typeTable numbers entity types: the given ones in their order, or all as they come.
type typeTable struct {
	names []string
	ids   map[string]int
	fixed bool
	size  int // bytes of the names, quoted
}

// newTypeTable checks given types; errors are fault.Usage.
func newTypeTable(given []string) (typeTable, error) {
	t := typeTable{ids: map[string]int{}}
	for _, name := range given {
		if slices.Contains(t.names, name) {
			return t, fault.Usage.Errorf("entity type %q is given twice", name)
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
		return 0, fmt.Errorf("entity type %.80q is none of %q", name, t.names)
	case name == "" || len(name) > maxTypeName || !utf8.ValidString(name) || slices.ContainsFunc([]rune(name), unicode.IsControl):
		return 0, fmt.Errorf("entity type %.80q: expected 1 to %d bytes of text", name, maxTypeName)
	case len(t.names) == MaxEntityTypes:
		return 0, fmt.Errorf("entity type %q would be the %dth, the most is %d; hint: is this the column of the tags?",
			name, MaxEntityTypes+1, MaxEntityTypes)
	}
	size := t.size + len(strconv.Quote(name)) + 1
	if size > maxTypeTable {
		return 0, fmt.Errorf("entity type %q: the names of %d types together have more than %d bytes; hint: shorten them",
			name, len(t.names)+1, maxTypeTable)
	}
	t.size = size
	id := len(t.names)
	t.names = append(t.names, name)
	t.ids[name] = id
	return id, nil
}

func (t *typeTable) clone() typeTable {
	return typeTable{slices.Clone(t.names), maps.Clone(t.ids), t.fixed, t.size}
}
