package main

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/urfave/cli/v2"

	"palimpsest/engine/fault"
	"palimpsest/engine/shard"
	"palimpsest/engine/signals"
	"palimpsest/engine/text"
)

// tokenizerFile is the copy of the tokenizer inside a data set's folder.
const tokenizerFile = "tokenizer.json"

func dataCommand() *cli.Command {
	return &cli.Command{
		Name:  "data",
		Usage: "build a data set from text or token files, annotate it, verify it, look into it, or export it",
		Subcommands: []*cli.Command{
			buildCommand(), verifyCommand(), inspectCommand(), annotateCommand(), convertCommand(), importCommand(), exportCommand(),
		},
	}
}

func buildCommand() *cli.Command {
	return &cli.Command{
		Name:      "build",
		Usage:     "turn text, records, tables or tagged sentences into token shards",
		ArgsUsage: "FILE|FOLDER|PATTERN|-...",
		Description: example("palimpsest data build --tokenizer tokenizer.json --out shards texts/",
			"palimpsest data build --tokenizer tokenizer.json --out shards --field body --on-bad-record skip posts.jsonl",
			"palimpsest data build --tokenizer tokenizer.json --out answers --fields prompt=question,completion=answer pairs.csv",
			"palimpsest data build --tokenizer tokenizer.json --out names --first-subword train.conll",
			"palimpsest data build --tokenizer tokenizer.json --out topics --label topic news.tsv",
			"palimpsest data build --tokenizer tokenizer.json --out negatives --shape generation corrections.jsonl") +
			"\n\nAn interrupted build keeps its complete shards, and the same command goes on behind them. SIGTERM and SIGINT leave " +
			"with exit code 75. Answers of records become the plane loss, entities the plane bio, classes the plane label. " +
			"Records of the shape generation (prompt, generation, correction or spans, as 'generate --annotate' writes them) become the planes loss and sign: what the objective tnt trains on in one go.",
		Flags: append([]cli.Flag{
			&cli.StringFlag{Name: "tokenizer", Usage: "tokenizer.json `FILE`"},
			&cli.StringFlag{Name: "out", Usage: "`FOLDER` of the data set"},
			&cli.BoolFlag{Name: "bos", Usage: "begin every document with the tokenizer's begin token (on when it has one of its own)"},
			&cli.BoolFlag{Name: "eos", Usage: "end every document with the tokenizer's end token (on when it has one)"},
			&cli.IntFlag{Name: "min-tokens", Value: 1, Usage: "drop documents of fewer than this `NUMBER` of tokens"},
			&cli.StringFlag{Name: "planes", DefaultText: "all that the input can fill", Usage: "`NAMES` of planes to write beside the tokens: loss, bio, label, sign, several with commas between, or none"},
			&cli.BoolFlag{Name: "first-subword", Usage: "in the plane bio, tag only the first token of a word"},
			&cli.IntFlag{Name: "shard-tokens", Value: 64 << 20, Usage: "a shard is complete, and kept when the build is interrupted, at this `NUMBER` of tokens"},
			&cli.IntFlag{Name: "workers", DefaultText: "one a core", Usage: "`NUMBER` of encoders; changes no result"},
			&cli.BoolFlag{Name: "force", Usage: "replace an existing data set, once the new one is complete; start anew where an interrupted build cannot go on"},
		}, slices.Concat(readerFlags(), labelFlags(), signFlags())...),
		Action: buildData,
	}
}

type buildResult struct {
	Out           string       `json:"out"`
	Tokenizer     string       `json:"tokenizer_hash"`
	Documents     int64        `json:"documents"`
	Tokens        int64        `json:"tokens"`
	TextBytes     int64        `json:"text_bytes"` // of this process, for a resumed build
	BytesPerToken float64      `json:"bytes_per_token"`
	Shards        int          `json:"shards"`
	DiskBytes     int64        `json:"disk_bytes"`
	Ratio         float64      `json:"text_bytes_per_disk_byte"`
	TooShort      int64        `json:"documents_below_min_tokens"`
	Planes        []string     `json:"planes"`
	Learned       int64        `json:"learned_tokens"`
	Tagged        int64        `json:"entity_tokens"`
	LostEntities  int64        `json:"entities_without_token"`
	EntityTypes   []string     `json:"entity_types"`
	Classes       []classCount `json:"classes"`
	text.SignCounts
	LostSpans int64      `json:"spans_without_token"`
	Resumed   int64      `json:"resumed_documents"` // read, but found in complete shards
	Reading   readCounts `json:"reading"`
	Seconds   float64    `json:"seconds"`
	Notes     []string   `json:"notes"`
}

func buildData(c *cli.Context) error {
	if err := need(c, "tokenizer", "out"); err != nil {
		return err
	}
	tokenizer, err := text.Load(c.String("tokenizer"))
	if err != nil {
		return err
	}
	encoding, err := documentFrame(c, tokenizer)
	if err != nil {
		return err
	}
	reading, err := readerOptions(c)
	if err == nil {
		err = setLabels(c, &reading)
	}
	if err != nil {
		return err
	}
	reader, err := text.Open(reading)
	if err != nil {
		return err
	}
	if encoding.Planes, err = choosePlanes(c, reader); err != nil {
		return err
	}
	if encoding.Sign, err = signRule(c); err != nil {
		return err
	}
	if err := checkSignOptions(c, encoding.Planes); err != nil {
		return err
	}
	const frameTokens = 64 << 10
	options := shard.WriterOptions{
		TokenizerHash: tokenizer.Hash(), Vocab: tokenizer.Vocab(), BOS: encoding.BOS, EOS: encoding.EOS, Source: sourceNote(c.Args().Slice()),
		ShardTokens: c.Int("shard-tokens"), FrameTokens: min(frameTokens, c.Int("shard-tokens")),
		Recipe: buildRecipe(c, tokenizer, reading, encoding, c.Int("shard-tokens")),
	}
	for _, name := range encoding.Planes {
		options.Planes = append(options.Planes, shard.Plane{Name: name})
	}
	place, err := choosePlace(c.String("out"), c.Bool("force"))
	if err != nil {
		return err
	}
	writer, from, anew, err := place.resume(options, c.Bool("force"))
	if err != nil {
		return err
	}
	notes := []string{}
	tell := func(note string) {
		notes = append(notes, note)
		if !c.Bool("json") {
			fmt.Fprintln(c.App.ErrWriter, "note:", note)
		}
	}
	if anew != "" {
		tell(anew)
	}
	if from.Documents > 0 {
		tell(fmt.Sprintf("going on with an interrupted build: the first %s documents read are in complete shards", count(from.Documents)))
	}
	watch := signals.Watch(c.Context)
	defer watch.Close()
	start := time.Now()
	b := build{place, reader, tokenizer, encoding, newStatusLine(c), watch}
	index, stats, err := b.run(writer, from)
	if from.Documents > 0 && stats.Documents == 0 && fault.Of(err) == fault.Data && c.Bool("force") {
		if e := writer.Abort(); e != nil {
			return errors.Join(e, err)
		}
		if slices.Contains(c.Args().Slice(), "-") {
			return fault.Data.Errorf("%w (the interrupted build was removed, but standard input cannot be read twice: run it again)", err)
		}
		tell(fmt.Sprintf("an interrupted build was removed: %v", err))
		if writer, err = place.create(options); err != nil {
			return err
		}
		from = text.Mark{}
		index, stats, err = b.run(writer, from)
	}
	if err != nil {
		return b.abandon(writer, err)
	}
	if err := place.commit(); err != nil {
		return err
	}
	result := buildResult{
		Out: c.String("out"), Tokenizer: tokenizer.Hash(), Documents: index.Documents, Tokens: index.Tokens, TextBytes: stats.Bytes,
		Shards: len(index.Shards), TooShort: stats.TooShort, Planes: append([]string{}, encoding.Planes...),
		Learned: stats.Learned, Tagged: stats.Tagged, LostEntities: stats.LostEntities, EntityTypes: append([]string{}, reader.EntityTypes()...),
		Classes: classCounts(reader.Classes(), stats.Classes), SignCounts: stats.Signs, LostSpans: stats.LostSpans, Resumed: from.Documents, Reading: countsOf(reader.Report()), Seconds: time.Since(start).Seconds(), Notes: notes,
	}
	result.complete(index, stats)
	result.Notes = append(result.Notes, readerNotes(reader.Report())...)
	result.Notes = append(result.Notes, encodingNotes(stats, encoding)...)
	result.Notes = append(result.Notes, classNotes(result.Classes, from.Documents > 0)...)
	return show(c, result, func(w io.Writer) { result.print(w, reader.Report(), result.Notes[len(notes):]) })
}

// A build is what one attempt to build a data set needs beside its writer.
type build struct {
	place     place
	reader    *text.Reader
	tokenizer *text.Tokenizer
	encoding  text.EncodeOptions
	status    *statusLine
	watch     *signals.Watcher
}

// run encodes the documents behind a mark and completes the data set.
func (b *build) run(w *shard.Writer, from text.Mark) (shard.Index, text.EncodeStats, error) {
	b.encoding.From = from
	stats, err := b.encodeAll(w)
	b.status.clear()
	for name, provenance := range stats.Provenance {
		if err == nil {
			err = w.Describe(name, provenance)
		}
	}
	if err == nil { // before the index: a complete data set always has its tokenizer
		err = b.tokenizer.Save(filepath.Join(b.place.dir, tokenizerFile))
	}
	if err != nil {
		return shard.Index{}, stats, err
	}
	index, err := w.Close()
	return index, stats, err
}

// abandon ends a build that failed or was asked to leave, and says what stays.
func (b *build) abandon(w *shard.Writer, cause error) error {
	kept, err := b.place.abandon(w)
	switch {
	case errors.Is(cause, errStopped) && kept:
		cause = fault.Preempted.Errorf("stopped by %s; the complete shards are kept, and the same command goes on behind them", b.watch.Reason())
	case errors.Is(cause, errStopped):
		cause = fault.Preempted.Errorf("stopped by %s before a shard was complete, so nothing is kept; the same command starts again", b.watch.Reason())
	case kept:
		cause = fault.Of(cause).Errorf("%w (the complete shards are kept: the same command goes on behind them; --force starts anew where it cannot)", cause)
	}
	return errors.Join(err, cause)
}

// complete fills in what follows from the files on disk. Ratios to the text are of what this process encoded.
func (r *buildResult) complete(index shard.Index, stats text.EncodeStats) {
	for _, s := range index.Shards {
		r.DiskBytes += s.Tok.Bytes + s.Len.Bytes
		for _, p := range s.Planes {
			r.DiskBytes += p.Bytes
		}
	}
	r.BytesPerToken = float64(stats.Bytes) / float64(max(1, stats.Tokens))
	r.Ratio = r.BytesPerToken * float64(r.Tokens) / float64(max(1, r.DiskBytes))
}

// encodingNotes tells what was lost on the way to tokens.
func encodingNotes(stats text.EncodeStats, o text.EncodeOptions) (notes []string) {
	if stats.TooShort > 0 {
		notes = append(notes, fmt.Sprintf("%s documents have fewer than %d tokens, dropped", count(stats.TooShort), o.MinTokens))
	}
	if stats.LostEntities > 0 {
		notes = append(notes, fmt.Sprintf("%s entities have no token of their own, so the plane bio lacks them", count(stats.LostEntities)))
	}
	if stats.LostSpans > 0 {
		notes = append(notes, fmt.Sprintf("%s unwanted spans have no token of their own, so the plane sign lacks them", count(stats.LostSpans)))
	}
	if stats.Passed > 0 {
		notes = append(notes, "figures of text, answers, entities and signs in tokens are of what was encoded after the interruption")
	}
	return notes
}

func (r *buildResult) print(w io.Writer, read text.Report, notes []string) {
	fmt.Fprintf(w, "%s: %s documents, %s tokens in %d shard(s)\n", r.Out, count(r.Documents), count(r.Tokens), r.Shards)
	fmt.Fprintf(w, "%s of text, %.2f bytes a token; %s on disk, %.1f times smaller than the text; %.1f s\n",
		size(r.TextBytes), r.BytesPerToken, size(r.DiskBytes), r.Ratio, r.Seconds)
	if spans := spanSummary(read); spans != "" {
		fmt.Fprintf(w, "spans: %s\n", spans)
	}
	for _, name := range r.Planes {
		switch name {
		case text.PlaneLoss:
			fmt.Fprintf(w, "plane loss: %s tokens to be learned, all else is context\n", count(r.Learned))
		case text.PlaneBIO:
			fmt.Fprintf(w, "plane bio: %s tokens in entities of %d types: %s\n", count(r.Tagged), len(r.EntityTypes), strings.Join(r.EntityTypes, ", "))
		case text.PlaneLabel:
			printClasses(w, r.Classes)
		case text.PlaneSign:
			fmt.Fprintf(w, "plane sign: %s\n", signLine(r.SignCounts))
		}
	}
	for _, note := range notes {
		fmt.Fprintln(w, "note:", note)
	}
	if slices.Contains(r.Planes, text.PlaneLabel) && len(r.Classes) > 1 {
		fmt.Fprintf(w, "next: palimpsest data inspect %s, then, with RUN trained on texts with the same tokenizer,\n  palimpsest train --preset classify-cpu-tiny "+
			"--data %s --set train.init=RUN --set 'model.classifiers=[{name: label, kind: sequence, classes: %d}]' --out runs/classes\n", r.Out, r.Out, len(r.Classes))
		return
	}
	if n := len(r.EntityTypes); slices.Contains(r.Planes, text.PlaneBIO) && n > 0 {
		fmt.Fprintln(w, nextOfEntities(r.Out, n))
		return
	}
	if slices.Contains(r.Planes, text.PlaneSign) && r.Unwanted == 0 { // corrections
		fmt.Fprintf(w, "next: palimpsest data inspect %s, then palimpsest train --set objective=clm --data %s --set train.init=RUN --out runs/corrected, with RUN the model that wrote the generations\n", r.Out, r.Out)
		return
	}
	if slices.Contains(r.Planes, text.PlaneSign) {
		fmt.Fprintf(w, "next: palimpsest data inspect %s, then palimpsest train --preset tnt-cpu-tiny --data %s --set train.init=RUN --out runs/avoid, with RUN the model that wrote this\n", r.Out, r.Out)
		return
	}
	fmt.Fprintf(w, "next: palimpsest data inspect %s, then palimpsest train --preset mlm-cpu-tiny --data %s --out runs/first\n", r.Out, r.Out)
}

// choosePlanes returns the planes to write: by default all that the input can fill.
func choosePlanes(c *cli.Context, r *text.Reader) ([]string, error) {
	fillable := r.Planes()
	chosen := fillable
	switch list := c.String("planes"); {
	case list == "none":
		chosen = nil
	case c.IsSet("planes"):
		chosen = strings.Split(list, ",")
	}
	for i, name := range chosen {
		switch {
		case !slices.Contains([]string{text.PlaneLoss, text.PlaneBIO, text.PlaneLabel, text.PlaneSign}, name) || slices.Contains(chosen[:i], name):
			return nil, fault.Usage.Errorf("--planes %q: expected some of loss, bio, label, sign with commas between, or none", c.String("planes"))
		case !slices.Contains(fillable, name):
			return nil, fault.Usage.Errorf("--planes: nothing in the input can fill the plane %s; hint: loss needs records with answers (--shape pair, alpaca "+
				"or messages), bio CoNLL files or --shape spans, label records with --label, sign records of --shape generation", name)
		}
	}
	if c.IsSet("label") && !slices.Contains(chosen, text.PlaneLabel) {
		return nil, fault.Usage.Errorf("--label is about the plane label, and --planes leaves it out; hint: leave out one of them")
	}
	if c.Bool("first-subword") && !slices.Contains(chosen, text.PlaneBIO) {
		return nil, fault.Usage.Errorf("--first-subword is about the plane bio, and none is written; hint: leave it out")
	}
	return slices.Sorted(slices.Values(chosen)), nil
}

// checkSignOptions refuses options of a plane sign that is not written.
func checkSignOptions(c *cli.Context, planes []string) error {
	if slices.Contains(planes, text.PlaneSign) {
		return nil
	}
	for _, name := range []string{"rule", "span-tokens", "words", "keep-case", "patterns"} {
		if c.IsSet(name) {
			return fault.Usage.Errorf("--%s is about the plane sign, and none is written; hint: --shape generation for records, 'data annotate --plane sign' for other texts", name)
		}
	}
	return nil
}

// documentFrame decides what stands around the tokens of a document.
func documentFrame(c *cli.Context, t *text.Tokenizer) (text.EncodeOptions, error) {
	f := text.EncodeOptions{BOS: t.BOS, EOS: t.EOS, MinTokens: c.Int("min-tokens"), Workers: c.Int("workers"), FirstSubword: c.Bool("first-subword")}
	if t.BOS == t.EOS && !c.IsSet("bos") {
		f.BOS = -1 // one token in both roles ends a document, and thereby begins the next
	}
	for _, o := range []struct {
		name string
		id   *int32
	}{{"bos", &f.BOS}, {"eos", &f.EOS}} {
		switch {
		case c.IsSet(o.name) && !c.Bool(o.name):
			*o.id = -1
		case c.IsSet(o.name) && *o.id < 0:
			return f, fault.Usage.Errorf("--%s: %s has no such token; hint: leave the option out", o.name, c.String("tokenizer"))
		}
	}
	for _, name := range []string{"min-tokens", "workers", "shard-tokens"} {
		if n := c.Int(name); n < 1 && c.IsSet(name) {
			return f, fault.Usage.Errorf("--%s: want 1 or more, not %d", name, n)
		}
	}
	return f, nil
}

// sourceNote is what the index says about where the text came from, within the format's limit.
func sourceNote(paths []string) string {
	const most = 1000
	s := strings.Join(paths, " ")
	if len(s) <= most {
		return s
	}
	cut := most
	for cut > 0 && !utf8.RuneStart(s[cut]) {
		cut--
	}
	return fmt.Sprintf("%s ... (%d paths)", s[:cut], len(paths))
}
