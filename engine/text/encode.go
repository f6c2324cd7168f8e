package text

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/cespare/xxhash/v2"

	"palimpsest/engine/fault"
)

// EncodeOptions say how documents become tokens and planes.
type EncodeOptions struct {
	BOS, EOS  int32 // put around every document; -1 for none
	MinTokens int   // documents of fewer tokens, BOS and EOS not counted, are dropped; default 1
	// Planes to make, of PlaneLoss, PlaneBIO, PlaneLabel and PlaneSign. In the loss plane BOS is context; EOS is learned when the
	// text ends with an answer or has none. In the bio plane both are TagNone, in the label plane they have the document's
	// class. In the sign plane BOS and context are SignNone, and EOS is part of a generation that was not cut off.
	Planes []string
	Sign   SignRule // how PlaneSign comes about
	// FirstSubword gives a tag of the bio plane only to tokens that open a word (Tokenizer.WordStarts, without the space before
	// it where that is a token of its own), and TagNone to the others; by default the others of an entity have TagInside, and those outside TagOutside.
	FirstSubword bool
	Workers      int // goroutines that encode; default GOMAXPROCS
	// From passes over the documents up to a Mark of an earlier, interrupted run with the same options: they are read, and
	// filtered, but neither encoded nor handed out. If they are not the same as then, that is a fault.Data.
	From Mark
}

// A Mark is a place in the documents of a Reader. The zero Mark is the beginning.
type Mark struct {
	Documents int64  // before it
	XXH64     uint64 // of their texts and spans, in order
}

// String gives the form that ParseMark reads.
func (m Mark) String() string { return fmt.Sprintf("%d:%016x", m.Documents, m.XXH64) }

// ParseMark reads what String wrote; "" is the zero Mark. Errors are fault.Data.
func ParseMark(s string) (Mark, error) {
	if s == "" {
		return Mark{}, nil
	}
	documents, sum, ok := strings.Cut(s, ":")
	n, err := strconv.ParseInt(documents, 10, 64)
	h, hashErr := strconv.ParseUint(sum, 16, 64)
	m := Mark{n, h}
	if !ok || err != nil || hashErr != nil || n < 1 || m.String() != s {
		return Mark{}, fault.Data.Errorf("mark %.60q: expected a number of documents and 16 hexadecimal digits", s)
	}
	return m, nil
}

// An Encoded document. Its slices belong to the receiver.
type Encoded struct {
	Source string
	Line   int
	Bytes  int // of the text
	Tokens []int32
	Planes map[string][]byte // nil without any
	Mark   Mark              // the place behind this document
}

// EncodeStats count what EncodeAll did.
type EncodeStats struct {
	Documents, Tokens, Bytes int64 // handed out
	TooShort                 int64 // documents dropped for MinTokens
	Passed                   int64 // documents passed over for From; no other number counts them
	Read                     int64 // bytes of all documents, the dropped ones too
	LostEntities             int64 // entities without a token of their own
	LostSpans                int64 // unwanted spans without a token
	Signs                    SignCounts
	Learned                  int64 // tokens that the loss plane marks
	Tagged                   int64 // tokens inside entities
	// Classes counts, by class, the documents of the label plane.
	Classes []int64
	// Provenance says, for each plane, how it came about; for bio it holds the table of types (ParseEntityTypes), for label that
	// of classes (ParseClasses).
	Provenance map[string]string
}

const (
	batchDocuments = 64
	batchBytes     = 1 << 20
)

// A batch travels from the reader through one encoder to the receiver; the queue of batches keeps the order of the files.
type batch struct {
	documents []Document
	marks     []Mark
	encoded   []Encoded // in the order of documents; without Tokens for one that is too short
	outcomes  []outcome
	done      chan struct{} // closed when encoded is filled
}

// An outcome tells what did not go into an encoded document.
type outcome struct {
	lost      int // entities without a token
	lostSpans int // unwanted spans without one
	err       error
}

// EncodeAll reads all documents of r, encodes them in parallel and hands them to each, in the order of reading and from one
// goroutine. Memory is bounded by about four batches a worker, of 1 MiB of text or one larger document each. It returns the
// first error, of reading (fault.Data) or of each; nothing goes on in the background then.
func EncodeAll(r *Reader, t *Tokenizer, o EncodeOptions, each func(Encoded) error) (EncodeStats, error) {
	if err := o.complete(t); err != nil {
		return EncodeStats{}, err
	}
	work := make(chan *batch, o.Workers)
	queue := make(chan *batch, 2*o.Workers)
	quit := make(chan struct{})
	var readErr error // written before queue is closed
	go func() {
		defer close(queue)
		defer close(work)
		readErr = readBatches(r, o.From, func(b *batch) bool {
			for _, out := range []chan *batch{queue, work} {
				select {
				case out <- b:
				case <-quit:
					return false
				}
			}
			return true
		})
	}()
	var encoders sync.WaitGroup
	for range o.Workers {
		encoders.Go(func() {
			e := documentEncoder{e: t.NewEncoder(), o: &o}
			for b := range work {
				for i := range b.documents {
					encoded, left := e.encode(&b.documents[i])
					encoded.Mark = b.marks[i]
					b.encoded, b.outcomes = append(b.encoded, encoded), append(b.outcomes, left)
				}
				close(b.done)
			}
		})
	}
	stats, err := receive(queue, o.EOS >= 0, each)
	stats.Passed = o.From.Documents
	close(quit)
	for range queue { // let the reader end
	}
	encoders.Wait()
	if err == nil {
		err = readErr
	}
	if err == nil {
		err = o.checkSigns(&stats)
	}
	if err != nil {
		return stats, err
	}
	stats.Provenance = o.provenance(r)
	return stats, nil
}

func (o *EncodeOptions) complete(t *Tokenizer) error {
	if o.MinTokens == 0 {
		o.MinTokens = 1
	}
	if o.Workers == 0 {
		o.Workers = runtime.GOMAXPROCS(0)
	}
	for _, p := range o.Planes {
		if p != PlaneLoss && p != PlaneBIO && p != PlaneLabel && p != PlaneSign {
			return fault.Usage.Errorf("plane %q cannot be made from text, only %s, %s, %s and %s", p, PlaneBIO, PlaneLabel, PlaneLoss, PlaneSign)
		}
		if p == PlaneSign {
			if err := o.Sign.check(); err != nil {
				return err
			}
		}
	}
	switch {
	case o.BOS < -1 || int(o.BOS) >= t.Vocab() || o.EOS < -1 || int(o.EOS) >= t.Vocab():
		return fault.Usage.Errorf("bos %d or eos %d is outside the vocabulary of %d; hint: -1 means none", o.BOS, o.EOS, t.Vocab())
	case o.MinTokens < 0 || o.Workers < 0:
		return fault.Usage.Errorf("%d tokens at least, %d workers: expected positive numbers", o.MinTokens, o.Workers)
	}
	return nil
}

// readBatches groups the documents behind from so that handing them over costs little, and passes the groups on until pass
// refuses.
func readBatches(r *Reader, from Mark, pass func(*batch) bool) error {
	b, size := &batch{done: make(chan struct{})}, 0
	var m marker
	for d, err := range r.Documents() {
		if err != nil {
			return err
		}
		mark := m.after(&d)
		if mark.Documents == from.Documents && mark != from {
			return fault.Data.Errorf("the first %d documents, up to %s:%d, are not those that were encoded before; hint: the files or the "+
				"options have changed, start from the beginning", from.Documents, d.Source, d.Line)
		}
		if mark.Documents <= from.Documents {
			continue
		}
		b.documents, b.marks = append(b.documents, d), append(b.marks, mark)
		size += len(d.Text)
		if len(b.documents) < batchDocuments && size < batchBytes {
			continue
		}
		if !pass(b) {
			return nil
		}
		b, size = &batch{done: make(chan struct{})}, 0
	}
	if n := m.documents; n < from.Documents {
		return fault.Data.Errorf("%d documents, %d were encoded before; hint: the files or the options have changed, start from the beginning",
			n, from.Documents)
	}
	if len(b.documents) > 0 {
		pass(b)
	}
	return nil
}

// A marker hashes documents in the order of reading.
type marker struct {
	documents int64
	digest    *xxhash.Digest
	spans     []byte
}

// after returns the mark behind a document.
func (m *marker) after(d *Document) Mark {
	if m.digest == nil {
		m.digest = xxhash.New()
	}
	m.documents++
	m.spans = binary.LittleEndian.AppendUint64(m.spans[:0], uint64(len(d.Text)))
	m.spans = binary.LittleEndian.AppendUint64(m.spans, uint64(len(d.Spans)))
	for _, s := range d.Spans {
		for _, v := range [...]int{s.Start, s.End, int(s.Kind), s.Type} {
			m.spans = binary.LittleEndian.AppendUint64(m.spans, uint64(v))
		}
	}
	if d.Labelled {
		m.spans = binary.LittleEndian.AppendUint64(m.spans, uint64(d.Class))
	}
	if d.Generation != nil {
		m.spans = d.Generation.hash(m.spans)
	}
	m.digest.Write(m.spans)
	m.digest.Write(d.Text)
	return Mark{m.documents, m.digest.Sum64()}
}

// receive hands out documents in order; ended says that they have end tokens.
func receive(queue <-chan *batch, ended bool, each func(Encoded) error) (stats EncodeStats, err error) {
	for b := range queue {
		<-b.done
		for i, e := range b.encoded {
			stats.Read += int64(e.Bytes)
			left := b.outcomes[i]
			if left.err != nil {
				return stats, fault.Data.Errorf("%s:%d: %w", e.Source, e.Line, left.err)
			}
			stats.LostEntities += int64(left.lost)
			stats.LostSpans += int64(left.lostSpans)
			if e.Tokens == nil {
				stats.TooShort++
				continue
			}
			if err := each(e); err != nil {
				return stats, fault.Of(err).Errorf("%s:%d: %w", e.Source, e.Line, err)
			}
			stats.Documents++
			stats.Tokens += int64(len(e.Tokens))
			stats.Bytes += int64(e.Bytes)
			stats.Signs.Add(e.Planes[PlaneSign], ended)
			stats.Learned += int64(bytes.Count(e.Planes[PlaneLoss], []byte{1}))
			for _, v := range e.Planes[PlaneBIO] {
				if v != TagOutside && v != TagNone {
					stats.Tagged++
				}
			}
			if labels := e.Planes[PlaneLabel]; len(labels) > 0 && labels[0] != NoClass {
				class := int(labels[0])
				for len(stats.Classes) <= class {
					stats.Classes = append(stats.Classes, 0)
				}
				stats.Classes[class]++
			}
		}
	}
	return stats, nil
}

// A documentEncoder encodes for one goroutine.
type documentEncoder struct {
	e      *Encoder
	o      *EncodeOptions
	starts []int // nil where each token begins at the end of the one before
	ends   []int
	opens  []bool
}

// encode returns a document without Tokens when it is too short.
func (e *documentEncoder) encode(d *Document) (out Encoded, left outcome) {
	out = Encoded{Source: d.Source, Line: d.Line, Bytes: len(d.Text)}
	corrective := slices.Contains(e.o.Planes, PlaneSign) && e.o.Sign.Corrective()
	if corrective {
		if d, left.err = e.corrected(d); left.err != nil {
			return out, left
		}
		out.Bytes = len(d.Text)
	}
	tokens := make([]int32, 0, len(d.Text)/3+2)
	if e.o.BOS >= 0 {
		tokens = append(tokens, e.o.BOS)
	}
	begin := len(tokens)
	lossless := e.e.t.Lossless()
	drawn := d.Generation != nil && d.Generation.Tokens != nil
	if drawn {
		if tokens, left.err = e.given(tokens, d); left.err != nil {
			return out, left
		}
	} else {
		e.e.begin(d.Text, len(e.o.Planes) > 0 && !lossless)
		tokens = e.e.encodeDocument(tokens, d)
	}
	content := tokens[begin:]
	if len(content) < e.o.MinTokens {
		return out, left
	}
	if len(e.o.Planes) > 0 {
		if !drawn {
			e.place(content, lossless)
		}
		out.Planes = make(map[string][]byte, len(e.o.Planes))
	}
	for _, name := range e.o.Planes {
		outside := [2]byte{0, 0} // of BOS and EOS
		var plane []byte
		switch name {
		case PlaneLoss:
			plane = lossPlane(d.Spans, e.starts, e.ends)
			if outside[1] = plane[len(plane)-1]; d.Generation != nil && d.Generation.Cut {
				outside[1] = 0
			}
			if corrective { // what is learned, and nothing else
				if plane, outside[1], _, left.err = e.signs(d, content); left.err != nil {
					return out, left
				}
			}
		case PlaneLabel:
			class := byte(NoClass)
			if d.Labelled {
				class = byte(d.Class)
			}
			plane = bytes.Repeat([]byte{class}, len(content))
			outside = [2]byte{class, class}
		case PlaneSign:
			if plane, outside[1], left.lostSpans, left.err = e.signs(d, content); left.err != nil {
				return out, left
			}
		default:
			plane, left.lost = e.tags(d, content)
			outside = [2]byte{TagNone, TagNone}
		}
		if e.o.BOS >= 0 {
			plane = slices.Insert(plane, 0, outside[0])
		}
		if e.o.EOS >= 0 {
			plane = append(plane, outside[1])
		}
		out.Planes[name] = plane
	}
	if e.o.EOS >= 0 {
		tokens = append(tokens, e.o.EOS)
	}
	out.Tokens = tokens
	return out, left
}

// tags makes the bio plane of a document's content.
func (e *documentEncoder) tags(d *Document, content []int32) (plane []byte, lost int) {
	if !d.Tagged {
		return bytes.Repeat([]byte{TagNone}, len(content)), 0
	}
	var opens []bool
	if e.o.FirstSubword {
		e.opens = e.e.t.WordStarts(e.opens[:0], content)
		e.e.t.tagOpens(e.opens, content)
		opens = e.opens
	}
	return bioTags(d.Spans, e.starts, e.ends, opens)
}

// place finds the bytes of the document that each token comes from: from the end of the one before, unless something is lost on the way to
// the tokens.
func (e *documentEncoder) place(content []int32, lossless bool) {
	e.starts = nil
	if lossless {
		e.ends = e.e.t.TokenEnds(e.ends[:0], content)
		return
	}
	e.starts, e.ends = make([]int, 0, len(content)), e.ends[:0]
	for _, p := range e.e.places {
		e.starts, e.ends = append(e.starts, p.start), append(e.ends, p.end)
	}
}

// provenance describes the planes after a pass.
func (o *EncodeOptions) provenance(r *Reader) map[string]string {
	m := map[string]string{}
	for _, name := range o.Planes {
		switch name {
		case PlaneLabel:
			m[name] = FormatClasses(r.classes, fmt.Sprintf("field %q of the records", clip(r.o.Label)))
			continue
		case PlaneLoss:
			m[name] = fmt.Sprintf("answers of records of the shape %s; a token with a byte of an answer is learned", r.records.name)
			continue
		case PlaneSign:
			m[name] = fmt.Sprintf("-1 (255) unwanted, 1 kept, 0 not trained: records of the shape %s, %s", r.records.name, o.Sign)
			continue
		}
		remark := "all tokens of a word are tagged"
		if o.FirstSubword {
			remark = "the first token of a word is tagged, the others are 255"
		}
		m[name] = FormatEntityTypes(r.types, remark)
	}
	return m
}

// EncodeDocument appends the tokens of a document. It is Encode, except that names of special tokens in what a template wrote
// become those tokens; the same names in what an author wrote stay plain characters.
func (e *Encoder) EncodeDocument(dst []int32, d *Document) []int32 {
	e.begin(d.Text, false)
	return e.encodeDocument(dst, d)
}

func (e *Encoder) encodeDocument(dst []int32, d *Document) []int32 {
	at := 0
	for _, s := range d.Spans {
		if s.Kind != Markup {
			continue
		}
		for from := s.Start; from < s.End; {
			id, place := e.t.firstSpecial(d.Text[from:s.End])
			if id < 0 {
				break
			}
			dst = e.encode(dst, at, from+place, false)
			at = from + place + len(e.t.tokens[id])
			dst = e.put(dst, id, from+place, at)
			from = at
		}
	}
	return e.encode(dst, at, len(d.Text), false)
}

// firstSpecial finds the leftmost, then longest name of a special token; id is -1 when there is none.
func (t *Tokenizer) firstSpecial(text []byte) (id int32, place int) {
	id = -1
	for _, s := range t.order {
		name := t.tokens[s]
		if i := bytes.Index(text, name); i >= 0 && (id < 0 || i < place || i == place && len(name) > len(t.tokens[id])) {
			id, place = s, i
		}
	}
	return id, place
}
