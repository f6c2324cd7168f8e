package text

import (
	"encoding/binary"
	"fmt"
	"slices"
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

// A Tokenizer is an immutable byte-level BPE vocabulary with its ordered merges; it is safe for concurrent use.
type Tokenizer struct {
	// Ids of the special tokens with a role, -1 where there is none. EOS and BOS are the same for <|endoftext|>.
	BOS, EOS, Pad, Mask int32

	tokens   [][]byte         // id -> bytes; a special token's are those of its name
	special  []bool           // id -> is it special
	order    []int32          // ids of the special tokens
	ids      map[string]int32 // bytes -> id, ordinary tokens
	specials map[string]int32 // name -> id
	bytes    [256]int32       // byte -> id
	merges   []merge          // by rank
	ranks    pairTable
	hash     string
	encoders sync.Pool
}

// A merge replaces the neighbours left, right by the token made.
type merge struct{ left, right, made int32 }

// roles lists the names by which a special token's role is known, most telling first.
var roles = struct{ bos, eos, pad, mask []string }{
	bos:  []string{"<s>", "[CLS]", "<|endoftext|>"},
	eos:  []string{"</s>", "[SEP]", "<|endoftext|>"},
	pad:  []string{"<pad>", "[PAD]"},
	mask: []string{"<mask>", "[MASK]"},
}

// newTokenizer indexes a vocabulary. It takes the slices over. It checks what encoding relies on: tokens are distinct and
// not empty, every byte has one, and merges join ordinary tokens to ordinary tokens, each pair once. A merge's result is
// longer than its parts, hence no cycle of merges can exist.
func newTokenizer(tokens [][]byte, special []bool, merges []merge) (*Tokenizer, error) {
	t := &Tokenizer{
		tokens: tokens, special: special, merges: merges,
		ids: make(map[string]int32, len(tokens)), specials: map[string]int32{},
	}
	for id, token := range tokens {
		index := t.ids
		if special[id] {
			index = t.specials
			t.order = append(t.order, int32(id))
		}
		if len(token) == 0 {
			return nil, fault.Data.Errorf("token %d is empty", id)
		}
		if first, taken := index[string(token)]; taken {
			return nil, fault.Data.Errorf("tokens %d and %d are both %q", first, id, token)
		}
		index[string(token)] = int32(id)
	}
	for b := range t.bytes {
		id, ok := t.ids[string([]byte{byte(b)})]
		if !ok {
			return nil, fault.Data.Errorf("no token for byte 0x%02X (%q): byte-level BPE needs all 256", b, byteRune[b])
		}
		t.bytes[b] = id
	}
	t.ranks = newPairTable(len(merges))
	for rank, m := range merges {
		for _, id := range [...]int32{m.left, m.right, m.made} {
			if special[id] {
				return nil, fault.Data.Errorf("merge %d uses the special token %q", rank, tokens[id])
			}
		}
		if string(tokens[m.made]) != string(tokens[m.left])+string(tokens[m.right]) {
			return nil, fault.Data.Errorf("merge %d makes %q of %q and %q", rank, tokens[m.made], tokens[m.left], tokens[m.right])
		}
		if first := t.ranks.rank(m.left, m.right); first != noRank {
			return nil, fault.Data.Errorf("merges %d and %d both join %q and %q", first, rank, tokens[m.left], tokens[m.right])
		}
		t.ranks.insert(m.left, m.right, uint32(rank))
	}
	t.BOS, t.EOS = t.role(roles.bos), t.role(roles.eos)
	t.Pad, t.Mask = t.role(roles.pad), t.role(roles.mask)
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

// contentHash hashes what decides ids and nothing else: model kind, tokens with their special flag, merges.
func (t *Tokenizer) contentHash() string {
	h := xxhash.New()
	var buf []byte
	word := func(v int) { buf = binary.LittleEndian.AppendUint32(buf, uint32(v)) }
	buf = append(buf, "byte-level BPE, GPT-2 pieces\x00"...)
	word(len(t.tokens))
	for id, token := range t.tokens {
		flag := byte(0)
		if t.special[id] {
			flag = 1
		}
		buf = append(buf, flag)
		word(len(token))
		buf = append(buf, token...)
		h.Write(buf)
		buf = buf[:0]
	}
	word(len(t.merges))
	for _, m := range t.merges {
		word(int(m.left))
		word(int(m.right))
		h.Write(buf)
		buf = buf[:0]
	}
	return fmt.Sprintf("%016x", h.Sum64())
}

// Vocab returns the number of ids; they are 0 to Vocab()-1 without holes.
func (t *Tokenizer) Vocab() int { return len(t.tokens) }

// Merges returns the number of merges.
func (t *Tokenizer) Merges() int { return len(t.merges) }

// Hash returns 16 hexadecimal digits, the xxh64 of tokens, special flags and merges. Two files that differ in layout only
// have the same hash; shards and checkpoints keep it.
func (t *Tokenizer) Hash() string { return t.hash }

// valid says whether id is one of the vocabulary.
func (t *Tokenizer) valid(id int32) bool { return id >= 0 && int(id) < len(t.tokens) }

// IsSpecial says whether id is a special token.
func (t *Tokenizer) IsSpecial(id int32) bool { return t.valid(id) && t.special[id] }

// Specials returns the ids of the special tokens in order.
func (t *Tokenizer) Specials() []int32 { return slices.Clone(t.order) }

// Token returns the printable form of a token, as tokenizer.json has it: the name of a special token, the byte-level
// alphabet (a space is U+0120) for all others. It is empty for an id outside the vocabulary.
func (t *Tokenizer) Token(id int32) string {
	switch {
	case !t.valid(id):
		return ""
	case t.special[id]:
		return string(t.tokens[id])
	}
	return surfaceOf(t.tokens[id])
}

// TokenBytes returns the bytes that a token stands for, the name in the case of a special one; nil for an id outside the
// vocabulary. The slice must not be changed.
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
	b, _, ok := surfaceBytes(token)
	if !ok {
		return -1, false
	}
	id, ok := t.ids[string(b)]
	if !ok {
		return -1, false
	}
	return id, true
}

// Decode joins the bytes of tokens: those that Encode was given. Special tokens appear by name (leave them out before if
// that is not wanted); an id outside the vocabulary appears as U+FFFD.
func (t *Tokenizer) Decode(ids []int32) []byte {
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

// WordStart says, of the id alone, whether the token opens a word: it begins with white space, punctuation or a symbol,
// or is special. Letters and digits without a space before them continue one, which misses a word at the start of a line;
// WordStarts sees the neighbours and is exact.
func (t *Tokenizer) WordStart(id int32) bool {
	if !t.valid(id) || t.special[id] {
		return true
	}
	r, size := utf8.DecodeRune(t.tokens[id])
	if r == utf8.RuneError && size == 1 {
		return false // part of a character
	}
	kind := classOf(r)
	return kind == space || kind == other
}

// WordStarts appends to dst, for every token of a text, whether it opens a word, that is a piece of the pre-tokenizer
// (contractions, runs of letters, of digits and of punctuation are words; merges never cross a word's end). Special
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
		text := t.Decode(ids[:n])
		at, piece := 0, 0 // start of the token, start of the first piece that is not before it
		for _, id := range ids[:n] {
			for piece < at {
				piece = pieceEnd(text, piece)
			}
			dst = append(dst, piece == at)
			at += len(t.tokens[id])
		}
		ids = ids[n:]
	}
	return dst
}
