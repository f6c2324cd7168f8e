package text

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// A normalizer is a component of tokenizer.json; its fields are its keys there. It consists of rewriters.
type normalizer interface {
	rewriters() []rewriter
}

// A rewriter appends a rewritten text to dst. It must not keep either view. Neighbouring characters of its output come from
// characters of the source in the way that Hugging Face's tokenizers has it, so that offsets agree.
type rewriter interface {
	rewrite(dst *view, src view)
}

// eachRune is a rewriter that knows no context: for every character it appends what becomes of it.
type eachRune func(dst *view, r rune, from int32)

func (f eachRune) rewrite(dst *view, src view) {
	for i := 0; i < len(src.text); {
		r, size := utf8.DecodeRune(src.text[i:])
		f(dst, r, src.align[i])
		i += size
	}
}

type normalizerSequence struct {
	Type        string       `json:"type"`
	Normalizers []normalizer `json:"normalizers"`
}

func (n *normalizerSequence) rewriters() (all []rewriter) {
	for _, part := range n.Normalizers {
		all = append(all, part.rewriters()...)
	}
	return all
}

// A plainNormalizer has no keys: NFC, NFD, NFKC, NFKD, Lowercase, StripAccents.
type plainNormalizer struct {
	Type string `json:"type"`
}

func (n *plainNormalizer) rewriters() []rewriter {
	switch n.Type {
	case "Lowercase":
		return []rewriter{eachRune(lower)}
	case "StripAccents":
		return []rewriter{without(hfMark)}
	}
	return []rewriter{unicodeForms[n.Type]}
}

// lower appends the lower case of a character; of all characters, only U+0130 has one of two.
func lower(dst *view, r rune, from int32) {
	if r == 'İ' {
		dst.add('i', from)
		r = '\u0307'
	} else {
		r = unicode.ToLower(r)
	}
	dst.add(r, from)
}

// without drops the characters of a table.
func without(table *unicode.RangeTable) eachRune {
	return func(dst *view, r rune, from int32) {
		if r < utf8.RuneSelf && table != hfControl || !unicode.Is(table, r) {
			dst.add(r, from)
		}
	}
}

type stripNormalizer struct {
	Type  string `json:"type"`
	Left  bool   `json:"strip_left"`
	Right bool   `json:"strip_right"`
}

func (n *stripNormalizer) rewriters() []rewriter { return []rewriter{n} }

func (n *stripNormalizer) rewrite(dst *view, src view) {
	from, to := 0, len(src.text)
	if n.Left {
		from = to - len(bytes.TrimLeftFunc(src.text, unicode.IsSpace))
	}
	if n.Right {
		to = from + len(bytes.TrimRightFunc(src.text[from:], unicode.IsSpace))
	}
	dst.take(src, from, to)
}

type prependNormalizer struct {
	Type    string `json:"type"`
	Prepend string `json:"prepend"`
}

func (n *prependNormalizer) rewriters() []rewriter { return []rewriter{n} }

func (n *prependNormalizer) rewrite(dst *view, src view) {
	if len(src.text) > 0 {
		dst.addString(n.Prepend, src.align[0])
		dst.take(src, 0, len(src.text))
	}
}

type replaceNormalizer struct {
	Type    string  `json:"type"`
	Pattern pattern `json:"pattern"`
	Content string  `json:"content"`
}

func (n *replaceNormalizer) rewriters() []rewriter { return []rewriter{n} }

func (n *replaceNormalizer) rewrite(dst *view, src view) {
	at := 0
	for at < len(src.text) {
		from, to := n.Pattern.find(src.text, at)
		dst.take(src, at, from)
		if to > from {
			dst.addString(n.Content, src.align[to-1])
		}
		at = to
	}
}

type precompiledNormalizer struct {
	Type     string `json:"type"`
	Charsmap string `json:"precompiled_charsmap"`
	table    *precompiled
}

func (n *precompiledNormalizer) rewriters() []rewriter { return []rewriter{n} }

func (n *precompiledNormalizer) rewrite(dst *view, src view) {
	begin := len(dst.align)
	dst.text, dst.align = n.table.normalize(dst.text, dst.align, src.text)
	for i, from := range dst.align[begin:] {
		dst.align[begin+i] = src.align[from]
	}
}

func (n *precompiledNormalizer) compile() error {
	charsmap, err := base64.StdEncoding.DecodeString(n.Charsmap)
	if err != nil {
		return fmt.Errorf("precompiled_charsmap: %w", err)
	}
	n.table, err = newPrecompiled(charsmap)
	return err
}

// A bertNormalizer is the one of BERT (Devlin et al. 2019, tokenization.py) as tokenizers has it.
type bertNormalizer struct {
	Type          string `json:"type"`
	CleanText     bool   `json:"clean_text"`
	HandleChinese bool   `json:"handle_chinese_chars"`
	StripAccents  *bool  `json:"strip_accents"` // null means as Lowercase
	Lowercase     bool   `json:"lowercase"`
}

func (n *bertNormalizer) rewriters() []rewriter {
	b := &bertRewriter{}
	for c := range b.ascii {
		b.ascii[c] = rune(c)
		if n.CleanText {
			b.ascii[c] = cleaned(rune(c))
		}
		if n.Lowercase && 'A' <= c && c <= 'Z' {
			b.ascii[c] += 'a' - 'A'
		}
	}
	if n.CleanText {
		b.rest = append(b.rest, eachRune(func(dst *view, r rune, from int32) {
			if r = cleaned(r); r >= 0 {
				dst.add(r, from)
			}
		}))
	}
	if n.HandleChinese {
		b.rest = append(b.rest, eachRune(func(dst *view, r rune, from int32) {
			if !chinese(r) {
				dst.add(r, from)
				return
			}
			dst.add(' ', from)
			dst.add(r, from)
			dst.add(' ', from)
		}))
	}
	if n.StripAccents == nil && n.Lowercase || n.StripAccents != nil && *n.StripAccents {
		b.rest = append(b.rest, unicodeForms["NFD"], without(hfNonspacing))
	}
	if n.Lowercase {
		b.rest = append(b.rest, eachRune(lower))
	}
	return []rewriter{b}
}

// cleaned makes white space plain and returns -1 for a control character.
func cleaned(r rune) rune {
	switch {
	case r == '\t' || r == '\n' || r == '\r':
		return ' '
	case unicode.Is(hfControl, r):
		return -1
	case unicode.IsSpace(r):
		return ' '
	}
	return r
}

// chinese says whether BERT puts a character between spaces. The range from 2B920 is 2B820 in Unicode; the slip is part of
// tokenizers.
func chinese(r rune) bool {
	return 0x4E00 <= r && r <= 0x9FFF || 0x3400 <= r && r <= 0x4DBF || 0x20000 <= r && r <= 0x2A6DF ||
		0x2A700 <= r && r <= 0x2B81F || 0x2B920 <= r && r <= 0x2CEAF || 0xF900 <= r && r <= 0xFAFF || 0x2F800 <= r && r <= 0x2FA1F
}

// A bertRewriter reads ASCII from a table and leaves runs of other characters to a chain of rewriters. None of them looks
// beyond the end of a run: an ASCII character composes with nothing to its left, and only marks are put in order.
type bertRewriter struct {
	ascii [utf8.RuneSelf]rune // -1 is dropped
	rest  []rewriter
}

func (b *bertRewriter) rewrite(dst *view, src view) {
	var chain rewriteChain
	for i := 0; i < len(src.text); {
		if c := src.text[i]; c < utf8.RuneSelf {
			if r := b.ascii[c]; r >= 0 {
				dst.text, dst.align = append(dst.text, byte(r)), append(dst.align, src.align[i])
			}
			i++
			continue
		}
		end := i
		for end < len(src.text) && src.text[end] >= utf8.RuneSelf {
			end++
		}
		run := chain.apply(src.part(i, end), b.rest)
		dst.take(run, 0, len(run.text))
		i = end
	}
}

// A rewriteChain applies rewriters one after the other with two buffers.
type rewriteChain struct{ buffers [2]view }

// apply returns a view that is valid until the next call.
func (c *rewriteChain) apply(v view, chain []rewriter) view {
	for i, r := range chain {
		out := &c.buffers[i&1]
		out.reset()
		r.rewrite(out, v)
		v = *out
	}
	return v
}

// A pattern is a literal string or a simple regular expression: one character or class, repeated or not.
type pattern struct {
	String *string `json:"String,omitempty"`
	Regex  *string `json:"Regex,omitempty"`

	class func(rune) bool
	least int
	most  int // 0 is without limit
}

// find returns the next match of at least one character from at on, or two times the length of the text.
func (p *pattern) find(text []byte, at int) (from, to int) {
	if p.String != nil {
		if i := bytes.Index(text[at:], []byte(*p.String)); i >= 0 && len(*p.String) > 0 {
			return at + i, at + i + len(*p.String)
		}
		return len(text), len(text)
	}
	for at < len(text) {
		end, n := at, 0
		for end < len(text) && (p.most == 0 || n < p.most) {
			r, size := utf8.DecodeRune(text[end:])
			if !p.class(r) {
				break
			}
			end += size
			n++
		}
		if n >= p.least {
			return at, end
		}
		if n == 0 {
			_, size := utf8.DecodeRune(text[at:])
			end = at + size
		}
		at = end
	}
	return len(text), len(text)
}

// compile reads the regular expression: a character, an escape of one, \s, followed by nothing, + or {n}, {n,}, {n,m} with
// n of at least 1.
func (p *pattern) compile() error {
	if p.String != nil {
		if *p.String == "" {
			return fmt.Errorf("an empty pattern")
		}
		return nil
	}
	re := *p.Regex
	unknown := fmt.Errorf("regular expression %q: known are one character or \\s, alone or followed by +, {n}, {n,} or {n,m}, n from 1", clip(re))
	r, size := utf8.DecodeRuneInString(re)
	rest := re[size:]
	switch {
	case size == 0 || r != '\\' && strings.ContainsRune(`.^$*+?()[]{}|`, r):
		return unknown
	case r != '\\':
		p.class = func(c rune) bool { return c == r }
	case rest == "":
		return unknown
	default:
		escaped, size := utf8.DecodeRuneInString(rest)
		rest = rest[size:]
		literal := map[rune]rune{'n': '\n', 't': '\t', 'r': '\r'}[escaped]
		switch {
		case escaped == 's':
			p.class = unicode.IsSpace
		case literal != 0 || unicode.IsPunct(escaped) || unicode.IsSymbol(escaped):
			if literal == 0 {
				literal = escaped
			}
			p.class = func(c rune) bool { return c == literal }
		default:
			return unknown
		}
	}
	switch {
	case rest == "":
		p.least, p.most = 1, 1
		return nil
	case rest == "+":
		p.least = 1
		return nil
	}
	inner, ok := strings.CutPrefix(rest, "{")
	inner, closed := strings.CutSuffix(inner, "}")
	least, most, ranged := strings.Cut(inner, ",")
	var err error
	if p.least, err = count(least); !ok || !closed || err != nil || p.least < 1 {
		return unknown
	}
	switch {
	case !ranged:
		p.most = p.least
	case most != "":
		if p.most, err = count(most); err != nil || p.most < p.least {
			return unknown
		}
	}
	return nil
}

// count reads a number of up to three digits.
func count(s string) (n int, err error) {
	if len(s) == 0 || len(s) > 3 || strings.Trim(s, "0123456789") != "" {
		return 0, fmt.Errorf("%q is no count", s)
	}
	for _, c := range s {
		n = 10*n + int(c-'0')
	}
	return n, nil
}
