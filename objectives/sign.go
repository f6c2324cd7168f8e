package objectives

import (
	"fmt"
	"math"
	"strconv"
)

// PlaneSign is the plane that says of every token whether it is wanted.
const PlaneSign = "sign"

// Values of the plane sign: a token that is unwanted where it stands (-1), one to keep, and one that is not trained.
const (
	SignUnwanted  = 255
	SignKeep      = 1
	SignUntrained = 0
)

// signs counts the signed tokens of a corpus.
type signs struct {
	documents, marked int64 // all; those with an unwanted token
	kept, unwanted    int64
	last              int64 // document that is in marked, from 1
}

// count adds a document, or a piece of one. A first token has nothing before it to be predicted from, and is not trained.
func (n *signs) count(doc Document) error {
	before := n.unwanted
	if doc.Offset == 0 {
		n.documents++
	}
	for i, sign := range doc.Planes[PlaneSign] {
		switch sign {
		case SignUnwanted, SignKeep, SignUntrained:
		default:
			return fmt.Errorf("document %d, token %d: sign %d, want -1, 0 or 1", doc.ID, doc.Offset+i, int8(sign))
		}
		if i == 0 || doc.context(i) {
			continue
		}
		switch sign {
		case SignUnwanted:
			n.unwanted++
		case SignKeep:
			n.kept++
		}
	}
	if n.unwanted > before && n.last != doc.ID+1 {
		n.last = doc.ID + 1
		n.marked++
	}
	return nil
}

// census counts a corpus in the pieces in which it is trained, and says how many unwanted tokens its whole documents have that
// no piece asks for: those behind a document's cut, and first tokens.
func (n *signs) census(c Corpus) (lost int64, err error) {
	var whole signs
	for doc, err := range c.Documents {
		if err == nil {
			err = n.count(doc)
		}
		if err != nil {
			return 0, err
		}
	}
	if c.Uncut == nil {
		return 0, nil
	}
	for doc, err := range c.Uncut {
		if err != nil {
			return 0, err
		}
		for i, sign := range doc.Planes[PlaneSign] {
			if sign == SignUnwanted && !doc.context(i) {
				whole.unwanted++
			}
		}
	}
	return whole.unwanted - n.unwanted, nil
}

// lostNote says what became of unwanted tokens that are never trained, or refuses them.
func lostNote(section string, lost int64, strict bool) (notes []string, err error) {
	if lost == 0 {
		return nil, nil
	}
	text := fmt.Sprintf("%s: %d unwanted tokens are not trained: they are behind data.length, or the first of their document or piece", section, lost)
	if strict {
		return nil, fmt.Errorf("%s; hint: a longer data.length, or %s.strict_length: false", text, section)
	}
	return []string{text}, nil
}

// A LogFloor is a log-probability, or none.
type LogFloor float64

// UnmarshalScalar reads a number below 0, or "none".
func (f *LogFloor) UnmarshalScalar(s string) error {
	if s == "none" {
		*f = 0
		return nil
	}
	v, err := strconv.ParseFloat(s, 64)
	if err != nil || !(v < 0) || math.IsInf(v, 0) {
		return fmt.Errorf("want a log-probability below 0, or none, not %q", s)
	}
	*f = LogFloor(v)
	return nil
}

// String is the inverse of UnmarshalScalar.
func (f LogFloor) String() string {
	if f == 0 {
		return "none"
	}
	return strconv.FormatFloat(float64(f), 'g', -1, 64)
}

// An AutoFactor is a factor of at least 0, or left to the program.
type AutoFactor struct {
	Value float64
	Given bool
}

// UnmarshalScalar reads a number of at least 0, or "auto".
func (a *AutoFactor) UnmarshalScalar(s string) error {
	if s == "auto" {
		*a = AutoFactor{}
		return nil
	}
	v, err := strconv.ParseFloat(s, 64)
	if err != nil || !(v >= 0) || math.IsInf(v, 0) {
		return fmt.Errorf("want a number of at least 0, or auto, not %q", s)
	}
	*a = AutoFactor{v, true}
	return nil
}

// String is the inverse of UnmarshalScalar.
func (a AutoFactor) String() string {
	if !a.Given {
		return "auto"
	}
	return strconv.FormatFloat(a.Value, 'g', -1, 64)
}
