package runfile

import (
	"fmt"
	"strings"
)

// An Error is one finding about one key.
type Error struct {
	File    string // file name, or the override that gave the value such as "--set a.b=c"; "" for a default
	Line    int    // 1-based; 0 when there is none
	Key     string // dotted path, list items by index: phases.0.epochs; "" for the file as a whole
	Message string // what was expected, what was found, the way out
}

// Error is "FILE:LINE: KEY: MESSAGE", without the parts that are not known.
func (e Error) Error() string {
	var b strings.Builder
	if e.File != "" {
		b.WriteString(e.File)
		if e.Line > 0 {
			fmt.Fprintf(&b, ":%d", e.Line)
		}
		b.WriteString(": ")
	}
	if e.Key != "" && !(e.Line == 0 && strings.Contains(e.File, " "+e.Key+"=")) { // an override names its key already
		b.WriteString(e.Key + ": ")
	}
	return b.String() + e.Message
}

// Errors is everything that is wrong with a configuration. It is never returned empty.
type Errors []Error

// Error has one line for each entry.
func (e Errors) Error() string {
	lines := make([]string, len(e))
	for i := range e {
		lines[i] = e[i].Error()
	}
	return strings.Join(lines, "\n")
}

// A Problem is what a Validator finds: Key is relative to the validated struct, dotted for nested ones, "" for the struct.
type Problem struct {
	Key     string
	Message string
}

// Problemf returns a Problem with a formatted message.
func Problemf(key, format string, args ...any) Problem {
	return Problem{key, fmt.Sprintf(format, args...)}
}

// A Validator checks what no single key can show: relations between keys, files that must exist. It reports everything.
type Validator interface {
	Validate() []Problem
}

// A Defaulter fills a struct that comes into being while decoding: a list's item, or an optional section behind a pointer.
type Defaulter interface {
	SetDefaults()
}

// A Scalar decodes itself from the text of one YAML scalar, such as "auto" or "32000", without its quotes. Its error says
// what is accepted; the package adds file, line and key. To be marshalled it also needs a MarshalScalar or String method.
type Scalar interface {
	UnmarshalScalar(text string) error
}
