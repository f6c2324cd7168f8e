package text

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// A modelSpec is the model of tokenizer.json without the vocabulary.
type modelSpec struct {
	kind      string
	bpe       bpeSettings
	wordPiece wordPieceSettings
	unigram   unigramSettings
	merges    [][2]string // of character-level BPE
	scores    []float64   // of Unigram, by id
}

type bpeSettings struct {
	Type                    string  `json:"type"`
	Dropout                 *string `json:"dropout"` // null
	UnkToken                *string `json:"unk_token"`
	ContinuingSubwordPrefix *string `json:"continuing_subword_prefix"` // null or empty
	EndOfWordSuffix         *string `json:"end_of_word_suffix"`        // null or empty
	FuseUnk                 bool    `json:"fuse_unk"`
	ByteFallback            bool    `json:"byte_fallback"`
	IgnoreMerges            bool    `json:"ignore_merges"`
}

type wordPieceSettings struct {
	Type                    string `json:"type"`
	UnkToken                string `json:"unk_token"`
	ContinuingSubwordPrefix string `json:"continuing_subword_prefix"`
	MaxInputCharsPerWord    int    `json:"max_input_chars_per_word"`
}

type unigramSettings struct {
	Type         string `json:"type"`
	UnkID        int32  `json:"unk_id"`
	ByteFallback bool   `json:"byte_fallback"`
}

// settings returns the keys of the model but for vocab and merges.
func (m *modelSpec) settings() any {
	switch m.kind {
	case "WordPiece":
		m.wordPiece.Type = m.kind
		return m.wordPiece
	case "Unigram":
		m.unigram.Type = m.kind
		return m.unigram
	}
	m.bpe.Type = m.kind
	return m.bpe
}

// prefix is what tokens inside of a word begin with.
func (m *modelSpec) prefix() string { return m.wordPiece.ContinuingSubwordPrefix }

func (m *modelSpec) byteFallback() bool { return m.bpe.ByteFallback || m.unigram.ByteFallback }

// mark returns what stands for a space in the names of tokens: the replacement of Metaspace, or of a normalizer that replaces
// spaces.
func (p *pipeline) mark() string {
	var search func(component any) string
	search = func(component any) string {
		switch c := component.(type) {
		case *metaspacePreTokenizer:
			return c.Replacement
		case *replaceNormalizer:
			if c.Pattern.String != nil && *c.Pattern.String == " " && utf8.RuneCountInString(c.Content) == 1 {
				return c.Content
			}
		case *preTokenizerSequence:
			for _, part := range c.PreTokenizers {
				if mark := search(part); mark != "" {
					return mark
				}
			}
		case *normalizerSequence:
			for _, part := range c.Normalizers {
				if mark := search(part); mark != "" {
					return mark
				}
			}
		}
		return ""
	}
	if mark := search(p.preTokenizer); mark != "" {
		return mark
	}
	return search(p.normalizer)
}

// bytesOf returns what a token of a model other than byte-level BPE stands for.
func (p *pipeline) bytesOf(name, mark string) []byte {
	if b, ok := byteName(name); ok && p.model.byteFallback() {
		return []byte{b}
	}
	if prefix := p.model.prefix(); len(name) > len(prefix) {
		name = strings.TrimPrefix(name, prefix)
	}
	if mark != "" {
		name = strings.ReplaceAll(name, mark, " ")
	}
	return []byte(name)
}

// byteName reads the name of a byte, <0x00> to <0xFF>.
func byteName(name string) (byte, bool) {
	if len(name) != 6 || !strings.HasPrefix(name, "<0x") || name[5] != '>' {
		return 0, false
	}
	b, err := strconv.ParseUint(name[3:5], 16, 8)
	return byte(b), err == nil
}

// makeModel makes the model of a tokenizer whose vocabulary is indexed.
func (t *Tokenizer) makeModel(merges []merge) (err error) {
	m := &t.spec.model
	if t.names == nil {
		if t.bpe, err = newByteBPE(t.tokens, t.special, t.ids, merges); err == nil {
			t.bpe.ignoreMerges = m.bpe.IgnoreMerges
		}
		return err
	}
	// The model makes no special token of text, whatever a normalizer turned it into; it may only fall back to the unknown one.
	vocab := make(map[string]int32, len(t.names))
	pieces := slices.Clone(t.names)
	for id, name := range t.names {
		switch {
		case t.special[id]:
			pieces[id] = fmt.Sprintf("\xff%d", id) // no part of UTF-8, which is all that a model sees
		case t.spec.inVocab[id]:
			vocab[name] = int32(id)
		}
	}
	unk := func(name string) (int32, error) {
		if id, ok := t.specials[name]; ok && t.spec.inVocab[id] {
			return id, nil
		}
		if id, ok := vocab[name]; ok {
			return id, nil
		}
		return -1, fmt.Errorf("$.model.unk_token: %q is not in $.model.vocab", clip(name))
	}
	switch m.kind {
	case "WordPiece":
		if t.Unk, err = unk(m.wordPiece.UnkToken); err != nil {
			return err
		}
		t.model = newWordPiece(vocab, m.prefix(), t.Unk, m.wordPiece.MaxInputCharsPerWord)
	case "Unigram":
		u, err := newUnigram(pieces[:len(m.scores)], m.scores, int(m.unigram.UnkID), m.unigram.ByteFallback)
		if err != nil {
			return err
		}
		t.Unk = m.unigram.UnkID
		t.model = unigramModel{u}
	default:
		id := int32(-1)
		if m.bpe.UnkToken != nil {
			if id, err = unk(*m.bpe.UnkToken); err != nil {
				return err
			}
			t.Unk = id
		}
		c, err := newCharBPE(vocab, m.merges, id, m.bpe.ByteFallback, m.bpe.FuseUnk, m.bpe.IgnoreMerges)
		if err != nil {
			return err
		}
		t.model = charModel{c}
	}
	return nil
}

func (f *file) readModel() error {
	m := &f.spec.model
	m.kind = f.typeName()
	var err error
	switch m.kind {
	case "", "BPE":
		m.kind = "BPE"
		err = f.readBPE(&m.bpe)
	case "WordPiece":
		s := &m.wordPiece
		err = f.component("WordPiece", members{"unk_token": &s.UnkToken, "continuing_subword_prefix": &s.ContinuingSubwordPrefix,
			"max_input_chars_per_word": &s.MaxInputCharsPerWord, "vocab": f.readVocab},
			"unk_token", "continuing_subword_prefix", "max_input_chars_per_word", "vocab")
		switch {
		case err != nil:
		case s.ContinuingSubwordPrefix == "":
			err = f.errorf("continuing_subword_prefix is empty; supported are prefixes such as \"##\"")
		case s.MaxInputCharsPerWord < 0:
			err = f.errorf("max_input_chars_per_word is %d, expected 0 or more", s.MaxInputCharsPerWord)
		}
	case "Unigram":
		s := &m.unigram
		err = f.component("Unigram", members{"unk_id": &s.UnkID, "byte_fallback": &s.ByteFallback,
			"vocab": func() error { return f.array(func(i int) error { return f.readScored(i) }) }}, "unk_id", "vocab")
	default:
		err = f.errorf("supported are BPE, WordPiece and Unigram, found %q", m.kind)
	}
	return err
}

func (f *file) readBPE(s *bpeSettings) error {
	empty := func(into **string) func() error {
		return func() error {
			if f.null() {
				return nil
			}
			*into = new(string)
			return f.expect("")
		}
	}
	return f.component("BPE", members{
		"vocab": f.readVocab, "merges": func() error { return f.array(func(int) error { return f.readMerge() }) },
		"unk_token": &s.UnkToken, "fuse_unk": &s.FuseUnk, "byte_fallback": &s.ByteFallback, "ignore_merges": &s.IgnoreMerges,
		"continuing_subword_prefix": empty(&s.ContinuingSubwordPrefix), "end_of_word_suffix": empty(&s.EndOfWordSuffix),
		"dropout": func() error {
			if !f.null() {
				return f.errorf("supported is null only, found %s", f.kind())
			}
			return nil
		},
	}, "vocab", "merges")
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

// readScored reads a piece of Unigram, ["piece", score].
func (f *file) readScored(i int) error {
	if i == MaxVocab {
		return f.errorf("more than %d tokens", MaxVocab)
	}
	n := 0
	err := f.array(func(part int) error {
		n++
		switch part {
		case 0:
			name, _, err := f.text()
			if err != nil {
				return err
			}
			if _, taken := f.vocab[string(name)]; taken {
				return f.errorf("the token comes twice")
			}
			f.vocab[string(name)] = int32(i)
			return nil
		case 1:
			if k := f.kind(); k != "a number" {
				return f.errorf("expected a number, found %s", k)
			}
			digits, err := f.number()
			if err != nil {
				return err
			}
			score, err := parseScore(string(digits))
			if err != nil {
				return f.errorf("%w", err)
			}
			f.spec.model.scores = append(f.spec.model.scores, score)
			return nil
		}
		return f.errorf("expected a piece and its score")
	})
	if err == nil && n != 2 {
		err = f.errorf("expected a piece and its score, found %d values", n)
	}
	return err
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

// writeModel writes what readModel reads, with all keys.
func (t *Tokenizer) writeModel(w *jsonWriter) {
	m := &t.spec.model
	settings := w.marshal(m.settings(), "  ")
	w.Write(bytes.TrimSuffix(settings, []byte("\n  }")))
	if m.kind == "Unigram" {
		w.WriteString(",\n    \"vocab\": [")
		for id, score := range m.scores {
			w.separate(id)
			fmt.Fprintf(w, "\n      [%s, %s]", w.quoted(t.names[id]), strconv.FormatFloat(score, 'g', -1, 64))
		}
		w.WriteString("\n    ]\n  }")
		return
	}
	w.WriteString(",\n    \"vocab\": {")
	written := 0
	for id := range t.tokens {
		if t.spec.inVocab[id] {
			w.separate(written)
			fmt.Fprintf(w, "\n      %s: %d", w.quoted(t.Token(int32(id))), id)
			written++
		}
	}
	w.WriteString("\n    }")
	if m.kind == "BPE" {
		w.WriteString(",\n    \"merges\": [")
		pair := func(i int, left, right string) {
			w.separate(i)
			fmt.Fprintf(w, "\n      [%s, %s]", w.quoted(left), w.quoted(right))
		}
		if t.bpe != nil {
			for i, g := range t.bpe.merges {
				pair(i, t.Token(g.left), t.Token(g.right))
			}
		}
		for i, g := range m.merges {
			pair(i, g[0], g[1])
		}
		w.WriteString("\n    ]")
	}
	w.WriteString("\n  }")
}
