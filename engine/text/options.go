package text

import "io"

// ReaderOptions says what to read and how. Zero values mean the defaults.
type ReaderOptions struct {
	// Paths are files, folders and glob patterns (path/filepath.Match), read in this order. A folder is read recursively,
	// sorted by name; hidden files and folders (".git") and links to folders inside it are left out, links to files are
	// followed. A pattern's matches are sorted. A file that is named twice is read once. "-" is standard input, which can be
	// read once. A file compressed by gzip or zstd, which its first bytes tell, is unpacked as it is read.
	Paths []string
	// Include keeps, of the files in folders, those whose base name matches one of these patterns ("*.go"); default all.
	Include []string
	// Format is "auto" (the default), "txt", "jsonl" (JSON lines), "csv", "tsv" or "conll". For auto the name decides, without
	// .gz or .zst: .jsonl and .ndjson, .csv, .tsv, .conll; everything else, and standard input, is text.
	Format string
	// Unit is what a document is in a text file: "file" (the default), "paragraph" (ended by blank lines) or "line".
	Unit string

	// Shape is what the records of JSON lines and tables are. Every shape has roles, the names of the fields that are read:
	//	text      text
	//	pair      prompt, completion
	//	alpaca    instruction, input (may be missing or empty), output
	//	messages  messages: an array of {role, content}
	//	spans     text, spans: an array of {start, end, label} with code points from 0, end excluded
	//	generation prompt, generation, correction, spans, tokens, ended: what a model wrote; all but generation may be missing or null.
	//	          Prompt and generation stand side by side as they are. spans: an array of {start, end} in code points of the
	//	          generation, unwanted in it; tokens: the generation's ids as they were drawn; ended: false without an end token
	// Tables can have the first three, and prompt, generation and correction. By default it is the first shape that has all roles named in Fields, so text without
	// Fields. The answers of pair, alpaca and messages become Answer spans, spans become Entity spans.
	Shape string
	// Fields gives the field (column) of a role where it has another name than the role. In a table without a header, columns
	// are numbers from 1. Field is the same for the role text.
	Fields map[string]string
	Field  string
	// Template lays out pair, alpaca and messages: "plain" (the default), for messages also "chatml", or a pattern such as
	// `<|{role}|>\n{content}\n`: places in braces, \n, \t and \\ for line end, tab and backslash, {{ and }} for braces. Of messages,
	// the pattern is that of one. The answer is the value and what follows it up to the next place, which tells that
	// it is over. An empty input of alpaca goes together with what stands before it.
	Template string
	// Assistant is the role in messages whose content is the answer; default "assistant".
	Assistant string

	// Label is the field (column) of a record of any shape that holds the document's class: a name, or a number from 0 to
	// MaxClasses-1, which is then that of the class. White space around it does not count; a record without it is bad. Labels
	// are the only classes, numbered in this order, which records may also call by number unless one of the names is a number;
	// by default all, numbered as they come.
	Label  string
	Labels []string

	NoHeader bool   // the first row of a table is a row like the others
	Quotes   string // of tables: "csv" (the default; RFC 4180, strictly) or "none" (quotes are text, a row is a line)

	// TokenColumn and TagColumn are columns of CoNLL files, from 1; by default the first and the last.
	TokenColumn, TagColumn int
	// Scheme is that of CoNLL tags: "auto" (the default; every file is read once more to find out), "iob1", "iob2", "iobes" or
	// "bilou".
	Scheme string
	// Repair reads bad transitions of tags in the manner of conlleval, and counts them, instead of refusing them.
	Repair bool
	// EntityTypes are the only types of entities, numbered in this order; by default all, numbered as they come.
	EntityTypes []string

	Filters Filters

	// OnBadRecord is "fail" (the default) or "skip": what to do with a record or a text file that cannot be used. Skipped
	// ones are counted and the first reasons kept. A file that cannot be opened or read is an error in any case.
	OnBadRecord string
	MaxDocument int       // bytes of one document of a text file, or of a sentence; default DefaultMaxDocument
	MaxLine     int       // bytes of one JSON record, row or line of CoNLL; default DefaultMaxLine
	MaxRatio    int       // most bytes that one compressed byte may become, over 16 MiB; default DefaultMaxRatio
	Stdin       io.Reader // what "-" is; default os.Stdin
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

	Duplicates, TooShort, TooLong Dropped // by Filters

	Answers   int64          // Answer spans of the documents
	Entities  int64          // Entity spans of the documents
	Unwanted  int64          // Unwanted spans of the documents
	Schemes   map[Scheme]int // CoNLL files by scheme
	DocStarts int            // -DOCSTART- lines of CoNLL files, which are no tokens
	Repairs   int            // transitions of tags repaired,
	Repaired  Dropped        // in these sentences, which were kept
}

func (r *Report) countScheme(s Scheme) {
	if r.Schemes == nil {
		r.Schemes = map[Scheme]int{}
	}
	r.Schemes[s]++
}
