package text

import (
	"strings"
	"testing"

	"palimpsest/engine/fault"
)

func TestTables(t *testing.T) {
	csv := "\xEF\xBB\xBFid,text,answer\r\n1,\"a, \"\"b\"\"\r\nc\",x\r\n\r\n2,d,\n3,,y\n"
	for _, c := range []struct {
		name, file, content string
		o                   ReaderOptions
		want                []string
	}{
		{"csv", "a.csv", csv, ReaderOptions{}, []string{"2:a, \"b\"\nc", "5:d"}},
		{"pair", "a.csv", csv, ReaderOptions{Fields: fields(t, "prompt=text,completion=answer"), OnBadRecord: "skip"}, []string{"2:a, \"b\"\nc\n⟦x⟧", "6:\n⟦y⟧"}},
		{"tsv", "a.tsv", "text\tn\n\"q\tr\"\t1\n", ReaderOptions{}, []string{"2:q\tr"}},
		{"no quotes", "a.tsv", "text\tn\nsay \"q\t1\r\n\nx\t2", ReaderOptions{Quotes: "none"}, []string{`2:say "q`, "4:x"}},
		{"no header", "a.csv", "one,1\ntwo,2\n", ReaderOptions{NoHeader: true}, []string{"1:one", "2:two"}},
		{"columns", "a.csv", "1,one,A\n2,two,B\n", ReaderOptions{NoHeader: true, Fields: fields(t, "prompt=3,completion=2")}, []string{"1:A\n⟦one⟧", "2:B\n⟦two⟧"}},
		{"alpaca", "a.csv", "instruction,output\nA,B\n", ReaderOptions{Shape: "alpaca"}, []string{"2:A\n\n⟦B⟧"}},
		{"format", "a.data", "text\na\n", ReaderOptions{Format: "csv"}, []string{"2:a"}},
	} {
		docs, _, err := readMarked(t, c.file, c.content, c.o)
		wantDocs(t, c.name, docs, err, c.want...)
	}
}

func TestBadTables(t *testing.T) {
	for _, c := range []struct {
		content string
		o       ReaderOptions
		want    string
	}{
		{"text,n\na\"b,1\n", ReaderOptions{}, `a.csv:2: line 2, column 2: bare " in non-quoted-field; hint: where quotes are plain text`},
		{"text,n\n\"a\nb\"c,1\n", ReaderOptions{}, "a.csv:2: line 3, column 2: extraneous or missing"},
		{"text,n\n\"a,1\nb,2\n", ReaderOptions{}, "a.csv:2: line "},
		{"text,n\na,1,2\n", ReaderOptions{}, "a.csv:2: 3 fields, the first row has 2"},
		{"text,n\na\n", ReaderOptions{}, "a.csv:2: 1 fields, the first row has 2"},
		{"text,n\na\n", ReaderOptions{Quotes: "none"}, "a.csv:2: 1 fields, the first row has 2"},
		{"body,n\na,1\n", ReaderOptions{}, `a.csv:1: no column "text"; the header has ["body" "n"]`},
		{"text,text\na,1\n", ReaderOptions{}, `a.csv:1: two columns are called "text"`},
		{"text\"\n", ReaderOptions{}, "a.csv:1: the header: line 1"},
		{"", ReaderOptions{}, "no documents in 1 files"},
		{"a,b\n", ReaderOptions{NoHeader: true, Field: "3"}, "a.csv:1: the text is in column 3, the rows have 2"},
		{"a,b\n", ReaderOptions{NoHeader: true, Shape: "pair"}, `column "prompt" of the pair: without a header`},
		{"text\na\n", ReaderOptions{Shape: "messages"}, "cannot be rows of a table"},
		{"text\n" + strings.Repeat("x", 60) + "\n", ReaderOptions{Quotes: "none", MaxLine: 50}, "a.csv:2: row of 61 bytes, the limit is 50"},
		{"text\nok\n\"" + strings.Repeat("x\n", readBuffer), ReaderOptions{MaxLine: 50, OnBadRecord: "skip"}, "the row after the one at line 2 has more than 50 bytes; hint: is a quote left open"},
	} {
		_, _, err := readMarked(t, "a.csv", c.content, c.o)
		wantKind(t, err, fault.Data, c.want)
	}
	docs, r, err := readMarked(t, "a.csv", "text,n\na\"b,1\none,1\ntwo\nthree,3,3\nfour,4\n", ReaderOptions{OnBadRecord: "skip"})
	wantDocs(t, "skip", docs, err, "3:one", "6:four")
	if r.Report().Skipped != 3 {
		t.Errorf("report %+v", r.Report())
	}
}

// Any bytes as a table: no panic, and every row that is taken is one of the file.
func FuzzTable(f *testing.F) {
	f.Add("text,n\n\"a\"\"b\",1\nc,2\n", true, false)
	f.Add("text\tn\na\"\t1\n", false, true)
	f.Add("a,\"", true, true)
	f.Fuzz(func(t *testing.T, content string, quoted, noHeader bool) {
		o := ReaderOptions{NoHeader: noHeader, Quotes: "none", OnBadRecord: "skip", MaxLine: 1000}
		if quoted {
			o.Quotes = "csv"
		}
		docs, r, err := readMarked(t, "a.csv", content, o)
		if err != nil {
			wantKind(t, err, fault.Data)
		}
		if lines := strings.Count(content, "\n") + 1; r.Report().Documents != len(docs) || len(docs) > lines {
			t.Fatalf("%d documents, report %+v, %d lines", len(docs), r.Report(), lines)
		}
	})
}
