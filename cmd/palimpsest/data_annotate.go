package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/cespare/xxhash/v2"
	"github.com/urfave/cli/v2"

	"palimpsest/engine/fault"
	"palimpsest/engine/shard"
	"palimpsest/engine/text"
)

func annotateCommand() *cli.Command {
	return &cli.Command{
		Name:      "annotate",
		Usage:     "add a plane to a data set: tags of entities (bio), unwanted tokens (sign), or boilerplate (class)",
		ArgsUsage: "FOLDER",
		Description: example("palimpsest data annotate shards --bio train.tsv",
			"palimpsest data annotate shards --terms diseases.txt --type Disease",
			"palimpsest data annotate shards --spans spans.jsonl --entity-types PER,LOC",
			"palimpsest data annotate shards --plane sign --words unwanted.txt",
			"palimpsest data annotate shards --plane sign --records corrections.jsonl --rule align",
			"palimpsest data annotate shards --plane class --patterns boilerplate.txt") +
			"\n\nSentences of --bio and records of --spans (text, and spans of start, end, label, in code points) are laid over documents with the same " +
			"text but for white space, those of the same number first; a document without one is an error with its place, unless --partial. Terms are found as whole words " +
			"as the tokenizer cuts them, the longest at each word: .txt has a term a line, .tsv its type and weight behind tabs, .json a list of strings or of {term, type, weight}. " +
			"The tokens are not touched, and nothing changes when anything is wrong." +
			"\n\nThe plane sign is -1 at unwanted tokens, 1 at kept ones, 0 in prompts and what the plane loss calls context: by --words or --patterns in any data set, " +
			"or by --records (prompt, generation, and a correction or spans) that are laid over documents with their text. A file of such records is also a data set by itself: " +
			"'data build --shape generation' makes tokens and plane at once. The plane class is 0 (boilerplate) where --words or --patterns match, else 1.",
		Flags: append([]cli.Flag{
			&cli.StringFlag{Name: "plane", Value: text.PlaneBIO, Usage: "`NAME` of the plane: bio, sign or class"},
			&cli.BoolFlag{Name: "replace", Usage: "replace the plane where there is one, once the new one is complete"},
			&cli.StringSliceFlag{Name: "records", Usage: "`FILE` of JSON lines or a table with prompt, generation, and correction or spans; may be repeated"},
			&cli.StringFlag{Name: "fields", Usage: "of --records: `ROLE=KEY,...` where roles have other names: generation=output,correction=fixed"},
			&cli.StringSliceFlag{Name: "bio", Usage: "`FILE` of tagged sentences (BIO, CoNLL); may be repeated"},
			&cli.StringSliceFlag{Name: "spans", Usage: "`FILE` of JSON lines with text and spans; may be repeated"},
			&cli.StringFlag{Name: "terms", Usage: "`FILE` with a list of terms: .txt, .tsv or .json"},
			&cli.StringFlag{Name: "type", Value: "term", Usage: "`NAME` of the type of terms that have none"},
			&cli.BoolFlag{Name: "partial", Usage: "documents without annotation have no tags (255), annotated texts that are no document are left out"},
			&cli.BoolFlag{Name: "first-subword", Usage: "tag only the first token of a word"},
			&cli.StringFlag{Name: "entity-types", DefaultText: "all, as they come", Usage: "`A,B,...`: the only types of entities, numbered in this order"},
			&cli.StringFlag{Name: "labels-from", Usage: "take the types of entities of the data set in this `FOLDER`, so that numbers mean the same"},
			&cli.IntFlag{Name: "token-column", Value: 1, Usage: "of --bio: `COLUMN` of the tokens, from 1"},
			&cli.IntFlag{Name: "tag-column", DefaultText: "the last", Usage: "of --bio: `COLUMN` of the tags, from 1"},
			&cli.StringFlag{Name: "scheme", Value: "iob2", Usage: "of --bio: iob2 (BIO), iob1, iobes, bilou, or auto, which reads every file once more to find out"},
			&cli.BoolFlag{Name: "repair-tags", Usage: "of --bio: read impossible sequences of tags in the manner of conlleval, and count them, instead of refusing them"},
		}, signFlags()...),
		Action: annotateData,
	}
}

type annotateResult struct {
	Dir         string   `json:"dir"`
	Plane       string   `json:"plane"`
	Source      string   `json:"source"` // bio, spans or terms
	EntityTypes []string `json:"entity_types"`
	Documents   int64    `json:"documents"` // annotated
	Plain       int64    `json:"documents_without_annotation"`
	Entities    int64    `json:"entities"`
	Tagged      int64    `json:"entity_tokens"`
	Lost        int64    `json:"entities_without_token"`
	Unused      int      `json:"unused_annotations"`
	Unseen      []string `json:"terms_never_seen"`
	Unusable    []string `json:"terms_unusable"`
	Repairs     int      `json:"repaired_tags"`
	Seconds     float64  `json:"seconds"`
	Notes       []string `json:"notes"`
}

// An annotator gives the documents of a data set their tags, in order.
type annotator interface {
	Reset()
	Tags(id int64, tokens []int32) ([]byte, error)
}

func annotateData(c *cli.Context) error {
	dir, err := oneArgument(c, "the folder of a data set")
	if err != nil {
		return err
	}
	if plane := c.String("plane"); plane != text.PlaneBIO {
		return annotateTokens(c, dir, plane)
	}
	for _, name := range []string{"records", "fields", "rule", "span-tokens", "words", "patterns"} {
		if c.IsSet(name) {
			return fault.Usage.Errorf("--%s is about the planes sign and class; hint: add --plane sign", name)
		}
	}
	source, paths, err := annotationSource(c)
	if err != nil {
		return err
	}
	ds, err := openData(dir)
	if err != nil {
		return err
	}
	defer ds.Close()
	if err := checkReplace(c, ds, dir, text.PlaneBIO); err != nil {
		return err
	}
	tokenizer, err := dataTokenizer(dir, ds)
	if err != nil {
		return err
	}
	types, err := annotationTypes(c)
	if err != nil {
		return err
	}
	start := time.Now()
	result := annotateResult{Dir: dir, Plane: text.PlaneBIO, Source: source, Unseen: []string{}, Unusable: []string{}, Notes: []string{}}
	origin, err := fileSums(paths)
	if err != nil {
		return err
	}
	var fill annotator
	if source == "terms" {
		fill, err = prepareTerms(c, ds, tokenizer, paths[0], types, &result)
	} else {
		fill, err = prepareAnnotations(c, ds, tokenizer, source, paths, types, &result)
	}
	if err != nil {
		return err
	}
	remark := "all tokens of a word are tagged"
	if c.Bool("first-subword") {
		remark = "the first token of a word is tagged, the others are 255"
	}
	plane := shard.Plane{Name: text.PlaneBIO, Provenance: text.FormatEntityTypes(result.EntityTypes, fmt.Sprintf("%s; annotated with --%s %s", remark, source, origin))}
	fill.Reset()
	if _, err := shard.PutPlane(dir, plane, shard.PlaneOptions{Replace: c.Bool("replace")}, func(d shard.Document) ([]byte, error) { return fill.Tags(d.ID, d.Tokens) }); err != nil {
		return err
	}
	result.Seconds = time.Since(start).Seconds()
	return show(c, result, result.print)
}

// checkReplace refuses a plane that is there already.
func checkReplace(c *cli.Context, ds *shard.Dataset, dir, plane string) error {
	if slices.Contains(planeNames(ds.Index().Planes), plane) && !c.Bool("replace") {
		return fault.Usage.Errorf("%s has a plane %s already; hint: --replace", dir, plane)
	}
	return nil
}

// annotationSource returns which of the three kinds of source is given, and its files.
func annotationSource(c *cli.Context) (source string, paths []string, err error) {
	for _, name := range []string{"bio", "spans", "terms"} {
		if !c.IsSet(name) {
			continue
		}
		if source != "" {
			return "", nil, fault.Usage.Errorf("--%s and --%s: a plane has one source; hint: annotate a copy of the data set", source, name)
		}
		source = name
		if paths = c.StringSlice(name); name == "terms" {
			paths = []string{c.String(name)}
		}
	}
	if source == "" {
		return "", nil, fault.Usage.Errorf("nothing to annotate with; hint: --bio FILE, --spans FILE or --terms FILE")
	}
	return source, paths, nil
}

// annotationTypes are the only types of entities, or nil.
func annotationTypes(c *cli.Context) ([]string, error) {
	from := c.String("labels-from")
	switch {
	case from == "" && c.String("entity-types") == "":
		return nil, nil
	case from == "":
		return nameList(c.String("entity-types")), nil
	case c.IsSet("entity-types"):
		return nil, fault.Usage.Errorf("--labels-from and --entity-types both number types; hint: leave one of them out")
	}
	planes, err := planesOf(from)
	if err != nil {
		return nil, fault.Of(err).Errorf("--labels-from: %w", err)
	}
	i := slices.IndexFunc(planes, func(p shard.Plane) bool { return p.Name == text.PlaneBIO })
	if i < 0 {
		return nil, fault.Data.Errorf("--labels-from: %s has no types of entities", from)
	}
	types, err := text.ParseEntityTypes(planes[i].Provenance)
	if err != nil {
		return nil, fault.Of(err).Errorf("--labels-from: %s: %w", from, err)
	}
	return types, nil
}

// fileSums names files with the hash of their content, for the plane's provenance.
func fileSums(paths []string) (string, error) {
	h := xxhash.New()
	for _, path := range paths {
		f, err := os.Open(path)
		if err != nil {
			return "", fault.Data.Wrap(err)
		}
		_, err = io.Copy(h, f)
		f.Close()
		if err != nil {
			return "", fault.Data.Errorf("%s: %w", path, err)
		}
	}
	names := filepath.Base(paths[0])
	if len(paths) > 1 {
		names += fmt.Sprintf(" and %d more", len(paths)-1)
	}
	if len(names) > 200 {
		names = strings.ToValidUTF8(names[:200], "") + "..."
	}
	return fmt.Sprintf("%s (xxh64 %016x)", names, h.Sum64()), nil
}

// overDocuments runs an annotator over all documents, as adding the plane will.
func overDocuments(ds *shard.Dataset, fill annotator) error {
	fill.Reset()
	stream, err := ds.Stream(shard.StreamConfig{Epochs: 1}, shard.Cursor{})
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
		if _, err := fill.Tags(d.ID, d.Tokens); err != nil {
			return err
		}
	}
}

func prepareAnnotations(c *cli.Context, ds *shard.Dataset, t *text.Tokenizer, source string, paths, types []string, r *annotateResult) (annotator, error) {
	for _, name := range []string{"token-column", "tag-column"} {
		if n := c.Int(name); n < 1 && c.IsSet(name) {
			return nil, fault.Usage.Errorf("--%s: want 1 or more, not %d", name, n)
		}
	}
	o := text.ReaderOptions{Paths: paths, Format: "conll", OnBadRecord: "skip", EntityTypes: types, TokenColumn: c.Int("token-column"), TagColumn: c.Int("tag-column"),
		Scheme: c.String("scheme"), Repair: c.Bool("repair-tags"), Stdin: c.App.Reader}
	if source == "spans" {
		o.Format, o.Shape = "jsonl", "spans"
	}
	reader, err := text.Open(o)
	if err != nil {
		return nil, err
	}
	a, err := text.ReadAnnotations(reader, t)
	if err != nil {
		return nil, err
	}
	a.Partial, a.FirstSubword = c.Bool("partial"), c.Bool("first-subword")
	if err := overDocuments(ds, a); err != nil {
		return nil, err
	}
	unused, n := a.Unused()
	switch {
	case n > 0 && !a.Partial:
		return nil, fault.Data.Errorf("%d of %d annotated texts are no document of %s: %s; hint: --partial leaves them out", n, a.Len(), r.Dir, strings.Join(unused, ", "))
	case a.Documents == 0:
		return nil, fault.Data.Errorf("none of %d annotated texts is a document of %s, the first is %s", a.Len(), r.Dir, unused[0])
	case n > 0:
		r.Notes = append(r.Notes, fmt.Sprintf("%s annotated texts are no document of the data set, left out: %s", count(n), strings.Join(unused, ", ")))
	}
	r.EntityTypes, r.Unused, r.Repairs = append([]string{}, a.Types...), n, reader.Report().Repairs
	r.Notes = append(r.Notes, readerNotes(reader.Report())...)
	if a.Repeated > 0 {
		r.Notes = append(r.Notes, fmt.Sprintf("%s documents share the annotation of an equal text", count(a.Repeated)))
	}
	r.count(a.AnnotationReport)
	return a, nil
}

func prepareTerms(c *cli.Context, ds *shard.Dataset, t *text.Tokenizer, path string, types []string, r *annotateResult) (annotator, error) {
	terms, err := text.ReadTerms(path, c.String("type"))
	if err != nil {
		return nil, err
	}
	f, err := text.NewTermFinder(t, terms, types, c.Bool("keep-case"))
	if err != nil {
		return nil, fault.Of(err).Errorf("%s: %w", path, err)
	}
	f.FirstSubword = c.Bool("first-subword")
	if err := overDocuments(ds, f); err != nil {
		return nil, err
	}
	if f.Entities == 0 {
		return nil, fault.Data.Errorf("%s: none of %d terms is in the documents of %s", path, len(terms), r.Dir)
	}
	r.EntityTypes, r.Unseen, r.Unusable = append([]string{}, f.Types...), append(r.Unseen, f.Unseen()...), append(r.Unusable, f.Unusable...)
	some := func(what string, list []string) {
		const most = 10
		if len(list) > 0 {
			r.Notes = append(r.Notes, fmt.Sprintf("%s of %s terms %s", count(len(list)), count(len(terms)), what))
			for _, line := range list[:min(most, len(list))] {
				r.Notes = append(r.Notes, "  "+line)
			}
			if more := len(list) - most; more > 0 {
				r.Notes = append(r.Notes, fmt.Sprintf("  and %s more (--json lists all)", count(more)))
			}
		}
	}
	some("never seen:", r.Unseen)
	some("left out:", r.Unusable)
	r.count(f.AnnotationReport)
	return f, nil
}

func (r *annotateResult) count(n text.AnnotationReport) {
	r.Documents, r.Plain, r.Entities, r.Tagged, r.Lost = n.Documents, n.Plain, n.Entities, n.Tagged, n.Lost
	if n.Plain > 0 {
		r.Notes = append(r.Notes, fmt.Sprintf("%s documents have no annotation, and no tags", count(n.Plain)))
	}
	if n.Lost > 0 {
		r.Notes = append(r.Notes, fmt.Sprintf("%s entities have no token of their own, so the plane bio lacks them", count(n.Lost)))
	}
}

func (r *annotateResult) print(w io.Writer) {
	fmt.Fprintf(w, "%s: plane bio: %s entities, %s tokens, in %s documents; %d types: %s; %.1f s\n", r.Dir, count(r.Entities), count(r.Tagged), count(r.Documents),
		len(r.EntityTypes), strings.Join(r.EntityTypes, ", "), r.Seconds)
	for _, note := range r.Notes {
		fmt.Fprintln(w, "note:", note)
	}
	if r.Entities == 0 {
		fmt.Fprintln(w, "note: there is no entity in them, so there is nothing to detect")
		return
	}
	fmt.Fprintln(w, nextOfEntities(r.Dir, len(r.EntityTypes)))
}

// nextOfEntities is what to do with a data set with entities of so many types.
func nextOfEntities(dir string, types int) string {
	classes := ""
	if types > 1 { // the preset has those of one type
		classes = fmt.Sprintf(" --set 'model.classifiers=[{name: entities, kind: detector, classes: %d}]'", 1+2*types)
	}
	return fmt.Sprintf("next: palimpsest data inspect %s, then palimpsest train --preset mslm-cpu-tiny --data %s%s --out runs/names", dir, dir, classes)
}
