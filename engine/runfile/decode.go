package runfile

import (
	"fmt"
	"math"
	"reflect"
	"slices"
	"strings"
	"time"
)

// A decoder writes the nodes of one file or override into values. It goes on after an error, so that all come out.
type decoder struct {
	l     *Loader
	file  string
	lines bool // lines mean something: a file, not an override
}

func (d *decoder) at(line int) origin {
	if !d.lines {
		line = 0
	}
	return origin{d.file, line}
}

func (d *decoder) fail(line int, path, format string, args ...any) {
	d.l.failed[path] = true
	d.l.add(d.at(line), path, fmt.Sprintf(format, args...))
}

// assign decodes n into v, the value of the key path, under the constraints of f (whose type is the key's, not v's: the
// items of a list share the key's).
func (d *decoder) assign(v reflect.Value, n *node, f *field, path string) {
	t := v.Type()
	switch {
	case isScalarType(t):
		d.custom(v, n, f, path)
	case section(t) != nil:
		d.section(v, n, path)
	case t.Kind() == reflect.Slice:
		d.slice(v, n, f, path)
	case t.Kind() == reflect.Array:
		d.array(v, n, f, path)
	case t.Kind() == reflect.Map:
		d.freeMap(v, n, f, path)
	default:
		d.scalar(v, n, f, path)
	}
}

func (d *decoder) section(v reflect.Value, n *node, path string) {
	if n.kind == nullNode {
		// An optional section is switched off by null; a plain one without keys keeps what it holds.
		if v.Kind() == reflect.Pointer {
			v.SetZero()
			d.l.forget(path)
		}
		return
	}
	t := section(v.Type())
	if n.kind != mapNode {
		d.fail(n.line, path, "expected a section (%s), got %s", nameList(fieldNames(t), "keys: "), n.describe())
		return
	}
	v = d.l.enter(v)
	fields := fieldsOf(t)
	first := map[string]int{}
	for _, e := range n.entries {
		key := join(path, e.key)
		if line, dup := first[e.key]; dup {
			if d.lines {
				d.fail(e.line, key, "given twice in this section, first at line %d", line)
			} else {
				d.fail(e.line, key, "given twice in this section")
			}
			continue
		}
		first[e.key] = e.line
		i := slices.IndexFunc(fields, func(f field) bool { return f.name == e.key })
		if i < 0 {
			d.l.add(d.at(e.line), key, d.l.unknown(t, path, e.key))
			continue
		}
		d.l.origins[key] = d.at(e.line)
		d.assign(v.FieldByIndex(fields[i].index), e.value, &fields[i], key)
	}
}

func (d *decoder) slice(v reflect.Value, n *node, f *field, path string) {
	if n.kind != listNode {
		d.fail(n.line, path, "expected a list, got %s; hint: write [%s]", n.describe(), exampleOf(n))
		return
	}
	if len(n.items) == 0 {
		d.l.forget(path)
		v.SetZero()
		return
	}
	out := reflect.MakeSlice(v.Type(), len(n.items), len(n.items))
	d.items(out, n, f, path)
	v.Set(out)
}

func (d *decoder) array(v reflect.Value, n *node, f *field, path string) {
	if n.kind != listNode || len(n.items) != v.Len() {
		got := n.describe()
		if n.kind == listNode {
			got += fmt.Sprintf(" of %d", len(n.items))
		}
		d.fail(n.line, path, "expected a list of %d, got %s", v.Len(), got)
		return
	}
	out := reflect.New(v.Type()).Elem()
	d.items(out, n, f, path)
	v.Set(out)
}

func (d *decoder) items(out reflect.Value, n *node, f *field, path string) {
	if d.l.Given(join(path, "0")) {
		d.l.forget(path)
	}
	for i, item := range n.items {
		key := join(path, fmt.Sprint(i))
		d.l.origins[key] = d.at(item.line)
		setDefaults(out.Index(i))
		d.assign(out.Index(i), item, f, key)
	}
}

func (d *decoder) freeMap(v reflect.Value, n *node, f *field, path string) {
	if n.kind != mapNode {
		d.fail(n.line, path, "expected a section of free names, got %s", n.describe())
		return
	}
	if v.Len() > 0 {
		d.l.forget(path)
	}
	out := reflect.MakeMap(v.Type())
	for _, e := range n.entries {
		key, name := join(path, e.key), reflect.ValueOf(e.key).Convert(v.Type().Key())
		if out.MapIndex(name).IsValid() {
			d.fail(e.line, key, "given twice in this section")
			continue
		}
		d.l.origins[key] = d.at(e.line)
		item := reflect.New(v.Type().Elem()).Elem()
		setDefaults(item)
		d.assign(item, e.value, f, key)
		out.SetMapIndex(name, item)
	}
	if out.Len() > 0 || !v.IsNil() {
		v.Set(out)
	}
}

func (d *decoder) custom(v reflect.Value, n *node, f *field, path string) {
	if n.kind != scalarNode {
		d.fail(n.line, path, "expected text%s, got %s", choices(f), n.describe())
		return
	}
	if !d.allowed(n, f, path) {
		return
	}
	if err := v.Addr().Interface().(Scalar).UnmarshalScalar(n.text); err != nil {
		d.fail(n.line, path, "%v", err)
	}
}

func (d *decoder) scalar(v reflect.Value, n *node, f *field, path string) {
	t := v.Type()
	if n.kind != scalarNode {
		hint := ""
		if n.kind == nullNode && t.Kind() == reflect.String {
			hint = `; write "" for an empty text`
		}
		d.fail(n.line, path, "expected %s%s, got %s%s", typeName(t), choices(f), n.describe(), hint)
		return
	}
	if t.Kind() == reflect.String {
		if d.allowed(n, f, path) {
			v.SetString(n.text)
		}
		return
	}
	if n.quoted {
		hint := ""
		if _, _, err := parseScalar(t, n.text); err == nil {
			hint = "; drop the quotes"
		}
		d.fail(n.line, path, "expected %s, got %s%s", typeName(t), n.describe(), hint)
		return
	}
	if !d.allowed(n, f, path) {
		return
	}
	out, size, err := parseScalar(t, n.text)
	if err != nil {
		message := fmt.Sprintf("expected %s, got %s", typeName(t), n.describe())
		if err != errNotNumber {
			message += " (" + err.Error() + ")"
		}
		d.fail(n.line, path, "%s%s", message, numberHint(n.text))
		return
	}
	if message := f.outside(size); message != "" {
		d.fail(n.line, path, "%s, got %s", message, n.describe())
		return
	}
	v.Set(out)
}

// allowed checks the enumeration of a key, if it has one.
func (d *decoder) allowed(n *node, f *field, path string) bool {
	if f.enum == nil || slices.Contains(f.enum, n.text) {
		return true
	}
	guess := ""
	if near := Nearest(n.text, f.enum); near != "" {
		guess = "; did you mean " + near + "?"
	}
	d.fail(n.line, path, "expected%s, got %s%s", strings.TrimPrefix(choices(f), ":"), n.describe(), guess)
	return false
}

// choices is ": one of a, b, c" for a key with an enumeration.
func choices(f *field) string {
	if f.enum == nil {
		return ""
	}
	names := slices.Clone(f.enum)
	for i := range names {
		if names[i] == "" {
			names[i] = `""`
		}
	}
	return ": one of " + strings.Join(names, ", ")
}

// outside says which bound size breaks, "" for none. NaN never comes here.
func (f *field) outside(size float64) string {
	if f.unit != "" {
		return f.beyond(size, " "+f.unit)
	}
	return f.beyond(size, "")
}

func (f *field) beyond(size float64, unit string) string {
	if math.IsInf(size, 0) && (f.min != "" || f.max != "") {
		return "must be finite"
	}
	if f.min != "" {
		text, open := strings.CutPrefix(f.min, ">")
		bound, _ := parseFloat(text, 64)
		switch {
		case open && size <= bound:
			return "must be more than " + text + unit
		case size < bound && bound == 0:
			return "must not be negative"
		case size < bound:
			return "must be at least " + text + unit
		}
	}
	if f.max != "" {
		text, open := strings.CutPrefix(f.max, "<")
		bound, _ := parseFloat(text, 64)
		switch {
		case open && size >= bound:
			return "must be less than " + text + unit
		case size > bound:
			return "must be at most " + text + unit
		}
	}
	return ""
}

// parseScalar reads plain text as type t; size is its value for the bounds (seconds for a duration).
func parseScalar(t reflect.Type, text string) (v reflect.Value, size float64, err error) {
	v = reflect.New(t).Elem()
	switch kind := t.Kind(); {
	case t == durationType:
		duration, err := time.ParseDuration(text)
		if err != nil {
			return v, 0, errNotNumber
		}
		v.SetInt(int64(duration))
		return v, duration.Seconds(), nil
	case kind == reflect.Bool:
		switch text {
		case "true", "True", "TRUE":
			v.SetBool(true)
		case "false", "False", "FALSE":
		default:
			return v, 0, errNotNumber
		}
		return v, 0, nil
	case v.CanFloat():
		f, err := parseFloat(text, t.Bits())
		v.SetFloat(f)
		return v, f, err
	}
	i, err := parseInt(text)
	if err != nil {
		return v, 0, err
	}
	if size = float64(i.magnitude); i.negative {
		size = -size
	}
	if v.CanUint() {
		if i.negative && i.magnitude > 0 {
			return v, size, fmt.Errorf("must not be negative")
		}
		if v.OverflowUint(i.magnitude) {
			return v, size, fmt.Errorf("must be at most %d", uint64(math.MaxUint64)>>(64-t.Bits()))
		}
		v.SetUint(i.magnitude)
		return v, size, nil
	}
	limit := uint64(1) << (t.Bits() - 1)
	if i.magnitude > limit || i.magnitude == limit && !i.negative {
		return v, size, fmt.Errorf("must be between %d and %d", -int64(limit-1)-1, limit-1)
	}
	n := int64(i.magnitude) // 2^63 wraps to the smallest int64, and its negation is itself
	if i.negative {
		n = -n
	}
	v.SetInt(n)
	return v, size, nil
}

func setDefaults(v reflect.Value) {
	if d, ok := v.Addr().Interface().(Defaulter); ok && v.Kind() != reflect.Pointer {
		d.SetDefaults()
	}
}

// exampleOf is what a list's first item would be.
func exampleOf(n *node) string {
	if n.kind == scalarNode {
		return n.describe()
	}
	return "..."
}
