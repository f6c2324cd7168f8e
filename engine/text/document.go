package text

// A Document is one text with where it came from. Text and Spans belong to the receiver.
type Document struct {
	Text   []byte
	Source string // file
	Line   int    // of its first byte, from 1
	// Spans mark parts of Text, sorted by Start within a kind. Spans of a kind do not overlap.
	Spans []LabelSpan
	// Tagged says that the text was searched for entities: what lies in no Entity span is outside of all. Otherwise nothing
	// is known about entities.
	Tagged bool
	// Class is that of the whole document, an index into Reader.Classes, when it is Labelled.
	Class    int
	Labelled bool
	// Generation is set for records of the shape generation.
	Generation *Generation
}

// A SpanKind says what a LabelSpan marks.
type SpanKind uint8

// The kinds.
const (
	// Answer is what a model shall learn to write. In a document with an Answer all else is context; a document without one
	// is to be learned from its first byte to its last.
	Answer SpanKind = iota + 1
	// Entity is a name of the type LabelSpan.Type.
	Entity
	// Markup was written by a template, so that names of special tokens in it are meant as such.
	Markup
	// Unwanted is what a model shall not write.
	Unwanted
)

// A LabelSpan marks the bytes [Start, End) of a document's text; it is never empty.
type LabelSpan struct {
	Start, End int
	Kind       SpanKind
	Type       int // of an Entity: index into Reader.EntityTypes
}
