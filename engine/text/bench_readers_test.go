package text

import (
	"fmt"
	"strings"
	"testing"
)

func BenchmarkReaders(b *testing.B) {
	words := strings.Repeat("some words of a sentence, as they come; ", 12)
	var jsonl, messages, csv, conll strings.Builder
	csv.WriteString("id,text\n")
	for i := range 4000 {
		fmt.Fprintf(&jsonl, "{\"id\":%d,\"text\":\"%d %s\"}\n", i, i, words)
		fmt.Fprintf(&messages, "{\"messages\":[{\"role\":\"user\",\"content\":\"%d\"},{\"role\":\"assistant\",\"content\":\"%s\"}]}\n", i, words)
		fmt.Fprintf(&csv, "%d,\"%d %s\"\n", i, i, words)
		conll.WriteString("The O\nNew B-LOC\nYork I-LOC\nTimes O\n\n")
	}
	for _, c := range []struct {
		name, file, content string
		o                   ReaderOptions
	}{
		{"jsonl", "a.jsonl", jsonl.String(), ReaderOptions{}},
		{"jsonl-distinct", "a.jsonl", jsonl.String(), ReaderOptions{Filters: Filters{Distinct: true}}},
		{"jsonl-gz", "a.jsonl.gz", packed(b, "gz", jsonl.String()), ReaderOptions{}},
		{"jsonl-zst", "a.jsonl.zst", packed(b, "zst", jsonl.String()), ReaderOptions{}},
		{"messages", "a.jsonl", messages.String(), ReaderOptions{Shape: "messages", Template: "chatml"}},
		{"csv", "a.csv", csv.String(), ReaderOptions{}},
		{"conll", "a.conll", conll.String(), ReaderOptions{}},
	} {
		b.Run(c.name, func(b *testing.B) {
			r := openText(b, c.file, c.content, c.o)
			bytes := int64(0)
			for b.Loop() {
				for d, err := range r.Documents() {
					if err != nil {
						b.Fatal(err)
					}
					bytes += int64(len(d.Text))
				}
			}
			b.ReportMetric(float64(bytes)/1e6/b.Elapsed().Seconds(), "MB/s")
		})
	}
}
