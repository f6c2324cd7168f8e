package text

import (
	"fmt"
	"strings"
	"testing"

	"palimpsest/engine/fault"
)

const xsumHeader = "bbcid,system,summary,hallucination_type,hallucinated_span,hallucinated_span_start,hallucinated_span_end,worker_id\n"

func TestReadXSum(t *testing.T) {
	content := xsumHeader +
		"1,A,\"é the fox, the dog\",extrinsic,the,12,15,w0\n" + // the second one, from 1
		"1,A,\"é the fox, the dog\",extrinsic,the dog,12,18,w1\n" +
		"1,A,\"é the fox, the dog\",intrinsic,fox,1,3,w0\n" + // offsets do not matter where the text is there once
		"1,A,\"é the fox, the dog\",intrinsic,cat,3,6,w2\n" +
		"1,B,no span,NULL,NULL,-1,-1,w0\n" +
		"1,B,no span,NULL,span,-1,-1,w1\n" +
		"2,A,a a,extrinsic,a,2,2,w0\n" // as near to one as to the other
	read := func(vote int) ([]XSumSummary, XSumReport, string) {
		t.Helper()
		all, r, err := ReadXSum(strings.NewReader(content), "x.csv", vote)
		if err != nil {
			t.Fatal(err)
		}
		var marks []string
		for _, s := range all {
			text := s.Article + s.System + ":"
			at := 0
			for _, p := range s.Spans {
				text += string(s.Text[at:p[0]]) + "[" + string(s.Text[p[0]:p[1]]) + "]"
				at = p[1]
			}
			marks = append(marks, text+string(s.Text[at:]))
		}
		return all, r, fmt.Sprintf("%q", marks)
	}
	_, r, got := read(1)
	if got != `["1A:é the [fox], [the dog]" "1B:no span" "2A:[a] a"]` || r != (XSumReport{Rows: 7, Null: 2, Absent: 1, Marked: 4}) {
		t.Errorf("%s, %+v", got, r)
	}
	if _, _, got := read(2); got != `["1A:é the fox, [the] dog" "1B:no span" "2A:a a"]` {
		t.Errorf("by two workers: %s", got)
	}
	for bad, parts := range map[string][]string{
		"":                                    {"x.csv:1", "header"},
		"a,b\n":                               {"x.csv:1", `no column "bbcid"`},
		xsumHeader:                            {"no summaries"},
		xsumHeader + "1,A,text,x,t,one,2,w\n": {"x.csv:2", `"one"`},
		xsumHeader + "1,A,text,x,t,1,2,w\n1,A,other,x,t,1,2,w\n": {"x.csv:3", "another summary"},
		xsumHeader + "1,A,,x,t,1,2,w\n":                          {"x.csv:2", "empty"},
		xsumHeader + "1,A,text\n":                                {"x.csv", "wrong number of fields"},
		xsumHeader + "1,A,\"open quote,x,t,1,2,w\n1,A,b,x,t,1,2": {"x.csv"},
	} {
		_, _, err := ReadXSum(strings.NewReader(bad), "x.csv", 1)
		wantKind(t, err, fault.Data, parts...)
	}
}
