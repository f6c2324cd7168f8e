package shard

import (
	"io"

	"palimpsest/engine/fault"
)

// A Mode is a way to pack documents into steps.
type Mode string

// A Long is what happens to a document longer than PackConfig.MaxLength in mode Whole.
type Long string

const (
	Cut   Mode = "cut"   // one stream of tokens fills every step; documents are cut where a step ends and go on in the next
	Whole Mode = "whole" // documents are kept whole; one that does not fit starts the next step

	LongCut   Long = "cut"   // the first MaxLength tokens are kept, the dropped ones are counted
	LongSplit Long = "split" // pieces of MaxLength tokens
	LongError Long = "error" // refused, by name
)

// A PackConfig says how documents fill steps.
type PackConfig struct {
	Mode        Mode
	Capacity    int                  // cost of a full step, N; without Cost its tokens
	MaxLength   int                  // tokens of a piece at most, T
	MaxSegments int                  // pieces of a step at most, B; 0 = no limit
	Long        Long                 // mode Whole only; "" = LongCut
	Cost        func(tokens int) int // of a piece, monotonic; nil = its tokens. Mode Whole only
}

// A Piece is a run of a document's tokens that forms one segment of a step. Its slices share memory with the Document: read
// only.
type Piece struct {
	Document int64
	Epoch    uint32
	Offset   int // of the first token in the document
	Tokens   []int32
	Planes   map[string][]byte // of these tokens
}

// A Step is what fits into one step, in order. It is full, or the stream's last, or the next piece or segment did not fit.
type Step struct{ Pieces []Piece }

// PackStats counts what a Packer has returned.
type PackStats struct {
	Documents int64 // finished
	Tokens    int64
	Dropped   int64 // tokens beyond MaxLength under LongCut
	Steps     int64
	Cost      int64
	Fill      float64 // Cost / (Steps * Capacity)
}

// A Packer turns a stream of documents into steps. It is not safe for concurrent use.
type Packer struct {
	s      *Stream
	c      PackConfig
	doc    Document
	at     Cursor // of doc; its Offset is the number of tokens used
	held   bool   // doc has tokens left
	next   Cursor // of the next step
	skip   int64  // offset into the first document, from the stream's start
	stats  PackStats
	failed error
}

// NewPacker packs what the stream yields from its present position on. The stream belongs to the packer from then on, but
// closing it stays with the caller.
func NewPacker(s *Stream, c PackConfig) (*Packer, error) {
	if c.Long == "" {
		c.Long = LongCut
	}
	switch {
	case c.Mode != Cut && c.Mode != Whole:
		return nil, fault.Usage.Errorf("packing %q, expected %q or %q", c.Mode, Cut, Whole)
	case c.Long != LongCut && c.Long != LongSplit && c.Long != LongError:
		return nil, fault.Usage.Errorf("data.long: %q, expected %q, %q or %q", c.Long, LongCut, LongSplit, LongError)
	case c.Capacity < 1 || c.MaxLength < 1 || c.MaxSegments < 0:
		return nil, fault.Usage.Errorf("packing with capacity %d, length %d, segments %d, expected positive numbers",
			c.Capacity, c.MaxLength, c.MaxSegments)
	case c.Mode == Cut && c.Cost != nil:
		return nil, fault.Usage.Errorf("packing %q cannot weigh pieces; hint: use %q", Cut, Whole)
	}
	p := &Packer{s: s, c: c, next: s.Cursor()}
	p.skip = p.next.Offset
	if c.Mode == Whole && p.cost(c.MaxLength) > c.Capacity {
		return nil, fault.Usage.Errorf("a piece of %d tokens costs %d, more than a whole step of %d; "+
			"hint: raise tokens_per_step or shorten the longest piece",
			c.MaxLength, p.cost(c.MaxLength), c.Capacity)
	}
	if c.Mode == Whole && p.skip > 0 && (c.Long != LongSplit || p.skip%int64(c.MaxLength) != 0) {
		return nil, fault.Data.Errorf("cursor %+v points into a document, but packing %q with long %q and length %d never stops there; "+
			"hint: resume with the packing of the run",
			p.next, c.Mode, c.Long, c.MaxLength)
	}
	return p, nil
}

func (p *Packer) cost(tokens int) int {
	if p.c.Cost == nil {
		return tokens
	}
	return p.c.Cost(tokens)
}

// Next returns the next step, with at least one piece, and io.EOF after the last. The step that the end of a finite stream
// leaves partly filled is returned like any other. An error repeats, and Cursor stays where the failed step starts.
func (p *Packer) Next() (Step, error) {
	var step Step
	used := 0
	stats := p.stats
	for p.failed == nil && (p.c.MaxSegments == 0 || len(step.Pieces) < p.c.MaxSegments) && used < p.c.Capacity {
		if !p.held {
			if p.failed = p.fetch(); p.failed != nil {
				break
			}
		}
		n := p.fit(used)
		if n == 0 {
			break
		}
		used += p.cost(n)
		stats.Tokens += int64(n)
		step.Pieces = append(step.Pieces, p.take(n, &stats))
	}
	if p.failed != nil && (p.failed != io.EOF || len(step.Pieces) == 0) {
		return Step{}, p.failed
	}
	stats.Steps++
	stats.Cost += int64(used)
	stats.Fill = float64(stats.Cost) / (float64(stats.Steps) * float64(p.c.Capacity))
	p.stats, p.next = stats, p.s.Cursor()
	if p.held {
		p.next = p.at
	}
	return step, nil
}

// fetch takes the next document from the stream.
func (p *Packer) fetch() error {
	d, err := p.s.Next()
	if err != nil {
		return err
	}
	if p.c.Mode == Whole && p.c.Long == LongError && len(d.Tokens) > p.c.MaxLength {
		return fault.Data.Errorf("data set %s: document %d has %d tokens, at most %d fit; "+
			"hint: data.long: cut or split, or a longer maximum",
			p.s.ds.dir, d.ID, len(d.Tokens), p.c.MaxLength)
	}
	p.doc, p.at, p.held = d, p.s.taken(), true
	p.at.Offset, p.skip = p.skip, 0
	return nil
}

// fit returns the length of the next piece of doc in a step that has used so much, 0 when it must wait for the next step.
func (p *Packer) fit(used int) int {
	n := min(len(p.doc.Tokens)-int(p.at.Offset), p.c.MaxLength)
	if p.c.Mode == Cut {
		return min(n, p.c.Capacity-used)
	}
	if cost := p.cost(n); cost < 0 || cost > p.c.Capacity-used {
		if used == 0 { // NewPacker saw to it that a monotonic cost fits
			p.failed = fault.Usage.Errorf("a piece of %d tokens costs %d, a longer one less; "+
				"hint: the cost must be monotonic", n, cost)
		}
		return 0
	}
	return n
}

// take cuts n tokens off doc.
func (p *Packer) take(n int, stats *PackStats) Piece {
	a := int(p.at.Offset)
	b := a + n
	piece := Piece{Document: p.doc.ID, Epoch: p.doc.Epoch, Offset: a, Tokens: p.doc.Tokens[a:b:b], Planes: p.doc.Planes}
	if n < len(p.doc.Tokens) && p.doc.Planes != nil {
		piece.Planes = make(map[string][]byte, len(p.doc.Planes))
		for name, values := range p.doc.Planes {
			piece.Planes[name] = values[a:b:b]
		}
	}
	p.at.Offset = int64(b)
	rest := len(p.doc.Tokens) - b
	if p.c.Mode == Whole && p.c.Long == LongCut {
		stats.Dropped += int64(rest)
		rest = 0
	}
	if rest == 0 {
		p.held = false
		p.doc = Document{}
		stats.Documents++
	}
	return piece
}

// Cursor returns where the next step starts: a stream and packer with the same configuration, started there, yield exactly
// the steps that this one has yet to yield.
func (p *Packer) Cursor() Cursor { return p.next }

// Stats returns the counts of the steps returned so far by this packer.
func (p *Packer) Stats() PackStats { return p.stats }
