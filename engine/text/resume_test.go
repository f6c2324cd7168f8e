package text

import (
	"fmt"
	"reflect"
	"strings"
	"testing"

	"palimpsest/engine/fault"
)

func TestEncodeFrom(t *testing.T) {
	tok := chatTokenizer(t)
	var content strings.Builder
	for i := range 300 {
		fmt.Fprintf(&content, "{\"text\":\"%d hello\",\"spans\":[{\"start\":0,\"end\":1,\"label\":\"T%d\"}]}\n", i%250, i%7)
	}
	o := ReaderOptions{Shape: "spans", Filters: Filters{Distinct: true}}
	encode := func(content string, from Mark) (all []Encoded, stats EncodeStats, err error) {
		stats, err = EncodeAll(openText(t, "a.jsonl", content, o), tok,
			EncodeOptions{BOS: -1, EOS: tok.EOS, Planes: []string{PlaneBIO}, Workers: 2, MinTokens: 3, From: from}, func(e Encoded) error {
				e.Source = ""
				all = append(all, e)
				return nil
			})
		return all, stats, err
	}
	whole, stats, err := encode(content.String(), Mark{})
	if err != nil || len(whole) != 240 || stats.Passed != 0 {
		t.Fatalf("%d documents, %+v, %v", len(whole), stats, err) // 10 are too short
	}
	for _, at := range []int{0, 1, 100, 238} {
		mark, err := ParseMark(whole[at].Mark.String())
		if err != nil || mark != whole[at].Mark {
			t.Fatalf("%v, %v", mark, err)
		}
		rest, stats, err := encode(content.String(), mark)
		if err != nil || !reflect.DeepEqual(rest, whole[at+1:]) || stats.Passed != int64(at+11) || stats.Documents != int64(len(rest)) {
			t.Errorf("from %d: %d documents, %+v, %v", at, len(rest), stats, err)
		}
		if types, err := ParseEntityTypes(stats.Provenance[PlaneBIO]); err != nil || len(types) != 7 {
			t.Errorf("types %q, %v", types, err)
		}
	}
	if rest, _, err := encode(content.String(), whole[239].Mark); err != nil || len(rest) != 0 {
		t.Errorf("from the end: %d documents, %v", len(rest), err)
	}
	// Another text, other spans, fewer documents.
	for _, other := range []string{
		strings.Replace(content.String(), "hello", "hallo", 1), strings.Replace(content.String(), `"end":1`, `"end":2`, 1),
	} {
		_, _, err := encode(other, whole[90].Mark)
		wantKind(t, err, fault.Data, "a.jsonl:101, are not those that were encoded before")
	}
	_, _, err = encode(content.String()[:4000], whole[90].Mark)
	wantKind(t, err, fault.Data, "a.jsonl:")
	short := strings.Join(strings.SplitAfter(content.String(), "\n")[:50], "")
	_, _, err = encode(short, whole[90].Mark)
	wantKind(t, err, fault.Data, "50 documents, 101 were encoded before")
	for _, bad := range []string{"1", "1:2", "x:0123456789abcdef", "0:0123456789abcdef", "01:0123456789abcdef", "1:0123456789ABCDEF"} {
		_, err := ParseMark(bad)
		wantKind(t, err, fault.Data)
	}
}
