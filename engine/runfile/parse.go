package runfile

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

const (
	maxBytes = 1 << 20 // of a run file
	maxDepth = 32      // of nesting; a run file needs five
	maxKeys  = 10_000  // and block list items: the parser's time grows with the square of their number, to 0.4 s here
)

type nodeKind uint8

const (
	nullNode nodeKind = iota
	scalarNode
	listNode
	mapNode
)

// A node is the part of YAML that a run file may use: no anchors, aliases, tags, merges or complex keys.
type node struct {
	kind    nodeKind
	text    string // of a scalar, unquoted
	quoted  bool   // scalar in quotes or a block scalar: text whatever it looks like
	line    int
	entries []entry // of a map, in order, with duplicates
	items   []*node // of a list
}

type entry struct {
	key   string
	line  int
	value *node
}

// parse turns one YAML document into nodes. It returns all findings that can be made without understanding the file; a
// syntax error ends the parse, so there is at most one of those. The node is nil for a file without content.
func parse(data []byte) (*node, []Error) {
	data = bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))
	if len(data) > maxBytes {
		return nil, []Error{{Message: fmt.Sprintf("%d bytes, but a run file has at most %d", len(data), maxBytes)}}
	}
	if i := firstBadByte(data); i >= 0 {
		line := 1 + bytes.Count(data[:i], []byte("\n"))
		return nil, []Error{{Line: line, Message: fmt.Sprintf("byte 0x%02x is not UTF-8 text; is this a YAML file?", data[i])}}
	}
	tokens, errs := tokenize(data)
	if len(errs) > 0 {
		return nil, errs
	}
	file, err := parseTokens(tokens)
	if err != nil {
		return nil, []Error{syntaxError(err)}
	}
	var bodies []ast.Node
	for _, doc := range file.Docs {
		if doc != nil && doc.Body != nil {
			bodies = append(bodies, doc.Body)
		}
	}
	switch len(bodies) {
	case 0:
		return nil, nil
	case 1:
	default:
		return nil, []Error{{Line: lineOf(bodies[1]),
			Message: fmt.Sprintf("the file holds %d documents (---), but a run file is one", len(bodies))}}
	}
	c := converter{}
	root := c.node(bodies[0], 0)
	return root, c.errs
}

// firstBadByte returns the offset of the first byte that no text file has, or -1.
func firstBadByte(data []byte) int {
	for i := 0; i < len(data); {
		r, n := utf8.DecodeRune(data[i:])
		if r == utf8.RuneError && n == 1 || r < ' ' && r != '\n' && r != '\r' && r != '\t' || r == 0x7f {
			return i
		}
		i += n
	}
	return -1
}

// tokenize refuses what a run file must not use, before the recursive parser sees it: its stack is bounded by maxDepth.
func tokenize(data []byte) (tokens token.Tokens, errs []Error) {
	defer func() {
		if r := recover(); r != nil {
			tokens, errs = nil, []Error{{Message: fmt.Sprintf("not readable as YAML (%v)", r)}}
		}
	}()
	tokens = lexer.Tokenize(string(data))
	refuse := func(tk *token.Token, format string, args ...any) {
		errs = append(errs, Error{Line: tk.Position.Line, Message: fmt.Sprintf(format, args...)})
	}
	flow, block, run := 0, []int(nil), 0 // open brackets; columns of the open block collections; indicators in a row
	keys := 0
	for i, tk := range tokens {
		if run++; flow == 0 && i > 0 && tokens[i-1].Position.Line != tk.Position.Line {
			run = 1
		}
		switch tk.Type {
		case token.MappingValueType, token.MappingKeyType, token.SequenceEntryType, token.DocumentHeaderType:
			if keys++; keys > maxKeys {
				refuse(tk, "more than %d keys and items", maxKeys)
				return nil, errs
			}
		}
		switch tk.Type {
		case token.AnchorType:
			refuse(tk, "anchors (&name) are not accepted; write the value out, or quote a text that starts with &")
		case token.AliasType:
			refuse(tk, "aliases (*name) are not accepted; write the value out, or quote a text that starts with *")
		case token.TagType:
			refuse(tk, "tags (%s) are not accepted; the key decides the type", clip(tk.Value))
		case token.MergeKeyType:
			refuse(tk, "merge keys (<<) are not accepted; write the keys out")
		case token.DirectiveType:
			refuse(tk, "directives (%%) are not accepted; quote a text that starts with %%")
		case token.MappingStartType, token.SequenceStartType:
			flow++
		case token.MappingEndType, token.SequenceEndType:
			flow = max(flow-1, 0)
		case token.SequenceEntryType, token.MappingKeyType:
			if flow == 0 {
				block = open(block, tk.Position.Column)
			}
		case token.MappingValueType:
			if flow == 0 && i > 0 {
				block = open(block, tokens[i-1].Position.Column)
			}
		default:
			run = 0
		}
		if max(flow+len(block), run) > maxDepth {
			refuse(tk, "nested deeper than %d levels", maxDepth)
			break
		}
	}
	return tokens, errs
}

// open adds a block collection's column to the open ones, closing those further to the right. A list may stand in the
// column of its key, so the count can be one short a level; the parser's depth stays below twice maxDepth.
func open(columns []int, column int) []int {
	for len(columns) > 0 && columns[len(columns)-1] >= column {
		columns = columns[:len(columns)-1]
	}
	return append(columns, column)
}

// parseTokens shields from the parser's panics on malformed input, which are its way of saying no.
func parseTokens(tokens token.Tokens) (file *ast.File, err error) {
	defer func() {
		if r := recover(); r != nil {
			file, err = nil, fmt.Errorf("not readable as YAML (%v)", r)
		}
	}()
	return parser.Parse(tokens, 0, parser.AllowDuplicateMapKey())
}

func syntaxError(err error) Error {
	var at interface {
		error
		GetToken() *token.Token
		GetMessage() string
	}
	if !errors.As(err, &at) {
		return Error{Message: err.Error()}
	}
	e := Error{Message: "YAML syntax: " + at.GetMessage()}
	if tk := at.GetToken(); tk != nil && tk.Position != nil {
		e.Line = tk.Position.Line
		if m := at.GetMessage(); strings.Contains(m, "\t") || strings.Contains(m, "tab character") {
			e.Message += "; indent with spaces"
		}
	}
	return e
}

func lineOf(n ast.Node) int {
	if tk := n.GetToken(); tk != nil && tk.Position != nil {
		return tk.Position.Line
	}
	return 0
}

type converter struct{ errs []Error }

func (c *converter) refuse(n ast.Node, format string, args ...any) *node {
	c.errs = append(c.errs, Error{Line: lineOf(n), Message: fmt.Sprintf(format, args...)})
	return &node{line: lineOf(n)}
}

func (c *converter) node(n ast.Node, depth int) *node {
	if depth > 2*maxDepth {
		return c.refuse(n, "nested deeper than %d levels", maxDepth)
	}
	if n == nil {
		return &node{}
	}
	line := lineOf(n)
	switch n := n.(type) {
	case *ast.NullNode:
		return &node{line: line}
	case *ast.LiteralNode:
		return &node{kind: scalarNode, text: n.Value.Value, quoted: true, line: line}
	case *ast.SequenceNode:
		out := &node{kind: listNode, line: line}
		for _, item := range n.Values {
			out.items = append(out.items, c.node(item, depth+1))
		}
		return out
	case ast.MapNode:
		out := &node{kind: mapNode, line: line}
		for it := n.MapRange(); it.Next(); {
			key, ok := it.Key().(ast.ScalarNode)
			if !ok {
				c.refuse(it.Key(), "a key must be a plain name")
				continue
			}
			out.entries = append(out.entries, entry{key.GetToken().Value, lineOf(key), c.node(it.Value(), depth+1)})
		}
		return out
	case ast.ScalarNode:
		tk := n.GetToken()
		quoted := tk.Type == token.DoubleQuoteType || tk.Type == token.SingleQuoteType
		return &node{kind: scalarNode, text: tk.Value, quoted: quoted, line: line}
	default:
		return c.refuse(n, "%s is not accepted in a run file", strings.ToLower(n.Type().YAMLName()))
	}
}

// describe names what a node holds, for messages.
func (n *node) describe() string {
	switch n.kind {
	case nullNode:
		return "nothing"
	case listNode:
		return "a list"
	case mapNode:
		return "a section"
	}
	if n.quoted {
		return fmt.Sprintf("the quoted text %q", clip(n.text))
	}
	return clip(n.text)
}

// clip shortens text for a message.
func clip(s string) string {
	const most = 60
	if utf8.RuneCountInString(s) <= most {
		return s
	}
	return string([]rune(s)[:most]) + "..."
}
