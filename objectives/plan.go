// Package objectives turns documents into plans: what the network sees and what the loss asks. An objective is pure CPU
// logic, one file each; it never touches a device, and everything it draws is a function of (seed, epoch, document), so
// a plan does not depend on how documents were packed, on workers, or on what came before.
package objectives

import (
	"fmt"
	"math"
	"slices"

	"palimpsest/kernels"
	"palimpsest/kernels/philox"
)

// Document is a document, or the piece of one that fits a segment.
type Document struct {
	ID         int64
	Epoch      uint32
	Offset     int               // of Tokens in the whole document
	Tokens     []int32           // not to be changed
	WordStarts []bool            // by token: it begins a word; nil: ask the Vocabulary
	Planes     map[string][]byte // one byte a token
}

// context reports whether token i is context only, by the plane "loss"; without the plane none is.
func (d Document) context(i int) bool {
	plane := d.Planes[PlaneLoss]
	return i < len(plane) && plane[i] == 0
}

// lmTerm is the one term of a language model's objective.
func (s Settings) lmTerm(p *Plan, name string) *Term {
	t := p.term(name, CrossEntropy, HeadLM, 1)
	t.Options = s.Loss
	return t
}

// contextPlane adds the plane "loss" to those that an objective reads, where it counts.
func (s Settings) contextPlane(planes []string) []string {
	if s.Context {
		planes = append(planes, PlaneLoss)
	}
	return planes
}

// Vocabulary is what objectives need to know of the tokenizer. Special ids are -1 where there is none.
type Vocabulary struct {
	Size                int
	BOS, EOS, Pad, Mask int32
	Unk                 int32                                // may be special, but is masked by objectives that say so
	Special             func(id int32) bool                  // never masked, never drawn as a replacement
	WordStarts          func(dst []bool, ids []int32) []bool // appends by token of a document whether it begins a word
	Text                func(ids []int32) []byte
}

// Head names of the model that terms refer to.
const HeadLM = "lm"

// Kind is what a term asks of its rows.
type Kind uint8

// The kinds: the row-weighted cross-entropy of kernels.CrossEntropy; the pull to a frozen reference of kernels.ReferenceKL, where
// the sign of a row's weight says whether its target is unwanted and the size is the row's factor; and the likelihood of targets
// summed over all their alignments with the rows of a lattice, kernels.Alignment.
const (
	CrossEntropy Kind = iota + 1
	ReferenceKL
	Alignment
)

// Term is one loss over some rows of the plan: sum over rows of Weights[r]*loss_r, divided by Den.
type Term struct {
	Name    string // in logs
	Kind    Kind
	Head    string
	Classes int       // targets are below this; 0: the vocabulary
	Rows    []int32   // rows of Plan.Tokens whose hidden state the head reads
	Offsets []int32   // rows of segment s are Rows[Offsets[s]:Offsets[s+1]]
	Targets []int32   // [len(Rows)]
	Weights []float32 // [len(Rows)]; nil: all 1
	Filled  int       // rows at the end that a Filler added
	Counted float64   // what the denominator counts; 0: the sum of the sizes of Weights
	Sum     bool      // the loss is a sum: Den is 1
	Pulls   Pulls     // of terms of kind ReferenceKL
	// Unwanted says that the model is to give its targets no probability: their likelihood is reported apart.
	Unwanted bool
	// Entities says that targets are tags of the bio plane, of all tagged tokens of a document in their order.
	Entities bool
	// NeedsReference asks for the frozen reference: its logits under ReferenceKL; under CrossEntropy with a Reweigh rule its
	// losses of the rows, which are subtracted before rows are compared.
	NeedsReference bool
	// Of terms of kind Alignment: Rows are the states of lattices, Targets and Weights those of lattices, not of rows.
	Lattices  []kernels.Lattice // over Rows and Targets, each in one segment, without gaps
	Sources   []int32           // [len(Rows)] place of a state's token in its text
	Places    []int32           // [len(Rows)] place of a state in its expanded text
	Mode      kernels.AlignmentMode
	Blank     int32 // of CTC
	Sparse    bool  // links lead to states of later groups only
	Fallback  bool  // of Sparse: states without a later group lead to those behind them
	CountLost bool  // lattices without a path stay in the denominator
	// Of terms whose Options.Reweigh is on, which have no Weights:
	RowClasses []uint8   // [len(Rows)] 0, 1 or not counted, for rules by class; otherwise nil
	Watched    []uint8   // [len(Rows)] 0, 1 or none: classes whose losses the log tells apart, whatever the rule does; may be nil
	Reference  []float32 // [len(Rows)] losses that are subtracted before rows are compared; may be nil
	// Of mslm's language model, by row: how its token is masked, for the log. The rows of a Filler have none.
	Kinds   []byte
	Share   float64 // factor of the whole term in the loss, 1 when it is the only one
	JointZ  bool    // the z-loss is the mean over the rows of all such terms of the update: SetDenominators
	Alone   bool    // in the denominator, each micro-batch of an update counts as a whole, however many rows it has
	Den     float64 // denominator, of the whole update: SetDenominators
	Options LossOptions
}

// Plan is one micro-batch: packed tokens, who sees whom, and the terms of the loss.
type Plan struct {
	Tokens         []int32 // [N] as the network sees them
	OriginalTokens []int32 // [N] before masking
	Pos            []int32 // [N,2] positions on two axes; ordinary models use the first
	Segments       []kernels.Segment
	Terms          []Term
	NeedsReference bool    // a frozen reference model must run over the same plan: SetDenominators
	Progress       float64 // part of the run before this update, 0 to 1, for schedules of masking; kept by Reset
	Batch          int64   // number of the micro-batch in the whole run, for what takes turns; kept by Reset
	Batches        int     // micro-batches of an update, 0 outside of training; kept by Reset
	FirstRow       int64   // number of documents and pieces planned in the run before, for what takes turns; kept by Reset
	Documents      []int64
	Filled         int   // tokens at the end that a Filler added
	Ragged         bool  // after a Filler: it could not fill the rows of every term
	Read           int64 // tokens of the documents, before an objective expands or repeats them; 0: those of the plan
}

// TokensRead is what logs and limits count.
func (p *Plan) TokensRead() int64 {
	if p.Read > 0 {
		return p.Read
	}
	return int64(len(p.Tokens))
}

// Reset empties a plan and keeps its memory.
func (p *Plan) Reset() {
	p.Tokens, p.OriginalTokens, p.Pos = p.Tokens[:0], p.OriginalTokens[:0], p.Pos[:0]
	p.Segments, p.Documents = p.Segments[:0], p.Documents[:0]
	p.Terms = p.Terms[:0]
	p.NeedsReference, p.Filled, p.Ragged, p.Read = false, 0, false, 0
}

// Rows returns the number of loss rows of all terms.
func (p *Plan) Rows() int {
	n := 0
	for i := range p.Terms {
		n += len(p.Terms[i].Rows)
	}
	return n
}

// term returns the term of that name, making it at its first use. Terms of a plan are in the order of first use.
func (p *Plan) term(name string, kind Kind, head string, share float64) *Term {
	for i := range p.Terms {
		if p.Terms[i].Name == name {
			return &p.Terms[i]
		}
	}
	if len(p.Terms) < cap(p.Terms) { // take over the memory of a term from before Reset
		p.Terms = p.Terms[:len(p.Terms)+1]
	} else {
		p.Terms = append(p.Terms, Term{})
	}
	t := &p.Terms[len(p.Terms)-1]
	*t = Term{Name: name, Kind: kind, Head: head, Share: share,
		Rows: t.Rows[:0], Offsets: t.Offsets[:0], Targets: t.Targets[:0], Weights: t.Weights[:0],
		RowClasses: t.RowClasses[:0], Watched: t.Watched[:0], Reference: t.Reference[:0], Kinds: t.Kinds[:0],
		Lattices: t.Lattices[:0], Sources: t.Sources[:0], Places: t.Places[:0]}
	for range max(1, len(p.Segments)) { // segments before this term's first one have no rows of it
		t.Offsets = append(t.Offsets, 0)
	}
	return t
}

// segment appends a document's tokens as one segment and returns its first row. Positions count from the segment's start.
func (p *Plan) segment(doc Document, mask kernels.Mask) int {
	start := len(p.Tokens)
	p.Tokens = append(p.Tokens, doc.Tokens...)
	p.OriginalTokens = append(p.OriginalTokens, doc.Tokens...)
	for i := range doc.Tokens {
		p.Pos = append(p.Pos, int32(i), 0)
	}
	p.Segments = append(p.Segments, kernels.Segment{Start: int32(start), End: int32(len(p.Tokens)), Mask: mask})
	p.Documents = append(p.Documents, doc.ID)
	return start
}

// close ends a document: every term's offsets get their entry for its segment.
func (p *Plan) close() {
	for i := range p.Terms {
		t := &p.Terms[i]
		for len(t.Offsets) <= len(p.Segments) {
			t.Offsets = append(t.Offsets, int32(len(t.Rows)))
		}
	}
}

// SetDenominators gives every term of an update's plans the count that its loss is divided by: the sum of the row weights of all terms
// of that name over all micro-batches (under a Reweigh rule the number of groups, see Weight). A term without any weight gets
// 1, so that it adds nothing, and so does one that is a sum. Terms whose z-loss is joint get the factor of it that makes the sum of
// all, shares and denominators included, the factor given times the mean over their rows together. It also says which plans need the reference: those with rows of a
// term that does.
func SetDenominators(plans []*Plan) {
	total, batches, joint := map[string]float64{}, map[string]float64{}, 0.0
	for _, p := range plans {
		p.NeedsReference = slices.ContainsFunc(p.Terms, func(t Term) bool { return t.NeedsReference && len(t.Rows) > 0 })
		for i := range p.Terms {
			w := p.Terms[i].Weight()
			if total[p.Terms[i].Name] += w; w > 0 {
				batches[p.Terms[i].Name]++
			}
			if p.Terms[i].JointZ {
				joint += w
			}
		}
	}
	for _, p := range plans {
		for i := range p.Terms {
			t := &p.Terms[i]
			if t.Den = total[t.Name]; t.Den == 0 || t.Sum {
				t.Den = 1
			}
			if t.JointZ && t.Share > 0 && joint > 0 {
				t.Options.ZLoss *= t.Den / (t.Share * joint)
			}
			if t.Alone {
				t.alone(batches[t.Name])
			}
		}
	}
}

// alone weighs the rows of one of several micro-batches so that each of these has the same weight in Den.
func (t *Term) alone(batches float64) {
	own := t.Weight()
	if own == 0 {
		return
	}
	factor := float32(t.Den / (batches * own))
	if len(t.Weights) == 0 {
		for range t.Rows {
			t.Weights = append(t.Weights, 1)
		}
	}
	for i := range t.Weights {
		t.Weights[i] *= factor
	}
}

// Groups returns the offsets of the rows that a Reweigh rule compares with each other.
func (t *Term) Groups() []int32 {
	if t.Options.Reweigh.Scope == "batch" {
		return []int32{0, int32(len(t.Rows))}
	}
	return t.Offsets
}

// counted returns the number of groups with a row that counts.
func (t *Term) counted() (n float64) {
	groups := t.Groups()
	for g := 1; g < len(groups); g++ {
		for r := groups[g-1]; r < groups[g]; r++ {
			if len(t.RowClasses) == 0 || t.RowClasses[r] <= 1 {
				n++
				break
			}
		}
	}
	return n
}

// Weight is what the term counts in its denominator: Counted, else the sum of the sizes of the row weights, or under a Reweigh rule
// the number of groups with a row that counts, as each group's weights make one loss.
func (t *Term) Weight() float64 {
	if t.Options.Reweigh.On() {
		return t.counted()
	}
	if t.Counted > 0 {
		return t.Counted
	}
	if len(t.Weights) == 0 {
		return float64(len(t.Rows))
	}
	sum := 0.0
	for _, w := range t.Weights {
		sum += math.Abs(float64(w))
	}
	return sum
}

// Check reports the first inconsistency of a plan with a model of that vocabulary and context length. The trainer checks
// every plan, since a bad index would reach unchecked memory.
func (p *Plan) Check(vocab, context int) error {
	n := len(p.Tokens)
	if len(p.OriginalTokens) != n || len(p.Pos) != 2*n {
		return fmt.Errorf("plan: %d tokens, %d original tokens, %d positions", n, len(p.OriginalTokens), len(p.Pos)/2)
	}
	for i, id := range p.Tokens {
		if id < 0 || int(id) >= vocab {
			return fmt.Errorf("plan: token id %d at row %d is outside the vocabulary of %d", id, i, vocab)
		}
		if pos := p.Pos[2*i]; pos < 0 || int(pos) >= context {
			return fmt.Errorf("plan: position %d at row %d is outside the model's context of %d", pos, i, context)
		}
		if pos := p.Pos[2*i+1]; pos < 0 || int(pos) >= context {
			return fmt.Errorf("plan: second position %d at row %d is outside the model's context of %d", pos, i, context)
		}
	}
	end := int32(0)
	for i, s := range p.Segments {
		if s.Start < end || s.End <= s.Start || int(s.End) > n {
			return fmt.Errorf("plan: segment %d [%d,%d) overlaps, is empty or ends beyond %d rows", i, s.Start, s.End, n)
		}
		end = s.End
	}
	for i := range p.Terms {
		t := &p.Terms[i]
		if t.Kind != Alignment && (len(t.Targets) != len(t.Rows) || len(t.Weights) != 0 && len(t.Weights) != len(t.Rows)) {
			return fmt.Errorf("plan: term %s has %d rows, %d targets, %d weights", t.Name, len(t.Rows), len(t.Targets), len(t.Weights))
		}
		if o := t.Offsets; len(o) != len(p.Segments)+1 || o[0] != 0 || int(o[len(o)-1]) != len(t.Rows) || !slices.IsSorted(o) {
			return fmt.Errorf("plan: term %s has the offsets %v of %d segments with %d rows", t.Name, o, len(p.Segments), len(t.Rows))
		}
		if rule := t.Options.Reweigh; rule.On() {
			switch {
			case len(t.Weights) != 0:
				return fmt.Errorf("plan: term %s is weighed by its losses, but has %d weights of its own", t.Name, len(t.Weights))
			case rule.classes() && len(t.RowClasses) != len(t.Rows) || len(t.RowClasses) != 0 && len(t.RowClasses) != len(t.Rows):
				return fmt.Errorf("plan: term %s has the classes of %d of %d rows; hint: loss.reweigh.rule: %s needs the data set's class plane", t.Name, len(t.RowClasses), len(t.Rows), rule.Rule)
			case len(t.Watched) != 0 && len(t.Watched) != len(t.Rows):
				return fmt.Errorf("plan: term %s has watched classes of %d of %d rows", t.Name, len(t.Watched), len(t.Rows))
			case len(t.Reference) != 0 && len(t.Reference) != len(t.Rows):
				return fmt.Errorf("plan: term %s has reference losses of %d of %d rows", t.Name, len(t.Reference), len(t.Rows))
			case len(t.Reference) != 0 && t.NeedsReference:
				return fmt.Errorf("plan: term %s has reference losses of its own and asks for those of the reference model", t.Name)
			}
		}
		if err := t.checkReference(); err != nil {
			return err
		}
		if t.Kind == Alignment {
			if err := t.checkLattices(vocab); err != nil {
				return err
			}
		}
		classes, hint := vocab, ""
		if t.Classes > 0 {
			classes, hint = t.Classes, "; hint: model.classifiers gives a head its number of classes"
		}
		for r, row := range t.Rows {
			if row < 0 || int(row) >= n {
				return fmt.Errorf("plan: term %s row %d points at %d of %d", t.Name, r, row, n)
			}
		}
		for r, y := range t.Targets {
			if y != kernels.IgnoreTarget && (y < 0 || int(y) >= classes) {
				return fmt.Errorf("plan: term %s row %d has target %d, outside the %d classes of head %s%s", t.Name, r, y, classes, t.Head, hint)
			}
		}
	}
	return nil
}

// Objective turns documents into plans.
type Objective interface {
	Name() string
	// Cost returns how many packed rows a document of n tokens takes.
	Cost(n int) int
	// Begin empties a plan and declares the objective's terms, so that all plans of an update have them in the same order.
	Begin(p *Plan)
	// Plan appends one document to the plan.
	Plan(doc Document, p *Plan)
}

// draw is the random source of one document in one epoch; pieces of a document have their own.
func draw(seed uint64, stream philox.Stream, doc Document) philox.Draw {
	if doc.Offset > 0 {
		seed = philox.Derive(seed, uint64(doc.Offset))
	}
	return philox.New(seed, stream, uint64(doc.ID), doc.Epoch)
}
