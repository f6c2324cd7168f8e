package text

import (
	"strings"
	"unicode/utf8"
)

// A wordPiece cuts a word into the longest tokens from left to right, those behind the first with a prefix (Wu et al. 2016;
// Devlin et al. 2019). A word that cannot be cut so, or that is too long, is unknown as a whole.
type wordPiece struct {
	opening, continuing byteTrie
	unk                 int32
	maxChars            int
}

// newWordPiece indexes a vocabulary whose tokens are numbered by ids.
func newWordPiece(vocab map[string]int32, prefix string, unk int32, maxChars int) *wordPiece {
	opening, continuing := make([]entry, 0, len(vocab)), make([]entry, 0, len(vocab))
	for token, id := range vocab {
		opening = append(opening, entry{token, id})
		if rest, ok := strings.CutPrefix(token, prefix); ok && rest != "" {
			continuing = append(continuing, entry{rest, id})
		}
	}
	return &wordPiece{newByteTrie(opening), newByteTrie(continuing), unk, maxChars}
}

func (m *wordPiece) encode(_ *Encoder, dst, ends []int32, word []byte) ([]int32, []int32) {
	if len(word) > m.maxChars && utf8.RuneCount(word) > m.maxChars {
		return append(dst, m.unk), append(ends, int32(len(word)))
	}
	n := len(dst)
	trie := &m.opening
	for at := 0; at < len(word); trie = &m.continuing {
		id, size := trie.longest(word[at:])
		if id < 0 {
			return append(dst[:n], m.unk), append(ends[:len(ends)-(len(dst)-n)], int32(len(word)))
		}
		at += size
		dst, ends = append(dst, id), append(ends, int32(at))
	}
	return dst, ends
}
