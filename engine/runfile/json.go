package runfile

import (
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"strconv"
	"strings"
)

// JSON writes a struct (or a pointer to one) as JSON with the keys and the order of Marshal, for logs and machines. Infinite
// floats, which JSON lacks, become the texts that YAML has for them.
func JSON(v any) json.RawMessage {
	root := reflect.Indirect(reflect.ValueOf(v))
	if root.Kind() != reflect.Struct {
		panic(fmt.Sprintf("runfile: JSON takes a struct, not %T", v))
	}
	var b strings.Builder
	writeJSON(&b, root)
	return json.RawMessage(b.String())
}

func writeJSON(b *strings.Builder, v reflect.Value) {
	t := v.Type()
	comma := func(i int) {
		if i > 0 {
			b.WriteByte(',')
		}
	}
	switch {
	case isScalarType(t):
		writeJSONText(b, scalarText(v))
		return
	case t == durationType:
		writeJSONText(b, flow(v))
		return
	case isNil(v):
		b.WriteString("null")
		return
	case section(t) != nil:
		v = reflect.Indirect(v)
		b.WriteByte('{')
		n := 0
		for _, f := range fieldsOf(v.Type()) {
			fv := v.FieldByIndex(f.index)
			if f.omitEmpty && fv.IsZero() {
				continue
			}
			comma(n)
			n++
			writeJSONText(b, f.name)
			b.WriteByte(':')
			writeJSON(b, fv)
		}
		b.WriteByte('}')
		return
	case isList(t):
		b.WriteByte('[')
		for i := range v.Len() {
			comma(i)
			writeJSON(b, v.Index(i))
		}
		b.WriteByte(']')
		return
	case isMap(t):
		b.WriteByte('{')
		for i, key := range sortedKeys(v) {
			comma(i)
			writeJSONText(b, key.String())
			b.WriteByte(':')
			writeJSON(b, v.MapIndex(key))
		}
		b.WriteByte('}')
		return
	}
	switch {
	case v.Kind() == reflect.String:
		writeJSONText(b, v.String())
	case v.CanFloat() && (math.IsInf(v.Float(), 0) || math.IsNaN(v.Float())):
		writeJSONText(b, flow(v))
	case v.CanFloat():
		b.WriteString(strconv.FormatFloat(v.Float(), 'g', -1, t.Bits()))
	default:
		b.WriteString(flow(v))
	}
}

func writeJSONText(b *strings.Builder, text string) {
	quoted, _ := json.Marshal(text) // a string always marshals
	b.Write(quoted)
}
