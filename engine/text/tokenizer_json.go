package text

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"palimpsest/engine/fault"
)

// maxTokenizerFile is the largest tokenizer.json that is read.
const maxTokenizerFile = 256 << 20

// Parse reads a tokenizer.json of the Hugging Face tokenizers library, as far as it describes byte-level BPE with GPT-2's
// pre-tokenizer: model BPE, pre_tokenizer ByteLevel without add_prefix_space, no normalizer, special added tokens. Decoder
// and post_processor may be ByteLevel or null; neither has a say in ids, and Save writes ByteLevel and null. Everything
// else is refused with the place in the file; nothing is ignored. Errors have the kind fault.Data.
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
	vocab  map[string]int32
	merges [][2]string
	added  []addedToken
}

type addedToken struct {
	id   int32
	name string
}

// once calls object and refuses keys that come twice or that set, a list separated by spaces, does not have.
func (f *file) once(set string, visit func(key string) error) (seen map[string]bool, err error) {
	known, seen := strings.Fields(set), map[string]bool{}
	err = f.object(func(key []byte) error {
		name := string(key)
		if seen[name] {
			return f.errorf("the key comes twice")
		}
		seen[name] = true
		for _, k := range known {
			if k == name {
				return visit(name)
			}
		}
		return f.errorf("unknown key; known here are %s", strings.Join(known, ", "))
	})
	return seen, err
}

func (f *file) read() error {
	seen, err := f.once("version truncation padding added_tokens normalizer pre_tokenizer post_processor decoder model",
		func(key string) error {
			switch key {
			case "version":
				return f.expect("1.0")
			case "added_tokens":
				return f.array(func(int) error { return f.readAdded() })
			case "pre_tokenizer":
				return f.readByteLevel(true)
			case "decoder", "post_processor":
				if f.null() {
					return nil
				}
				return f.readByteLevel(false)
			case "model":
				return f.readModel()
			}
			if f.null() { // truncation, padding, normalizer
				return nil
			}
			what := f.kind()
			if kind := f.typeName(); kind != "" {
				what = fmt.Sprintf("%q", kind)
			}
			return f.errorf("supported is null only, found %s", what)
		})
	if err != nil {
		return err
	}
	for _, key := range []string{"pre_tokenizer", "model"} {
		if !seen[key] {
			return fmt.Errorf("$.%s is missing", key)
		}
	}
	return f.end()
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

// readByteLevel reads a ByteLevel component. Only the pre-tokenizer's flags have a say in the ids.
func (f *file) readByteLevel(splits bool) error {
	if f.peek() != '{' {
		return f.errorf("supported is ByteLevel only, found %s", f.kind())
	}
	if kind := f.typeName(); kind != "ByteLevel" {
		return f.errorf("supported is ByteLevel only, found %q", kind)
	}
	seen, err := f.once("type add_prefix_space trim_offsets use_regex", func(key string) error {
		if key == "type" {
			return f.expect("ByteLevel")
		}
		on, err := f.boolean()
		switch {
		case err != nil:
			return err
		case splits && key == "add_prefix_space" && on, splits && key == "use_regex" && !on:
			return f.errorf("supported is %t only", !on)
		}
		return nil
	})
	if err == nil && splits && !seen["add_prefix_space"] {
		err = f.errorf("add_prefix_space is missing; supported is false only")
	}
	return err
}

func (f *file) readAdded() error {
	var token addedToken
	seen, err := f.once("id content single_word lstrip rstrip normalized special", func(key string) error {
		switch key {
		case "id":
			id, err := f.readID()
			token.id = id
			return err
		case "content":
			name, _, err := f.text()
			token.name = string(name)
			return err
		}
		on, err := f.boolean()
		switch {
		case err != nil || key == "normalized": // there is no normalizer to apply
			return err
		case on != (key == "special"):
			return f.errorf("supported is %t only", !on)
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, key := range []string{"id", "content", "special"} {
		if !seen[key] {
			return f.errorf("%s is missing", key)
		}
	}
	f.added = append(f.added, token)
	return nil
}

func (f *file) readID() (int32, error) {
	id, err := f.integer()
	if err == nil && (id < 0 || id >= MaxVocab) {
		err = f.errorf("token id %d is not between 0 and %d", id, MaxVocab-1)
	}
	return int32(id), err
}

func (f *file) readModel() error {
	if kind := f.typeName(); kind != "BPE" && kind != "" { // files from before the library had several models have none
		return f.errorf("supported is the type BPE only, found %q", kind)
	}
	seen, err := f.once("type dropout unk_token continuing_subword_prefix end_of_word_suffix fuse_unk byte_fallback ignore_merges vocab merges",
		func(key string) error {
			switch key {
			case "type":
				return f.expect("BPE")
			case "vocab":
				return f.readVocab()
			case "merges":
				return f.array(func(int) error { return f.readMerge() })
			case "continuing_subword_prefix", "end_of_word_suffix":
				if f.null() {
					return nil
				}
				return f.expect("")
			case "dropout":
				if !f.null() {
					return f.errorf("supported is null only, found %s", f.kind())
				}
				return nil
			case "byte_fallback", "ignore_merges":
				if on, err := f.boolean(); err != nil || on {
					return f.errorf("supported is false only")
				}
				return nil
			}
			return f.skip() // unk_token and fuse_unk cannot matter where every byte has a token
		})
	if err != nil {
		return err
	}
	for _, key := range []string{"vocab", "merges"} {
		if !seen[key] {
			return f.errorf("%s is missing", key)
		}
	}
	return nil
}

func (f *file) readVocab() error {
	return f.object(func(key []byte) error {
		if _, taken := f.vocab[string(key)]; taken {
			return f.errorf("the token comes twice")
		}
		if len(f.vocab) == MaxVocab {
			return f.errorf("more than %d tokens", MaxVocab)
		}
		id, err := f.readID()
		f.vocab[string(key)] = id
		return err
	})
}

// readMerge reads ["left", "right"], or the older form "left right".
func (f *file) readMerge() error {
	if len(f.merges) == maxMerges {
		return f.errorf("more than %d merges", maxMerges)
	}
	var parts []string
	if f.peek() == '[' {
		err := f.array(func(int) error {
			part, _, err := f.text()
			parts = append(parts, string(part))
			return err
		})
		if err != nil {
			return err
		}
	} else {
		both, _, err := f.text()
		if err != nil {
			return err
		}
		parts = strings.Split(string(both), " ")
	}
	if len(parts) != 2 {
		return f.errorf("expected two tokens to merge, found %d", len(parts))
	}
	f.merges = append(f.merges, [2]string{parts[0], parts[1]})
	return nil
}

// build puts the parts together; the number of ids is that of the names read, so a large id cannot cause an allocation.
func (f *file) build() (*Tokenizer, error) {
	names := make(map[string]bool, len(f.added))
	for i, a := range f.added {
		if names[a.name] {
			return nil, fmt.Errorf("$.added_tokens[%d]: %q comes twice", i, a.name)
		}
		names[a.name] = true
		if id, ok := f.vocab[a.name]; ok && id != a.id {
			return nil, fmt.Errorf("$.added_tokens[%d]: %q has id %d here and %d in $.model.vocab", i, a.name, a.id, id)
		}
		f.vocab[a.name] = a.id
	}
	if len(f.vocab) > MaxVocab {
		return nil, fmt.Errorf("%d tokens, expected at most %d", len(f.vocab), MaxVocab)
	}
	tokens, special := make([][]byte, len(f.vocab)), make([]bool, len(f.vocab))
	for name, id := range f.vocab {
		switch {
		case int(id) >= len(tokens):
			return nil, fmt.Errorf("$.model.vocab: %q has id %d, but there are only %d tokens; ids must be 0 to %d without holes",
				clip(name), id, len(tokens), len(tokens)-1)
		case tokens[id] != nil:
			return nil, fmt.Errorf("$.model.vocab: id %d belongs to two tokens, one is %q", id, clip(name))
		}
		special[id] = names[name]
		if special[id] {
			tokens[id] = []byte(name)
			continue
		}
		token, bad, ok := surfaceBytes(name)
		if !ok {
			return nil, fmt.Errorf("$.model.vocab: %q contains %q, which is not in the byte-level alphabet", clip(name), bad)
		}
		tokens[id] = token
	}
	merges := make([]merge, len(f.merges))
	for rank, m := range f.merges {
		var ids [3]int32
		for i, name := range [...]string{m[0], m[1], m[0] + m[1]} {
			id, ok := f.vocab[name]
			if !ok {
				return nil, fmt.Errorf("$.model.merges[%d]: %q is not in $.model.vocab", rank, clip(name))
			}
			ids[i] = id
		}
		merges[rank] = merge{ids[0], ids[1], ids[2]}
	}
	return newTokenizer(tokens, special, merges)
}

// clip shortens a name for a message.
func clip(name string) string {
	if len(name) > 100 {
		return name[:100] + "..."
	}
	return name
}
