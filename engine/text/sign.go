package text

import (
	"bytes"
	"fmt"
	"slices"

	"palimpsest/engine/fault"
)

// Values of the sign plane (targeted negative training, arXiv 2406.13660).
const (
	SignNone     = 0   // not trained: context, special tokens but the end, what a rule leaves out
	SignKeep     = 1   // the model shall say it as before
	SignUnwanted = 255 // -1: the model shall not say it here
)

// Values of the class plane (SHAD, arXiv 2412.14780).
const (
	ClassBoilerplate = 0
	ClassReasoning   = 1
	ClassNone        = 255
)

// Rules by which tokens of a generation get their signs. Those from align to first compare it with its correction.
const (
	RuleAuto       = "auto"        // of records: spans where they have them, align where they have a correction
	RuleAlign      = "align"       // tokens outside of a longest common subsequence are unwanted: an insertion spoils nothing behind it
	RuleAlignFirst = "align_first" // of each run of those the first is unwanted, the others are not trained
	RuleDiff       = "diff"        // tokens that differ from the correction's of the same number
	RuleFirst      = "first"       // the first of these alone
	RuleFull       = "full"        // every token
	RuleSpans      = "spans"       // tokens that overlap the record's spans
	RuleFind       = "find"        // tokens that overlap what a SpanFinder finds

	// Corrective baselines: the document is the correction behind the prompt, none of its tokens is unwanted, and those that are to be
	// learned, by the planes loss and sign, are
	RuleCorrect      = "correct"       // all
	RuleCorrectDiff  = "correct_diff"  // those that differ from the generation's of the same number
	RuleCorrectFirst = "correct_first" // the first of these alone
)

// SignRules are the rules that records can be read by.
var SignRules = []string{RuleAuto, RuleAlign, RuleAlignFirst, RuleDiff, RuleFirst, RuleFull, RuleSpans, RuleFind, RuleCorrect, RuleCorrectDiff, RuleCorrectFirst}

// Corrective reports whether a rule makes documents of corrections.
func (r SignRule) Corrective() bool {
	return r.Name == RuleCorrect || r.Name == RuleCorrectDiff || r.Name == RuleCorrectFirst
}

// A SignRule says how the tokens of a generation get their signs.
type SignRule struct {
	Name string // one of SignRules; "" is RuleAuto
	// FirstToken marks of each span only the first token; the others of the span are not trained. A later token of a phrase is
	// pushed down in the context of the first one only, which is narrower.
	FirstToken bool
	Find       SpanFinder // of RuleFind
	Source     string     // where Find comes from, for the provenance of planes
}

// check refuses rules that do not exist, with fault.Usage.
func (r *SignRule) check() error {
	if r.Name == "" {
		r.Name = RuleAuto
	}
	switch {
	case !slices.Contains(SignRules, r.Name):
		return fault.Usage.Errorf("rule %q: expected one of %q", r.Name, SignRules)
	case (r.Name == RuleFind) != (r.Find != nil):
		return fault.Usage.Errorf("rule %s: what to find belongs to the rule %s, and only to it; hint: a word list or patterns", r.Name, RuleFind)
	case r.FirstToken && r.Name != RuleSpans && r.Name != RuleFind && r.Name != RuleAuto:
		return fault.Usage.Errorf("rule %s has no spans of which the first token could be chosen", r.Name)
	}
	return nil
}

// maxAlign bounds the cells of the table that aligning a generation with its correction fills, a bit each.
const maxAlign = 1 << 30

// CorrectionSigns returns the signs of a generation's tokens by one of the rules that compare it with its correction; end
// tokens are tokens like the others. Errors are fault.Data, of texts too long to align.
func CorrectionSigns(rule string, generation, correction []int32) ([]byte, error) {
	signs := bytes.Repeat([]byte{SignKeep}, len(generation))
	switch rule {
	case RuleFull:
		for i := range signs {
			signs[i] = SignUnwanted
		}
	case RuleDiff, RuleFirst:
		for i, id := range generation {
			if i < len(correction) && id == correction[i] {
				continue
			}
			signs[i] = SignUnwanted
			if rule == RuleFirst {
				break
			}
		}
	case RuleAlign, RuleAlignFirst:
		dropped, err := align(generation, correction)
		if err != nil {
			return nil, err
		}
		for i, d := range dropped {
			switch {
			case d && i > 0 && dropped[i-1] && rule == RuleAlignFirst:
				signs[i] = SignNone
			case d:
				signs[i] = SignUnwanted
			}
		}
	default:
		return nil, fault.Usage.Errorf("rule %s compares nothing with a correction", rule)
	}
	return signs, nil
}

// align walks both texts from the front: equal tokens match, else the generation's is dropped where that does not shorten
// the longest common subsequence of what is left, else the correction's is passed over. It tells which tokens of the
// generation were dropped. Equal beginnings need no table; of the table of lengths (by rows from behind) only the choice
// of each cell is kept.
func align(generation, correction []int32) (dropped []bool, err error) {
	dropped = make([]bool, len(generation))
	same := 0
	for same < len(generation) && same < len(correction) && generation[same] == correction[same] {
		same++
	}
	g, c := generation[same:], correction[same:]
	if int64(len(g))*int64(len(c)) > maxAlign {
		return nil, fault.Data.Errorf("%d tokens and a correction of %d are too long to align; hint: shorter records, or the rule diff", len(g), len(c))
	}
	words := (len(c) + 63) / 64
	drops := make([]uint64, len(g)*words)
	below, row := make([]int32, len(c)+1), make([]int32, len(c)+1)
	for i := len(g) - 1; i >= 0; i-- {
		for j := len(c) - 1; j >= 0; j-- {
			if below[j] >= row[j+1] {
				drops[i*words+j/64] |= 1 << (j % 64)
			}
			if row[j] = max(below[j], row[j+1]); g[i] == c[j] {
				row[j] = below[j+1] + 1
			}
		}
		below, row = row, below
	}
	for i, j := 0, 0; i < len(g); {
		switch {
		case j < len(c) && g[i] == c[j]:
			i, j = i+1, j+1
		case j == len(c) || drops[i*words+j/64]>>(j%64)&1 == 1:
			dropped[same+i] = true
			i++
		default:
			j++
		}
	}
	return dropped, nil
}

// SpanSigns returns the signs of tokens that come from the bytes [starts, ends) of a text, of which spans are unwanted: -1
// where a token overlaps a span by at least one byte, or with first only for the first token of each span, whose others
// are not trained. Spans that overlap count as one. lost counts spans without a token.
func SpanSigns(spans [][2]int, starts, ends []int, first bool) (signs []byte, lost int) {
	signs = bytes.Repeat([]byte{SignKeep}, len(ends))
	from := 0
	for _, s := range Joined(spans) {
		for from < len(ends) && ends[from] <= s[0] {
			from++
		}
		found := false
		for i := from; i < len(ends) && starts[i] < s[1]; i++ {
			switch {
			case starts[i] == ends[i]: // comes from nothing of the text
				continue
			case !first || !found:
				signs[i] = SignUnwanted
			case signs[i] == SignKeep:
				signs[i] = SignNone
			}
			found = true
		}
		if !found {
			lost++
		}
	}
	return signs, lost
}

// Joined sorts spans and joins those that overlap; empty ones are left out.
func Joined(spans [][2]int) [][2]int {
	sorted := slices.SortedFunc(slices.Values(spans), func(a, b [2]int) int {
		if a[0] != b[0] {
			return a[0] - b[0]
		}
		return a[1] - b[1]
	})
	var joined [][2]int
	for _, s := range sorted {
		if n := len(joined); n > 0 && s[0] < joined[n-1][1] {
			joined[n-1][1] = max(joined[n-1][1], s[1])
		} else if s[0] < s[1] {
			joined = append(joined, s)
		}
	}
	return joined
}

// SignCounts tells how often each sign occurs.
type SignCounts struct {
	Unwanted int64 `json:"unwanted_tokens"`
	Kept     int64 `json:"kept_tokens"`
	None     int64 `json:"untrained_tokens"`
	ends     int64 // of the kept ones: end tokens
}

// Add counts the signs of a document's tokens; ended says that the last one is an end token.
func (c *SignCounts) Add(signs []byte, ended bool) {
	if n := len(signs); ended && n > 0 && signs[n-1] == SignKeep {
		c.ends++
	}
	unwanted, kept := bytes.Count(signs, []byte{SignUnwanted}), bytes.Count(signs, []byte{SignKeep})
	c.Unwanted += int64(unwanted)
	c.Kept += int64(kept)
	c.None += int64(len(signs) - unwanted - kept)
}

// Check refuses signs that nothing can be learned from, with fault.Data and the counts. Under RuleFull all are unwanted, as asked.
func (c SignCounts) Check(rule string) error {
	switch {
	case (SignRule{Name: rule}).Corrective():
		if c.Kept == 0 {
			return fault.Data.Errorf("no token is to be learned: under the rule %s all corrections say what the generations say", rule)
		}
	case c.Unwanted == 0:
		return fault.Data.Errorf("no token is unwanted (%d kept, %d not trained): there is nothing to learn to avoid; hint: the rule %s found no difference or match", c.Kept, c.None, rule)
	case c.Kept == c.ends && rule != RuleFull:
		return fault.Data.Errorf("all of %d tokens are unwanted, none is kept but %d ends: the model would lose everything else; hint: is the correction of the same text? "+
			"The rule full says that this is meant", c.Unwanted, c.ends)
	}
	return nil
}

// String is for the provenance of a plane.
func (r SignRule) String() string {
	s := fmt.Sprintf("by the rule %s", r.Name)
	if r.FirstToken {
		s += ", of spans only the first token"
	}
	if r.Source != "" {
		s += ", " + r.Source
	}
	return s
}
