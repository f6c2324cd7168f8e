package runfile

import (
	"cmp"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Marshal writes a struct (or a pointer to one) as YAML in the order of its fields. Decoding it into any struct of the same
// type gives the same configuration back, floats bit for bit; an empty list or map comes back as nil. Types that implement
// Scalar must have MarshalScalar or String; Marshal panics when one has neither.
func Marshal(v any) []byte { return marshal(v, false) }

// MarshalDoc is Marshal with each key's doc text, unit and choices as a comment behind it.
func MarshalDoc(v any) []byte { return marshal(v, true) }

func marshal(v any, docs bool) []byte {
	e := encoder{docs: docs}
	root := reflect.Indirect(reflect.ValueOf(v))
	if root.Kind() != reflect.Struct {
		panic(fmt.Sprintf("runfile: Marshal takes a struct, not %T", v))
	}
	e.section(root, 0)
	return []byte(e.b.String())
}

type encoder struct {
	b    strings.Builder
	docs bool
}

func (e *encoder) section(v reflect.Value, indent int) {
	for _, f := range fieldsOf(v.Type()) {
		fv := v.FieldByIndex(f.index)
		if f.omitEmpty && fv.IsZero() {
			continue
		}
		e.entry(f.name, fv, indent, comment(&f))
	}
}

func (e *encoder) entry(name string, v reflect.Value, indent int, comment string) {
	e.b.WriteString(strings.Repeat(" ", indent) + name + ":")
	if !e.docs {
		comment = ""
	}
	body := encoder{docs: e.docs}
	switch t := v.Type(); {
	case section(t) != nil && !isNil(v):
		body.section(reflect.Indirect(v), indent+2)
	case isMap(t):
		for _, key := range sortedKeys(v) {
			body.entry(quoteText(key.String()), v.MapIndex(key), indent+2, "")
		}
	case isList(t) && section(t.Elem()) != nil:
		for i := range v.Len() {
			body.item(v.Index(i), indent+2)
		}
	}
	if body.b.Len() > 0 {
		e.b.WriteString(comment + "\n" + body.b.String())
		return
	}
	e.b.WriteString(" " + flow(v) + comment + "\n")
}

// item writes a section as an item of a list: its first key stands behind the dash.
func (e *encoder) item(v reflect.Value, indent int) {
	var body encoder
	if !isNil(v) {
		body.section(reflect.Indirect(v), indent+2)
	}
	text := strings.TrimLeft(body.b.String(), " ")
	if text == "" {
		text = flow(v) + "\n"
	}
	e.b.WriteString(strings.Repeat(" ", indent) + "- " + text)
}

// flow writes any value on one line.
func flow(v reflect.Value) string {
	t := v.Type()
	var parts []string
	switch {
	case isScalarType(t):
		return quoteScalar(scalarText(v))
	case t == durationType:
		text := time.Duration(v.Int()).String()
		if short, ok := strings.CutSuffix(text, "m0s"); ok {
			text = short + "m"
		}
		if short, ok := strings.CutSuffix(text, "h0m"); ok {
			text = short + "h"
		}
		return text
	case section(t) != nil:
		if isNil(v) {
			return "null"
		}
		v = reflect.Indirect(v)
		for _, f := range fieldsOf(v.Type()) {
			if fv := v.FieldByIndex(f.index); !f.omitEmpty || !fv.IsZero() {
				parts = append(parts, f.name+": "+flow(fv))
			}
		}
		return "{" + strings.Join(parts, ", ") + "}"
	case isList(t):
		for i := range v.Len() {
			parts = append(parts, flow(v.Index(i)))
		}
		return "[" + strings.Join(parts, ", ") + "]"
	case isMap(t):
		for _, key := range sortedKeys(v) {
			parts = append(parts, quoteText(key.String())+": "+flow(v.MapIndex(key)))
		}
		return "{" + strings.Join(parts, ", ") + "}"
	}
	switch {
	case v.Kind() == reflect.Bool:
		return strconv.FormatBool(v.Bool())
	case v.Kind() == reflect.String:
		return quoteText(v.String())
	case v.CanFloat():
		return formatFloat(v.Float(), t.Bits())
	case v.CanUint():
		return strconv.FormatUint(v.Uint(), 10)
	}
	return strconv.FormatInt(v.Int(), 10)
}

func scalarText(v reflect.Value) string {
	p := reflect.New(v.Type()) // methods may sit on the pointer, and v need not be addressable
	p.Elem().Set(v)
	switch s := p.Interface().(type) {
	case interface{ MarshalScalar() string }:
		return s.MarshalScalar()
	case fmt.Stringer:
		return s.String()
	}
	panic(fmt.Sprintf("runfile: %s reads a scalar but cannot write one; give it a MarshalScalar method", v.Type()))
}

// quoteText writes a text so that every YAML reader takes it for one.
func quoteText(s string) string {
	if !plainSafe(s) || isNumber(s) {
		return doubleQuote(s)
	}
	return s
}

// quoteScalar writes the text of a Scalar, where a number or truth value may stand for itself.
func quoteScalar(s string) string {
	if isNumber(s) || s == "true" || s == "false" {
		return s
	}
	return quoteText(s)
}

// plainSafe is stricter than YAML: letters, digits and a few marks, and no word that some reader takes for another type.
func plainSafe(s string) bool {
	switch strings.ToLower(s) {
	case "", "true", "false", "yes", "no", "on", "off", "y", "n", "null", "nan", "inf":
		return false
	}
	head := strings.TrimPrefix(strings.TrimPrefix(s, "."), "/")
	if head == "" || s[0] == '.' && s[1] != '/' || head[0] != '_' && !isLetter(head[0]) {
		return false
	}
	for i := range len(s) {
		if c := s[i]; !isLetter(c) && !isDigit(c) && !strings.ContainsRune("_-./+", rune(c)) {
			return false
		}
	}
	return true
}

func isLetter(c byte) bool { return c|0x20 >= 'a' && c|0x20 <= 'z' }

func doubleQuote(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteString(`\` + string(r))
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\t':
			b.WriteString(`\t`)
		case r == '\r':
			b.WriteString(`\r`)
		case strconv.IsPrint(r):
			b.WriteRune(r)
		case r < 0x10000:
			fmt.Fprintf(&b, `\u%04X`, r)
		default:
			fmt.Fprintf(&b, `\U%08X`, r)
		}
	}
	b.WriteByte('"')
	return b.String()
}

// comment is what MarshalDoc writes behind a key.
func comment(f *field) string {
	var parts []string
	if f.doc != "" {
		parts = append(parts, strings.Join(strings.Fields(f.doc), " "))
	}
	if f.unit != "" {
		parts = append(parts, "unit: "+f.unit)
	}
	if f.enum != nil {
		parts = append(parts, strings.TrimPrefix(choices(f), ": "))
	}
	if len(parts) == 0 {
		return ""
	}
	return "  # " + strings.Join(parts, "; ")
}

func isNil(v reflect.Value) bool { return v.Kind() == reflect.Pointer && v.IsNil() }

func sortedKeys(m reflect.Value) []reflect.Value {
	keys := m.MapKeys()
	slices.SortFunc(keys, func(a, b reflect.Value) int { return cmp.Compare(a.String(), b.String()) })
	return keys
}
