package text

import (
	"math"
	"unicode/utf8"

	"palimpsest/engine/fault"
)

// A charBPE merges characters by byte-pair encoding (Sennrich et al. 2016, arXiv 1508.07909) as SentencePiece does
// (arXiv 1808.06226): characters without a token become the tokens of their bytes, <0x00> to <0xFF>. It agrees with
// Hugging Face's tokenizers for models without prefixes and suffixes of words.
//
// A text may be one long line. It is cut where no merge can reach across: between two symbols (characters or bytes) that
// stand side by side in no token that a merge makes. In LLaMA-2 these are the words; short ones are cached.
type charBPE struct {
	vocab   map[string]int32 // only with ignoreMerges
	chars   runeTable
	bytes   [256]int32 // ids of the bytes; -1 where there is none, or no fallback
	unk     int32      // -1: unknown characters vanish
	fuseUnk bool
	ranks   pairTable // of pairs of ids, to places in made
	made    []int32   // the id that each merge makes
	meets   pairTable // pairs of symbols that stand side by side in a token
	cuts    bool      // meets is known
}

// newCharBPE makes a model of merges in the order of their rank; of equal merges the last counts. unk is the id of the
// unknown token, -1 for none; fuseUnk makes neighbouring unknown characters one; ignoreMerges takes a text that is a
// token as it is.
func newCharBPE(vocab map[string]int32, merges [][2]string, unk int32, byteFallback, fuseUnk, ignoreMerges bool) (*charBPE, error) {
	if len(merges) >= 1<<24 {
		return nil, fault.Data.Errorf("model.merges has %d entries, expected fewer than %d", len(merges), 1<<24)
	}
	m := &charBPE{unk: unk, fuseUnk: fuseUnk, ranks: newPairTable(len(merges)), made: make([]int32, len(merges))}
	if ignoreMerges {
		m.vocab = vocab
	}
	for token, id := range vocab {
		if id < 0 {
			return nil, fault.Data.Errorf("model.vocab: token %q has the id %d, expected 0 to %d", token, id, math.MaxInt32)
		}
		if r, n := utf8.DecodeRuneInString(token); n == len(token) && n > 0 && (r != utf8.RuneError || n > 1) {
			m.chars.set(r, id)
		}
	}
	for b := range m.bytes {
		m.bytes[b] = -1
		if id, ok := vocab[string(bytePiece(byte(b)))]; ok && byteFallback {
			m.bytes[b] = id
		}
	}
	for rank, merge := range merges {
		var ids [3]int32
		for i, token := range []string{merge[0], merge[1], merge[0] + merge[1]} {
			id, ok := vocab[token]
			if !ok {
				return nil, fault.Data.Errorf("model.merges[%d] (%q, %q): %q is not in model.vocab; hint: vocabulary and merges "+
					"are of different tokenizers", rank, merge[0], merge[1], token)
			}
			ids[i] = id
		}
		m.ranks.insert(ids[0], ids[1], uint32(rank))
		m.made[rank] = ids[2]
	}
	m.findMeetings(vocab, merges)
	return m, nil
}

// findMeetings fills meets: for every merge, the last symbol of its left and the first symbol of its right side. Should
// a token have more than one first or last symbol, there are no cuts.
func (m *charBPE) findMeetings(vocab map[string]int32, merges [][2]string) {
	type edge struct{ first, last int32 }
	edges := map[int32]edge{}
	note := func(id int32, e edge) (changed, ok bool) {
		old, seen := edges[id]
		edges[id] = e
		return !seen, !seen || old == e
	}
	m.chars.each(func(id int32) { edges[id] = edge{id, id} })
	for _, id := range m.bytes {
		if id >= 0 {
			edges[id] = edge{id, id}
		}
	}
	if m.unk >= 0 {
		edges[m.unk] = edge{m.unk, m.unk}
	}
	for again := true; again; { // once more only when a merge comes before those that make its sides
		again = false
		for rank, merge := range merges {
			left, ok := edges[vocab[merge[0]]]
			right, ok2 := edges[vocab[merge[1]]]
			if !ok || !ok2 {
				continue
			}
			changed, ok := note(m.made[rank], edge{left.first, right.last})
			if !ok {
				return
			}
			again = again || changed
		}
	}
	m.meets = newPairTable(len(merges))
	for _, merge := range merges {
		left, ok := edges[vocab[merge[0]]]
		right, ok2 := edges[vocab[merge[1]]]
		if ok && ok2 {
			m.meets.insert(left.last, right.first, 0)
		}
	}
	m.cuts = true
}

// A runeTable maps characters to ids, in pages.
type runeTable struct {
	pages [(utf8.MaxRune + 1) >> 8]*[256]int32 // ids plus 1; 0 where there is none
}

func (t *runeTable) set(r rune, id int32) {
	page := &t.pages[r>>8]
	if *page == nil {
		*page = new([256]int32)
	}
	(*page)[r&0xFF] = id + 1
}

// id returns that of r, or -1.
func (t *runeTable) id(r rune) int32 {
	if page := t.pages[r>>8]; page != nil {
		return page[r&0xFF] - 1
	}
	return -1
}

func (t *runeTable) each(f func(id int32)) {
	for _, page := range t.pages {
		if page == nil {
			continue
		}
		for _, id := range page {
			if id > 0 {
				f(id - 1)
			}
		}
	}
}
