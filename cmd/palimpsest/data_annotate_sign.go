package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"palimpsest/engine/fault"
	"palimpsest/engine/shard"
	"palimpsest/engine/text"
)

type tokensResult struct {
	Dir       string `json:"dir"`
	Plane     string `json:"plane"`
	Source    string `json:"source"`
	Documents int64  `json:"documents"` // annotated
	Plain     int64  `json:"documents_without_record"`
	text.SignCounts
	Boilerplate int64    `json:"boilerplate_tokens"`
	Reasoning   int64    `json:"reasoning_tokens"`
	Lost        int64    `json:"spans_without_token"`
	Unused      int      `json:"unused_records"`
	Seconds     float64  `json:"seconds"`
	Notes       []string `json:"notes"`
}

// A tokenJudge gives the documents of a data set a value for each token, in order; reset begins again with the first.
type tokenJudge struct {
	reset func()
	of    func(d shard.Document) ([]byte, error)
}

// annotateTokens adds the plane sign or class.
func annotateTokens(c *cli.Context, dir, plane string) error {
	if plane != text.PlaneSign && plane != text.PlaneClass {
		return fault.Usage.Errorf("--plane: want bio, sign or class, not %q; hint: 'data build' makes loss and label", plane)
	}
	for _, name := range []string{"bio", "spans", "terms", "type", "first-subword", "entity-types", "labels-from", "token-column", "tag-column", "scheme", "repair-tags"} {
		if c.IsSet(name) {
			return fault.Usage.Errorf("--%s is about the plane bio, not %s; hint: --words, --patterns or --records", name, plane)
		}
	}
	rule, err := signRule(c)
	if err != nil {
		return err
	}
	records := c.StringSlice("records")
	switch {
	case plane == text.PlaneClass && (rule.Find == nil || len(records) > 0 || c.IsSet("span-tokens") || c.IsSet("rule")):
		return fault.Usage.Errorf("the plane class comes from --patterns FILE or --words FILE alone")
	case rule.Find == nil && len(records) == 0:
		return fault.Usage.Errorf("nothing to annotate with; hint: --words FILE, --patterns FILE or --records FILE")
	}
	ds, err := openData(dir)
	if err != nil {
		return err
	}
	defer ds.Close()
	if err := checkReplace(c, ds, dir, plane); err != nil {
		return err
	}
	tokenizer, err := dataTokenizer(dir, ds)
	if err != nil {
		return err
	}
	start := time.Now()
	r := tokensResult{Dir: dir, Plane: plane, Source: rule.Source, Notes: []string{}}
	var read []string
	if slices.Contains(planeNames(ds.Index().Planes), text.PlaneLoss) {
		read = []string{text.PlaneLoss}
	}
	judge := findJudge(tokenizer, rule, plane, &r)
	if len(records) > 0 {
		sums, err := fileSums(records)
		if err != nil {
			return err
		}
		r.Source = "--records " + sums
		signs, err := readSigns(c, tokenizer, rule, ds.Index().Tokenizer.EOS)
		if err != nil {
			return err
		}
		judge = tokenJudge{signs.Reset, func(d shard.Document) ([]byte, error) { return signs.Of(d.ID, d.Tokens, d.Planes[text.PlaneLoss]) }}
		if err := r.count(ds, judge, read); err != nil {
			return err
		}
		if err := r.match(signs); err != nil {
			return err
		}
	} else if err := r.count(ds, judge, read); err != nil {
		return err
	}
	if err := r.check(rule); err != nil {
		return fault.Of(err).Errorf("%s: %w", dir, err)
	}
	judge.reset()
	provenance := fmt.Sprintf("-1 (255) unwanted, 1 kept, 0 not trained: %s", rule)
	if len(records) > 0 {
		provenance += ", " + r.Source
	}
	if plane == text.PlaneClass {
		provenance = fmt.Sprintf("0 boilerplate, 1 reasoning, 255 none: %s", r.Source)
	}
	if _, err := shard.PutPlane(dir, shard.Plane{Name: plane, Provenance: provenance}, shard.PlaneOptions{Replace: c.Bool("replace"), Read: read}, judge.of); err != nil {
		return err
	}
	r.Seconds = time.Since(start).Seconds()
	return show(c, r, r.print)
}

// findJudge judges by what a finder finds.
func findJudge(t *text.Tokenizer, rule text.SignRule, plane string, r *tokensResult) tokenJudge {
	return tokenJudge{func() { r.Lost = 0 }, func(d shard.Document) ([]byte, error) {
		if plane == text.PlaneClass {
			return text.FoundClasses(t, rule.Find, d.Tokens, d.Planes[text.PlaneLoss])
		}
		signs, lost, err := text.FoundSigns(t, rule.Find, rule.FirstToken, d.Tokens, d.Planes[text.PlaneLoss])
		r.Lost += int64(lost)
		return signs, err
	}}
}

// readSigns reads --records.
func readSigns(c *cli.Context, t *text.Tokenizer, rule text.SignRule, eos int32) (*text.Signs, error) {
	fields, err := text.ParseFields(c.String("fields"))
	if err != nil {
		return nil, fault.Of(err).Errorf("--fields: %w", err)
	}
	o := text.ReaderOptions{Paths: c.StringSlice("records"), Format: "auto", Shape: "generation", Fields: fields, OnBadRecord: "skip", Stdin: c.App.Reader}
	reader, err := text.Open(o)
	if err != nil {
		return nil, err
	}
	signs, err := text.ReadSigns(reader, t, rule, eos)
	if err != nil {
		return nil, err
	}
	signs.Partial = c.Bool("partial")
	return signs, nil
}

// count runs the judge over all documents, as adding the plane will.
func (r *tokensResult) count(ds *shard.Dataset, judge tokenJudge, read []string) error {
	judge.reset()
	stream, err := ds.Stream(shard.StreamConfig{Epochs: 1, Planes: read}, shard.Cursor{})
	if err != nil {
		return err
	}
	defer stream.Close()
	for {
		d, err := stream.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		values, err := judge.of(d)
		if err != nil {
			return err
		}
		r.Documents++
		if r.Plane == text.PlaneSign {
			r.SignCounts.Add(values, d.Tokens[len(d.Tokens)-1] == ds.Index().Tokenizer.EOS)
			continue
		}
		r.Boilerplate += int64(bytes.Count(values, []byte{text.ClassBoilerplate}))
		r.Reasoning += int64(bytes.Count(values, []byte{text.ClassReasoning}))
	}
}

// match tells which records and documents found each other.
func (r *tokensResult) match(signs *text.Signs) error {
	places, n := signs.Unused()
	r.Documents, r.Plain, r.Unused = signs.Report().Documents, signs.Report().Plain, n
	switch {
	case n > 0 && !signs.Partial:
		return fault.Data.Errorf("%d of %d records are no document of %s: %s; hint: --partial leaves them out, 'data build --shape generation' makes a data set of them",
			n, signs.Len(), r.Dir, strings.Join(places, ", "))
	case r.Documents == 0:
		return fault.Data.Errorf("none of %d records is a document of %s, the first is %s", signs.Len(), r.Dir, places[0])
	case n > 0:
		r.Notes = append(r.Notes, fmt.Sprintf("%s records are no document of the data set, left out: %s", count(n), strings.Join(places, ", ")))
	}
	if repeated := signs.Report().Repeated; repeated > 0 {
		r.Notes = append(r.Notes, fmt.Sprintf("%s documents share the record of an equal text", count(repeated)))
	}
	return nil
}

// check refuses a plane that nothing can be learned from.
func (r *tokensResult) check(rule text.SignRule) error {
	if r.Plane == text.PlaneSign {
		return r.SignCounts.Check(rule.Name)
	}
	switch {
	case r.Boilerplate == 0:
		return fault.Data.Errorf("no token matches (%d reasoning tokens): there are no two classes to weigh; hint: patterns are searched in the text of documents", r.Reasoning)
	case r.Reasoning == 0:
		return fault.Data.Errorf("all of %d tokens match: there are no two classes to weigh", r.Boilerplate)
	}
	return nil
}

func (r *tokensResult) print(w io.Writer) {
	if r.Plane == text.PlaneClass {
		fmt.Fprintf(w, "%s: plane class: %s tokens of boilerplate, %s of reasoning, in %s documents; %.1f s\n", r.Dir, count(r.Boilerplate), count(r.Reasoning), count(r.Documents), r.Seconds)
	} else {
		fmt.Fprintf(w, "%s: plane sign: %s, in %s documents; %.1f s\n", r.Dir, signLine(r.SignCounts), count(r.Documents), r.Seconds)
	}
	if r.Plain > 0 {
		fmt.Fprintf(w, "note: %s documents have no record, and are not trained\n", count(r.Plain))
	}
	if r.Lost > 0 {
		fmt.Fprintf(w, "note: %s spans have no token of their own\n", count(r.Lost))
	}
	for _, note := range r.Notes {
		fmt.Fprintln(w, "note:", note)
	}
	if r.Plane == text.PlaneSign {
		fmt.Fprintf(w, "next: palimpsest data inspect %s, then palimpsest train --preset tnt-cpu-tiny --data %s --set train.init=RUN --out runs/avoid, with RUN the model that wrote this\n", r.Dir, r.Dir)
	} else {
		fmt.Fprintf(w, "next: palimpsest data inspect %s\n", r.Dir)
	}
}
