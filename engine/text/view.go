package text

import (
	"unicode/utf8"
)

// A view is text on its way through the normalizers and pre-tokenizers: align gives, for every byte of text, the offset in
// the source of the character that it comes from. Without align the text is the source itself.
type view struct {
	text  []byte
	align []int32
}

// of starts a view of a source; bytes that are not part of valid UTF-8 become U+FFFD.
func (v *view) of(source []byte) {
	v.text, v.align = v.text[:0], v.align[:0]
	for i := 0; i < len(source); {
		if source[i] < utf8.RuneSelf {
			v.text, v.align = append(v.text, source[i]), append(v.align, int32(i))
			i++
			continue
		}
		r, size := utf8.DecodeRune(source[i:])
		v.add(r, int32(i))
		i += size
	}
}

// reset empties a view.
func (v *view) reset() { v.text, v.align = v.text[:0], v.align[:0] }

// add appends a character that comes from the one at source offset from.
func (v *view) add(r rune, from int32) {
	if r < utf8.RuneSelf {
		v.text, v.align = append(v.text, byte(r)), append(v.align, from)
		return
	}
	n := len(v.text)
	v.text = utf8.AppendRune(v.text, r)
	for range len(v.text) - n {
		v.align = append(v.align, from)
	}
}

// addString appends a string that comes from the character at source offset from.
func (v *view) addString(s string, from int32) {
	v.text = append(v.text, s...)
	for range len(s) {
		v.align = append(v.align, from)
	}
}

// take appends bytes [from, to) of another view.
func (v *view) take(o view, from, to int) {
	v.text = append(v.text, o.text[from:to]...)
	v.align = append(v.align, o.align[from:to]...)
}

// part is a view of bytes [from, to).
func (v view) part(from, to int) view { return view{v.text[from:to], v.align[from:to]} }

// charStart returns where the character begins that byte i of text belongs to; an invalid byte is a character of its own.
func charStart(text []byte, i int) int {
	if text[i] < utf8.RuneSelf {
		return i
	}
	for j := i; j >= 0 && j > i-utf8.UTFMax; j-- {
		if !utf8.RuneStart(text[j]) {
			continue
		}
		if _, size := utf8.DecodeRune(text[j:]); j+size > i {
			return j
		}
		break
	}
	return i
}
