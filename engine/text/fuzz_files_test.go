package text

import (
	"bytes"
	"reflect"
	"testing"

	"palimpsest/engine/fault"
)

// Any bytes as a file of any format, packed or not: reading ends, without a panic, in documents whose spans lie in their text or
// in an error of kind data; skipping bad records finds at least as many documents.
func FuzzFiles(f *testing.F) {
	formats := []string{"txt", "jsonl", "csv", "tsv", "conll"}
	units := []string{"file", "paragraph", "line"}
	for i, content := range []string{"\uFEFFone\r\n\r\ntwo\x00", `{"text":"a"}` + "\n\n" + `{"text":5}`, "text,b\n\"x\"\"y\",z\n", "text\tb\nx\ty", "a B-X\nb I-X\n\nc O\n"} {
		f.Add(byte(i), []byte(content))
		f.Add(byte(i), []byte(packed(f, "gz", content)))
		f.Add(byte(i), []byte(packed(f, "zst", content[:3], content[3:])))
	}
	f.Fuzz(func(t *testing.T, which byte, content []byte) {
		count := func(onBad string) (int, error) {
			r, err := Open(ReaderOptions{Paths: []string{"-"}, Stdin: bytes.NewReader(content), Format: formats[int(which)%len(formats)],
				Unit: units[int(which/8)%len(units)], Scheme: "iob2", MaxDocument: 1 << 16, MaxLine: 1 << 12, OnBadRecord: onBad})
			if err != nil {
				return 0, err
			}
			var docs []Document
			for d, e := range r.Documents() {
				if err = e; e == nil {
					docs = append(docs, d)
				}
			}
			for _, d := range docs {
				if len(d.Text) == 0 || len(d.Text) > 1<<16 {
					t.Fatalf("a document of %d bytes", len(d.Text))
				}
				checkSpans(t, d, r.EntityTypes())
			}
			return len(docs), err
		}
		strict, err := count("fail")
		if err != nil {
			wantKind(t, err, fault.Data)
		}
		if lax, err := count("skip"); lax < strict || err != nil && fault.Of(err) != fault.Data {
			t.Errorf("%d documents, skipping bad ones %d, %v", strict, lax, err)
		}
	})
}

// Any text as a place in a build, a list of fields or the provenance of a plane: what is read is written the same again.
func FuzzSmallTexts(f *testing.F) {
	f.Add("3:17:a.txt")
	f.Add("prompt=question,completion=answer")
	f.Add(`bio; entity types: "PER","LOC"`)
	f.Fuzz(func(t *testing.T, s string) {
		if m, err := ParseMark(s); err == nil && s != "" {
			if again, err := ParseMark(m.String()); err != nil || !reflect.DeepEqual(m, again) {
				t.Errorf("%+v became %+v, %v", m, again, err)
			}
		}
		if _, err := ParseFields(s); err != nil {
			wantKind(t, err, fault.Usage)
		}
		if types, err := ParseEntityTypes(s); err == nil && len(types) > 255 {
			t.Errorf("%d types", len(types))
		}
	})
}
