package text

import (
	"encoding/json"
	"fmt"
	"slices"
	"unicode"
	"unicode/utf8"
)

// A postProcessor is a component of tokenizer.json; its fields are its keys there. It gets one Encoding, or two for a pair, and
// returns those that are joined to the model's input.
type postProcessor interface {
	process(t *Tokenizer, parts []Encoding, specials bool) []Encoding
	// added counts the special tokens put around one text or a pair.
	added(pair bool) int
	// check compares the ids of its tokens with those of the vocabulary.
	check(ids map[string]int32) error
}

type postSequence struct {
	Type       string          `json:"type"`
	Processors []postProcessor `json:"processors"`
}

func (p *postSequence) process(t *Tokenizer, parts []Encoding, specials bool) []Encoding {
	for _, part := range p.Processors {
		parts = part.process(t, parts, specials)
	}
	return parts
}

func (p *postSequence) added(pair bool) (n int) {
	for _, part := range p.Processors {
		n += part.added(pair)
	}
	return n
}

func (p *postSequence) check(ids map[string]int32) error {
	for i, part := range p.Processors {
		if err := part.check(ids); err != nil {
			return fmt.Errorf("processors[%d]: %w", i, err)
		}
	}
	return nil
}

func (b *byteLevel) added(bool) int               { return 0 }
func (b *byteLevel) check(map[string]int32) error { return nil }

func (b *byteLevel) process(t *Tokenizer, parts []Encoding, _ bool) []Encoding {
	if b.TrimOffsets {
		for _, e := range parts {
			e.trim(t, b.AddPrefixSpace)
		}
	}
	return parts
}

// trim takes the white space of tokens out of their offsets, but for a space that was put in front of the text.
func (e *Encoding) trim(t *Tokenizer, prefix bool) {
	for i, id := range e.IDs {
		leading, trailing := t.blanks(id)
		if e.taken != nil {
			leading += e.taken[i][0]
			trailing += e.taken[i][1]
		}
		s := &e.Offsets[i]
		if leading > 0 {
			if prefix && leading == 1 && (i == 0 || s.Start == 0) {
				leading = 0
			}
			s.Start = min(s.Start+leading, s.End)
		}
		if trailing > 0 && s.End >= trailing {
			s.End = max(s.End-trailing, s.Start)
		}
	}
}

// blanks counts the spaces at both ends of a token's printable form.
func (t *Tokenizer) blanks(id int32) (leading, trailing int) {
	if token := t.tokens[id]; t.bpe != nil && !t.special[id] && t.spec.inVocab[id] {
		for leading < len(token) && token[leading] == ' ' {
			leading++
		}
		for trailing < len(token) && token[len(token)-1-trailing] == ' ' {
			trailing++
		}
		return leading, trailing
	}
	name := t.Token(id)
	blank := func(r rune) bool { return r == byteRune[' '] || unicode.IsSpace(r) }
	for rest := name; rest != ""; leading++ {
		r, size := utf8.DecodeRuneInString(rest)
		if !blank(r) {
			break
		}
		rest = rest[size:]
	}
	for rest := name; rest != ""; trailing++ {
		r, size := utf8.DecodeLastRuneInString(rest)
		if !blank(r) {
			break
		}
		rest = rest[:len(rest)-size]
	}
	return leading, trailing
}

// A namedToken is written as ["[SEP]", 102].
type namedToken struct {
	name string
	id   int32
}

func (n namedToken) MarshalJSON() ([]byte, error) { return json.Marshal([]any{n.name, n.id}) }

func (n namedToken) check(key string, ids map[string]int32) error {
	if id, ok := ids[n.name]; !ok || id != n.id {
		return fmt.Errorf("%s: %q has id %d here, which is not its id in the vocabulary", key, clip(n.name), n.id)
	}
	return nil
}

// A bertProcessing makes [CLS] A [SEP] and [CLS] A [SEP] B [SEP].
type bertProcessing struct {
	Type string     `json:"type"`
	Sep  namedToken `json:"sep"`
	Cls  namedToken `json:"cls"`
}

func (p *bertProcessing) added(pair bool) int {
	if pair {
		return 3
	}
	return 2
}

func (p *bertProcessing) check(ids map[string]int32) error {
	if err := p.Sep.check("sep", ids); err != nil {
		return err
	}
	return p.Cls.check("cls", ids)
}

func (p *bertProcessing) process(_ *Tokenizer, parts []Encoding, specials bool) []Encoding {
	if !specials {
		return parts
	}
	out := []Encoding{specialEncoding(0, p.Cls.id)}
	for i, part := range parts {
		out = append(out, part, specialEncoding(int32(i), p.Sep.id))
	}
	return out
}

// A robertaProcessing makes <s> A </s> and <s> A </s></s> B </s>, all of type 0.
type robertaProcessing struct {
	Type           string     `json:"type"`
	Sep            namedToken `json:"sep"`
	Cls            namedToken `json:"cls"`
	TrimOffsets    bool       `json:"trim_offsets"`
	AddPrefixSpace bool       `json:"add_prefix_space"`
}

func (p *robertaProcessing) added(pair bool) int {
	if pair {
		return 4
	}
	return 2
}

func (p *robertaProcessing) check(ids map[string]int32) error {
	return (&bertProcessing{Sep: p.Sep, Cls: p.Cls}).check(ids)
}

func (p *robertaProcessing) process(t *Tokenizer, parts []Encoding, specials bool) []Encoding {
	var out []Encoding
	for i, part := range parts {
		if p.TrimOffsets {
			part.trim(t, p.AddPrefixSpace)
		}
		part.setType(0)
		if !specials {
			out = append(out, part)
			continue
		}
		first := p.Cls.id
		if i > 0 {
			first = p.Sep.id
		}
		out = append(out, specialEncoding(0, first), part, specialEncoding(0, p.Sep.id))
	}
	return out
}

// A templateProcessing lays out special tokens and the texts A and B.
type templateProcessing struct {
	Type          string                     `json:"type"`
	Single        []templateItem             `json:"single"`
	Pair          []templateItem             `json:"pair"`
	SpecialTokens map[string]templateSpecial `json:"special_tokens"`
}

type templateItem struct {
	SpecialToken *templateRef `json:"SpecialToken,omitempty"`
	Sequence     *templateRef `json:"Sequence,omitempty"`
}

type templateRef struct {
	ID     string `json:"id"`
	TypeID int    `json:"type_id"`
}

type templateSpecial struct {
	ID     string   `json:"id"`
	IDs    []int32  `json:"ids"`
	Tokens []string `json:"tokens"`
}

func (p *templateProcessing) layout(pair bool) []templateItem {
	if pair {
		return p.Pair
	}
	return p.Single
}

func (p *templateProcessing) added(pair bool) (n int) {
	for _, item := range p.layout(pair) {
		if item.SpecialToken != nil {
			n += len(p.SpecialTokens[item.SpecialToken.ID].IDs)
		}
	}
	return n
}

func (p *templateProcessing) check(ids map[string]int32) error {
	for name, s := range p.SpecialTokens {
		for i, token := range s.Tokens {
			if err := (namedToken{token, s.IDs[i]}).check("special_tokens."+clip(name), ids); err != nil {
				return err
			}
		}
	}
	for _, pair := range []bool{false, true} {
		for _, item := range p.layout(pair) {
			switch {
			case item.Sequence != nil && item.Sequence.ID == "B" && !pair:
				return fmt.Errorf("single: the sequence B is of pairs only")
			case item.SpecialToken != nil && p.SpecialTokens[item.SpecialToken.ID].ID == "":
				return fmt.Errorf("%q is not in special_tokens", clip(item.SpecialToken.ID))
			}
		}
	}
	return nil
}

func (p *templateProcessing) process(_ *Tokenizer, parts []Encoding, specials bool) []Encoding {
	var out []Encoding
	for _, item := range p.layout(len(parts) > 1) {
		switch {
		case item.Sequence == nil && specials:
			out = append(out, specialEncoding(int32(item.SpecialToken.TypeID), p.SpecialTokens[item.SpecialToken.ID].IDs...))
		case item.Sequence != nil:
			part := parts[0]
			if item.Sequence.ID == "B" {
				part = parts[1]
			}
			part.TypeIDs = slices.Repeat([]int32{int32(item.Sequence.TypeID)}, len(part.IDs))
			out = append(out, part)
		}
	}
	return out
}

// specialEncoding holds tokens that come from no text.
func specialEncoding(kind int32, ids ...int32) Encoding {
	n := len(ids)
	return Encoding{IDs: slices.Clone(ids), TypeIDs: slices.Repeat([]int32{kind}, n), Offsets: make([]Span, n),
		Special: slices.Repeat([]bool{true}, n), Attention: slices.Repeat([]bool{true}, n)}
}
