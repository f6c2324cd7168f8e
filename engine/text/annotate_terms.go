package text

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"palimpsest/engine/fault"
)

// maxTermList bounds the bytes of a term list.
const maxTermList = 256 << 20

// A Term of a list.
type Term struct {
	Text   string  `json:"term"`
	Type   string  `json:"type"`
	Weight float64 `json:"weight"` // of terms that are the same words the heaviest counts, then the first; default 1
	Line   int     `json:"-"`      // in the file, or the number of the element of a JSON list
}

// ReadTerms reads a list of terms: .json is a list of strings or of {"term", "type", "weight"}, or an object of types by term;
// other files have a term a line, and behind tabs its type and weight (.tsv), both of which may be missing or empty. missing is the
// type of terms without one. Empty lines, and lines that begin with #, are no terms. Errors are fault.Data with the line.
func ReadTerms(path, missing string) ([]Term, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fault.Data.Wrap(err)
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, maxTermList+1))
	if err != nil {
		return nil, fault.Data.Errorf("%s: %w", path, err)
	}
	if len(raw) > maxTermList {
		return nil, fault.Data.Errorf("%s: more than %d bytes", path, maxTermList)
	}
	var terms []Term
	if strings.EqualFold(filepath.Ext(path), ".json") {
		terms, err = jsonTerms(raw)
	} else {
		terms, err = lineTerms(raw)
	}
	if err != nil {
		return nil, fault.Data.Errorf("%s:%w", path, err)
	}
	for i := range terms {
		t := &terms[i]
		t.Text = strings.TrimSpace(t.Text)
		if t.Type == "" {
			t.Type = missing
		}
		switch {
		case t.Text == "":
			return nil, fault.Data.Errorf("%s:%d: the term is empty", path, t.Line)
		case !utf8.ValidString(t.Text):
			return nil, fault.Data.Errorf("%s:%d: the term is not valid UTF-8", path, t.Line)
		case math.IsNaN(t.Weight) || math.IsInf(t.Weight, 0) || t.Weight < 0:
			return nil, fault.Data.Errorf("%s:%d: weight %g, expected 0 or more", path, t.Line, t.Weight)
		}
	}
	if len(terms) == 0 {
		return nil, fault.Data.Errorf("%s: no terms", path)
	}
	return terms, nil
}

func lineTerms(raw []byte) (terms []Term, err error) {
	number := 0
	for line := range bytes.Lines(bytes.TrimPrefix(raw, []byte("\xEF\xBB\xBF"))) {
		number++
		text := strings.TrimRight(string(line), "\r\n")
		if strings.TrimSpace(text) == "" || strings.HasPrefix(text, "#") {
			continue
		}
		columns := strings.Split(text, "\t")
		t := Term{Text: columns[0], Weight: 1, Line: number}
		if len(columns) > 3 {
			return nil, fmt.Errorf("%d: %d columns, expected a term, its type and its weight", number, len(columns))
		}
		if len(columns) > 1 {
			t.Type = strings.TrimSpace(columns[1])
		}
		if len(columns) > 2 && strings.TrimSpace(columns[2]) != "" {
			if t.Weight, err = strconv.ParseFloat(strings.TrimSpace(columns[2]), 64); err != nil {
				return nil, fmt.Errorf("%d: weight %.40q is no number", number, columns[2])
			}
		}
		terms = append(terms, t)
	}
	return terms, nil
}

func jsonTerms(raw []byte) (terms []Term, err error) {
	var list []json.RawMessage
	if err := json.Unmarshal(raw, &list); err != nil {
		var types map[string]string
		if json.Unmarshal(raw, &types) != nil {
			return nil, fmt.Errorf(" expected a list of terms, or an object of types by term: %w", err)
		}
		for text, kind := range types {
			terms = append(terms, Term{Text: text, Type: kind, Weight: 1})
		}
		slices.SortFunc(terms, func(a, b Term) int { return cmp.Compare(a.Text, b.Text) })
		for i := range terms {
			terms[i].Line = i + 1
		}
		return terms, nil
	}
	for i, item := range list {
		t := Term{Weight: 1}
		if json.Unmarshal(item, &t.Text) != nil {
			d := json.NewDecoder(bytes.NewReader(item))
			d.DisallowUnknownFields()
			if err := d.Decode(&t); err != nil {
				return nil, fmt.Errorf("%d: element of the list: %w; expected a string or {\"term\", \"type\", \"weight\"}", i+1, err)
			}
		}
		t.Line = i + 1
		terms = append(terms, t)
	}
	return terms, nil
}

// TermFinder tags the occurrences of terms, whole words as the tokenizer cuts them, whatever their case unless it is to be kept. At each
// word the longest term counts, and occurrences do not overlap.
type TermFinder struct {
	Types []string // names of the types of entities, by number
	// FirstSubword is that of EncodeOptions.
	FirstSubword bool

	t       *Tokenizer
	fold    bool
	terms   []Term
	kinds   []int          // type by term
	index   map[string]int // words of a term, each with a NUL behind it
	longest int            // words
	seen    []int64        // occurrences by term
	// Unusable are terms that the tokenizer does not know, or that another one stands for.
	Unusable []string
	AnnotationReport
}

// NewTermFinder takes terms; types are the only types of entities in this order, or nil for all as they come. Errors are
// fault.Data, of types that are not among them.
func NewTermFinder(t *Tokenizer, terms []Term, types []string, keepCase bool) (*TermFinder, error) {
	f := &TermFinder{t: t, fold: !keepCase, terms: terms, index: map[string]int{}}
	table, err := newTypeTable(entityTypeTable, types)
	if err != nil {
		return nil, err
	}
	for i, term := range terms {
		kind, err := table.of(term.Type)
		if err != nil {
			return nil, fault.Data.Errorf("term %q in line %d: %w", term.Text, term.Line, err)
		}
		f.kinds = append(f.kinds, kind)
		ids := t.Encode(nil, []byte(term.Text))
		words := f.words(ids)
		if len(words) == 0 || t.Unk >= 0 && slices.Contains(ids, t.Unk) {
			f.Unusable = append(f.Unusable, fmt.Sprintf("line %d: %q has no tokens of its own", term.Line, term.Text))
			continue
		}
		key := ""
		for _, w := range words {
			key += w.key + "\x00"
		}
		if other, twice := f.index[key]; twice {
			if term.Weight <= terms[other].Weight {
				f.Unusable = append(f.Unusable, fmt.Sprintf("line %d: %q is line %d already", term.Line, term.Text, terms[other].Line))
				continue
			}
			f.Unusable = append(f.Unusable, fmt.Sprintf("line %d: %q weighs less than line %d", terms[other].Line, terms[other].Text, term.Line))
		}
		f.index[key] = i
		f.longest = max(f.longest, len(words))
	}
	f.Types = table.names
	f.Reset()
	return f, nil
}

// Reset begins counting anew.
func (f *TermFinder) Reset() {
	f.seen, f.AnnotationReport = make([]int64, len(f.terms)), AnnotationReport{}
}

type termWord struct {
	from, to int
	key      string
}

// words of tokens, without white space and case; those of nothing else are left out.
func (f *TermFinder) words(ids []int32) (list []termWord) {
	starts := f.t.WordStarts(nil, ids)
	for from := 0; from < len(ids); {
		to := from + 1
		for to < len(ids) && !starts[to] {
			to++
		}
		raw, _, _ := f.t.rawTokens(ids[from:to])
		key := string(raw)
		if f.fold {
			key = strings.Map(unicode.ToLower, key)
		}
		if key != "" && !f.t.IsSpecial(ids[from]) {
			list = append(list, termWord{from, to, key})
		}
		from = to
	}
	return list
}

// Tags returns the tags of a document of a data set; special tokens have TagNone.
func (f *TermFinder) Tags(_ int64, tokens []int32) ([]byte, error) {
	plane := make([]byte, len(tokens))
	var opens []bool
	if f.FirstSubword {
		opens = f.t.WordStarts(nil, tokens)
		f.t.tagOpens(opens, tokens)
	}
	for i, id := range tokens {
		if f.t.IsSpecial(id) || opens != nil && !opens[i] {
			plane[i] = TagNone
		}
	}
	words := f.words(tokens)
	f.Documents++
	for i := 0; i < len(words); {
		term, n, key := -1, 1, ""
		for k := i; k < len(words) && k-i < f.longest; k++ {
			if k > i && slices.ContainsFunc(tokens[words[k-1].to:words[k].from], f.t.IsSpecial) {
				break
			}
			key += words[k].key + "\x00"
			if t, ok := f.index[key]; ok {
				term, n = t, k-i+1
			}
		}
		if term >= 0 {
			f.seen[term]++
			f.Entities++
			f.tag(plane, tokens, words[i].from, words[i+n-1].to, f.kinds[term])
		}
		i += n
	}
	return plane, nil
}

// tag marks tokens [from, to) as an entity; white space before it is outside.
func (f *TermFinder) tag(plane []byte, tokens []int32, from, to, kind int) {
	tag := TagBegin(kind)
	for i := from; i < to; i++ {
		if plane[i] == TagNone || tag == TagBegin(kind) && len(bytes.TrimSpace(f.t.TokenBytes(tokens[i]))) == 0 {
			continue
		}
		plane[i], tag = tag, TagInside(kind)
		f.Tagged++
	}
	if tag == TagBegin(kind) {
		f.Lost++
	}
}

// Unseen returns the terms that no document has, as "line N: term".
func (f *TermFinder) Unseen() (list []string) {
	for _, i := range slices.Sorted(maps.Values(f.index)) {
		if f.seen[i] == 0 {
			list = append(list, fmt.Sprintf("line %d: %q", f.terms[i].Line, f.terms[i].Text))
		}
	}
	return list
}
