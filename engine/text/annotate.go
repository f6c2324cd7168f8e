package text

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"unicode"
	"unicode/utf8"

	"palimpsest/engine/fault"
)

// Annotations are documents with entities, from CoNLL files or records of the shape spans, that are laid over the documents of
// a data set. They are held in memory.
type Annotations struct {
	// Types are the names of the types of entities, by number.
	Types []string
	// Partial lets documents of the data set be without annotation (their tags are TagNone) and annotated documents be without
	// a document.
	Partial bool
	// FirstSubword is that of EncodeOptions.
	FirstSubword bool

	t     *Tokenizer
	docs  []annotated
	byIDs map[string][]int // token ids -> numbers in docs, in order
	byRaw map[string][]int // text without white space -> the same
	used  []bool
	taken map[string]int // by key: how many of its documents were asked for
	AnnotationReport
}

// AnnotationReport counts what annotating did.
type AnnotationReport struct {
	Documents, Plain int64 // of the data set: with an annotation, without
	Entities         int64 // in these documents
	Lost             int64 // entities without a token of their own
	Tagged           int64 // tokens in entities
	Repeated         int64 // documents that share the annotation of an equal text, which was annotated fewer times
}

type annotated struct {
	source string
	line   int
	raw    []byte // text without white space
	spans  []LabelSpan
	ids    []int32
	starts []int // of the tokens, in raw; as ends
	ends   []int
}

// ReadAnnotations reads all documents of r, whose OnBadRecord is "skip": all that cannot be used are named in one error,
// fault.Data, with their lines.
func ReadAnnotations(r *Reader, t *Tokenizer) (*Annotations, error) {
	a := &Annotations{t: t, byIDs: map[string][]int{}, byRaw: map[string][]int{}}
	for d, err := range r.Documents() {
		if err != nil {
			return nil, err
		}
		if !d.Tagged {
			return nil, fault.Data.Errorf("%s:%d: a document without tags or spans; hint: CoNLL files, or JSON lines with text and spans", d.Source, d.Line)
		}
		a.add(d)
	}
	if report := r.Report(); report.Skipped > 0 {
		return nil, fault.Data.Errorf("%d bad annotations:\n%s", report.Skipped, joinLines(report.SkipReasons))
	}
	a.Types = r.EntityTypes()
	a.Reset()
	return a, nil
}

func joinLines(lines []string) string {
	var b []byte
	for i, l := range lines {
		if i > 0 {
			b = append(b, '\n')
		}
		b = append(append(b, "  "...), l...)
	}
	return string(b)
}

// add keeps a document, with its spans counted in its text without white space.
func (a *Annotations) add(d Document) {
	raw, to := squeeze(d.Text)
	n := annotated{source: d.Source, line: d.Line, raw: raw}
	for _, s := range d.Spans {
		if s.Kind == Entity {
			s.Start, s.End = to[s.Start], to[s.End]
			n.spans = append(n.spans, s)
		}
	}
	e := a.t.encoders.Get().(*Encoder)
	e.begin(d.Text, true)
	n.ids = e.encode(nil, 0, len(d.Text), false)
	for _, p := range e.places {
		n.starts, n.ends = append(n.starts, to[p.start]), append(n.ends, to[p.end])
	}
	a.t.encoders.Put(e)
	i := len(a.docs)
	a.docs = append(a.docs, n)
	a.byIDs[idKey(n.ids)] = append(a.byIDs[idKey(n.ids)], i)
	a.byRaw[string(raw)] = append(a.byRaw[string(raw)], i)
}

// squeeze takes the white space out of a text; to[i] is where byte i went, for 0 to len(text).
func squeeze(text []byte) (raw []byte, to []int) {
	to = make([]int, 0, len(text)+1)
	for i := 0; i < len(text); {
		r, size := utf8.DecodeRune(text[i:])
		blank := unicode.IsSpace(r)
		for k := range size {
			to = append(to, len(raw))
			if !blank {
				raw = append(raw, text[i+k])
			}
		}
		i += size
	}
	return raw, append(to, len(raw))
}

func idKey(ids []int32) string {
	b := make([]byte, 0, 4*len(ids))
	for _, id := range ids {
		b = binary.LittleEndian.AppendUint32(b, uint32(id))
	}
	return string(b)
}

// Reset begins again with the first document of the data set.
func (a *Annotations) Reset() {
	a.used, a.taken, a.AnnotationReport = make([]bool, len(a.docs)), map[string]int{}, AnnotationReport{}
}

// Len returns the number of annotated documents.
func (a *Annotations) Len() int { return len(a.docs) }

// Tags returns the tags of document number id of the data set, which are asked for in order. Special tokens at its ends have
// TagNone. Its annotation is the one of the same number if that has the same tokens, or the same text but for white
// space; otherwise the next one of such a text.
func (a *Annotations) Tags(id int64, tokens []int32) ([]byte, error) {
	from, to := a.t.content(tokens)
	content := tokens[from:to]
	plane := bytes.Repeat([]byte{TagNone}, len(tokens))
	raw, starts, ends := a.t.rawTokens(content)
	n, same := a.find(id, content, raw)
	if n < 0 {
		a.Plain++
		if a.Partial {
			return plane, nil
		}
		return nil, a.unmatched(id, content)
	}
	a.used[n] = true
	d := &a.docs[n]
	if same { // the encoder knows more exactly where they come from, also where a normalizer changed the text
		starts, ends = d.starts, d.ends
	}
	var opens []bool
	if a.FirstSubword {
		opens = a.t.WordStarts(nil, content)
		a.t.tagOpens(opens, content)
	}
	tags, lost := bioTags(d.spans, starts, ends, opens)
	a.Documents++
	a.Entities += int64(len(d.spans))
	a.Lost += int64(lost)
	for _, tag := range tags {
		if tag != TagOutside && tag != TagNone {
			a.Tagged++
		}
	}
	copy(plane[from:to], tags)
	return plane, nil
}

// find returns the number of the annotation of a document, -1 if there is none, and whether it has the same tokens.
func (a *Annotations) find(id int64, content []int32, raw []byte) (n int, same bool) {
	if id < int64(len(a.docs)) {
		if d := &a.docs[id]; slices.Equal(d.ids, content) {
			return int(id), true
		} else if bytes.Equal(d.raw, raw) {
			return int(id), false
		}
	}
	for i, m := range []map[string][]int{a.byIDs, a.byRaw} {
		key := string(raw)
		if i == 0 {
			key = idKey(content)
		}
		list := m[key]
		if len(list) == 0 {
			continue
		}
		k := a.taken[key]
		a.taken[key]++
		if k >= len(list) {
			k = len(list) - 1
			a.Repeated++
		}
		return list[k], i == 0
	}
	return -1, false
}

// unmatched tells what the annotation of the same number has instead.
func (a *Annotations) unmatched(id int64, content []int32) error {
	const hint = "hint: annotate the texts that the data set was built from, or allow partial annotation"
	if id >= int64(len(a.docs)) {
		return fault.Data.Errorf("document %d has no annotation: its text is in none of %d annotated documents; %s", id, len(a.docs), hint)
	}
	d := &a.docs[id]
	at := 0
	for at < len(content) && at < len(d.ids) && content[at] == d.ids[at] {
		at++
	}
	end := min(len(content), at+8)
	return fault.Data.Errorf("document %d has %d tokens, %s:%d has %d; they differ from token %d on (%q here), and no annotated document has its text; %s",
		id, len(content), d.source, d.line, len(d.ids), at, a.t.Decode(content[at:end]), hint)
}

// Unused returns the places of annotated documents that belong to no document of the data set, at most ten, and their number.
func (a *Annotations) Unused() (places []string, n int) {
	for i, used := range a.used {
		if used {
			continue
		}
		if n++; len(places) < 10 {
			places = append(places, fmt.Sprintf("%s:%d", a.docs[i].source, a.docs[i].line))
		}
	}
	return places, n
}

// content returns the tokens [from, to) of a document between special tokens at its ends.
func (t *Tokenizer) content(tokens []int32) (from, to int) {
	to = len(tokens)
	for from < to && t.IsSpecial(tokens[from]) && tokens[from] != t.Unk {
		from++
	}
	for to > from && t.IsSpecial(tokens[to-1]) && tokens[to-1] != t.Unk {
		to--
	}
	return from, to
}

// rawTokens joins the bytes of tokens, without white space, and tells where in it each begins and ends.
func (t *Tokenizer) rawTokens(ids []int32) (raw []byte, starts, ends []int) {
	var all []byte
	for _, id := range ids {
		starts = append(starts, len(all))
		all = append(all, t.TokenBytes(id)...)
		ends = append(ends, len(all))
	}
	raw, to := squeeze(all)
	for i := range ids {
		starts[i], ends[i] = to[starts[i]], to[ends[i]]
	}
	return raw, starts, ends
}
