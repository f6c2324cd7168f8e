package text

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/cespare/xxhash/v2"

	"palimpsest/engine/fault"
)

// MaxVocab is the largest vocabulary that is trained or read.
const MaxVocab = 4 << 20

// maxMerges bounds the merge list. Two merges may make the same token ("a"+"bc", "ab"+"c"), so it can be longer than the
// vocabulary; ranks must fit the 24 bits that a queue entry of the encoder has for them.
const maxMerges = 2 * MaxVocab

// A Tokenizer is an immutable pipeline as in tokenizer.json: a normalizer rewrites the text, a pre-tokenizer cuts it into
// words, a model (byte-level or character-level BPE, WordPiece, Unigram) turns these into tokens, a post-processor puts
// special tokens around them. It is safe for concurrent use.
type Tokenizer struct {
	// Ids of the special tokens with a role, -1 where there is none. EOS and BOS are the same for <|endoftext|>. Unk is the
	// token of what the model does not know.
	BOS, EOS, Pad, Mask, Unk int32

	spec     pipeline
	tokens   [][]byte         // id -> bytes; those of the name for an added token
	special  []bool           // id -> is it special
	order    []int32          // ids of the special tokens
	ids      map[string]int32 // ordinary tokens: bytes -> id of byte-level BPE, otherwise name -> id
	specials map[string]int32 // name -> id
	names    []string         // id -> printable form; nil for byte-level BPE
	mark     string           // what a word begins with, "▁" as a rule; "" without
	added    addedVocabulary

	rewriters []rewriter
	steps     []splitStep
	cover     cover    // the only step, if it is one
	bpe       *byteBPE // nil for other models
	model     model    // nil for byte-level BPE
	hash      string
	encoders  sync.Pool
}

// A pipeline is what tokenizer.json says of a tokenizer, except for the vocabulary.
type pipeline struct {
	truncation    *truncation
	padding       *padding
	added         []addedToken
	normalizer    normalizer
	preTokenizer  preTokenizer
	postProcessor postProcessor
	decoder       decoder
	model         modelSpec
	inVocab       []bool // id -> is it in the model's vocabulary
}

// roles lists the names by which a special token's role is known, most telling first.
var roles = struct{ bos, eos, pad, mask, unk []string }{
	bos:  []string{"<s>", "[CLS]", "<|begin_of_text|>", "<bos>", "<|endoftext|>"},
	eos:  []string{"</s>", "[SEP]", "<|end_of_text|>", "<eos>", "<|endoftext|>"},
	pad:  []string{"<pad>", "[PAD]", "<|pad|>", "<|finetune_right_pad_id|>"},
	mask: []string{"<mask>", "[MASK]", "<|mask|>"},
	unk:  []string{"<unk>", "[UNK]", "<|unk|>"},
}

// newTokenizer makes byte-level BPE with GPT-2's pieces, all of whose added tokens are special. It takes the slices over.
func newTokenizer(tokens [][]byte, special []bool, merges []merge) (*Tokenizer, error) {
	spec := pipeline{
		preTokenizer: &byteLevel{Type: "ByteLevel", TrimOffsets: true, UseRegex: true},
		decoder:      &byteLevel{Type: "ByteLevel", AddPrefixSpace: true, TrimOffsets: true, UseRegex: true},
		model:        modelSpec{kind: "BPE"},
		inVocab:      slices.Repeat([]bool{true}, len(tokens)),
	}
	for id, token := range tokens {
		if special[id] {
			spec.added = append(spec.added, addedToken{ID: int32(id), Content: string(token), Special: true})
		}
	}
	return build(spec, tokens, special, nil, merges)
}

// build indexes a vocabulary and makes the pipeline ready. Tokens must be distinct and not empty. names is nil for
// byte-level BPE, the only model with merges here.
func build(spec pipeline, tokens [][]byte, special []bool, names []string, merges []merge) (*Tokenizer, error) {
	t := &Tokenizer{
		spec: spec, tokens: tokens, special: special, names: names,
		ids: make(map[string]int32, len(tokens)), specials: map[string]int32{},
	}
	addedOnly := make(map[int32]bool)
	for _, a := range spec.added {
		addedOnly[a.ID] = !spec.inVocab[a.ID]
	}
	for id, token := range tokens {
		key := string(token)
		if names != nil {
			key = names[id]
		}
		index := t.ids
		switch {
		case special[id]:
			index = t.specials
			t.order = append(t.order, int32(id))
		case addedOnly[int32(id)] && names == nil:
			continue // its content is not in the byte-level alphabet
		}
		if len(key) == 0 {
			return nil, fault.Data.Errorf("token %d is empty", id)
		}
		if first, taken := index[key]; taken {
			return nil, fault.Data.Errorf("tokens %d and %d are both %q", first, id, token)
		}
		index[key] = int32(id)
	}
	if spec.normalizer != nil {
		t.rewriters = spec.normalizer.rewriters()
	}
	if spec.preTokenizer != nil {
		t.steps = spec.preTokenizer.steps()
	}
	if len(t.steps) == 1 {
		t.cover, _ = t.steps[0].(cover)
	}
	t.added = newAddedVocabulary(spec.added, t.normalized)
	t.BOS, t.EOS = t.role(roles.bos), t.role(roles.eos)
	t.Pad, t.Mask, t.Unk = t.role(roles.pad), t.role(roles.mask), t.role(roles.unk)
	t.mark = spec.mark()
	if err := t.makeModel(merges); err != nil {
		return nil, err
	}
	t.hash = t.contentHash()
	t.encoders.New = func() any { return t.NewEncoder() }
	return t, nil
}

func (t *Tokenizer) role(names []string) int32 {
	for _, name := range names {
		if id, ok := t.specials[name]; ok {
			return id
		}
	}
	return -1
}

// normalized returns the normal form of a string.
func (t *Tokenizer) normalized(s string) string {
	var v view
	v.of([]byte(s))
	var chain rewriteChain
	return string(chain.apply(v, t.rewriters).text)
}

// plain says whether ids follow from tokens, special flags and merges alone.
func (t *Tokenizer) plain() bool {
	b, ok := t.spec.preTokenizer.(*byteLevel)
	special := func(a addedToken) bool { return a.Special && !a.LStrip && !a.RStrip && !a.SingleWord }
	return t.bpe != nil && ok && !b.AddPrefixSpace && b.UseRegex && len(t.rewriters) == 0 && !t.bpe.ignoreMerges &&
		!slices.ContainsFunc(t.spec.added, func(a addedToken) bool { return !special(a) })
}

// contentHash hashes what decides ids and nothing else: model kind, tokens with their special flag, merges, and where they
// are not GPT-2's the components before the model, its own settings and added tokens.
func (t *Tokenizer) contentHash() string {
	h := xxhash.New()
	var buf []byte
	word := func(v int) { buf = binary.LittleEndian.AppendUint32(buf, uint32(v)) }
	kind := "byte-level BPE, GPT-2 pieces"
	if !t.plain() {
		kind = "pipeline"
	}
	buf = append(append(buf, kind...), 0)
	word(len(t.tokens))
	for id, token := range t.tokens {
		flag := byte(0)
		if t.special[id] {
			flag = 1
		}
		if t.names != nil {
			token = []byte(t.names[id])
		}
		buf = append(buf, flag)
		word(len(token))
		buf = append(buf, token...)
		h.Write(buf)
		buf = buf[:0]
	}
	if t.bpe != nil {
		word(len(t.bpe.merges))
		for _, m := range t.bpe.merges {
			word(int(m.left))
			word(int(m.right))
			h.Write(buf)
			buf = buf[:0]
		}
	}
	if !t.plain() {
		m := t.spec.model
		// Marshal cannot fail: these are structs of strings, numbers and flags.
		rest, _ := json.Marshal([]any{t.spec.normalizer, t.spec.preTokenizer, t.spec.added, m.settings(), m.merges, m.scores, t.spec.inVocab})
		h.Write(rest)
	}
	return fmt.Sprintf("%016x", h.Sum64())
}

// Vocab returns the number of ids; they are 0 to Vocab()-1 without holes.
func (t *Tokenizer) Vocab() int { return len(t.tokens) }

// Merges returns the number of merges.
func (t *Tokenizer) Merges() int {
	if t.bpe != nil {
		return len(t.bpe.merges)
	}
	return len(t.spec.model.merges)
}

// Kind says in words what the tokenizer is.
func (t *Tokenizer) Kind() string {
	switch {
	case t.bpe != nil:
		return "byte-level BPE"
	case t.spec.model.kind == "BPE":
		return "BPE of characters"
	}
	return t.spec.model.kind
}

// Lossless says whether Decode gives back the very bytes that Encode was given, whatever they are.
func (t *Tokenizer) Lossless() bool {
	changes := len(t.rewriters) > 0
	for _, p := range leaves(t.spec.preTokenizer) {
		switch p := p.(type) {
		case *byteLevel:
			changes = changes || p.AddPrefixSpace
		case *splitPreTokenizer:
			changes = changes || p.cover == nil && p.Behavior == removed
		case *digitsPreTokenizer:
		default: // may drop white space or put some in
			changes = true
		}
	}
	stripped := slices.ContainsFunc(t.spec.added, func(a addedToken) bool { return a.LStrip || a.RStrip })
	return t.bpe != nil && !changes && !stripped
}

// Hash returns 16 hexadecimal digits, the xxh64 of what decides ids. Two files that differ in layout only
// have the same hash; shards and checkpoints keep it.
func (t *Tokenizer) Hash() string { return t.hash }

// valid says whether id is one of the vocabulary.
func (t *Tokenizer) valid(id int32) bool { return id >= 0 && int(id) < len(t.tokens) }

// IsSpecial says whether id is a special token.
func (t *Tokenizer) IsSpecial(id int32) bool { return t.valid(id) && t.special[id] }

// Specials returns the ids of the special tokens in order.
func (t *Tokenizer) Specials() []int32 { return slices.Clone(t.order) }

// Token returns the printable form of a token, as tokenizer.json has it: the name of an added token; for byte-level BPE the
// byte-level alphabet (a space is U+0120). It is empty for an id outside the vocabulary.
func (t *Tokenizer) Token(id int32) string {
	switch {
	case !t.valid(id):
		return ""
	case t.names != nil:
		return t.names[id]
	case t.special[id] || !t.spec.inVocab[id]:
		return string(t.tokens[id])
	}
	return surfaceOf(t.tokens[id])
}

// TokenBytes returns the bytes that a token stands for: without the prefix of WordPiece, with spaces instead of U+2581, the
// name in the case of an added one; nil for an id outside the vocabulary. The slice must not be changed.
func (t *Tokenizer) TokenBytes(id int32) []byte {
	if !t.valid(id) {
		return nil
	}
	return t.tokens[id]
}

// ID finds a token by its printable form.
func (t *Tokenizer) ID(token string) (int32, bool) {
	if id, ok := t.specials[token]; ok {
		return id, true
	}
	if t.names != nil {
		id, ok := t.ids[token]
		return id, ok
	}
	if b, _, ok := surfaceBytes(token); ok {
		if id, ok := t.ids[string(b)]; ok {
			return id, true
		}
	}
	for _, a := range t.spec.added {
		if a.Content == token {
			return a.ID, true
		}
	}
	return -1, false
}

// Decode joins the text of tokens. For byte-level BPE it is the bytes that Encode was given (if Lossless); for other
// models what the decoder of tokenizer.json makes. Special tokens appear by name (leave them out before if that is not
// wanted); an id outside the vocabulary appears as U+FFFD.
func (t *Tokenizer) Decode(ids []int32) []byte {
	if t.bpe == nil {
		return t.decodeNames(ids)
	}
	var out []byte
	for _, id := range ids {
		if t.valid(id) {
			out = append(out, t.tokens[id]...)
		} else {
			out = utf8.AppendRune(out, utf8.RuneError)
		}
	}
	return out
}

// WordStart says, of the id alone, whether the token opens a word, or is special. With byte-level BPE it does when it begins
// with white space, punctuation or a symbol; letters and digits without a space before them continue a word, which misses one at
// the start of a line. With WordPiece all tokens without the prefix open one, with SentencePiece's mark all that begin with it. Where nothing
// marks the inside of a word, every token opens one. WordStarts sees the neighbours and is exact.
func (t *Tokenizer) WordStart(id int32) bool {
	if !t.valid(id) || t.special[id] {
		return true
	}
	if t.bpe == nil {
		return t.opens(id)
	}
	r, size := utf8.DecodeRune(t.tokens[id])
	if r == utf8.RuneError && size == 1 {
		return false // part of a character
	}
	kind := classOf(r)
	return kind == space || kind == other
}

// opens is WordStart for models that mark words in the names of tokens.
func (t *Tokenizer) opens(id int32) bool {
	switch {
	case t.spec.model.prefix() != "":
		return !strings.HasPrefix(t.names[id], t.spec.model.prefix())
	case t.mark != "":
		return strings.HasPrefix(t.names[id], t.mark)
	}
	return true
}

// WordStarts appends to dst, for every token of a text, whether it opens a word, that is a piece of the pre-tokenizer
// (for GPT-2 contractions, runs of letters, of digits and of punctuation are words; merges never cross a word's end). Special
// tokens, and what follows one, open a word. ids should be a whole document: a cut inside a word is taken for its start.
func (t *Tokenizer) WordStarts(dst []bool, ids []int32) []bool {
	for len(ids) > 0 {
		if !t.valid(ids[0]) || t.special[ids[0]] {
			dst = append(dst, true)
			ids = ids[1:]
			continue
		}
		n := 1
		for n < len(ids) && t.valid(ids[n]) && !t.special[ids[n]] {
			n++
		}
		if t.bpe != nil {
			dst = t.pieceStarts(dst, ids[:n])
		} else {
			for i, id := range ids[:n] {
				dst = append(dst, i == 0 || t.opens(id))
			}
		}
		ids = ids[n:]
	}
	return dst
}

// pieceStarts finds the words of byte-level BPE in the decoded text.
func (t *Tokenizer) pieceStarts(dst []bool, ids []int32) []bool {
	text := t.Decode(ids)
	c := cutter{view: view{text: text}, pieces: []piece{{0, len(text)}}}
	for _, s := range t.steps {
		if _, ok := s.(prefixSpace); !ok { // it has its effect in the text already
			s.cut(&c)
		}
	}
	at, pieces := 0, c.pieces
	for _, id := range ids {
		for len(pieces) > 0 && pieces[0].from < at {
			pieces = pieces[1:]
		}
		dst = append(dst, len(pieces) > 0 && pieces[0].from == at)
		at += len(t.tokens[id])
	}
	return dst
}
