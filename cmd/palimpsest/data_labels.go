package main

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"palimpsest/engine/fault"
	"palimpsest/engine/shard"
	"palimpsest/engine/text"
)

// labelFlags say which class the documents of a data set have.
func labelFlags() []cli.Flag {
	const labels = "Classes of documents (the plane label)"
	return []cli.Flag{
		&cli.StringFlag{Category: labels, Name: "label", Usage: "`KEY` (column) of a record that holds the document's class: a name, or a number from 0"},
		&cli.StringFlag{Category: labels, Name: "labels", DefaultText: "all, as they come", Usage: "`A,B,...`: the only classes, numbered in this order; another one is a bad record"},
		&cli.StringFlag{Category: labels, Name: "labels-from", Usage: "take the classes, and the types of entities, of the data set in this `FOLDER`, so that numbers mean the same"},
	}
}

// nameList reads names between commas; white space around them does not count.
func nameList(list string) []string {
	names := strings.Split(list, ",")
	for i := range names {
		names[i] = strings.TrimSpace(names[i])
	}
	return names
}

// setLabels completes the options of a reader by the label flags.
func setLabels(c *cli.Context, o *text.ReaderOptions) error {
	o.Label = c.String("label")
	switch {
	case c.IsSet("label") && o.Label == "":
		return fault.Usage.Errorf("--label: expected the key or column of the class; hint: leave the option out for documents without classes")
	case c.IsSet("labels") && o.Label == "":
		return fault.Usage.Errorf("--labels names the classes, but not where they are; hint: add --label KEY")
	case c.IsSet("labels"):
		o.Labels = nameList(c.String("labels"))
	}
	dir := c.String("labels-from")
	if dir == "" {
		return nil
	}
	for _, name := range []string{"labels", "entity-types"} {
		if c.IsSet(name) {
			return fault.Usage.Errorf("--labels-from and --%s both number names; hint: leave one of them out", name)
		}
	}
	planes, err := planesOf(dir)
	if err != nil {
		return fault.Of(err).Errorf("--labels-from: %w", err)
	}
	for _, p := range planes {
		switch {
		case p.Name == text.PlaneLabel && o.Label != "":
			o.Labels, err = text.ParseClasses(p.Provenance)
		case p.Name == text.PlaneBIO:
			o.EntityTypes, err = text.ParseEntityTypes(p.Provenance)
		}
		if err != nil {
			return fault.Of(err).Errorf("--labels-from: %s, plane %s: %w", dir, p.Name, err)
		}
	}
	switch {
	case o.Label != "" && len(o.Labels) == 0:
		return fault.Data.Errorf("--labels-from: %s has no classes of documents; hint: build it with --label", dir)
	case o.Label == "" && len(o.EntityTypes) == 0:
		return fault.Data.Errorf("--labels-from: %s has no types of entities; hint: for classes of documents add --label KEY", dir)
	}
	return nil
}

// planesOf lists the planes of a data set.
func planesOf(dir string) ([]shard.Plane, error) {
	ds, err := openData(dir)
	if err != nil {
		return nil, err
	}
	defer ds.Close()
	return ds.Index().Planes, nil
}

// planeNamesOf returns the names of what the values of a plane stand for, by value; nil where its provenance has none, because
// another program made it.
func planeNamesOf(p shard.Plane) []string {
	switch p.Name {
	case text.PlaneLabel:
		if classes, err := text.ParseClasses(p.Provenance); err == nil {
			return classes
		}
	case text.PlaneBIO:
		types, err := text.ParseEntityTypes(p.Provenance)
		if err != nil {
			return nil
		}
		names := []string{"O"}
		for _, t := range types {
			names = append(names, "B-"+t, "I-"+t)
		}
		return names
	}
	return nil
}

// classCount is a class of a data set that was built.
type classCount struct {
	Name      string `json:"name"`
	Documents int64  `json:"documents"` // of this process, for a resumed build
}

func classCounts(names []string, documents []int64) []classCount {
	counts := []classCount{}
	for i, name := range names {
		n := int64(0)
		if i < len(documents) {
			n = documents[i]
		}
		counts = append(counts, classCount{name, n})
	}
	return counts
}

// printClasses writes the most frequent classes on a line.
func printClasses(w io.Writer, classes []classCount) {
	const most = 12
	shown := slices.Clone(classes)
	slices.SortStableFunc(shown, func(a, b classCount) int { return int(b.Documents - a.Documents) })
	shown = shown[:min(most, len(shown))]
	var parts []string
	for _, class := range shown {
		parts = append(parts, fmt.Sprintf("%s (%s)", class.Name, count(class.Documents)))
	}
	if more := len(classes) - len(shown); more > 0 {
		parts = append(parts, fmt.Sprintf("and %d more", more))
	}
	fmt.Fprintf(w, "plane label: documents of %d classes: %s\n", len(classes), strings.Join(parts, ", "))
}

// classNotes tells about classes that cannot be learned.
func classNotes(classes []classCount, resumed bool) (notes []string) {
	if len(classes) == 1 {
		notes = append(notes, fmt.Sprintf("all documents have the class %q: there is nothing to tell apart", classes[0].Name))
	}
	var empty []string
	for _, class := range classes {
		if class.Documents == 0 {
			empty = append(empty, class.Name)
		}
	}
	if len(empty) > 0 && !resumed {
		notes = append(notes, fmt.Sprintf("no document has the class %s", strings.Join(empty, ", ")))
	}
	return notes
}
