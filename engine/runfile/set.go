package runfile

import (
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// Set applies assignments KEY=VALUE. KEY is a dotted path with list indices (phases.0.epochs), VALUE a YAML scalar or flow
// collection (mask.replace=[1,0,0]); for a text it is taken as it stands unless it is quoted. A list that is assigned as a
// whole is replaced; an item is changed in place.
func (l *Loader) Set(assignments ...string) {
	for _, a := range assignments {
		key, value, ok := strings.Cut(a, "=")
		if !ok || key == "" {
			l.add(origin{file: "--set " + clip(a)}, "", "expected KEY=VALUE, for example train.steps=100")
			continue
		}
		l.Override("--set "+clip(a), strings.TrimSpace(key), value)
	}
}

// Override assigns one key as Set does, for a value that came another way: from names it in messages ("--steps").
func (l *Loader) Override(from, key, value string) {
	d := &decoder{l: l, file: from}
	if firstBadByte([]byte(value)) >= 0 {
		d.fail(0, key, "the value is not UTF-8 text")
		return
	}
	d.reach(l.into, &field{}, "", strings.Split(key, "."), func(v reflect.Value, f *field) {
		n, err := valueNode(v.Type(), value)
		if err != "" {
			d.fail(0, key, "%s", err)
			return
		}
		l.origins[key] = origin{file: from}
		d.assign(v, n, f, key)
	})
}

// reach walks from v along the segments and calls then with the value they lead to.
func (d *decoder) reach(v reflect.Value, f *field, path string, segments []string, then func(reflect.Value, *field)) {
	if len(segments) == 0 {
		then(v, f)
		return
	}
	name, rest := segments[0], segments[1:]
	key := join(path, name)
	t := v.Type()
	switch {
	case section(t) != nil:
		fields := fieldsOf(section(t))
		i := slices.IndexFunc(fields, func(f field) bool { return f.name == name })
		if i < 0 {
			d.l.add(d.at(0), key, d.l.unknown(section(t), path, name))
			return
		}
		d.reach(d.l.enter(v).FieldByIndex(fields[i].index), &fields[i], key, rest, then)
	case isList(t):
		i, err := strconv.Atoi(name)
		if err != nil || i < 0 || i >= v.Len() {
			d.fail(0, key, "%s has %d items, so expected an index%s, got %q; hint: %s=[...] replaces the list",
				path, v.Len(), indexRange(v.Len()), name, path)
			return
		}
		d.reach(v.Index(i), f, key, rest, then)
	case isMap(t):
		// A map's items cannot be changed in place: work on a copy and put it back.
		item, index := reflect.New(t.Elem()).Elem(), reflect.ValueOf(name).Convert(t.Key())
		if old := v.MapIndex(index); old.IsValid() {
			item.Set(old)
		} else {
			setDefaults(item)
		}
		d.reach(item, f, key, rest, then)
		if v.IsNil() {
			v.Set(reflect.MakeMap(t))
		}
		v.SetMapIndex(index, item)
	default:
		d.fail(0, key, "%s is %s and has no key %q under it", path, typeName(t), name)
	}
}

func indexRange(n int) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprintf(" from 0 to %d", n-1)
}

// valueNode reads the value of an assignment to type t; the text is its complaint, if any.
func valueNode(t reflect.Type, value string) (*node, string) {
	if isScalarType(t) || t.Kind() == reflect.String {
		if !strings.HasPrefix(value, `"`) && !strings.HasPrefix(value, "'") {
			return &node{kind: scalarNode, text: value}, ""
		}
	}
	n, errs := parse([]byte(value))
	if len(errs) > 0 {
		return nil, fmt.Sprintf("the value %s: %s", clip(value), errs[0].Message)
	}
	if n == nil {
		n = &node{}
	}
	return n, ""
}
