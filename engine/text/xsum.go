package text

import (
	"encoding/csv"
	"errors"
	"io"
	"slices"
	"strconv"
	"unicode/utf8"

	"palimpsest/engine/fault"
)

// An XSumSummary is a summary of the XSum hallucination annotations (Maynez and others 2020, repository
// google-research-datasets/xsum_hallucination_annotations) with the spans of bytes that enough workers called hallucinated.
type XSumSummary struct {
	Article, System string
	Text            []byte
	Spans           [][2]int
}

// XSumReport counts what reading them met.
type XSumReport struct {
	Rows   int `json:"rows"`
	Null   int `json:"rows_without_span"`
	Absent int `json:"spans_not_in_the_summary"` // dropped
	Marked int `json:"spans_of_workers"`
}

// xsumColumns are those that are read.
var xsumColumns = []string{"bbcid", "system", "summary", "hallucinated_span", "hallucinated_span_start", "worker_id", "hallucination_type"}

// ReadXSum reads the annotations' file, in which a summary has a row for every span of every worker, and returns the summaries
// in its order. The file's offsets begin with 1 and its ends are inconsistent, so a span is taken where its text stands
// nearest to the offset; one whose text the summary does not have is dropped, and counted. A character is unwanted when at
// least vote workers marked it: with 1 the union of all. path is for messages; errors are fault.Data with the line.
func ReadXSum(in io.Reader, path string, vote int) (all []XSumSummary, report XSumReport, err error) {
	r := csv.NewReader(in)
	r.ReuseRecord = true
	header, err := r.Read()
	if err != nil {
		return nil, report, fault.Data.Errorf("%s:1: the header: %w", path, err)
	}
	var columns []int
	for _, name := range xsumColumns {
		i := slices.Index(header, name)
		if i < 0 {
			return nil, report, fault.Data.Errorf("%s:1: no column %q; the header has %q; hint: hallucination_annotations_xsum_summaries.csv", path, name, clipAll(header))
		}
		columns = append(columns, i)
	}
	numbers := map[[2]string]int{}
	var votes [][]map[string]bool // by summary and byte: workers
	for {
		row, err := r.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, report, fault.Data.Errorf("%s: %w", path, err)
		}
		line, _ := r.FieldPos(0)
		value := func(i int) string { return row[columns[i]] }
		report.Rows++
		key := [2]string{value(0), value(1)}
		n, known := numbers[key]
		if !known {
			n = len(all)
			numbers[key] = n
			all = append(all, XSumSummary{Article: value(0), System: value(1), Text: []byte(value(2))})
			votes = append(votes, make([]map[string]bool, len(value(2))))
			if !utf8.ValidString(value(2)) || value(2) == "" {
				return nil, report, fault.Data.Errorf("%s:%d: the summary is empty or not valid UTF-8", path, line)
			}
		}
		if string(all[n].Text) != value(2) {
			return nil, report, fault.Data.Errorf("%s:%d: another summary of article %s by %s than before", path, line, value(0), value(1))
		}
		if value(3) == "NULL" || value(3) == "" || value(6) == "NULL" { // some rows have a text without a type or place
			report.Null++
			continue
		}
		start, err := strconv.Atoi(value(4))
		if err != nil {
			return nil, report, fault.Data.Errorf("%s:%d: start of the span: %q is no number", path, line, value(4))
		}
		from, to, ok := nearest(value(2), value(3), start-1)
		if !ok {
			report.Absent++
			continue
		}
		report.Marked++
		for k := from; k < to; k++ {
			if votes[n][k] == nil {
				votes[n][k] = map[string]bool{}
			}
			votes[n][k][value(5)] = true
		}
	}
	if len(all) == 0 {
		return nil, report, fault.Data.Errorf("%s: no summaries", path)
	}
	for n := range all {
		for from := 0; from < len(votes[n]); {
			to := from
			for to < len(votes[n]) && len(votes[n][to]) >= vote {
				to++
			}
			if to > from {
				all[n].Spans = append(all[n].Spans, [2]int{from, to})
			}
			from = max(to, from+1)
		}
	}
	return all, report, nil
}

// nearest finds the occurrence of a part in a text whose place in code points is nearest to one, as a range of bytes; of two
// equally near the first.
func nearest(text, part string, place int) (from, to int, ok bool) {
	best, point := 0, 0
	for at := range text {
		if distance := max(point-place, place-point); len(text)-at >= len(part) && text[at:at+len(part)] == part && (!ok || distance < best) {
			from, to, best, ok = at, at+len(part), distance, true
		}
		point++
	}
	return from, to, ok
}
