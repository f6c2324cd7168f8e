package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"palimpsest/engine/fault"
	"palimpsest/engine/text"
)

// readerFlags say how files become documents; they are the same for tokenizers and data sets.
func readerFlags() []cli.Flag {
	const files, records, tables, conll, filters = "Files", "Records (JSON lines, tables)", "Tables", "CoNLL", "Filters and limits"
	return []cli.Flag{
		&cli.StringSliceFlag{Category: files, Name: "include", Usage: "of folders, only files whose name matches this `PATTERN` ('*.txt'); may be repeated"},
		&cli.StringFlag{Category: files, Name: "format", Value: "auto", Usage: "`KIND` of files: txt, jsonl, csv, tsv, conll, or auto, by the name (.jsonl, .ndjson, .csv, .tsv, .conll, all else text); may be .gz or .zst"},
		&cli.StringFlag{Category: files, Name: "unit", Value: "file", Usage: "what a document is in a text file: file, paragraph or line"},
		&cli.StringFlag{Category: files, Name: "on-bad-record", Value: "fail", Usage: "fail or skip: what to do with a record that cannot be used"},

		&cli.StringFlag{Category: records, Name: "field", Value: "text", Usage: "`KEY` (column) of a record that holds the text"},
		&cli.StringFlag{Category: records, Name: "fields", Usage: "`ROLE=KEY,...` where other roles have other names: prompt=question,completion=answer"},
		&cli.StringFlag{Category: records, Name: "shape", DefaultText: "the first with all roles of --fields, else text", Usage: "what records are: text; pair (prompt, completion); alpaca (instruction, input, output); messages (of role and content); spans (text, and spans of start, end, label)"},
		&cli.StringFlag{Category: records, Name: "template", DefaultText: "plain", Usage: "how pair, alpaca and messages become text: plain, chatml (messages), or a `PATTERN` such as '<|{role}|>\\n{content}\\n'"},
		&cli.StringFlag{Category: records, Name: "assistant", DefaultText: "assistant", Usage: "`ROLE` in messages whose content is the answer"},

		&cli.BoolFlag{Category: tables, Name: "no-header", Usage: "the first row is a row like the others; columns are numbers from 1"},
		&cli.StringFlag{Category: tables, Name: "quotes", Value: "csv", Usage: "csv (RFC 4180) or none (quotes are text, a row is a line)"},

		&cli.IntFlag{Category: conll, Name: "token-column", Value: 1, Usage: "`COLUMN` of the tokens, from 1"},
		&cli.IntFlag{Category: conll, Name: "tag-column", DefaultText: "the last", Usage: "`COLUMN` of the tags, from 1"},
		&cli.StringFlag{Category: conll, Name: "scheme", Value: "auto", Usage: "of the tags: iob1, iob2, iobes, bilou, or auto, which reads every file once more to find out"},
		&cli.BoolFlag{Category: conll, Name: "repair-tags", Usage: "read impossible sequences of tags in the manner of conlleval, and count them, instead of refusing them"},
		&cli.StringFlag{Category: conll, Name: "entity-types", DefaultText: "all, as they come", Usage: "`A,B,...`: the only types of entities, numbered in this order; for the shape spans too"},

		&cli.BoolFlag{Category: filters, Name: "distinct", Usage: "drop documents whose text came before, byte for byte (about 20 bytes of memory a document)"},
		&cli.IntFlag{Category: filters, Name: "min-bytes", Usage: "drop documents of fewer `BYTES`"},
		&cli.IntFlag{Category: filters, Name: "max-bytes", DefaultText: "no limit", Usage: "drop documents of more `BYTES`"},
		&cli.IntFlag{Category: filters, Name: "min-chars", Usage: "drop documents of fewer code `POINTS`"},
		&cli.IntFlag{Category: filters, Name: "max-chars", DefaultText: "no limit", Usage: "drop documents of more code `POINTS`"},
		&cli.IntFlag{Category: filters, Name: "max-document", Value: text.DefaultMaxDocument, Usage: "refuse a document of a text file, or a sentence, of more `BYTES`"},
		&cli.IntFlag{Category: filters, Name: "max-line", Value: text.DefaultMaxLine, Usage: "refuse a JSON record, row or line of CoNLL of more `BYTES`"},
		&cli.IntFlag{Category: filters, Name: "max-ratio", Value: text.DefaultMaxRatio, Usage: "refuse a compressed file that unpacks to more than this `FACTOR` of its size (over 16 MiB)"},
	}
}

// openReader opens the files that the arguments name, as the reader flags say.
func openReader(c *cli.Context) (*text.Reader, error) {
	o, err := readerOptions(c)
	if err != nil {
		return nil, err
	}
	return text.Open(o)
}

func readerOptions(c *cli.Context) (o text.ReaderOptions, err error) {
	if !c.Args().Present() {
		return o, fault.Usage.Errorf("name the files or folders to read, or - for standard input; hint: palimpsest %s --help", verbOf(c))
	}
	fields, err := text.ParseFields(c.String("fields"))
	if err != nil {
		return o, fault.Of(err).Errorf("--fields: %w", err)
	}
	var types []string
	if list := c.String("entity-types"); list != "" {
		types = strings.Split(list, ",")
	}
	for _, name := range []string{"max-document", "max-line", "max-ratio", "token-column"} {
		if c.Int(name) < 1 {
			return o, fault.Usage.Errorf("--%s: want 1 or more, not %d", name, c.Int(name))
		}
	}
	return text.ReaderOptions{
		Paths: c.Args().Slice(), Include: c.StringSlice("include"), Format: c.String("format"), Unit: c.String("unit"),
		OnBadRecord: c.String("on-bad-record"), Stdin: c.App.Reader,
		Field: c.String("field"), Fields: fields, Shape: c.String("shape"), Template: c.String("template"), Assistant: c.String("assistant"),
		NoHeader: c.Bool("no-header"), Quotes: c.String("quotes"),
		TokenColumn: c.Int("token-column"), TagColumn: c.Int("tag-column"), Scheme: c.String("scheme"), Repair: c.Bool("repair-tags"), EntityTypes: types,
		Filters: text.Filters{
			Distinct: c.Bool("distinct"), MinBytes: c.Int("min-bytes"), MaxBytes: c.Int("max-bytes"),
			MinChars: c.Int("min-chars"), MaxChars: c.Int("max-chars"),
		},
		MaxDocument: c.Int("max-document"), MaxLine: c.Int("max-line"), MaxRatio: c.Int("max-ratio"),
	}, nil
}

// readCounts is what a reader met, as --json shows it.
type readCounts struct {
	Files      int                 `json:"files"`
	Documents  int                 `json:"documents"`
	Bytes      int64               `json:"bytes"`
	Empty      int                 `json:"empty"`
	NotUTF8    int                 `json:"not_utf8"`
	Skipped    int                 `json:"skipped"`
	Duplicates int                 `json:"duplicates"`
	TooShort   int                 `json:"too_short"`
	TooLong    int                 `json:"too_long"`
	Answers    int64               `json:"answers"`
	Entities   int64               `json:"entities"`
	Schemes    map[text.Scheme]int `json:"schemes,omitempty"`
	Repairs    int                 `json:"repaired_tags"`
	Repaired   int                 `json:"repaired_sentences"`
}

func countsOf(r text.Report) readCounts {
	return readCounts{
		Files: r.Files, Documents: r.Documents, Bytes: r.Bytes, Empty: r.Empty, NotUTF8: r.NotUTF8, Skipped: r.Skipped,
		Duplicates: r.Duplicates.Documents, TooShort: r.TooShort.Documents, TooLong: r.TooLong.Documents,
		Answers: r.Answers, Entities: r.Entities, Schemes: r.Schemes, Repairs: r.Repairs, Repaired: r.Repaired.Documents,
	}
}

// readerNotes tells in words what a reader left out or changed; nothing is dropped silently.
func readerNotes(r text.Report) []string {
	notes := []string{}
	note := func(n int, what string) {
		if n > 0 {
			notes = append(notes, fmt.Sprintf("%s %s", count(n), what))
		}
	}
	examples := func(n int, what string, first []string) {
		if n == 0 {
			return
		}
		note(n, what)
		for _, e := range first {
			notes = append(notes, "  "+e)
		}
		if more := n - len(first); more > 0 && len(first) > 0 {
			notes = append(notes, fmt.Sprintf("  and %s more", count(more)))
		}
	}
	note(r.Excluded, "files in folders did not match --include")
	note(r.Hidden, "hidden files and folders left out")
	note(r.Links, "links to folders left out")
	note(r.Irregular, "pipes, devices and broken links left out")
	note(r.Repeated, "files named more than once, read once")
	note(r.Empty, "documents of nothing but white space dropped")
	note(r.NotUTF8, "documents are not valid UTF-8, kept byte for byte")
	examples(r.Skipped, "bad records skipped:", r.SkipReasons)
	examples(r.Duplicates.Documents, "documents dropped whose text came before:", r.Duplicates.First)
	examples(r.TooShort.Documents, "documents dropped, too short:", r.TooShort.First)
	examples(r.TooLong.Documents, "documents dropped, too long:", r.TooLong.First)
	for _, s := range slices.Sorted(maps.Keys(r.Schemes)) {
		note(r.Schemes[s], fmt.Sprintf("CoNLL file(s) read as %s", s))
	}
	note(r.DocStarts, "-DOCSTART- lines left out")
	if r.Repairs > 0 {
		examples(r.Repaired.Documents, fmt.Sprintf("sentences kept with %s tags repaired:", count(r.Repairs)), r.Repaired.First)
	}
	return notes
}

// spanSummary says in a line what the documents' spans are, or nothing.
func spanSummary(r text.Report) string {
	var parts []string
	if r.Answers > 0 {
		parts = append(parts, count(r.Answers)+" answers")
	}
	if r.Entities > 0 {
		parts = append(parts, count(r.Entities)+" entities")
	}
	return strings.Join(parts, ", ")
}
