package text

import (
	"unicode"
	"unicode/utf8"
)

// Spell writes the text that tokens spell, as valid UTF-8, and tells which bytes of it each token comes from: whole characters,
// so that the tokens of one share it. Each byte that is not part of a character becomes U+FFFD, as in JSON. Words that have
// no mark of their own beginning, as with WordPiece, are put apart by a space; special tokens have no place, and a line end
// stands for them inside the text.
func (t *Tokenizer) Spell(ids []int32) (text []byte, starts, ends []int) {
	raw := make([]byte, 0, 4*len(ids))
	starts, ends = make([]int, len(ids)), make([]int, len(ids))
	var opens []bool
	if !t.Lossless() {
		opens = t.WordStarts(nil, ids)
	}
	for i, id := range ids {
		token := t.TokenBytes(id)
		if t.IsSpecial(id) {
			starts[i], ends[i] = len(raw), len(raw)
			if i > 0 && i+1 < len(ids) && !t.IsSpecial(ids[i-1]) {
				raw = append(raw, '\n')
			}
			continue
		}
		if opens != nil && opens[i] && len(raw) > 0 && !endsBlank(raw) && !beginsBlank(token) {
			raw = append(raw, ' ')
		}
		starts[i] = len(raw)
		raw = append(raw, token...)
		ends[i] = len(raw)
	}
	var v view
	v.of(raw)
	// at[k] is the place in the text of byte k of raw: of the character that it belongs to.
	at := make([]int, len(raw)+1)
	for k := len(v.text) - 1; k >= 0; k-- {
		at[v.align[k]] = k
	}
	at[len(raw)] = len(v.text)
	for i := range ids {
		if starts[i] == ends[i] {
			if starts[i] < len(raw) {
				starts[i] = charStart(raw, starts[i])
			}
			starts[i] = at[starts[i]]
			ends[i] = starts[i]
			continue
		}
		last := charStart(raw, ends[i]-1)
		_, size := utf8.DecodeRune(raw[last:])
		starts[i], ends[i] = at[charStart(raw, starts[i])], at[last+size]
	}
	return v.text, starts, ends
}

func endsBlank(b []byte) bool {
	r, _ := utf8.DecodeLastRune(b)
	return unicode.IsSpace(r)
}

func beginsBlank(b []byte) bool {
	r, _ := utf8.DecodeRune(b)
	return unicode.IsSpace(r)
}
