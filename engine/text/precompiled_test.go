package text

import (
	"encoding/binary"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"palimpsest/engine/fault"
)

func TestPrecompiledRecorded(t *testing.T) {
	r := recordedCases(t)
	p, err := newPrecompiled(r.Charsmap)
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Normalized) < 100 {
		t.Fatalf("only %d recorded cases", len(r.Normalized))
	}
	for _, c := range r.Normalized {
		source, want := c[0].(string), c[1].(string)
		got, align := p.normalize([]byte("x"), []int32{9}, []byte(source))
		if string(got) != "x"+want || len(align) != len(got) || align[0] != 9 {
			t.Errorf("%q\n got %q\nwant %q", source, got[1:], want)
			continue
		}
		character := 0
		for i := range want { // the offset of every byte is that of its character
			place := utf8.RuneCountInString(source[:align[1+i]])
			if expected := int(c[2].([]any)[character].(float64)); place != expected {
				t.Errorf("%q: character %d of %q comes from %d, expected %d", source, character, want, place, expected)
			}
			_, n := utf8.DecodeRuneInString(want[i:])
			for k := range n {
				if align[1+i+k] != align[1+i] {
					t.Errorf("%q: bytes of a character of %q have offsets %v", source, want, align[1:])
				}
			}
			character++
		}
	}
}

// oneByteCharsmap makes one Y of every cluster under six bytes, and of every character of longer ones.
func oneByteCharsmap() []byte {
	units := make([]uint32, 2048)
	units[0] = 256 << 10
	for label := uint32(1); label < 256; label++ {
		at := 256 ^ label
		units[at] = label | 1<<8 | 512<<10
		units[at^512] = 1 << 31
	}
	out := binary.LittleEndian.AppendUint32(nil, uint32(4*len(units)))
	for _, u := range units {
		out = binary.LittleEndian.AppendUint32(out, u)
	}
	return append(out, "Y\x00"...)
}

func TestGraphemeClustersRecorded(t *testing.T) {
	p, err := newPrecompiled(oneByteCharsmap())
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range recordedCases(t).Clusters {
		if got, _ := p.normalize(nil, nil, []byte(c[0])); string(got) != c[1] {
			t.Errorf("%+q: %s, expected %s", c[0], got, c[1])
		}
	}
}

// TestGraphemeClusters has sequences of each rule, "|" between clusters (UAX #29).
func TestGraphemeClusters(t *testing.T) {
	for _, s := range []string{
		"\r\n|\n|\r|a|b", "a\u0301\u0308|b", "\u0600a|b", "\u0600|\n", "a\u200d|\u00a9", "\u00a9\u0301\u200d\u00a9|\u00a9", "\u1100\u1161\u11a8|\u1100",
		"\uac00\u11a8|\u1161", "\uac01\u11a8|\uac00", "\U0001F1E6\U0001F1E7|\U0001F1E6\U0001F1E7|\U0001F1E6", "\u0915\u094d\u0937|\u0915|\u0937",
		"\u0915\u094d\u200d\u0937", "\u0915\u094d\u200c|\u0937", "\u0915\u0903|\u0937", "\u200d|\u00a9", "\xff|\xfe|a",
	} {
		var got []string
		text := []byte(strings.ReplaceAll(s, "|", ""))
		for len(text) > 0 {
			n := graphemes().cluster(text)
			if _, first := utf8.DecodeRune(text); n < first {
				t.Fatalf("%+q: a cluster of %d bytes, its first character has %d", text, n, first)
			}
			got = append(got, string(text[:n]))
			text = text[n:]
		}
		if want := strings.Split(s, "|"); !slices.Equal(got, want) {
			t.Errorf("%+q, expected %+q", got, want)
		}
	}
}

func TestPrecompiledErrors(t *testing.T) {
	good := recordedCases(t).Charsmap
	size := binary.LittleEndian.Uint32(good)
	outside := slices.Clone(good)
	binary.LittleEndian.PutUint32(outside[4:], 0x1FFFFF<<10|1<<9)
	for name, charsmap := range map[string][]byte{
		"empty": nil, "header": good[:3], "trie cut": good[:size], "no trie": {0, 0, 0, 0}, "odd size": append([]byte{5, 0, 0, 0}, good[4:]...),
		"huge size": {0xFC, 0xFF, 0xFF, 0xFF, 1, 2, 3, 4}, "no replacements": good[:4+size], "base outside": outside,
		"not UTF-8": append(slices.Clone(good), 0xFF),
	} {
		if p, err := newPrecompiled(charsmap); fault.Of(err) != fault.Data {
			t.Errorf("%s: %v, %v", name, p, err)
		}
	}
}

func FuzzPrecompiled(f *testing.F) {
	f.Add(oneByteCharsmap(), []byte("ab\u0301\xff"))
	f.Add(recordedCases(f).Charsmap, []byte("①\u00ad\r\nﬁ"))
	f.Add([]byte{4, 0, 0, 0, 1, 2, 3, 4}, []byte("a"))
	f.Fuzz(func(t *testing.T, charsmap, source []byte) {
		p, err := newPrecompiled(charsmap)
		if err != nil {
			return
		}
		got, align := p.normalize(nil, nil, source)
		if len(got) != len(align) {
			t.Fatalf("%d bytes, %d offsets", len(got), len(align))
		}
		last := int32(0)
		for _, a := range align {
			if a < last || int(a) >= len(source) {
				t.Fatalf("%q: offsets %v", source, align)
			}
			last = a
		}
	})
}
