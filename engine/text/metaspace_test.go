package text

import (
	"testing"
	"unicode/utf8"
)

func TestMetaspaceRecorded(t *testing.T) {
	cases := recordedCases(t).Metaspace
	if len(cases) < 40 {
		t.Fatalf("only %d recorded cases", len(cases))
	}
	for _, c := range cases {
		m := metaspace{'▁', c[0].(string), c[1].(bool)}
		source, want := c[2].(string), c[3].([]any)
		out, align := m.apply(nil, nil, []byte(source), true)
		ends := m.pieces(nil, out)
		if len(ends) != len(want) || len(align) != len(out) {
			t.Errorf("%v of %q: %q in %d pieces, expected %v", m, source, out, len(ends), want)
			continue
		}
		start := int32(0)
		for i, end := range ends {
			piece := want[i].([]any)
			from := int(align[start])
			last := int(align[end-1])
			_, n := utf8.DecodeRuneInString(source[last:])
			from, to := utf8.RuneCountInString(source[:from]), utf8.RuneCountInString(source[:last+n])
			if string(out[start:end]) != piece[0] || from != int(piece[1].(float64)) || to != int(piece[2].(float64)) {
				t.Errorf("%v of %q: piece %d is %q of %d to %d, expected %v", m, source, i, out[start:end], from, to, piece)
			}
			start = end
		}
	}
}

func TestMetaspaceLater(t *testing.T) {
	for scheme, want := range map[string]string{"always": "▁a▁\xffb", "first": "a▁\xffb", "never": "a▁\xffb"} {
		out, align := metaspace{'▁', scheme, true}.apply(nil, nil, []byte("a \xffb"), false)
		if string(out) != want || len(align) != len(out) || align[len(align)-1] != 3 {
			t.Errorf("%s: %q %v, expected %q", scheme, out, align, want)
		}
	}
	if ends := (metaspace{'▁', "always", true}).pieces(nil, nil); len(ends) != 0 {
		t.Errorf("nothing has pieces: %v", ends)
	}
}
