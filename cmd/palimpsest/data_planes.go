package main

import (
	"fmt"
	"io"

	"palimpsest/engine/shard"
	"palimpsest/engine/text"
)

// planeRun is a run of tokens that a plane gives one meaning.
type planeRun struct {
	Label string `json:"label"` // learned, context; an entity's type; the document's class; unwanted, kept; boilerplate, reasoning; a value of other planes
	From  int    `json:"from"`  // token
	To    int    `json:"to"`    // behind the last
	Text  string `json:"text"`
}

// planeView shows what a plane says about a document.
type planeView struct {
	Name string     `json:"name"`
	Runs []planeRun `json:"runs"` // of bio only the entities
}

// decodePlane finds the runs of the first tokens of a document.
func decodePlane(p shard.Plane, tokens []int32, values []byte, t *text.Tokenizer) planeView {
	v := planeView{Name: p.Name, Runs: []planeRun{}}
	add := func(label string, from, to int) {
		v.Runs = append(v.Runs, planeRun{label, from, to, string(t.Decode(tokens[from:to]))})
	}
	if p.Name != text.PlaneBIO {
		var classes []string
		if p.Name == text.PlaneLabel {
			classes = planeNamesOf(p)
		}
		for from := 0; from < len(tokens); {
			to := from + 1
			for to < len(tokens) && values[to] == values[from] {
				to++
			}
			label := fmt.Sprint(values[from])
			switch {
			case p.Name == text.PlaneLoss && values[from] == 0:
				label = "context"
			case p.Name == text.PlaneLoss:
				label = "learned"
			case p.Name == text.PlaneSign:
				label = signName(values[from])
			case p.Name == text.PlaneClass:
				label = className(values[from])
			case p.Name == text.PlaneLabel && values[from] == text.NoClass:
				label = "none"
			case int(values[from]) < len(classes):
				label = classes[values[from]]
			}
			add(label, from, to)
			from = to
		}
		return v
	}
	types, err := text.ParseEntityTypes(p.Provenance)
	if err != nil {
		types = nil // made by another program: types go by their numbers, and the provenance is shown as it is
	}
	tagged := func(i int) bool { return values[i] != text.TagOutside && values[i] != text.TagNone }
	for from := 0; from < len(tokens); {
		if !tagged(from) {
			from++
			continue
		}
		kind := (int(values[from]) - 1) / 2
		label := fmt.Sprintf("type %d", kind)
		if kind < len(types) {
			label = types[kind]
		}
		to := from + 1 // later parts of a word have no tag when only the first has one
		for to < len(tokens) && (values[to] == text.TagInside(kind) || values[to] == text.TagNone && !t.IsSpecial(tokens[to])) {
			to++
		}
		add(label, from, to)
		from = to
	}
	return v
}

// signName is what a value of the plane sign means.
func signName(v byte) string {
	switch v {
	case text.SignUnwanted:
		return "unwanted"
	case text.SignKeep:
		return "kept"
	case text.SignNone:
		return "untrained"
	}
	return fmt.Sprintf("%d", int8(v))
}

// className is what a value of the plane class means.
func className(v byte) string {
	switch v {
	case text.ClassBoilerplate:
		return "boilerplate"
	case text.ClassReasoning:
		return "reasoning"
	case text.ClassNone:
		return "none"
	}
	return fmt.Sprint(v)
}

// print writes the runs below a document. Its class needs no text.
func (v planeView) print(w io.Writer) {
	if v.Name == text.PlaneLabel && len(v.Runs) == 1 {
		fmt.Fprintf(w, "%-4s %s\n", v.Name, v.Runs[0].Label)
		return
	}
	if len(v.Runs) == 0 {
		fmt.Fprintf(w, "%-4s nothing in these tokens\n", v.Name)
	}
	widest := 0
	for _, r := range v.Runs {
		widest = max(widest, len(r.Label))
	}
	for i, r := range v.Runs {
		name := v.Name
		if i > 0 {
			name = ""
		}
		shown := fmt.Sprintf("%q", r.Text)
		if r.Label == "context" || r.Label == "untrained" {
			shown = "[" + shown + "]"
		}
		fmt.Fprintf(w, "%-4s %-*s %s\n", name, widest, r.Label, shown)
	}
}

// planeNames lists the planes of a data set.
func planeNames(planes []shard.Plane) []string {
	var names []string
	for _, p := range planes {
		names = append(names, p.Name)
	}
	return names
}
