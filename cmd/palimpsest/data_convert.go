package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/cespare/xxhash/v2"
	"github.com/urfave/cli/v2"

	"palimpsest/engine/fault"
	"palimpsest/engine/text"
)

func convertCommand() *cli.Command {
	return &cli.Command{
		Name:      "convert",
		Usage:     "turn the XSum hallucination annotations into records for 'data build --shape generation'",
		ArgsUsage: "FILE.csv",
		Description: example("palimpsest data convert --out xsum hallucination_annotations_xsum_summaries.csv",
			"palimpsest data build --tokenizer tokenizer.json --shape generation --out negatives xsum/train.jsonl") +
			"\n\nThe file is that of github.com/google-research-datasets/xsum_hallucination_annotations. A record is a summary with the spans that its workers called hallucinated: " +
			"those of all, or with --vote 2 what at least two marked. A span stands where its text is nearest to its offset; spans whose text the summary lacks are dropped and counted. " +
			"All summaries of an article go to the same part, train.jsonl or valid.jsonl.",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "out", Usage: "`FOLDER` of the two files"},
			&cli.IntFlag{Name: "vote", Value: 1, Usage: "`NUMBER` of workers who must have marked a character"},
			&cli.Float64Flag{Name: "valid", Value: 0.1, Usage: "`SHARE` of the articles that go to valid.jsonl"},
			&cli.Uint64Flag{Name: "seed", Value: 1, Usage: "`NUMBER` that decides which"},
			&cli.BoolFlag{Name: "force", Usage: "replace files that exist"},
		},
		Action: convertData,
	}
}

// convertedPart is what one of the files holds.
type convertedPart struct {
	File     string `json:"file"`
	Articles int    `json:"articles"`
	Texts    int    `json:"texts"`
	Marked   int    `json:"texts_with_span"`
	Spans    int    `json:"spans"`
}

func convertData(c *cli.Context) error {
	path, err := oneArgument(c, "the annotations' csv file")
	if err == nil {
		err = need(c, "out")
	}
	if err != nil {
		return err
	}
	vote, valid := c.Int("vote"), c.Float64("valid")
	switch {
	case vote < 1:
		return fault.Usage.Errorf("--vote: want 1 or more, not %d", vote)
	case !(valid >= 0 && valid < 1):
		return fault.Usage.Errorf("--valid: want a share from 0, below 1, not %g", valid)
	}
	start := time.Now()
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return fault.Data.Errorf("there is no file %s", path)
	}
	if err != nil {
		return fault.Data.Wrap(err)
	}
	defer f.Close()
	all, report, err := text.ReadXSum(bufio.NewReader(f), path, vote)
	if err != nil {
		return err
	}
	parts := []*convertedPart{{File: filepath.Join(c.String("out"), "train.jsonl")}, {File: filepath.Join(c.String("out"), "valid.jsonl")}}
	of := func(s text.XSumSummary) *convertedPart {
		h := xxhash.Sum64String(fmt.Sprintf("%d/%s", c.Uint64("seed"), s.Article))
		if float64(h>>11)/(1<<53) < valid {
			return parts[1]
		}
		return parts[0]
	}
	for _, p := range parts {
		if exists(p.File) && !c.Bool("force") {
			return fault.Usage.Errorf("%s exists already; hint: choose another --out, or add --force to replace it", p.File)
		}
	}
	if err := writable(c.String("out")); err != nil {
		return err
	}
	for _, p := range parts {
		articles := map[string]bool{}
		err := writeLines(p.File, func(lines *json.Encoder) error {
			for _, s := range all {
				if of(s) != p {
					continue
				}
				spans := judged{text: s.Text, spans: s.Spans}.records()
				articles[s.Article] = true
				p.Texts++
				if p.Spans += len(spans); len(spans) > 0 {
					p.Marked++
				}
				record := struct {
					Article    string       `json:"article"`
					System     string       `json:"system"`
					Generation string       `json:"generation"`
					Spans      []spanRecord `json:"spans"`
				}{s.Article, s.System, string(s.Text), spans}
				if err := lines.Encode(record); err != nil {
					return fault.Write.Wrap(err)
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		p.Articles = len(articles)
	}
	result := struct {
		Parts []*convertedPart `json:"parts"`
		text.XSumReport
		Seconds float64 `json:"seconds"`
	}{parts, report, time.Since(start).Seconds()}
	return show(c, result, func(w io.Writer) {
		fmt.Fprintf(w, "%s: %s rows, %s of them without a span, %s spans of workers\n", path, count(report.Rows), count(report.Null), count(report.Marked+report.Absent))
		if report.Absent > 0 {
			fmt.Fprintf(w, "note: %s spans are not in their summary, dropped\n", count(report.Absent))
		}
		for _, p := range parts {
			fmt.Fprintf(w, "%s: %s texts of %s articles, %s of them with %s spans\n", p.File, count(p.Texts), count(p.Articles), count(p.Marked), count(p.Spans))
		}
		fmt.Fprintf(w, "next: palimpsest data build --tokenizer TOKENIZER --shape generation --out negatives %s\n", parts[0].File)
	})
}
