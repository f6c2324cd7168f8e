package report

import (
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"sort"
	"strconv"
	"strings"
)

// encodeLine writes a log line: encoding/json's rules for structs and maps, but non-finite floats become the strings "NaN",
// "+Inf" and "-Inf" instead of an error, and a float under the key "loss" is followed by its exact "loss_hex".
func encodeLine(line any) ([]byte, error) {
	e := encoder{}
	if kind := reflect.Indirect(reflect.ValueOf(line)).Kind(); kind != reflect.Struct && kind != reflect.Map {
		return nil, fmt.Errorf("a log line is a struct or a map, not %T", line)
	}
	if t := lineType(line); t != "" {
		e.out = append(e.out, `{"type":"`+t+`"`...)
		e.open = true
	}
	if err := e.value(reflect.ValueOf(line), true); err != nil {
		return nil, err
	}
	return append(e.out, '\n'), nil
}

type encoder struct {
	out  []byte
	open bool // the outermost object has been opened and has a member
}

var marshalerType = reflect.TypeFor[json.Marshaler]()

func (e *encoder) value(v reflect.Value, top bool) error {
	if !v.IsValid() {
		e.out = append(e.out, "null"...)
		return nil
	}
	t := v.Type()
	if t.Implements(marshalerType) {
		return e.std(v)
	}
	switch t.Kind() {
	case reflect.Pointer, reflect.Interface:
		return e.value(v.Elem(), top)
	case reflect.Float32, reflect.Float64:
		e.float(v.Float(), t.Bits())
		return nil
	case reflect.Struct:
		e.begin(top)
		if err := e.fields(v, top); err != nil {
			return err
		}
		e.out = append(e.out, '}')
		return nil
	case reflect.Map:
		return e.mapping(v, top)
	case reflect.Slice, reflect.Array:
		if t.Elem().Kind() == reflect.Uint8 {
			return e.std(v)
		}
		if t.Kind() == reflect.Slice && v.IsNil() {
			e.out = append(e.out, "null"...)
			return nil
		}
		e.out = append(e.out, '[')
		for i := range v.Len() {
			if i > 0 {
				e.out = append(e.out, ',')
			}
			if err := e.value(v.Index(i), false); err != nil {
				return err
			}
		}
		e.out = append(e.out, ']')
		return nil
	}
	return e.std(v)
}

// std leaves a value without floats to the standard library.
func (e *encoder) std(v reflect.Value) error {
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v.Interface()); err != nil {
		return err
	}
	e.out = append(e.out, strings.TrimSuffix(b.String(), "\n")...)
	return nil
}

func (e *encoder) begin(top bool) {
	if !top || !e.open {
		e.out = append(e.out, '{')
	}
}

func (e *encoder) fields(v reflect.Value, top bool) error {
	for i := range v.NumField() {
		f := v.Type().Field(i)
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		if !f.IsExported() || name == "-" {
			continue
		}
		if f.Anonymous && name == "" && f.Type.Kind() == reflect.Struct {
			if err := e.fields(v.Field(i), top); err != nil {
				return err
			}
			continue
		}
		if options == "omitempty" && isEmpty(v.Field(i)) {
			continue
		}
		if name == "" {
			name = f.Name
		}
		if err := e.member(name, v.Field(i), top); err != nil {
			return err
		}
	}
	return nil
}

func isEmpty(v reflect.Value) bool {
	switch v.Kind() {
	case reflect.Map, reflect.Slice, reflect.String:
		return v.Len() == 0
	case reflect.Struct, reflect.Array:
		return false
	}
	return v.IsZero()
}

func (e *encoder) mapping(v reflect.Value, top bool) error {
	if v.IsNil() {
		e.out = append(e.out, "null"...)
		return nil
	}
	keys := make(map[string]reflect.Value, v.Len())
	var names []string
	for _, k := range v.MapKeys() {
		name := fmt.Sprint(k.Interface())
		keys[name] = k
		names = append(names, name)
	}
	sort.Strings(names)
	if i := sort.SearchStrings(names, "type"); top && i < len(names) && names[i] == "type" {
		copy(names[1:i+1], names[:i]) // a reader looks at the type first
		names[0] = "type"
	}
	e.begin(top)
	for _, name := range names {
		if err := e.member(name, v.MapIndex(keys[name]), top); err != nil {
			return err
		}
	}
	e.out = append(e.out, '}')
	return nil
}

func (e *encoder) member(name string, v reflect.Value, top bool) error {
	if e.out[len(e.out)-1] != '{' {
		e.out = append(e.out, ',')
	}
	if err := e.std(reflect.ValueOf(name)); err != nil {
		return err
	}
	e.out = append(e.out, ':')
	if err := e.value(v, false); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	for v.Kind() == reflect.Interface {
		v = v.Elem()
	}
	if top && name == "loss" && v.CanFloat() {
		e.out = append(e.out, `,"loss_hex":"`...)
		e.out = strconv.AppendFloat(e.out, v.Float(), 'x', -1, 64)
		e.out = append(e.out, '"')
	}
	return nil
}

// float is the shortest decimal that reads back as the same float.
func (e *encoder) float(f float64, bits int) {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		e.out = append(e.out, '"')
		e.out = strconv.AppendFloat(e.out, f, 'g', -1, 64)
		e.out = append(e.out, '"')
		return
	}
	format := byte('f')
	if a := math.Abs(f); a != 0 && (a < 1e-6 || a >= 1e21) {
		format = 'e'
	}
	e.out = strconv.AppendFloat(e.out, f, format, -1, bits)
}

// fill sets v from src, a value decoded with json.Decoder.UseNumber, taking the strings of encodeLine for non-finite floats.
// Keys that v does not know are left out: a newer writer may say more.
func fill(v reflect.Value, src any) error {
	if v.Kind() == reflect.Interface {
		v.Set(reflect.ValueOf(&src).Elem())
		return nil
	}
	if src == nil {
		v.SetZero()
		return nil
	}
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		return fill(v.Elem(), src)
	case reflect.String:
		if s, ok := src.(string); ok {
			v.SetString(s)
			return nil
		}
	case reflect.Float64:
		text, ok := src.(string)
		if n, isNumber := src.(json.Number); isNumber {
			text, ok = n.String(), true
		} else if text != "NaN" && text != "+Inf" && text != "-Inf" {
			ok = false
		}
		if f, err := strconv.ParseFloat(text, 64); ok && err == nil {
			v.SetFloat(f)
			return nil
		}
	case reflect.Int64, reflect.Uint64:
		if n, ok := src.(json.Number); ok {
			return fillInt(v, n.String())
		}
	case reflect.Struct:
		if m, ok := src.(map[string]any); ok {
			return fillStruct(v, m)
		}
	case reflect.Map:
		if m, ok := src.(map[string]any); ok {
			v.Set(reflect.MakeMapWithSize(v.Type(), len(m)))
			for name, sub := range m {
				item := reflect.New(v.Type().Elem()).Elem()
				if err := fill(item, sub); err != nil {
					return fmt.Errorf("%s: %w", name, err)
				}
				v.SetMapIndex(reflect.ValueOf(name), item)
			}
			return nil
		}
	case reflect.Slice:
		if list, ok := src.([]any); ok {
			v.Set(reflect.MakeSlice(v.Type(), len(list), len(list)))
			for i, sub := range list {
				if err := fill(v.Index(i), sub); err != nil {
					return fmt.Errorf("%d: %w", i, err)
				}
			}
			return nil
		}
	}
	return fmt.Errorf("expected %s, got %v", kindName(v.Kind()), src)
}

func kindName(k reflect.Kind) string {
	switch k {
	case reflect.String:
		return "a text"
	case reflect.Struct, reflect.Map:
		return "an object"
	case reflect.Slice:
		return "a list"
	case reflect.Float64:
		return "a number"
	}
	return "a whole number"
}

func fillInt(v reflect.Value, text string) error {
	if v.CanUint() {
		n, err := strconv.ParseUint(text, 10, 64)
		v.SetUint(n)
		return wrapInt(err, text)
	}
	n, err := strconv.ParseInt(text, 10, 64)
	v.SetInt(n)
	return wrapInt(err, text)
}

func wrapInt(err error, text string) error {
	if err != nil {
		return fmt.Errorf("expected a whole number of 64 bits, got %s", text)
	}
	return nil
}

func fillStruct(v reflect.Value, m map[string]any) error {
	for i := range v.NumField() {
		name, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("json"), ",")
		if src, ok := m[name]; ok {
			if err := fill(v.Field(i), src); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
		}
	}
	return nil
}
