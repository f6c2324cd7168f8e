package text

import (
	"bytes"
	"unicode/utf8"
)

// A metaspace writes spaces as a visible character, "▁" as a rule, so that words keep them (SentencePiece, arXiv
// 1808.06226), as the pre-tokenizer of that name in Hugging Face's tokenizers does.
type metaspace struct {
	replacement rune
	prepend     string // puts one in front of "always" every text, of the "first" only, or "never"
	split       bool   // into words, each beginning with the replacement
}

// apply appends src with spaces replaced to dst and, for each byte of it, to align the offset in src of the character
// it comes from. first says that src is at the very beginning of the whole text. A text that begins with the
// replacement, or with a space, gets none in front; one in front shares its offset with the character after it.
func (m metaspace) apply(dst []byte, align []int32, src []byte, first bool) ([]byte, []int32) {
	var buffer [utf8.UTFMax]byte
	mark := buffer[:utf8.EncodeRune(buffer[:], m.replacement)]
	wanted := m.prepend == "always" || m.prepend == "first" && first
	if wanted && len(src) > 0 && src[0] != ' ' && !bytes.HasPrefix(src, mark) {
		dst = append(dst, mark...)
		for range mark {
			align = append(align, 0)
		}
	}
	for i := 0; i < len(src); {
		if src[i] == ' ' {
			dst = append(dst, mark...)
			for range mark {
				align = append(align, int32(i))
			}
			i++
			continue
		}
		if src[i] < utf8.RuneSelf {
			dst, align = append(dst, src[i]), append(align, int32(i))
			i++
			continue
		}
		_, n := utf8.DecodeRune(src[i:])
		dst = append(dst, src[i:i+n]...)
		for range n {
			align = append(align, int32(i))
		}
		i += n
	}
	return dst, align
}

// pieces appends to ends the end of each piece of a text that apply made: all of it, or with split a piece from every
// replacement to the next.
func (m metaspace) pieces(ends []int32, text []byte) []int32 {
	if len(text) == 0 {
		return ends
	}
	if m.split {
		var buffer [utf8.UTFMax]byte
		mark := buffer[:utf8.EncodeRune(buffer[:], m.replacement)]
		_, at := utf8.DecodeRune(text)
		for {
			n := bytes.Index(text[at:], mark)
			if n < 0 {
				break
			}
			ends = append(ends, int32(at+n))
			at += n + len(mark)
		}
	}
	return append(ends, int32(len(text)))
}
