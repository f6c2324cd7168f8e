package text

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"palimpsest/engine/fault"
)

// maxTokenizerFile is the largest tokenizer.json that is read.
const maxTokenizerFile = 256 << 20

// Parse reads a tokenizer.json of the Hugging Face tokenizers library:
//
//	normalizer      Sequence, BertNormalizer, NFC, NFD, NFKC, NFKD, Lowercase, StripAccents, Strip, Replace, Prepend, Precompiled
//	pre_tokenizer   Sequence, ByteLevel, Split, BertPreTokenizer, Whitespace, WhitespaceSplit, Digits, Punctuation, Metaspace
//	model           BPE over bytes (where the last pre-tokenizer is ByteLevel) or characters, WordPiece, Unigram
//	post_processor  Sequence, TemplateProcessing, BertProcessing, RobertaProcessing, ByteLevel
//	decoder         Sequence, ByteLevel, WordPiece, Metaspace, ByteFallback, Fuse, Strip, Replace
//
// with added tokens, truncation and padding; each component but the model may be null. Everything else is refused with the
// place in the file; nothing is ignored. Errors have the kind fault.Data.
//
// That library reads text, so it never sees what is not UTF-8. Here such a byte is a byte to byte-level BPE without a
// normalizer; to every other pipeline it is the character U+FFFD.
func Parse(data []byte) (*Tokenizer, error) {
	t, err := parse(data)
	if err != nil {
		return nil, fault.Data.Errorf("tokenizer: %w", err)
	}
	return t, nil
}

func parse(data []byte) (*Tokenizer, error) {
	if len(data) > maxTokenizerFile {
		return nil, fmt.Errorf("%d bytes, expected at most %d", len(data), maxTokenizerFile)
	}
	if len(bytes.TrimSpace(data)) == 0 {
		return nil, errors.New("the file is empty")
	}
	if !utf8.Valid(data) {
		return nil, fmt.Errorf("not valid UTF-8 at byte %d", invalidUTF8(data)+1)
	}
	f := file{scanner: scanner{data: data}, vocab: map[string]int32{}}
	if err := f.read(); err != nil {
		return nil, err
	}
	return f.build()
}

// invalidUTF8 returns the offset of the first byte that is not part of valid UTF-8.
func invalidUTF8(b []byte) int {
	for i := 0; i < len(b); {
		r, size := utf8.DecodeRune(b[i:])
		if r == utf8.RuneError && size == 1 {
			return i
		}
		i += size
	}
	return len(b)
}

// A file is a tokenizer.json while it is read. Its parts may come in any order, so they are put together at the end.
type file struct {
	scanner
	spec   pipeline
	vocab  map[string]int32
	merges [][2]string
	added  []addedToken
}

// members says what to do with the keys of an object: read the value into a pointer to a boolean, string or number (to a pointer
// to one where null is allowed), or call a function that reads it.
type members map[string]any

// record reads an object with these keys only, each at most once, of which some are required.
func (f *file) record(into members, required ...string) error {
	seen := map[string]bool{}
	err := f.object(func(key []byte) error {
		name := string(key)
		if seen[name] {
			return f.errorf("the key comes twice")
		}
		seen[name] = true
		target, ok := into[name]
		if !ok {
			return f.errorf("unknown key; known here are %s", strings.Join(slices.Sorted(maps.Keys(into)), ", "))
		}
		return f.value(target)
	})
	if err != nil {
		return err
	}
	for _, key := range required {
		if !seen[key] {
			return f.errorf("%s is missing", key)
		}
	}
	return nil
}

// value reads a value into a target as members has it.
func (f *file) value(target any) (err error) {
	switch p := target.(type) {
	case *bool:
		*p, err = f.boolean()
	case **bool:
		if !f.null() {
			*p = new(bool)
			err = f.value(*p)
		}
	case *string:
		var s []byte
		s, _, err = f.text()
		*p = string(s)
	case **string:
		if !f.null() {
			*p = new(string)
			err = f.value(*p)
		}
	case *int:
		var n int64
		if n, err = f.integer(); err == nil && (n < 0 || n > 1<<30) {
			err = f.errorf("%d is not between 0 and %d", n, 1<<30)
		}
		*p = int(n)
	case **int:
		if !f.null() {
			*p = new(int)
			err = f.value(*p)
		}
	case *int32:
		*p, err = f.readID()
	case func() error:
		err = p()
	default:
		err = f.errorf("no way to read %T", target)
	}
	return err
}

// component is record for an object with a type, which typeName has looked at.
func (f *file) component(kind string, into members, required ...string) error {
	into["type"] = func() error { return f.expect(kind) }
	return f.record(into, required...)
}

// oneOf reads a string that must be one of a list.
func (f *file) oneOf(into *string, choices []string) func() error {
	return func() error {
		err := f.value(into)
		if err == nil && !slices.Contains(choices, *into) {
			err = f.errorf("supported are %s, found %.100q", strings.Join(choices, ", "), *into)
		}
		return err
	}
}

// unsupported reports a component that is none of the known ones.
func (f *file) unsupported(known string) error {
	found := f.kind()
	if kind := f.typeName(); kind != "" {
		found = fmt.Sprintf("%q", kind)
	}
	return f.errorf("supported are %s; found %s", known, found)
}

func (f *file) read() error {
	s := &f.spec
	err := f.record(members{
		"version":        func() error { return f.expect("1.0") },
		"truncation":     func() error { return f.readTruncation() },
		"padding":        func() error { return f.readPadding() },
		"added_tokens":   func() error { return f.array(func(int) error { return f.readAdded() }) },
		"normalizer":     func() (err error) { s.normalizer, err = optional(f, f.readNormalizer); return err },
		"pre_tokenizer":  func() (err error) { s.preTokenizer, err = optional(f, f.readPreTokenizer); return err },
		"post_processor": func() (err error) { s.postProcessor, err = optional(f, f.readPostProcessor); return err },
		"decoder":        func() (err error) { s.decoder, err = optional(f, f.readDecoder); return err },
		"model":          f.readModel,
	})
	if err != nil {
		return err
	}
	if s.model.kind == "" {
		return errors.New("$.model is missing")
	}
	return f.end()
}

// optional reads null as the zero component.
func optional[T any](f *file, read func() (T, error)) (component T, err error) {
	if f.null() {
		return component, nil
	}
	return read()
}

// list reads the components of a sequence.
func list[T any](f *file, into *[]T, read func() (T, error)) func() error {
	return func() error {
		*into = []T{}
		return f.array(func(int) error {
			part, err := read()
			*into = append(*into, part)
			return err
		})
	}
}

// expect reads a string that must be the given one.
func (f *file) expect(want string) error {
	got, _, err := f.text()
	if err == nil && string(got) != want {
		err = f.errorf("supported is %q only, found %.100q", want, got)
	}
	return err
}

// typeName looks ahead for the "type" of the object that follows; empty when it has none.
func (f *file) typeName() (name string) {
	ahead := scanner{data: f.data, pos: f.pos}
	if ahead.peek() != '{' {
		return ""
	}
	// An error here is met again, and reported, by the caller.
	_ = ahead.object(func(key []byte) error {
		if string(key) != "type" || ahead.peek() != '"' {
			return ahead.skip()
		}
		value, _, err := ahead.text()
		if len(value) < 100 {
			name = string(value)
		}
		return err
	})
	return name
}

func (f *file) readID() (int32, error) {
	id, err := f.integer()
	if err == nil && (id < 0 || id >= MaxVocab) {
		err = f.errorf("token id %d is not between 0 and %d", id, MaxVocab-1)
	}
	return int32(id), err
}

// build puts the parts together; the number of ids is that of the names read, so a large id cannot cause an allocation.
func (f *file) build() (*Tokenizer, error) {
	if err := checkAdded(f.added, f.vocab); err != nil {
		return nil, err
	}
	s := &f.spec
	s.added = f.added
	ids := maps.Clone(f.vocab)
	isSpecial := make(map[string]bool, len(f.added))
	for _, a := range f.added {
		ids[a.Content] = a.ID
		isSpecial[a.Content] = a.Special
	}
	if len(ids) > MaxVocab {
		return nil, fmt.Errorf("%d tokens, expected at most %d", len(ids), MaxVocab)
	}
	bytewise, err := s.bytewise()
	if err != nil {
		return nil, err
	}
	names, special := make([]string, len(ids)), make([]bool, len(ids))
	taken := make([]bool, len(ids))
	s.inVocab = make([]bool, len(ids))
	for name, id := range ids {
		switch {
		case int(id) >= len(ids):
			return nil, fmt.Errorf("$.model.vocab: %q has id %d, but there are only %d tokens; ids must be 0 to %d without holes",
				clip(name), id, len(ids), len(ids)-1)
		case taken[id]:
			return nil, fmt.Errorf("$.model.vocab: id %d belongs to two tokens, one is %q", id, clip(name))
		}
		taken[id], names[id], special[id] = true, name, isSpecial[name]
		_, s.inVocab[id] = f.vocab[name]
	}
	if growth(s.normalizer) > maxGrowth {
		return nil, fmt.Errorf("$.normalizer: its replacements make text more than %d times as long", maxGrowth)
	}
	if s.postProcessor != nil {
		if err := s.postProcessor.check(ids); err != nil {
			return nil, fmt.Errorf("$.post_processor: %w", err)
		}
	}
	tokens := make([][]byte, len(ids))
	mark := s.mark()
	for id, name := range names {
		switch {
		case special[id] || !s.inVocab[id]:
			tokens[id] = []byte(name)
		case bytewise:
			token, bad, ok := surfaceBytes(name)
			if !ok {
				return nil, fmt.Errorf("$.model.vocab: %q contains %q, which is not in the byte-level alphabet", clip(name), bad)
			}
			tokens[id] = token
		case name == "":
			return nil, fault.Data.Errorf("token %d is empty", id)
		default:
			tokens[id] = s.bytesOf(name, mark)
		}
	}
	if !bytewise {
		s.model.merges = f.merges
		return build(*s, tokens, special, names, nil)
	}
	merges := make([]merge, len(f.merges))
	for rank, m := range f.merges {
		var made [3]int32
		for i, name := range [...]string{m[0], m[1], m[0] + m[1]} {
			id, ok := ids[name]
			if !ok {
				return nil, fmt.Errorf("$.model.merges[%d]: %q is not in $.model.vocab", rank, clip(name))
			}
			made[i] = id
		}
		merges[rank] = merge{made[0], made[1], made[2]}
	}
	return build(*s, tokens, special, nil, merges)
}

// bytewise says whether the model works on bytes: its words come from ByteLevel, which must be the last of the pre-tokenizers.
func (p *pipeline) bytewise() (bool, error) {
	found := false
	for _, part := range leaves(p.preTokenizer) {
		if found {
			return false, errors.New("$.pre_tokenizer: ByteLevel is supported as the last of a sequence only")
		}
		_, found = part.(*byteLevel)
	}
	switch {
	case found && p.model.kind != "BPE":
		return false, fmt.Errorf("$.pre_tokenizer: ByteLevel is supported with the model BPE only, found %s", p.model.kind)
	case found && p.model.bpe.ByteFallback:
		return false, errors.New("$.model.byte_fallback: supported is false only where the pre-tokenizer is ByteLevel")
	}
	return found, nil
}

// leaves lists the parts of nested sequences.
func leaves(p preTokenizer) (all []preTokenizer) {
	if sequence, ok := p.(*preTokenizerSequence); ok {
		for _, part := range sequence.PreTokenizers {
			all = append(all, leaves(part)...)
		}
		return all
	}
	if p == nil {
		return nil
	}
	return []preTokenizer{p}
}

// clip shortens a name for a message.
func clip(name string) string {
	if len(name) > 100 {
		return name[:100] + "..."
	}
	return name
}
