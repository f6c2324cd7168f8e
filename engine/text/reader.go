package text

import (
	"bytes"
	"fmt"
	"iter"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"unicode/utf8"

	"palimpsest/engine/fault"
)

// Defaults of ReaderOptions.
const (
	DefaultMaxDocument = 256 << 20
	DefaultMaxLine     = 100 << 20
)

// maxReasons is the number of skipped records whose reason a report keeps.
const maxReasons = 10

// A Reader streams documents from files. Memory is bounded by the largest document. It serves one goroutine; the documents
// may go to others.
type Reader struct {
	o      ReaderOptions
	files  []string
	found  Report // counts of the search for files
	report Report

	records   *recordMap
	given     typeTable  // of EntityTypes
	labels    classTable // of Labels
	types     []string   // of the last pass
	classes   []string   // of the last pass
	stdinUsed bool

	size    int64 // of the files, as found
	unsized bool  // is one of them standard input
	read    atomic.Int64
}

// Open checks the options (errors are fault.Usage) and finds the files (errors are fault.Data); it opens none yet.
func Open(o ReaderOptions) (*Reader, error) {
	for _, d := range []struct {
		value      *string
		name       string
		acceptable []string // the default first; none means anything
	}{
		{&o.Format, "format", []string{"auto", "txt", "jsonl", "csv", "tsv", "conll"}},
		{&o.Unit, "unit", []string{"file", "paragraph", "line"}},
		{&o.Quotes, "quotes", []string{"csv", "none"}},
		{&o.Scheme, "scheme", []string{"auto", string(IOB1), string(IOB2), string(IOBES), string(BILOU)}},
		{&o.OnBadRecord, "on bad record", []string{"fail", "skip"}},
	} {
		if *d.value == "" {
			*d.value = d.acceptable[0]
		} else if !slices.Contains(d.acceptable, *d.value) {
			return nil, fault.Usage.Errorf("%s %q: expected one of %s", d.name, *d.value, strings.Join(d.acceptable, ", "))
		}
	}
	for _, d := range []struct {
		value   *int
		name    string
		missing int
	}{
		{&o.MaxDocument, "the limit of a document", DefaultMaxDocument},
		{&o.MaxLine, "the limit of a line", DefaultMaxLine},
		{&o.MaxRatio, "the limit of unpacking", DefaultMaxRatio},
		{&o.TokenColumn, "the column of tokens", 1},
		{&o.TagColumn, "the column of tags", 0},
		{&o.Filters.MinBytes, "the least bytes", 0},
		{&o.Filters.MaxBytes, "the most bytes", 0},
		{&o.Filters.MinChars, "the least code points", 0},
		{&o.Filters.MaxChars, "the most code points", 0},
	} {
		if *d.value < 0 {
			return nil, fault.Usage.Errorf("%s is %d, expected a positive number", d.name, *d.value)
		}
		if *d.value == 0 {
			*d.value = d.missing
		}
	}
	if o.TokenColumn == o.TagColumn {
		return nil, fault.Usage.Errorf("token and tag are both in column %d", o.TagColumn)
	}
	if o.Stdin == nil {
		o.Stdin = os.Stdin
	}
	r := &Reader{o: o}
	var err error
	if r.records, err = newRecordMap(&o); err != nil {
		return nil, err
	}
	if r.given, err = newTypeTable(entityTypeTable, o.EntityTypes); err != nil {
		return nil, err
	}
	if r.labels, err = newClassTable(o.Labels); err != nil {
		return nil, err
	}
	if err := r.find(); err != nil {
		return nil, err
	}
	if err := r.checkLabels(); err != nil {
		return nil, err
	}
	if err := r.checkRecords(); err != nil {
		return nil, err
	}
	r.report = r.found
	return r, nil
}

// checkRecords refuses a description of records where no file has any: all of them would be read as plain text.
func (r *Reader) checkRecords() error {
	what := "shape " + r.o.Shape
	switch {
	case r.o.Shape != "" && r.o.Shape != "text":
	case len(r.o.Fields) > 0:
		what = "fields"
	default:
		return nil
	}
	for _, name := range r.files {
		if format := r.format(name); format != "txt" && format != "conll" {
			return nil
		}
	}
	return fault.Usage.Errorf("%s: %s is read as %s, which has no records; hint: name it .jsonl, .csv or .tsv, or choose the format", what, r.files[0], r.format(r.files[0]))
}

// Files returns the files in the order of reading.
func (r *Reader) Files() []string { return slices.Clone(r.files) }

// Report returns the counts of the last run of Documents, or as far as it has come. Before, it tells about the search.
func (r *Reader) Report() Report {
	report := r.report
	report.SkipReasons = slices.Clone(report.SkipReasons)
	for _, d := range []*Dropped{&report.Duplicates, &report.TooShort, &report.TooLong, &report.Repaired} {
		d.First = slices.Clone(d.First)
	}
	report.Schemes = maps.Clone(report.Schemes)
	return report
}

// Progress returns how many bytes of the files, as they are on disk, the pass has read, and how many there are; total is 0 when
// that is not known, for standard input. It may be called from any goroutine.
func (r *Reader) Progress() (done, total int64) {
	if r.unsized {
		return r.read.Load(), 0
	}
	return r.read.Load(), r.size
}

// EntityTypes returns the types of entities of the last pass over the documents, by number. Call it when that has ended.
func (r *Reader) EntityTypes() []string { return slices.Clone(r.types) }

// Classes returns the classes of documents of the last pass, by number. Call it when that has ended.
func (r *Reader) Classes() []string { return slices.Clone(r.classes) }

// Planes names the planes that the files can fill: PlaneBIO for CoNLL files and the shape spans, PlaneLoss for records with
// answers, PlaneSign too for generations, PlaneLabel for records with a label; nil for plain text.
func (r *Reader) Planes() []string {
	planes := map[string]bool{}
	if r.o.Label != "" {
		planes[PlaneLabel] = true
	}
	for _, name := range r.files {
		switch format := r.format(name); {
		case format == "txt":
		case format == "conll", r.records.name == "spans":
			planes[PlaneBIO] = true
		case r.records.answer != "":
			planes[PlaneLoss] = true
			if r.records.name == shapeGeneration {
				planes[PlaneSign] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(planes))
}

// Documents reads all files from the start; it can be run again. An error ends the sequence. That there is not one document
// is an error too. Errors have the kind fault.Data.
func (r *Reader) Documents() iter.Seq2[Document, error] {
	return func(yield func(Document, error) bool) {
		r.report = r.found
		r.read.Store(0)
		p := pass{r: r, yield: yield, types: r.given.clone(), classes: r.labels.clone()}
		defer func() { r.types, r.classes = p.types.names, p.classes.names }()
		for _, name := range r.files {
			p.file(name)
			if p.err != nil {
				yield(Document{}, p.err)
			}
			if p.err != nil || p.stopped {
				return
			}
		}
		if rep := &r.report; rep.Documents == 0 {
			filtered := rep.Duplicates.Documents + rep.TooShort.Documents + rep.TooLong.Documents
			yield(Document{}, fault.Data.Errorf("no documents in %d files (%d empty, %d filtered, %d skipped%s)", rep.Files, rep.Empty,
				filtered, rep.Skipped, strings.Join(append([]string{""}, rep.SkipReasons...), "; ")))
		}
	}
}

// Texts gives the texts of documents alone, for Train.
func Texts(documents iter.Seq2[Document, error]) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		for d, err := range documents {
			if !yield(d.Text, err) {
				return
			}
		}
	}
}

// A pass is one run over the files. Once err is set or stopped is true, its methods return false and reading ends.
type pass struct {
	r       *Reader
	yield   func(Document, error) bool
	err     error
	stopped bool // by the receiver
	types   typeTable
	classes classTable
	seen    hashSet
}

// fail ends the pass.
func (p *pass) fail(format string, args ...any) bool {
	p.err = fault.Data.Errorf(format, args...)
	return false
}

// bad treats a record that cannot be used as the options say; true means go on.
func (p *pass) bad(format string, args ...any) bool {
	if p.r.o.OnBadRecord == "fail" {
		return p.fail(format, args...)
	}
	rep := &p.r.report
	rep.Skipped++
	if len(rep.SkipReasons) < maxReasons {
		rep.SkipReasons = append(rep.SkipReasons, fmt.Sprintf(format, args...))
	}
	return true
}

// emit hands out a document unless it is blank or filtered out; true means go on.
func (p *pass) emit(d Document) bool {
	rep := &p.r.report
	if len(bytes.TrimSpace(d.Text)) == 0 {
		rep.Empty++
		return true
	}
	if !p.keep(&d) {
		return true
	}
	rep.Documents++
	rep.Bytes += int64(len(d.Text))
	for _, s := range d.Spans {
		switch s.Kind {
		case Answer:
			rep.Answers++
		case Entity:
			rep.Entities++
		case Unwanted:
			rep.Unwanted++
		}
	}
	if !utf8.Valid(d.Text) {
		rep.NotUTF8++
	}
	p.stopped = !p.yield(d, nil)
	return !p.stopped
}

// format decides a file's format.
func (r *Reader) format(name string) string {
	if r.o.Format != "auto" {
		return r.o.Format
	}
	switch strings.ToLower(filepath.Ext(unpackedName(name))) {
	case ".jsonl", ".ndjson":
		return "jsonl"
	case ".csv":
		return "csv"
	case ".tsv":
		return "tsv"
	case ".conll":
		return "conll"
	}
	return "txt"
}
