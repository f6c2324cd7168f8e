package text

import (
	"fmt"
	"unicode"
	"unicode/utf8"
)

// An addedToken is found in text before the model sees it; its fields are its keys in tokenizer.json.
type addedToken struct {
	ID         int32  `json:"id"`
	Content    string `json:"content"`
	SingleWord bool   `json:"single_word"` // only where no word character is next to it
	LStrip     bool   `json:"lstrip"`      // takes the white space before it
	RStrip     bool   `json:"rstrip"`      // and behind it
	Normalized bool   `json:"normalized"`  // is looked for in the normalized text, in its own normal form
	Special    bool   `json:"special"`
}

// addedVocabulary finds added tokens: first those that are not normalized in the text as it is, then the others in the
// normalized text between them.
type addedVocabulary struct {
	byID            map[int32]*addedToken
	raw, normalized addedSet
}

// An addedSet finds the leftmost, then longest of its tokens.
type addedSet struct {
	byteTrie
	first    [256]bool // bytes that a token begins with
	tokens   int
	ordinary int // of them not special
}

// newAddedVocabulary indexes added tokens, special ones first: of two that look the same the first counts. normalize
// returns a token's normal form.
func newAddedVocabulary(tokens []addedToken, normalize func(string) string) addedVocabulary {
	a := addedVocabulary{byID: make(map[int32]*addedToken, len(tokens))}
	var raw, normalized []entry
	put := func(special bool) {
		for i := range tokens {
			token := &tokens[i]
			if token.Special != special {
				continue
			}
			a.byID[token.ID] = token
			set, entries, content := &a.raw, &raw, token.Content
			if token.Normalized {
				set, entries, content = &a.normalized, &normalized, normalize(token.Content)
			}
			if content == "" {
				continue
			}
			*entries = append(*entries, entry{content, token.ID})
			set.first[content[0]] = true
			set.tokens++
			if !special {
				set.ordinary++
			}
		}
	}
	put(true)
	put(false)
	a.raw.byteTrie, a.normalized.byteTrie = newByteTrie(raw), newByteTrie(normalized)
	return a
}

// wanted says whether the set has anything to find.
func (s *addedSet) wanted(specials bool) bool { return s.ordinary > 0 || specials && s.tokens > 0 }

// An addedMatch is a token found in bytes [from, to), which include white space that it takes; id is -1 behind the last.
type addedMatch struct {
	id       int32
	from, to int
}

// next finds the next token in text: it looks from search on, and what is before free has been used. It returns where to
// search then. Special tokens are passed over unless they are wanted, as the library does: they still cover others that begin
// inside them.
func (a *addedVocabulary) next(s *addedSet, text []byte, free, search int, specials bool) (m addedMatch, then int) {
	for at := search; at < len(text); {
		if !s.first[text[at]] {
			at++
			continue
		}
		id, size := s.longest(text[at:])
		if id < 0 {
			at++
			continue
		}
		token := a.byID[id]
		from, to := at, at+size
		at = to
		if token.Special && !specials || token.SingleWord && !alone(text, from, to) {
			continue
		}
		if token.LStrip {
			for from > free {
				r, n := utf8.DecodeLastRune(text[free:from])
				if !unicode.IsSpace(r) {
					break
				}
				from -= n
			}
		}
		if token.RStrip {
			for to < len(text) {
				r, n := utf8.DecodeRune(text[to:])
				if !unicode.IsSpace(r) {
					break
				}
				to += n
			}
		}
		return addedMatch{id, max(from, free), to}, at
	}
	return addedMatch{-1, len(text), len(text)}, len(text)
}

// alone says whether no word character is next to bytes [from, to).
func alone(text []byte, from, to int) bool {
	before, _ := utf8.DecodeLastRune(text[:from])
	behind, _ := utf8.DecodeRune(text[to:])
	return !wordRune(before) && !wordRune(behind)
}

func (f *file) readAdded() error {
	var token addedToken
	token.ID = -1
	err := f.record(members{"id": &token.ID, "content": &token.Content, "single_word": &token.SingleWord, "lstrip": &token.LStrip,
		"rstrip": &token.RStrip, "normalized": &token.Normalized, "special": &token.Special}, "id", "content", "special")
	f.added = append(f.added, token)
	return err
}

// checkAdded refuses added tokens that contradict each other or the vocabulary of the model.
func checkAdded(added []addedToken, vocab map[string]int32) error {
	names := make(map[string]bool, len(added))
	for i, a := range added {
		if names[a.Content] {
			return fmt.Errorf("$.added_tokens[%d]: %q comes twice", i, a.Content)
		}
		names[a.Content] = true
		if id, ok := vocab[a.Content]; ok && id != a.ID {
			return fmt.Errorf("$.added_tokens[%d]: %q has id %d here and %d in $.model.vocab", i, a.Content, a.ID, id)
		}
	}
	return nil
}
