package text

import (
	"unicode/utf8"
)

// maxGrowth bounds how many times longer the replacements of a normalizer can make a text.
const maxGrowth = 64

// growth multiplies what replacements one behind the other can do.
func growth(n normalizer) int {
	switch n := n.(type) {
	case *normalizerSequence:
		all := 1
		for _, part := range n.Normalizers {
			all = min(all*growth(part), maxGrowth+1)
		}
		return all
	case *replaceNormalizer:
		least := max(1, n.Pattern.least)
		if n.Pattern.String != nil {
			least = len(*n.Pattern.String)
		}
		return min(maxGrowth+1, max(1, (len(n.Content)+least-1)/least))
	}
	return 1
}

func (f *file) readNormalizer() (normalizer, error) {
	switch kind := f.typeName(); kind {
	case "Sequence":
		n := &normalizerSequence{Type: kind}
		return n, f.component(kind, members{"normalizers": list(f, &n.Normalizers, f.readNormalizer)}, "normalizers")
	case "NFC", "NFD", "NFKC", "NFKD", "Lowercase", "StripAccents":
		return &plainNormalizer{kind}, f.component(kind, members{})
	case "BertNormalizer":
		n := &bertNormalizer{Type: kind}
		return n, f.component(kind, members{"clean_text": &n.CleanText, "handle_chinese_chars": &n.HandleChinese,
			"strip_accents": &n.StripAccents, "lowercase": &n.Lowercase}, "clean_text", "handle_chinese_chars", "lowercase")
	case "Strip":
		n := &stripNormalizer{Type: kind}
		return n, f.component(kind, members{"strip_left": &n.Left, "strip_right": &n.Right}, "strip_left", "strip_right")
	case "Prepend":
		n := &prependNormalizer{Type: kind}
		return n, f.component(kind, members{"prepend": &n.Prepend}, "prepend")
	case "Replace":
		n := &replaceNormalizer{Type: kind}
		return n, f.component(kind, members{"pattern": f.pattern(&n.Pattern, n.Pattern.compile), "content": &n.Content}, "pattern", "content")
	case "Precompiled":
		n := &precompiledNormalizer{Type: kind}
		return n, f.component(kind, members{"precompiled_charsmap": func() error {
			err := f.value(&n.Charsmap)
			if err == nil {
				if err = n.compile(); err != nil {
					err = f.errorf("%w", err)
				}
			}
			return err
		}}, "precompiled_charsmap")
	}
	return nil, f.unsupported("Sequence, BertNormalizer, NFC, NFD, NFKC, NFKD, Lowercase, StripAccents, Strip, Replace, Prepend and Precompiled")
}

// pattern reads {"String": ...} or {"Regex": ...}.
func (f *file) pattern(p *pattern, compile func() error) func() error {
	return func() error {
		err := f.record(members{"String": &p.String, "Regex": &p.Regex})
		switch {
		case err != nil:
			return err
		case (p.String == nil) == (p.Regex == nil):
			return f.errorf("expected either String or Regex")
		}
		if err := compile(); err != nil {
			return f.errorf("%w", err)
		}
		return nil
	}
}

func (f *file) readPreTokenizer() (preTokenizer, error) {
	switch kind := f.typeName(); kind {
	case "Sequence":
		p := &preTokenizerSequence{Type: kind}
		return p, f.component(kind, members{"pretokenizers": list(f, &p.PreTokenizers, f.readPreTokenizer)}, "pretokenizers")
	case "ByteLevel":
		return f.readByteLevel()
	case "BertPreTokenizer":
		return &bertPreTokenizer{kind}, f.component(kind, members{})
	case "Whitespace", "WhitespaceSplit":
		return &plainPreTokenizer{kind}, f.component(kind, members{})
	case "Digits":
		p := &digitsPreTokenizer{Type: kind}
		return p, f.component(kind, members{"individual_digits": &p.Individual}, "individual_digits")
	case "Punctuation":
		p := &punctuationPreTokenizer{kind, isolated}
		return p, f.component(kind, members{"behavior": f.oneOf(&p.Behavior, behaviors)})
	case "Split":
		p := &splitPreTokenizer{Type: kind}
		err := f.component(kind, members{"pattern": f.pattern(&p.Pattern, func() error { return nil }), "behavior": f.oneOf(&p.Behavior, behaviors),
			"invert": &p.Invert}, "pattern", "behavior", "invert")
		if err == nil {
			if err = p.compile(); err != nil {
				err = f.errorf("%w; or the whole pattern of %s, with the behavior Isolated", err, knownPatternNames())
			}
		}
		return p, err
	case "Metaspace":
		return f.readMetaspace()
	}
	return nil, f.unsupported("Sequence, ByteLevel, Split, BertPreTokenizer, Whitespace, WhitespaceSplit, Digits, Punctuation and Metaspace")
}

func (f *file) readByteLevel() (*byteLevel, error) {
	b := &byteLevel{Type: "ByteLevel", TrimOffsets: true, UseRegex: true}
	return b, f.component(b.Type, members{"add_prefix_space": &b.AddPrefixSpace, "trim_offsets": &b.TrimOffsets, "use_regex": &b.UseRegex},
		"add_prefix_space")
}

// readMetaspace reads the pre-tokenizer or decoder, in the older form too, which has add_prefix_space in place of
// prepend_scheme.
func (f *file) readMetaspace() (*metaspacePreTokenizer, error) {
	m := &metaspacePreTokenizer{Type: "Metaspace", Split: true}
	var prefix *bool
	err := f.component(m.Type, members{"replacement": &m.Replacement, "add_prefix_space": &prefix, "split": &m.Split,
		"prepend_scheme": f.oneOf(&m.PrependScheme, []string{"always", "first", "never"})}, "replacement")
	switch {
	case err != nil:
		return m, err
	case utf8.RuneCountInString(m.Replacement) != 1:
		return m, f.errorf("replacement is %.100q, expected one character", m.Replacement)
	case prefix != nil && m.PrependScheme != "" && *prefix == (m.PrependScheme == "never"):
		return m, f.errorf("add_prefix_space %t contradicts prepend_scheme %q", *prefix, m.PrependScheme)
	case m.PrependScheme != "":
	case prefix != nil && !*prefix:
		m.PrependScheme = "never"
	default:
		m.PrependScheme = "always"
	}
	return m, nil
}

func (f *file) readDecoder() (decoder, error) {
	switch kind := f.typeName(); kind {
	case "Sequence":
		d := &decoderSequence{Type: kind}
		return d, f.component(kind, members{"decoders": list(f, &d.Decoders, f.readDecoder)}, "decoders")
	case "ByteLevel":
		return f.readByteLevel()
	case "ByteFallback", "Fuse":
		return &plainDecoder{kind}, f.component(kind, members{})
	case "WordPiece":
		d := &wordPieceDecoder{Type: kind}
		return d, f.component(kind, members{"prefix": &d.Prefix, "cleanup": &d.Cleanup}, "prefix", "cleanup")
	case "Metaspace":
		return f.readMetaspace()
	case "Strip":
		d := &stripDecoder{Type: kind}
		err := f.component(kind, members{"content": &d.Content, "start": &d.Start, "stop": &d.Stop}, "content", "start", "stop")
		if err == nil && utf8.RuneCountInString(d.Content) != 1 {
			err = f.errorf("content is %.100q, expected one character", d.Content)
		}
		return d, err
	case "Replace":
		d := &replaceDecoder{Type: kind}
		return d, f.component(kind, members{"pattern": f.pattern(&d.Pattern, d.Pattern.compile), "content": &d.Content}, "pattern", "content")
	}
	return nil, f.unsupported("Sequence, ByteLevel, WordPiece, Metaspace, ByteFallback, Fuse, Strip and Replace")
}

func (f *file) readPostProcessor() (postProcessor, error) {
	switch kind := f.typeName(); kind {
	case "Sequence":
		p := &postSequence{Type: kind}
		return p, f.component(kind, members{"processors": list(f, &p.Processors, f.readPostProcessor)}, "processors")
	case "ByteLevel":
		return f.readByteLevel()
	case "TemplateProcessing":
		p := &templateProcessing{Type: kind, SpecialTokens: map[string]templateSpecial{}}
		return p, f.component(kind, members{"single": list(f, &p.Single, f.readTemplatePart), "pair": list(f, &p.Pair, f.readTemplatePart),
			"special_tokens": func() error { return f.readTemplateSpecials(p.SpecialTokens) }}, "single", "pair", "special_tokens")
	case "BertProcessing":
		p := &bertProcessing{Type: kind}
		return p, f.component(kind, members{"sep": f.named(&p.Sep), "cls": f.named(&p.Cls)}, "sep", "cls")
	case "RobertaProcessing":
		p := &robertaProcessing{Type: kind}
		return p, f.component(kind, members{"sep": f.named(&p.Sep), "cls": f.named(&p.Cls), "trim_offsets": &p.TrimOffsets,
			"add_prefix_space": &p.AddPrefixSpace}, "sep", "cls", "trim_offsets", "add_prefix_space")
	}
	return nil, f.unsupported("Sequence, TemplateProcessing, BertProcessing, RobertaProcessing and ByteLevel")
}

// named reads ["[SEP]", 102].
func (f *file) named(into *namedToken) func() error {
	return func() error {
		n := 0
		err := f.array(func(i int) error {
			n++
			switch i {
			case 0:
				return f.value(&into.name)
			case 1:
				return f.value(&into.id)
			}
			return f.errorf("expected a token and its id")
		})
		if err == nil && n != 2 {
			err = f.errorf("expected a token and its id, found %d values", n)
		}
		return err
	}
}

func (f *file) readTemplatePart() (p templateItem, err error) {
	part := func(into **templateRef) func() error {
		return func() error {
			*into = &templateRef{}
			return f.record(members{"id": &(*into).ID, "type_id": &(*into).TypeID}, "id", "type_id")
		}
	}
	err = f.record(members{"SpecialToken": part(&p.SpecialToken), "Sequence": part(&p.Sequence)})
	switch {
	case err != nil:
	case (p.SpecialToken == nil) == (p.Sequence == nil):
		err = f.errorf("expected either SpecialToken or Sequence")
	case p.Sequence != nil && p.Sequence.ID != "A" && p.Sequence.ID != "B":
		err = f.errorf("sequence %.100q, expected \"A\" or \"B\"", p.Sequence.ID)
	}
	return p, err
}

func (f *file) readTemplateSpecials(into map[string]templateSpecial) error {
	return f.object(func(key []byte) error {
		name := string(key)
		if _, taken := into[name]; taken {
			return f.errorf("the key comes twice")
		}
		s := templateSpecial{IDs: []int32{}, Tokens: []string{}}
		err := f.record(members{
			"id":     &s.ID,
			"ids":    list(f, &s.IDs, f.readID),
			"tokens": list(f, &s.Tokens, func() (token string, err error) { err = f.value(&token); return token, err }),
		}, "id", "ids", "tokens")
		if err == nil && (s.ID != name || len(s.IDs) != len(s.Tokens) || len(s.IDs) == 0) {
			err = f.errorf("expected the id %.100q and as many ids as tokens, at least one", name)
		}
		into[name] = s
		return err
	})
}

// Choices of truncation and padding.
var (
	directions           = []string{"Left", "Right"}
	truncationStrategies = []string{"LongestFirst", "OnlyFirst", "OnlySecond"}
)

func (f *file) readTruncation() error {
	if f.null() {
		return nil
	}
	t := &truncation{Direction: "Right"}
	f.spec.truncation = t
	err := f.record(members{"direction": f.oneOf(&t.Direction, directions), "max_length": &t.MaxLength,
		"strategy": f.oneOf(&t.Strategy, truncationStrategies), "stride": &t.Stride}, "max_length", "strategy", "stride")
	if err == nil && t.MaxLength > 0 && t.Stride >= t.MaxLength {
		err = f.errorf("stride %d, expected less than max_length %d", t.Stride, t.MaxLength)
	}
	return err
}

func (f *file) readPadding() error {
	if f.null() {
		return nil
	}
	p := &padding{}
	f.spec.padding = p
	err := f.record(members{"direction": f.oneOf(&p.Direction, directions), "pad_to_multiple_of": &p.PadToMultipleOf, "pad_id": &p.PadID,
		"pad_type_id": &p.PadTypeID, "pad_token": &p.PadToken, "strategy": func() error {
			if f.peek() == '"' {
				p.Strategy = paddingStrategy{}
				return f.expect("BatchLongest")
			}
			p.Strategy.fixed = new(int)
			return f.record(members{"Fixed": p.Strategy.fixed}, "Fixed")
		}}, "strategy", "direction", "pad_to_multiple_of", "pad_id", "pad_type_id", "pad_token")
	for _, n := range []*int{p.Strategy.fixed, p.PadToMultipleOf} {
		if err == nil && n != nil && *n > maxPadded {
			err = f.errorf("length %d, expected at most %d", *n, maxPadded)
		}
	}
	return err
}
