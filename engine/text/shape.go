package text

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"palimpsest/engine/fault"
)

// A shape is how a record (a line of JSON, a row of a table) becomes a document.
type shape struct {
	name     string
	roles    []string // what the fields of the record are; Fields renames them
	inner    []string // roles inside the elements of the last role, an array
	spare    string   // role that a record need not have, and the template leaves out then
	optional []string // further ones that it need not have
	answer   string   // role that is learned; with messages, of the assistant's
	template map[string]string
}

// shapes in the order in which Fields choose one.
var shapes = []shape{
	{name: "text", roles: []string{"text"}},
	{name: "pair", roles: []string{"prompt", "completion"}, answer: "completion", template: pairTemplates},
	{name: "alpaca", roles: []string{"instruction", "input", "output"}, spare: "input", answer: "output", template: alpacaTemplates},
	{name: "messages", roles: []string{"messages"}, inner: []string{"role", "content"}, answer: "content", template: messageTemplates},
	{name: "spans", roles: []string{"text", "spans"}, inner: []string{"start", "end", "label"}},
	{name: shapeGeneration, roles: []string{"prompt", "generation", "correction", "spans", "tokens", "ended"}, answer: "generation",
		optional: []string{"prompt", "correction", "spans", "tokens", "ended"}},
}

// A recordMap says, for one Reader, where the parts of a record are and what is made of them. It is not changed after Open.
type recordMap struct {
	shape
	keys      []string       // field of each role
	index     map[string]int // field -> role
	innerKeys []string
	layout    template
	assistant string
	labelled  bool // the last key is that of the class
}

// ParseFields reads "prompt=question,completion=answer" for ReaderOptions.Fields. Errors are fault.Usage.
func ParseFields(list string) (map[string]string, error) {
	fields := map[string]string{}
	if strings.TrimSpace(list) == "" {
		return fields, nil
	}
	for item := range strings.SplitSeq(list, ",") {
		role, field, ok := strings.Cut(strings.TrimSpace(item), "=")
		if _, twice := fields[role]; !ok || role == "" || field == "" || twice {
			return nil, fault.Usage.Errorf("fields %q: expected distinct ROLE=FIELD between commas, such as prompt=question,completion=answer", list)
		}
		fields[role] = field
	}
	return fields, nil
}

// newRecordMap makes sense of Shape, Field, Fields, Template and Assistant.
func newRecordMap(o *ReaderOptions) (*recordMap, error) {
	fields := maps.Clone(o.Fields)
	if fields == nil {
		fields = map[string]string{}
	}
	if o.Field != "" && o.Field != "text" {
		if other, both := fields["text"]; both && other != o.Field {
			return nil, fault.Usage.Errorf("the text is in field %q and in field %q; hint: name it once", o.Field, other)
		}
		fields["text"] = o.Field
	}
	s, err := chooseShape(o.Shape, fields)
	if err != nil {
		return nil, err
	}
	m := &recordMap{shape: s, index: map[string]int{}, assistant: o.Assistant}
	if m.assistant == "" {
		m.assistant = "assistant"
	} else if s.name != "messages" {
		return nil, fault.Usage.Errorf("assistant %q: only records of the shape messages have one", o.Assistant)
	}
	field := func(role string) string {
		if f := fields[role]; f != "" {
			return f
		}
		return role
	}
	for i, role := range s.roles {
		key := field(role)
		if _, twice := m.index[key]; twice {
			return nil, fault.Usage.Errorf("field %q has two roles", key)
		}
		m.index[key] = i
		m.keys = append(m.keys, key)
	}
	for _, role := range s.inner {
		m.innerKeys = append(m.innerKeys, field(role))
		if slices.Contains(m.innerKeys[:len(m.innerKeys)-1], field(role)) {
			return nil, fault.Usage.Errorf("field %q has two roles", field(role))
		}
	}
	if err := m.setTemplate(o.Template); err != nil {
		return nil, err
	}
	return m, m.setLabel(o.Label)
}

// chooseShape finds the shape by name, or without one the first that has all roles of fields.
func chooseShape(name string, fields map[string]string) (shape, error) {
	var names []string
	for _, s := range shapes {
		names = append(names, s.name)
		unknown := slices.Sorted(maps.Keys(fields))
		unknown = slices.DeleteFunc(unknown, func(r string) bool { return slices.Contains(s.roles, r) || slices.Contains(s.inner, r) })
		if len(unknown) == 0 && (name == "" || name == s.name) {
			return s, nil
		}
		if name == s.name {
			return s, fault.Usage.Errorf("fields: records of the shape %s have the roles %q, not %q", name, slices.Concat(s.roles, s.inner), unknown)
		}
	}
	if name != "" {
		return shape{}, fault.Usage.Errorf("shape %q: expected one of %s", name, strings.Join(names, ", "))
	}
	return shape{}, fault.Usage.Errorf("fields: no shape of records (%s) has all of the roles %q",
		strings.Join(names, ", "), slices.Sorted(maps.Keys(fields)))
}

func (m *recordMap) setTemplate(name string) error {
	if m.shape.template == nil {
		if name != "" {
			return fault.Usage.Errorf("template %q: records of the shape %s need none", name, m.name)
		}
		return nil
	}
	if name == "" {
		name = "plain"
	}
	pattern, ok := m.shape.template[name]
	if !ok {
		if pattern = name; !strings.Contains(name, "{") {
			return fault.Usage.Errorf("template %q: for %s expected one of %s, or a pattern such as %q", name, m.name,
				strings.Join(slices.Sorted(maps.Keys(m.shape.template)), ", "), m.shape.template["plain"])
		}
	}
	needed, optional := m.roles, []string(nil)
	if m.name == "messages" {
		needed, optional = []string{"content"}, []string{"role"}
	}
	layout, err := parseTemplate(pattern, m.answer, needed, optional)
	if err != nil {
		return fault.Usage.Wrap(err)
	}
	layout.spare = m.spare
	m.layout = layout
	return nil
}

// mayLack says whether a record need not have a role.
func (m *recordMap) mayLack(role string) bool {
	return role == m.spare || slices.Contains(m.optional, role)
}

// document makes a document of the values of a record's roles; a nil value is one that the record does not have. It serves
// the shapes that consist of strings.
func (m *recordMap) document(values [][]byte) (Document, error) {
	for i, v := range values {
		if v == nil && !m.mayLack(m.roles[i]) {
			return Document{}, fmt.Errorf("no field %q", m.keys[i])
		}
	}
	switch m.name {
	case "text":
		return Document{Text: values[0]}, nil
	case shapeGeneration:
		return m.generated(values, &generationFields{})
	}
	value := func(place string) []byte { return values[slices.Index(m.roles, place)] }
	if len(value(m.answer)) == 0 {
		return Document{}, fmt.Errorf("field %q is empty: there is nothing to learn", m.keys[slices.Index(m.roles, m.answer)])
	}
	var d Document
	m.layout.write(&d, value, true)
	return d, nil
}

// A message is one turn of a conversation.
type message struct{ role, content []byte }

// conversation makes a document of messages.
func (m *recordMap) conversation(messages []message) (Document, error) {
	var d Document
	learned := false
	for i, msg := range messages {
		if !plainRole(msg.role) {
			return Document{}, fmt.Errorf("message %d: role %.40q, expected 1 to 64 letters, digits, - and _", i+1, msg.role)
		}
		learn := string(msg.role) == m.assistant
		learned = learned || learn && len(msg.content) > 0
		value := func(place string) []byte {
			if place == "role" {
				return msg.role
			}
			return msg.content
		}
		m.layout.write(&d, value, learn && len(msg.content) > 0)
	}
	if !learned {
		return Document{}, fmt.Errorf("the role %q wrote none of the %d messages: there is nothing to learn", m.assistant, len(messages))
	}
	return d, nil
}

// plainRole says whether a role is a simple name. It becomes part of the markup, where an author's text has no place.
func plainRole(role []byte) bool {
	for _, c := range role {
		if !('a' <= c|0x20 && c|0x20 <= 'z' || '0' <= c && c <= '9' || c == '-' || c == '_') {
			return false
		}
	}
	return 0 < len(role) && len(role) <= 64
}

// A charSpan is an entity in code points, as a record has it.
type charSpan struct {
	start, end int64
	label      string
}

// annotate turns code points into bytes and checks that the spans are sorted out: inside the text, not empty, not over each
// other. typeOf numbers the types.
func annotate(d *Document, spans []charSpan, typeOf func(label string) (int, error)) error {
	d.Tagged = true
	slices.SortStableFunc(spans, func(a, b charSpan) int { return cmp.Compare(a.start, b.start) })
	points := int64(utf8.RuneCount(d.Text))
	at, point := 0, int64(0)
	seek := func(to int64) int {
		for point < to {
			_, size := utf8.DecodeRune(d.Text[at:])
			at += size
			point++
		}
		return at
	}
	for i, s := range spans {
		switch {
		case s.start < 0 || s.end > points || s.start >= s.end:
			return fmt.Errorf("span %d to %d (%.40q) in a text of %d code points", s.start, s.end, s.label, points)
		case i > 0 && s.start < spans[i-1].end:
			return fmt.Errorf("span %d to %d (%.40q) overlaps %d to %d (%.40q); hint: a token has one tag, keep one of them",
				s.start, s.end, s.label, spans[i-1].start, spans[i-1].end, spans[i-1].label)
		}
		t, err := typeOf(s.label)
		if err != nil {
			return err
		}
		start := seek(s.start)
		d.Spans = append(d.Spans, LabelSpan{Start: start, End: seek(s.end), Kind: Entity, Type: t})
	}
	return nil
}
