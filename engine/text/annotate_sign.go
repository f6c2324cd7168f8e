package text

import (
	"bytes"

	"palimpsest/engine/fault"
)

// Signs are the signs of records of the shape generation, laid over the documents of a data set: those with the same tokens or,
// but for white space, the same text. They are held in memory.
type Signs struct {
	Partial bool // documents without a record have no signs, and records need no document
	a       Annotations
	signs   [][]byte // by record: of its tokens
	ends    []byte   // by record: of its end token
}

// ReadSigns reads all records of r, whose OnBadRecord is "skip", and signs them by a rule; eos is the data set's end token, -1 for
// none. All that cannot be used are named in one error, fault.Data, with their lines.
func ReadSigns(r *Reader, t *Tokenizer, rule SignRule, eos int32) (*Signs, error) {
	if rule.Corrective() {
		return nil, fault.Usage.Errorf("the rule %s makes documents of corrections, which no data set has yet; hint: 'palimpsest data build --shape generation'", rule.Name)
	}
	s := &Signs{a: Annotations{t: t, byIDs: map[string][]int{}, byRaw: map[string][]int{}}}
	o := EncodeOptions{BOS: -1, EOS: eos, Planes: []string{PlaneSign}, Sign: rule}
	if err := o.complete(t); err != nil {
		return nil, err
	}
	e := documentEncoder{e: t.NewEncoder(), o: &o}
	for d, err := range r.Documents() {
		if err != nil {
			return nil, err
		}
		if d.Generation == nil {
			return nil, fault.Data.Errorf("%s:%d: a text without a record; hint: JSON lines with prompt, generation, and a correction or spans", d.Source, d.Line)
		}
		encoded, left := e.encode(&d)
		if left.err != nil {
			return nil, fault.Data.Errorf("%s:%d: %w", d.Source, d.Line, left.err)
		}
		s.add(d, encoded, e.starts, e.ends)
	}
	if report := r.Report(); report.Skipped > 0 {
		return nil, fault.Data.Errorf("%d bad records:\n%s\nhint: mend them", report.Skipped, joinLines(report.SkipReasons))
	}
	s.a.Reset()
	return s, nil
}

// add keeps a record; starts (nil: of tokens that follow each other) and ends are the places of its tokens.
func (s *Signs) add(d Document, e Encoded, starts, ends []int) {
	n, end := len(ends), byte(SignNone)
	if len(e.Tokens) > n {
		end = e.Planes[PlaneSign][n]
	}
	raw, to := squeeze(d.Text)
	one := annotated{source: d.Source, line: d.Line, raw: raw, ids: e.Tokens[:n]}
	for i := range ends {
		one.starts, one.ends = append(one.starts, to[tokenStart(starts, ends, i)]), append(one.ends, to[ends[i]])
	}
	number := len(s.a.docs)
	s.a.docs = append(s.a.docs, one)
	s.a.byIDs[idKey(one.ids)] = append(s.a.byIDs[idKey(one.ids)], number)
	s.a.byRaw[string(raw)] = append(s.a.byRaw[string(raw)], number)
	s.signs, s.ends = append(s.signs, e.Planes[PlaneSign][:n]), append(s.ends, end)
}

// Reset begins again with the first document of the data set.
func (s *Signs) Reset() { s.a.Reset() }

// Len returns the number of records.
func (s *Signs) Len() int { return s.a.Len() }

// Unused returns the places of records that belong to no document, at most ten, and their number.
func (s *Signs) Unused() (places []string, n int) { return s.a.Unused() }

// Report counts documents with and without a record.
func (s *Signs) Report() AnnotationReport { return s.a.AnnotationReport }

// Of returns the signs of document number id of the data set, which are asked for in order. loss is its plane of that name, or
// nil; its context has no sign.
func (s *Signs) Of(id int64, tokens []int32, loss []byte) ([]byte, error) {
	t := s.a.t
	from, to := t.content(tokens)
	content := tokens[from:to]
	raw, starts, ends := t.rawTokens(content)
	n, same := s.a.find(id, content, raw)
	plane := make([]byte, len(tokens))
	if n < 0 {
		s.a.Plain++
		if s.Partial {
			return plane, nil
		}
		return nil, s.a.unmatched(id, content)
	}
	s.a.used[n] = true
	s.a.Documents++
	if same {
		copy(plane[from:], s.signs[n])
	} else {
		d := &s.a.docs[n]
		k := 0
		for i := range content {
			for k < len(d.ends) && d.ends[k] <= starts[i] {
				k++
			}
			for j := k; j < len(d.ends) && d.starts[j] < ends[i]; j++ {
				plane[from+i] = max(plane[from+i], s.signs[n][j]) // unwanted before kept before none
			}
		}
	}
	if to < len(tokens) {
		plane[to] = s.ends[n]
	}
	maskContext(plane, loss, SignNone)
	return plane, nil
}

// maskContext gives what the loss plane leaves out a value of its own.
func maskContext(plane, loss []byte, none byte) {
	for i, l := range loss {
		if l == 0 {
			plane[i] = none
		}
	}
}

// FoundSigns returns the signs of a document of a data set: unwanted where a finder finds something in its text, with first only
// at the first token of that. Its context, by the loss plane (or nil), has no sign; nor have special tokens but the one
// behind the text.
func FoundSigns(t *Tokenizer, f SpanFinder, first bool, tokens []int32, loss []byte) (signs []byte, lost int, err error) {
	signs = make([]byte, len(tokens))
	from, to := t.content(tokens)
	spans, starts, ends, err := findIn(t, f, tokens[from:to])
	if err != nil {
		return nil, 0, err
	}
	found, lost := SpanSigns(spans, starts, ends, first)
	copy(signs[from:], found)
	if to < len(tokens) {
		signs[to] = SignKeep
	}
	maskContext(signs, loss, SignNone)
	return signs, lost, nil
}

// FoundClasses returns the classes of a document of a data set: boilerplate where a finder finds something in its text, else
// reasoning, also at the end token; none for other special tokens and context.
func FoundClasses(t *Tokenizer, f SpanFinder, tokens []int32, loss []byte) ([]byte, error) {
	signs, _, err := FoundSigns(t, f, false, tokens, loss)
	if err != nil {
		return nil, err
	}
	classes := bytes.Repeat([]byte{ClassNone}, len(tokens))
	for i, s := range signs {
		switch s {
		case SignUnwanted:
			classes[i] = ClassBoilerplate
		case SignKeep:
			classes[i] = ClassReasoning
		}
	}
	return classes, nil
}

// findIn searches the text that tokens spell.
func findIn(t *Tokenizer, f SpanFinder, ids []int32) (spans [][2]int, starts, ends []int, err error) {
	text, starts, ends := t.Spell(ids)
	spans, err = f.Find(text)
	return spans, starts, ends, err
}
