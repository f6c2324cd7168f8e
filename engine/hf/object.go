package hf

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"slices"

	"palimpsest/engine/model"
	"palimpsest/engine/text"
)

// An object is a JSON object whose keys stay in order.
type object []member

type member struct {
	key   string
	value any
}

// rename replaces the value of a key by the one that a table has for it.
func (o object) rename(key string, table map[string]string) object {
	for i, m := range o {
		if name, ok := m.value.(string); ok && m.key == key && table[name] != "" {
			o[i].value = table[name]
		}
	}
	return o
}

// MarshalJSON writes the members in order.
func (o object) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	b.WriteByte('{')
	for i, m := range o {
		if i > 0 {
			b.WriteByte(',')
		}
		for j, v := range []any{m.key, m.value} {
			if j > 0 {
				b.WriteByte(':')
			}
			if x, ok := v.(float64); ok && x == math.Trunc(x) && math.Abs(x) < 1e15 {
				fmt.Fprintf(&b, "%.1f", x) // for readers that tell 1 from 1.0
				continue
			}
			e := json.NewEncoder(&b)
			e.SetEscapeHTML(false)
			if err := e.Encode(v); err != nil {
				return nil, err
			}
		}
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

// indented is a file of JSON. The values are plain, so that it cannot fail.
func indented(o object) []byte {
	compact, err := o.MarshalJSON()
	if err != nil {
		panic(err)
	}
	var b bytes.Buffer
	if err := json.Indent(&b, compact, "", "  "); err != nil {
		panic(err)
	}
	b.WriteByte('\n')
	return b.Bytes()
}

// sorted orders an object by its keys, as transformers does.
func (o object) sorted() object {
	o = slices.Clone(o)
	slices.SortFunc(o, func(a, b member) int { return bytes.Compare([]byte(a.key), []byte(b.key)) })
	return o
}

// facts is what config.json says beside the model's own configuration.
type facts struct {
	tokenizer *text.Tokenizer
	Dropout   float64
}

// orNull is the id of a special token, null for -1.
func orNull(id int32) any {
	if id < 0 {
		return nil
	}
	return id
}

var yes, no = model.FlagOf(true), model.FlagOf(false)

func join(lists ...[]rule) []rule { return slices.Concat(lists...) }
