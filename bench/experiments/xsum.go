package main

import (
	"bufio"
	"encoding/csv"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"palimpsest/engine/fault"
)

// A markedSummary is a record of the shape generation; offsets are code points, the end is excluded.
type markedSummary struct {
	Generation string `json:"generation"`
	Spans      []span `json:"spans"`
	article    string
	votes      []map[string]bool // by span: workers
}

type span struct {
	Start int    `json:"start"`
	End   int    `json:"end"`
	Text  string `json:"text"`
}

// xsum reads hallucination_annotations_xsum_summaries.csv (google-research-datasets/xsum_hallucination_annotations), in which a
// summary has a row for every span and worker, and writes a record for every summary. The file's offsets begin with 1 and
// their ends are inconsistent, so a span is where its text stands nearest to the offset.
func xsum(args []string) error {
	flags := flag.NewFlagSet("experiments xsum", flag.ContinueOnError)
	path := flags.String("csv", "", "annotation `FILE`")
	part := flags.String("part", "", "train or test: four fifths of the articles and the rest")
	vote := flags.Int("vote", 1, "`NUMBER` of workers who must have marked a character")
	out := flags.String("out", "", "JSON lines `FILE` to write")
	if err := flags.Parse(args); err != nil {
		return fault.Usage.Wrap(err)
	}
	if *path == "" || *out == "" || *part != "train" && *part != "test" {
		return fault.Usage.Errorf("xsum: --csv, --out and --part train or test are needed")
	}
	f, err := os.Open(*path)
	if err != nil {
		return fault.Data.Wrap(err)
	}
	defer f.Close()
	all, lost, err := readXSum(bufio.NewReader(f), *vote)
	if err != nil {
		return fault.Data.Errorf("%s: %w", *path, err)
	}
	g, err := os.Create(*out)
	if err != nil {
		return fault.Write.Wrap(err)
	}
	defer g.Close()
	w := bufio.NewWriter(g)
	lines := json.NewEncoder(w)
	lines.SetEscapeHTML(false)
	n, spans := 0, 0
	for _, s := range all {
		if inTest := testArticle(s.article); inTest != (*part == "test") {
			continue
		}
		if err := lines.Encode(s); err != nil {
			return fault.Write.Wrap(err)
		}
		n, spans = n+1, spans+len(s.Spans)
	}
	if err := errors.Join(w.Flush(), g.Close()); err != nil {
		return fault.Write.Wrap(err)
	}
	fmt.Printf("{\"part\":%q,\"summaries\":%d,\"spans\":%d,\"spans_not_found_in_the_file\":%d}\n", *part, n, spans, lost)
	return nil
}

// testArticle splits by the last digit of the article's number.
func testArticle(id string) bool { return strings.HasSuffix(id, "0") || strings.HasSuffix(id, "5") }

// readXSum returns the summaries in the order of the file, and how many marks do not occur in their summary.
func readXSum(in io.Reader, vote int) (all []*markedSummary, lost int, err error) {
	r := csv.NewReader(in)
	head, err := r.Read()
	if err != nil {
		return nil, 0, err
	}
	var columns [6]int
	for i, name := range []string{"bbcid", "system", "summary", "hallucinated_span", "hallucinated_span_start", "worker_id"} {
		if columns[i] = slices.Index(head, name); columns[i] < 0 {
			return nil, 0, fmt.Errorf("line 1: there is no column %s", name)
		}
	}
	summaries := map[string]*markedSummary{}
	for {
		row, err := r.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, 0, err
		}
		var v [6]string
		for i, c := range columns {
			v[i] = row[c]
		}
		key := v[0] + "/" + v[1]
		s := summaries[key]
		if s == nil {
			s = &markedSummary{Generation: v[2], article: v[0], votes: make([]map[string]bool, utf8.RuneCountInString(v[2]))}
			summaries[key] = s
			all = append(all, s)
		}
		if v[3] == "NULL" || v[3] == "" {
			continue
		}
		start, err := strconv.Atoi(v[4])
		if err != nil {
			line, _ := r.FieldPos(columns[4])
			return nil, 0, fmt.Errorf("line %d: %w", line, err)
		}
		if !s.mark(v[3], start-1, v[5]) {
			lost++
		}
	}
	for _, s := range all {
		s.join(vote)
	}
	return all, lost, nil
}

// mark gives a worker's vote to the characters of the occurrence of a text nearest to a place, and reports whether there is one.
func (s *markedSummary) mark(text string, near int, worker string) bool {
	best := -1
	for from := 0; ; {
		i := strings.Index(s.Generation[from:], text)
		if i < 0 {
			break
		}
		at := utf8.RuneCountInString(s.Generation[:from+i])
		if best < 0 || max(at-near, near-at) < max(best-near, near-best) {
			best = at
		}
		_, size := utf8.DecodeRuneInString(s.Generation[from+i:])
		from += i + size
	}
	if best < 0 {
		return false
	}
	for k := best; k < best+utf8.RuneCountInString(text); k++ {
		if s.votes[k] == nil {
			s.votes[k] = map[string]bool{}
		}
		s.votes[k][worker] = true
	}
	return true
}

// join makes spans of the characters that enough workers marked.
func (s *markedSummary) join(vote int) {
	s.Spans = []span{}
	runes := []rune(s.Generation)
	for k := 0; k < len(runes); k++ {
		from := k
		for k < len(runes) && len(s.votes[k]) >= vote {
			k++
		}
		if k > from {
			s.Spans = append(s.Spans, span{from, k, string(runes[from:k])})
		}
	}
}
