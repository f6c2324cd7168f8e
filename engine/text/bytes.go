package text

import (
	"strings"
	"unicode/utf8"
)

// byteRune is GPT-2's alphabet for bytes (Radford et al. 2019, encoder.py): printable Latin-1 bytes stand for
// themselves, the other 68 take U+0100 and up in order of their value, so that any token can be written as visible text.
// A space is written as U+0120, a line feed as U+010A.
var byteRune = func() (table [256]rune) {
	shifted := rune(0x100)
	for b := range table {
		if '!' <= b && b <= '~' || 0xA1 <= b && b <= 0xAC || 0xAE <= b {
			table[b] = rune(b)
		} else {
			table[b] = shifted
			shifted++
		}
	}
	return table
}()

// runeByte inverts byteRune; -1 marks characters outside the alphabet, whose largest member is U+0143.
var runeByte = func() (table [0x144]int16) {
	for i := range table {
		table[i] = -1
	}
	for b, r := range byteRune {
		table[r] = int16(b)
	}
	return table
}()

// surfaceOf writes token bytes in the byte-level alphabet.
func surfaceOf(token []byte) string {
	var s strings.Builder
	s.Grow(len(token) + len(token)/2)
	for _, b := range token {
		s.WriteRune(byteRune[b])
	}
	return s.String()
}

// surfaceBytes reads the byte-level alphabet back; ok is false when a character is outside of it, and bad is that one.
func surfaceBytes(surface string) (token []byte, bad rune, ok bool) {
	token = make([]byte, 0, utf8.RuneCountInString(surface))
	for _, r := range surface {
		if int(r) >= len(runeByte) || runeByte[r] < 0 {
			return nil, r, false
		}
		token = append(token, byte(runeByte[r]))
	}
	return token, 0, true
}
