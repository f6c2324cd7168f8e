package text

import (
	"slices"
	"testing"

	"palimpsest/engine/fault"
)

// annotations reads CoNLL content over a tokenizer.
func annotations(t *testing.T, tok *Tokenizer, content string) *Annotations {
	t.Helper()
	_, r, err := readMarked(t, "a.conll", content, ReaderOptions{OnBadRecord: "skip"})
	if err != nil {
		t.Fatal(err)
	}
	a, err := ReadAnnotations(r, tok)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// Under a tokenizer that loses case, accents and white space, tags go by the tokens of the annotated text.
func TestAnnotateWordPiece(t *testing.T) {
	tok := trained(t, TrainOptions{Kind: KindWordPiece, Lowercase: true, Vocab: 100, MinFrequency: 1}, "the red fox saw a redfox")
	a := annotations(t, tok, columns("\t", "The/O Réd/B-X FOX/I-X saw/O", "a/O €/B-X redfox/B-X"))
	tags := func(id int64, text string) []byte {
		t.Helper()
		ids := append(append([]int32{tok.BOS}, tok.Encode(nil, []byte(text))...), tok.EOS)
		got, err := a.Tags(id, ids)
		if err != nil || len(got) != len(ids) || got[0] != TagNone || got[len(got)-1] != TagNone {
			t.Fatalf("%q: %v, %v", text, got, err)
		}
		return slices.DeleteFunc(got[1:len(got)-1], func(tag byte) bool { return tag == TagInside(0) }) // however words were cut
	}
	equal(t, "a sentence", tags(0, "the red  fox saw"), []byte{0, 1, 0})
	if got := tags(1, "a € redfox"); !slices.Equal(got, []byte{0, 1, 1}) {
		t.Errorf("an unknown token: %v", got)
	}
	if _, n := a.Unused(); n != 0 || a.Documents != 2 || a.Entities != 3 || a.Lost != 0 {
		t.Errorf("%d unused, %+v", n, a.AnnotationReport)
	}
	_, err := a.Tags(2, tok.Encode(nil, []byte("a fox")))
	wantKind(t, err, fault.Data, "document 2", "no annotation")

	f, err := NewTermFinder(tok, []Term{{Text: "Red Fox", Type: "X", Weight: 1, Line: 1}, {Text: "日本", Type: "X", Line: 2}}, nil, false)
	if err != nil {
		t.Fatal(err)
	}
	ids := tok.Encode(nil, []byte("a RÉD fox, a redfox"))
	got, err := f.Tags(0, ids)
	if n := slices.Index(got, 1); err != nil || n < 0 || f.Entities != 1 || slices.Contains(got[n+1:], 1) || got[len(got)-1] != 0 {
		t.Errorf("%v of %v, %v", got, names(tok, ids), err)
	}
	if len(f.Unusable) != 1 || len(f.Unseen()) != 0 {
		t.Errorf("unusable %q, unseen %q", f.Unusable, f.Unseen())
	}
}

// Equal texts take their annotations in order, the last one as often as needed.
func TestAnnotateEqualTexts(t *testing.T) {
	tok := trained(t, TrainOptions{Vocab: 300}, "red fox blue")
	a := annotations(t, tok, columns(" ", "blue/O", "red/B-X fox/O", "red/O fox/B-X"))
	ids := tok.Encode(nil, []byte("red fox"))
	first := func(id int64, want byte) {
		t.Helper()
		tags, err := a.Tags(id, ids)
		if err != nil || tags[0] != want {
			t.Errorf("document %d: %v, %v; want %d first", id, tags, err, want)
		}
	}
	for range 2 { // again after Reset
		first(0, 1) // of no annotation of its number: the next one of the text
		first(5, 0)
		first(6, 0)
		if places, n := a.Unused(); n != 1 || places[0][len(places[0])-2:] != ":1" || a.Repeated != 1 {
			t.Errorf("%q, %d unused, %d repeated", places, n, a.Repeated)
		}
		a.Reset()
	}
	// By number where that has the text, also with other white space.
	tags, err := a.Tags(2, tok.Encode(nil, []byte("red\n\tfox")))
	if err != nil || tags[0] != 0 || !slices.Contains(tags, 1) {
		t.Errorf("%v, %v", tags, err)
	}
}

func FuzzTermLists(f *testing.F) {
	f.Add([]byte("fox\tANIMAL\t2\n# no term\n\nred fox\n"))
	f.Add([]byte(`["fox", {"term": "red", "type": "X", "weight": 1e9}]`))
	f.Add([]byte(`{"fox": "ANIMAL"}`))
	f.Add([]byte("\xEF\xBB\xBFa\tb\tc\td"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		for _, read := range []func([]byte) ([]Term, error){lineTerms, jsonTerms} {
			terms, err := read(raw)
			if err == nil && len(terms) > len(raw) {
				t.Errorf("%d terms of %d bytes", len(terms), len(raw))
			}
			for _, term := range terms {
				if err == nil && term.Line < 1 {
					t.Errorf("%+v", term)
				}
			}
		}
	})
}
