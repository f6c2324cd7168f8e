package runfile

import (
	"reflect"
	"slices"
)

// A Key describes one key for help and documentation.
type Key struct {
	Path    string   `json:"path"` // dotted; N stands for an index, NAME for a free name
	Type    string   `json:"type"` // in words: "a number", "a section", ...
	Default string   `json:"default,omitempty"`
	Doc     string   `json:"doc,omitempty"`
	Enum    []string `json:"enum,omitempty"`
	Unit    string   `json:"unit,omitempty"`
	Min     string   `json:"min,omitempty"` // as in the tag
	Max     string   `json:"max,omitempty"`
}

// Describe lists every key of a struct (or a pointer to one) in order, with the values that v holds as defaults. Sections
// stand before their keys, without a default unless they are optional and off ("null").
func Describe(v any) []Key {
	d := describer{open: map[reflect.Type]bool{}}
	d.section(reflect.Indirect(reflect.ValueOf(v)), "")
	return d.keys
}

type describer struct {
	keys []Key
	open map[reflect.Type]bool // struct types on the way here, to end at a type that contains itself
}

func (d *describer) section(v reflect.Value, path string) {
	if d.open[v.Type()] {
		return
	}
	d.open[v.Type()] = true
	defer delete(d.open, v.Type())
	for _, f := range fieldsOf(v.Type()) {
		fv := v.FieldByIndex(f.index)
		key := join(path, f.name)
		k := Key{Path: key, Type: typeName(f.typ), Doc: f.doc, Enum: slices.Clone(f.enum), Unit: f.unit, Min: f.min, Max: f.max}
		if section(f.typ) == nil || isNil(fv) {
			k.Default = flow(fv)
		}
		d.keys = append(d.keys, k)
		d.below(fv, key)
	}
}

// below describes what lies under a key: a section's keys, or those of a list's or map's items.
func (d *describer) below(v reflect.Value, path string) {
	t := v.Type()
	switch {
	case section(t) != nil:
		if isNil(v) {
			v = newSection(section(t))
		}
		d.section(reflect.Indirect(v), path)
	case isList(t) && section(t.Elem()) != nil:
		d.section(newSection(section(t.Elem())), join(path, "N"))
	case isMap(t) && section(t.Elem()) != nil:
		d.section(newSection(section(t.Elem())), join(path, "NAME"))
	}
}

// newSection returns a fresh struct with its own defaults.
func newSection(t reflect.Type) reflect.Value {
	v := reflect.New(t).Elem()
	setDefaults(v)
	return v
}
