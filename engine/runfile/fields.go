package runfile

import (
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"time"
)

// A field is one configurable field of a struct: exported and with a yaml tag that is not "-".
type field struct {
	name      string
	index     []int // for reflect's FieldByIndex: inlined structs are looked through
	typ       reflect.Type
	doc, unit string
	enum      []string
	min, max  string // as in the tag, "" when open; ">0" and "<1" exclude the bound
	omitEmpty bool
}

var (
	fieldCache   sync.Map // reflect.Type -> []field
	durationType = reflect.TypeFor[time.Duration]()
	scalarType   = reflect.TypeFor[Scalar]()
)

// fieldsOf lists a struct's configurable fields in order. A mistake in the tags is a programmer's and panics.
func fieldsOf(t reflect.Type) []field {
	if known, ok := fieldCache.Load(t); ok {
		return known.([]field)
	}
	var out []field
	seen := map[string]bool{}
	for i := range t.NumField() {
		f := t.Field(i)
		tag, ok := f.Tag.Lookup("yaml")
		name, options, _ := strings.Cut(tag, ",")
		if !ok || name == "-" {
			continue
		}
		if !f.IsExported() {
			panic(fmt.Sprintf("runfile: %s.%s has a yaml tag but is not exported", t, f.Name))
		}
		inline, omit := false, false
		for option := range strings.SplitSeq(options, ",") {
			inline = inline || option == "inline"
			omit = omit || option == "omitempty"
		}
		if inline {
			for _, sub := range fieldsOf(f.Type) {
				sub.index = append([]int{i}, sub.index...)
				out = append(out, sub)
			}
			continue
		}
		one := field{name: name, index: f.Index, typ: f.Type, doc: f.Tag.Get("doc"), unit: f.Tag.Get("unit"),
			min: f.Tag.Get("min"), max: f.Tag.Get("max"), omitEmpty: omit}
		if enum, ok := f.Tag.Lookup("enum"); ok {
			one.enum = strings.Split(enum, ",")
		}
		for _, bound := range []string{strings.TrimPrefix(one.min, ">"), strings.TrimPrefix(one.max, "<")} {
			if bound != "" && !isNumber(bound) {
				panic(fmt.Sprintf("runfile: %s.%s has the bound %q", t, f.Name, bound))
			}
		}
		out = append(out, one)
	}
	for _, f := range out {
		if f.name == "" || strings.ContainsAny(f.name, ".=[] ") || seen[f.name] {
			panic(fmt.Sprintf("runfile: %s has an empty, repeated or odd key %q", t, f.name))
		}
		seen[f.name] = true
	}
	fieldCache.Store(t, out)
	return out
}

func isScalarType(t reflect.Type) bool {
	return t.Kind() != reflect.Pointer && reflect.PointerTo(t).Implements(scalarType)
}

// section returns the struct type that a key of type t opens, looking through a pointer, or nil.
func section(t reflect.Type) reflect.Type {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t.Kind() == reflect.Struct && !isScalarType(t) {
		return t
	}
	return nil
}

func isList(t reflect.Type) bool {
	return (t.Kind() == reflect.Slice || t.Kind() == reflect.Array) && !isScalarType(t)
}

func isMap(t reflect.Type) bool { return t.Kind() == reflect.Map && !isScalarType(t) }

// typeName says in words what a key takes.
func typeName(t reflect.Type) string {
	switch {
	case isScalarType(t):
		return "text"
	case t == durationType:
		return "a duration such as 30s or 5m"
	case section(t) != nil:
		return "a section"
	}
	switch t.Kind() {
	case reflect.Bool:
		return "true or false"
	case reflect.String:
		return "text"
	case reflect.Float32, reflect.Float64:
		return "a number"
	case reflect.Slice:
		return "a list"
	case reflect.Array:
		return "a list of " + strconv.Itoa(t.Len())
	case reflect.Map:
		return "a section of free names"
	}
	return "a whole number"
}

// checkType panics on a type that no run file can fill: it is a programmer's mistake and shows in the first test.
func checkType(t reflect.Type, path string, open map[reflect.Type]bool) {
	switch {
	case isScalarType(t):
		return
	case section(t) != nil:
		t = section(t)
		if open[t] {
			return
		}
		open[t] = true
		for _, f := range fieldsOf(t) {
			checkType(f.typ, join(path, f.name), open)
		}
		delete(open, t)
		return
	case isList(t) || isMap(t) && t.Key().Kind() == reflect.String:
		checkType(t.Elem(), join(path, "0"), open)
		return
	}
	switch t.Kind() {
	case reflect.Bool, reflect.String, reflect.Float32, reflect.Float64,
		reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return
	}
	panic(fmt.Sprintf("runfile: key %q has the unsupported type %s", path, t))
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	if name == "" {
		return path
	}
	return path + "." + name
}
