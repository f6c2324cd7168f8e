package text

import (
	"bytes"
	"encoding/json"
	"slices"
	"unicode"
	"unicode/utf8"

	"palimpsest/engine/fault"
)

// An Encoding is the input of a model made of one text or a pair, as the Hugging Face tokenizers library makes it. All slices
// have one value a token.
type Encoding struct {
	IDs       []int32
	TypeIDs   []int32 // which of a pair, as the post-processor says
	Offsets   []Span  // code points of the text that the token comes from; empty at 0 for tokens from no text
	Special   []bool  // put there by the post-processor or padding
	Attention []bool  // false for padding
	// Overflow has what truncation left of a single text, in parts that overlap by the stride.
	Overflow []Encoding

	// taken counts the white space that an added token took before and behind it; nil when none took any.
	taken [][2]int
}

// InputOptions say how to make an input of text.
type InputOptions struct {
	Specials bool // put the post-processor's special tokens around it
	Truncate bool // heed truncation of tokenizer.json
	Pad      bool // heed padding of tokenizer.json
}

// EncodeInput makes the input of a model of one text or, if second is not nil, of a pair. Names of special tokens in the
// texts become those tokens, so the texts must be trusted (see EncodeSpecials). It fails, with a fault.Data, when truncation
// cannot shorten a pair as it is asked to.
func (t *Tokenizer) EncodeInput(first, second []byte, o InputOptions) (Encoding, error) {
	e := t.encoders.Get().(*Encoder)
	defer t.encoders.Put(e)
	return e.EncodeInput(first, second, o)
}

// EncodeInput is Tokenizer.EncodeInput with this Encoder's cache.
func (e *Encoder) EncodeInput(first, second []byte, o InputOptions) (Encoding, error) {
	t := e.t
	parts := []Encoding{e.encoding(first, 0)}
	if second != nil {
		parts = append(parts, e.encoding(second, 1))
	}
	var overflow []Encoding
	if o.Truncate && t.spec.truncation != nil {
		var err error
		if overflow, err = t.truncate(parts, o.Specials); err != nil {
			return Encoding{}, err
		}
	}
	whole := t.postProcess(parts, o)
	for _, part := range overflow {
		whole.Overflow = append(whole.Overflow, t.postProcess([]Encoding{part}, o))
	}
	return whole, nil
}

func (t *Tokenizer) postProcess(parts []Encoding, o InputOptions) Encoding {
	if t.spec.postProcessor != nil {
		parts = t.spec.postProcessor.process(t, parts, o.Specials)
	}
	var whole Encoding
	if len(parts) == 1 {
		whole = parts[0]
	} else {
		whole = joined(parts)
	}
	if o.Pad && t.spec.padding != nil {
		t.spec.padding.pad(&whole)
	}
	return whole
}

func joined(parts []Encoding) (whole Encoding) {
	for _, p := range parts {
		whole.IDs = append(whole.IDs, p.IDs...)
		whole.TypeIDs = append(whole.TypeIDs, p.TypeIDs...)
		whole.Offsets = append(whole.Offsets, p.Offsets...)
		whole.Special = append(whole.Special, p.Special...)
		whole.Attention = append(whole.Attention, p.Attention...)
	}
	return whole
}

// encoding encodes one text without post-processing.
func (e *Encoder) encoding(text []byte, kind int32) Encoding {
	e.begin(text, true)
	ids := e.encode(nil, 0, len(text), true)
	n := len(ids)
	return Encoding{taken: e.taken(ids), IDs: ids, Offsets: e.spans(), TypeIDs: slices.Repeat([]int32{kind}, n), Special: make([]bool, n),
		Attention: slices.Repeat([]bool{true}, n)}
}

// taken finds white space in the places of added tokens.
func (e *Encoder) taken(ids []int32) (taken [][2]int) {
	for i, id := range ids {
		if a := e.t.added.byID[id]; a == nil || !a.LStrip && !a.RStrip {
			continue
		}
		text := e.source[e.places[i].start:e.places[i].end]
		leading := text[:len(text)-len(bytes.TrimLeftFunc(text, unicode.IsSpace))]
		trailing := text[len(bytes.TrimRightFunc(text, unicode.IsSpace)):]
		if taken == nil {
			taken = make([][2]int, len(ids))
		}
		taken[i] = [2]int{utf8.RuneCount(leading), utf8.RuneCount(trailing)}
	}
	return taken
}

func (e *Encoding) setType(kind int32) { e.TypeIDs = slices.Repeat([]int32{kind}, len(e.IDs)) }

// part returns tokens [from, to).
func (e *Encoding) part(from, to int) Encoding {
	taken := e.taken
	if taken != nil {
		taken = taken[from:to]
	}
	return Encoding{taken: taken, IDs: slices.Clone(e.IDs[from:to]), TypeIDs: slices.Clone(e.TypeIDs[from:to]), Offsets: slices.Clone(e.Offsets[from:to]),
		Special: slices.Clone(e.Special[from:to]), Attention: slices.Clone(e.Attention[from:to])}
}

type truncation struct {
	Direction string `json:"direction"`
	MaxLength int    `json:"max_length"`
	Strategy  string `json:"strategy"`
	Stride    int    `json:"stride"`
}

// truncate shortens the texts so that they fit together with the special tokens. It returns the rest of a single one.
func (t *Tokenizer) truncate(parts []Encoding, specials bool) (overflow []Encoding, err error) {
	s := t.spec.truncation
	room := s.MaxLength
	if specials && t.spec.postProcessor != nil {
		room = max(0, room-t.spec.postProcessor.added(len(parts) > 1))
	}
	total := 0
	for _, p := range parts {
		total += len(p.IDs)
	}
	if total <= room {
		return nil, nil
	}
	if room > 0 && s.Stride >= room {
		return nil, fault.Data.Errorf("truncation: stride %d, expected less than the %d tokens that are left of max_length %d", s.Stride, room, s.MaxLength)
	}
	if room == 0 {
		for i := range parts {
			parts[i] = parts[i].part(0, 0)
		}
		return nil, nil
	}
	if s.Strategy == "LongestFirst" && len(parts) == 1 {
		return s.cut(&parts[0], room), nil
	}
	if s.Strategy == "LongestFirst" {
		shorter, longer := &parts[0], &parts[1]
		if len(shorter.IDs) > len(longer.IDs) {
			shorter, longer = longer, shorter
		}
		short := len(shorter.IDs)
		long := max(short, room-short)
		if short+long > room {
			short = room / 2
			long = short + room%2
		}
		s.cut(shorter, short)
		s.cut(longer, long)
		return nil, nil
	}
	which := 0
	if s.Strategy == "OnlySecond" {
		which = 1
	}
	if which >= len(parts) {
		return nil, fault.Data.Errorf("truncation: the strategy OnlySecond needs a pair")
	}
	keep := len(parts[which].IDs) - (total - room)
	if keep <= 0 {
		return nil, fault.Data.Errorf("truncation: %s cannot shorten %d tokens to %d; hint: the strategy LongestFirst can", s.Strategy, total, room)
	}
	overflow = s.cut(&parts[which], keep)
	if len(parts) > 1 {
		overflow = nil
	}
	return overflow, nil
}

// cut keeps the first (or last) tokens and returns the others in parts of that length, which overlap by the stride.
func (s *truncation) cut(e *Encoding, keep int) (rest []Encoding) {
	n := len(e.IDs)
	if n <= keep {
		return nil
	}
	if keep == 0 {
		*e = e.part(0, 0)
		return nil
	}
	var parts []Encoding
	forward := max(1, keep-s.Stride)
	if s.Direction == "Left" {
		for end := n; ; end -= forward {
			start := max(0, end-keep)
			parts = append(parts, e.part(start, end))
			if start == 0 {
				break
			}
		}
	} else {
		for start := 0; ; start += forward {
			end := min(n, start+keep)
			parts = append(parts, e.part(start, end))
			if end == n {
				break
			}
		}
	}
	*e = parts[0]
	return parts[1:]
}

type padding struct {
	Strategy        paddingStrategy `json:"strategy"`
	Direction       string          `json:"direction"`
	PadToMultipleOf *int            `json:"pad_to_multiple_of"`
	PadID           int32           `json:"pad_id"`
	PadTypeID       int             `json:"pad_type_id"`
	PadToken        string          `json:"pad_token"`
}

// A paddingStrategy is a fixed length or, where that is nil, the longest of a batch.
type paddingStrategy struct{ fixed *int }

func (s paddingStrategy) MarshalJSON() ([]byte, error) {
	if s.fixed == nil {
		return json.Marshal("BatchLongest")
	}
	return json.Marshal(struct{ Fixed int }{*s.fixed})
}

// maxPadded bounds the lengths that padding can ask for.
const maxPadded = 1 << 24

// pad fills up one input.
func (p *padding) pad(e *Encoding) {
	n := len(e.IDs)
	if p.Strategy.fixed != nil {
		n = *p.Strategy.fixed
	}
	if m := p.PadToMultipleOf; m != nil && *m > 0 && n%*m > 0 {
		n += *m - n%*m
	}
	if n -= len(e.IDs); n <= 0 {
		return
	}
	fill := specialEncoding(int32(p.PadTypeID), slices.Repeat([]int32{p.PadID}, n)...)
	fill.Attention = make([]bool, n)
	if p.Direction == "Left" {
		*e = joined([]Encoding{fill, *e})
	} else {
		*e = joined([]Encoding{*e, fill})
	}
}
