package text

import (
	"bytes"
	"fmt"
	"iter"
	"path/filepath"
	"slices"
	"strings"
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

// A Document is one text with where it came from. Text belongs to the receiver.
type Document struct {
	Text   []byte
	Source string // file
	Line   int    // of its first byte, from 1
}

// ReaderOptions says what to read and how. Zero values mean the defaults.
type ReaderOptions struct {
	// Paths are files, folders and glob patterns (path/filepath.Match), read in this order. A folder is read recursively,
	// sorted by name; hidden files and folders (".git") and links to folders inside it are left out, links to files are
	// followed. A pattern's matches are sorted. A file that is named twice is read once.
	Paths []string
	// Include keeps, of the files in folders, those whose base name matches one of these patterns ("*.go"); default all.
	Include []string
	// Format is "auto" (the default: .jsonl and .ndjson are JSON lines, everything else is text), "txt" or "jsonl".
	Format string
	// Unit is what a document is in a text file: "file" (the default), "paragraph" (ended by blank lines) or "line".
	Unit string
	// Field holds the text of a JSON record; default "text".
	Field string
	// OnBadRecord is "fail" (the default) or "skip": what to do with a record or a text file that cannot be used. Skipped
	// ones are counted and the first reasons kept. A file that cannot be opened or read is an error in any case.
	OnBadRecord string
	MaxDocument int // bytes of one document of a text file; default DefaultMaxDocument
	MaxLine     int // bytes of one JSON record; default DefaultMaxLine
}

// A Report counts what a Reader met.
type Report struct {
	Files       int
	Repeated    int // files named more than once, read once
	Excluded    int // files in folders that Include did not match
	Hidden      int // hidden files and folders left out
	Links       int // links to folders left out
	Irregular   int // sockets, pipes, devices and broken links in folders, left out
	Documents   int
	Bytes       int64    // of the documents' text
	Empty       int      // documents (for JSON lines, also lines) of nothing but white space, dropped
	NotUTF8     int      // text documents that are not valid UTF-8, kept as they are
	Skipped     int      // bad records skipped
	SkipReasons []string // of the first ten of them
}

// A Reader streams documents from files. Memory is bounded by the largest document. It serves one goroutine; the documents
// may go to others.
type Reader struct {
	o      ReaderOptions
	files  []string
	found  Report // counts of the search for files
	report Report
}

// Open checks the options (errors are fault.Usage) and finds the files (errors are fault.Data); it opens none yet.
func Open(o ReaderOptions) (*Reader, error) {
	for _, d := range []struct {
		value      *string
		name       string
		acceptable []string // the default first; none means anything
	}{
		{&o.Format, "format", []string{"auto", "txt", "jsonl"}},
		{&o.Unit, "unit", []string{"file", "paragraph", "line"}},
		{&o.OnBadRecord, "on bad record", []string{"fail", "skip"}},
	} {
		if *d.value == "" {
			*d.value = d.acceptable[0]
		} else if !slices.Contains(d.acceptable, *d.value) {
			return nil, fault.Usage.Errorf("%s %q: expected one of %s", d.name, *d.value, strings.Join(d.acceptable, ", "))
		}
	}
	if o.Field == "" {
		o.Field = "text"
	}
	if o.MaxDocument == 0 {
		o.MaxDocument = DefaultMaxDocument
	}
	if o.MaxLine == 0 {
		o.MaxLine = DefaultMaxLine
	}
	if o.MaxDocument < 0 || o.MaxLine < 0 {
		return nil, fault.Usage.Errorf("limits of %d bytes a document, %d a line: expected positive numbers", o.MaxDocument, o.MaxLine)
	}
	r := &Reader{o: o}
	if err := r.find(); err != nil {
		return nil, err
	}
	r.report = r.found
	return r, nil
}

// Files returns the files in the order of reading.
func (r *Reader) Files() []string { return slices.Clone(r.files) }

// Report returns the counts of the last run of Documents, or as far as it has come. Before, it tells about the search.
func (r *Reader) Report() Report {
	report := r.report
	report.SkipReasons = slices.Clone(report.SkipReasons)
	return report
}

// Documents reads all files from the start; it can be run again. An error ends the sequence. That there is not one document
// is an error too. Errors have the kind fault.Data.
func (r *Reader) Documents() iter.Seq2[Document, error] {
	return func(yield func(Document, error) bool) {
		r.report = r.found
		p := pass{r: r, yield: yield}
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
			yield(Document{}, fault.Data.Errorf("no documents in %d files (%d empty, %d skipped%s)", rep.Files, rep.Empty,
				rep.Skipped, strings.Join(append([]string{""}, rep.SkipReasons...), "; ")))
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

// emit hands out a document unless it is blank; true means go on.
func (p *pass) emit(d Document) bool {
	rep := &p.r.report
	if len(bytes.TrimSpace(d.Text)) == 0 {
		rep.Empty++
		return true
	}
	rep.Documents++
	rep.Bytes += int64(len(d.Text))
	if !utf8.Valid(d.Text) {
		rep.NotUTF8++
	}
	p.stopped = !p.yield(d, nil)
	return !p.stopped
}

// isJSONL decides a file's format.
func (r *Reader) isJSONL(name string) bool {
	if r.o.Format != "auto" {
		return r.o.Format == "jsonl"
	}
	switch strings.ToLower(filepath.Ext(name)) {
	case ".jsonl", ".ndjson":
		return true
	}
	return false
}
