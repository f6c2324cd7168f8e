package text

import (
	"slices"
	"unicode"
	"unicode/utf8"
)

// A preTokenizer is a component of tokenizer.json; its fields are its keys there. It consists of steps, each of which cuts the
// pieces of the one before into smaller ones.
type preTokenizer interface {
	steps() []splitStep
}

// A splitStep of pre-tokenization.
type splitStep interface {
	cut(c *cutter)
}

// A piece is a range of bytes of a view.
type piece struct{ from, to int }

// A cutter holds a text on its way through the steps.
type cutter struct {
	view        // without align while it is the source itself
	base    int // offset in the source of what align counts from, or of the text
	pieces  []piece
	spare   []piece
	buffers [2]view
	ends    []int32
}

// source returns the offset in the source of the character that byte i comes from.
func (c *cutter) source(i int) int {
	if c.align == nil {
		return c.base + i
	}
	return c.base + int(c.align[i])
}

// refine replaces every piece by those that split appends.
func (c *cutter) refine(split func(pieces []piece, p piece) []piece) {
	out := c.spare[:0]
	for _, p := range c.pieces {
		out = split(out, p)
	}
	c.pieces, c.spare = out, c.pieces
}

// rewrite replaces the text of every piece by what write appends, with offsets in the piece; cut then appends the pieces of it.
func (c *cutter) rewrite(write func(dst []byte, align []int32, p piece) ([]byte, []int32), cut func(ends []int32, text []byte) []int32) {
	out := &c.buffers[0]
	if len(out.text) > 0 && len(c.text) > 0 && &out.text[0] == &c.text[0] {
		out = &c.buffers[1]
	}
	out.reset()
	c.refine(func(pieces []piece, p piece) []piece {
		begin := len(out.text)
		out.text, out.align = write(out.text, out.align, p)
		for i, from := range out.align[begin:] {
			out.align[begin+i] = int32(c.source(p.from+int(from)) - c.base)
		}
		c.ends = cut(c.ends[:0], out.text[begin:])
		from := begin
		for _, end := range c.ends {
			pieces = append(pieces, piece{from, begin + int(end)})
			from = begin + int(end)
		}
		return pieces
	})
	c.view = *out
}

func (f cover) cut(c *cutter) {
	c.refine(func(pieces []piece, p piece) []piece {
		text := c.text[:p.to]
		for i := p.from; i < p.to; {
			end := f(text, i)
			pieces = append(pieces, piece{i, end})
			i = end
		}
		return pieces
	})
}

type preTokenizerSequence struct {
	Type          string         `json:"type"`
	PreTokenizers []preTokenizer `json:"pretokenizers"`
}

func (s *preTokenizerSequence) steps() (all []splitStep) {
	for _, part := range s.PreTokenizers {
		all = append(all, part.steps()...)
	}
	return all
}

// A byteLevel is the component of that name, which is also a decoder and a post-processor. As a pre-tokenizer it has the
// model work on bytes.
type byteLevel struct {
	Type           string `json:"type"`
	AddPrefixSpace bool   `json:"add_prefix_space"`
	TrimOffsets    bool   `json:"trim_offsets"`
	UseRegex       bool   `json:"use_regex"`
}

func (b *byteLevel) steps() (all []splitStep) {
	if b.AddPrefixSpace {
		all = append(all, prefixSpace{})
	}
	if b.UseRegex {
		all = append(all, cover(pieceEnd))
	}
	return all
}

// prefixSpace puts a space before every piece that has none.
type prefixSpace struct{}

func (prefixSpace) cut(c *cutter) {
	c.rewrite(func(dst []byte, align []int32, p piece) ([]byte, []int32) {
		text := c.text[p.from:p.to]
		if text[0] != ' ' {
			dst, align = append(dst, ' '), append(align, 0)
		}
		for i := range text {
			align = append(align, int32(i))
		}
		return append(dst, text...), align
	}, func(ends []int32, text []byte) []int32 { return append(ends, int32(len(text))) })
}

type metaspacePreTokenizer struct {
	Type          string `json:"type"`
	Replacement   string `json:"replacement"`
	PrependScheme string `json:"prepend_scheme"`
	Split         bool   `json:"split"`
}

func (m *metaspacePreTokenizer) steps() []splitStep {
	r, _ := utf8.DecodeRuneInString(m.Replacement)
	return []splitStep{metaspaceStep{metaspace{r, m.PrependScheme, m.Split}}}
}

type metaspaceStep struct{ metaspace }

func (m metaspaceStep) cut(c *cutter) {
	c.rewrite(func(dst []byte, align []int32, p piece) ([]byte, []int32) {
		return m.apply(dst, align, c.text[p.from:p.to], c.source(p.from) == 0)
	}, m.metaspace.pieces)
}

// What becomes of the matches of a delimiter.
const (
	removed            = "Removed"
	isolated           = "Isolated"
	contiguous         = "Contiguous"
	mergedWithPrevious = "MergedWithPrevious"
	mergedWithNext     = "MergedWithNext"
)

var behaviors = []string{removed, isolated, mergedWithPrevious, mergedWithNext, contiguous}

// A delimited step cuts at delimiters: find returns the next one from at on, an empty range at the end of the text when
// there is none.
type delimited struct {
	find     func(text []byte, at int) (from, to int)
	behavior string
	invert   bool // the matches are the text, and what is between them the delimiters
}

func (d delimited) cut(c *cutter) {
	c.refine(func(pieces []piece, p piece) []piece {
		first, previous := len(pieces), false // is the previous range a delimiter
		put := func(from, to int, match bool) {
			if from == to {
				return
			}
			last := len(pieces) - 1
			joins := last >= first && pieces[last].to == from
			switch {
			case match && d.behavior == removed:
			case joins && d.behavior == contiguous && match == previous,
				joins && d.behavior == mergedWithPrevious && match && !previous,
				joins && d.behavior == mergedWithNext && previous && !match:
				pieces[last].to = to
			default:
				pieces = append(pieces, piece{from, to})
			}
			previous = match
		}
		text := c.text[:p.to]
		for at := p.from; at < p.to; {
			from, to := d.find(text, at)
			put(at, from, d.invert)
			put(from, to, !d.invert)
			at = to
		}
		return pieces
	})
}

// each finds single characters.
func each(is func(rune) bool) func(text []byte, at int) (from, to int) {
	return func(text []byte, at int) (from, to int) {
		for at < len(text) {
			r, size := utf8.DecodeRune(text[at:])
			if is(r) {
				return at, at + size
			}
			at += size
		}
		return at, at
	}
}

func bertPunctuation(r rune) bool { return unicode.Is(hfPunctuation, r) }

// A bertPreTokenizer cuts where BERT does: white space, each punctuation character, and runs of what is neither.
type bertPreTokenizer struct {
	Type string `json:"type"`
}

func (*bertPreTokenizer) steps() []splitStep { return []splitStep{bertWords{}} }

type bertWords struct{}

// bertASCII is the class of an ASCII character for BERT: white space, punctuation (other), or part of a word (letter).
var bertASCII = func() (table [utf8.RuneSelf]class) {
	for c := range table {
		table[c] = bertClass(rune(c))
	}
	return table
}()

func bertClass(r rune) class {
	switch {
	case unicode.IsSpace(r):
		return space
	case bertPunctuation(r):
		return other
	}
	return letter
}

func (bertWords) cut(c *cutter) {
	c.refine(func(pieces []piece, p piece) []piece {
		word := p.from
		for i := p.from; i < p.to; {
			kind, size := letter, 1
			if b := c.text[i]; b < utf8.RuneSelf {
				kind = bertASCII[b]
			} else {
				var r rune
				r, size = utf8.DecodeRune(c.text[i:p.to])
				kind = bertClass(r)
			}
			if kind != letter {
				if word < i {
					pieces = append(pieces, piece{word, i})
				}
				if kind == other {
					pieces = append(pieces, piece{i, i + size})
				}
				word = i + size
			}
			i += size
		}
		if word < p.to {
			pieces = append(pieces, piece{word, p.to})
		}
		return pieces
	})
}

// A plainPreTokenizer has no keys: Whitespace (the pattern \w+|[^\w\s]+) and WhitespaceSplit.
type plainPreTokenizer struct {
	Type string `json:"type"`
}

func (p *plainPreTokenizer) steps() []splitStep {
	if p.Type == "WhitespaceSplit" {
		return []splitStep{delimited{find: each(unicode.IsSpace), behavior: removed}}
	}
	return []splitStep{
		delimited{find: each(unicode.IsSpace), behavior: removed},
		delimited{find: each(wordRune), behavior: contiguous},
	}
}

// wordRune is \w of UTS #18: alphabetic, marks, decimal digits, connectors and the two joiners.
func wordRune(r rune) bool {
	return unicode.In(r, unicode.L, unicode.Nl, unicode.Other_Alphabetic, unicode.M, unicode.Nd, unicode.Pc) || r == '\u200c' || r == '\u200d' ||
		r >= firstRecent && unicode.In(r, recentLetter, recentMark)
}

type digitsPreTokenizer struct {
	Type       string `json:"type"`
	Individual bool   `json:"individual_digits"`
}

func (d *digitsPreTokenizer) steps() []splitStep {
	behavior := contiguous
	if d.Individual {
		behavior = isolated
	}
	return []splitStep{delimited{find: each(unicode.IsNumber), behavior: behavior}}
}

type punctuationPreTokenizer struct {
	Type     string `json:"type"`
	Behavior string `json:"behavior"`
}

func (p *punctuationPreTokenizer) steps() []splitStep {
	return []splitStep{delimited{find: each(bertPunctuation), behavior: p.Behavior}}
}

type splitPreTokenizer struct {
	Type     string  `json:"type"`
	Pattern  pattern `json:"pattern"`
	Behavior string  `json:"behavior"`
	Invert   bool    `json:"invert"`
	cover    cover
}

func (s *splitPreTokenizer) steps() []splitStep {
	if s.cover != nil {
		return []splitStep{s.cover}
	}
	return []splitStep{delimited{find: s.Pattern.find, behavior: s.Behavior, invert: s.Invert}}
}

// compile finds the hand-written splitter of a known pattern. Those match everything, so that pieces are their matches under
// Isolated, or when what is between matches is removed.
func (s *splitPreTokenizer) compile() error {
	if s.Pattern.Regex == nil {
		return s.Pattern.compile()
	}
	known := slices.IndexFunc(knownPatterns, func(k knownPattern) bool { return k.regex == *s.Pattern.Regex })
	if known >= 0 && (s.Behavior == isolated || s.Behavior == removed && s.Invert) {
		s.cover = knownPatterns[known].cover
		return nil
	}
	return s.Pattern.compile()
}
