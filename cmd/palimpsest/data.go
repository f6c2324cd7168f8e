package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/urfave/cli/v2"

	"palimpsest/engine/fault"
	"palimpsest/engine/shard"
	"palimpsest/engine/text"
)

// tokenizerFile is the copy of the tokenizer inside a data set's folder.
const tokenizerFile = "tokenizer.json"

func dataCommand() *cli.Command {
	return &cli.Command{
		Name:  "data",
		Usage: "build a data set from text, verify it, or look into it",
		Subcommands: []*cli.Command{
			{
				Name:      "build",
				Usage:     "turn text into token shards",
				ArgsUsage: "FILE|FOLDER|PATTERN...",
				Description: example("palimpsest data build --tokenizer tokenizer.json --out shards texts/",
					"palimpsest data build --tokenizer tokenizer.json --out shards --field body --on-bad-record skip posts.jsonl"),
				Flags: append([]cli.Flag{
					&cli.StringFlag{Name: "tokenizer", Usage: "tokenizer.json `FILE`"},
					&cli.StringFlag{Name: "out", Usage: "`FOLDER` of the data set"},
					&cli.BoolFlag{Name: "bos", Usage: "begin every document with the tokenizer's begin token (on when it has one of its own)"},
					&cli.BoolFlag{Name: "eos", Usage: "end every document with the tokenizer's end token (on when it has one)"},
					&cli.IntFlag{Name: "min-tokens", Value: 1, Usage: "drop documents of fewer than this `NUMBER` of tokens"},
					&cli.BoolFlag{Name: "force", Usage: "replace an existing data set, once the new one is complete"},
				}, readerFlags()...),
				Action: buildData,
			},
			verifyCommand(),
			inspectCommand(),
		},
	}
}

type buildResult struct {
	Out           string   `json:"out"`
	Tokenizer     string   `json:"tokenizer_hash"`
	Documents     int64    `json:"documents"`
	Tokens        int64    `json:"tokens"`
	TextBytes     int64    `json:"text_bytes"`
	BytesPerToken float64  `json:"bytes_per_token"`
	Shards        int      `json:"shards"`
	DiskBytes     int64    `json:"disk_bytes"`
	Ratio         float64  `json:"text_bytes_per_disk_byte"`
	TooShort      int64    `json:"documents_below_min_tokens"`
	Seconds       float64  `json:"seconds"`
	Notes         []string `json:"notes"`
}

func buildData(c *cli.Context) (err error) {
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
	reader, err := openReader(c)
	if err != nil {
		return err
	}
	place, err := choosePlace(c.String("out"), c.Bool("force"))
	if err != nil {
		return err
	}
	writer, err := shard.Create(place.dir, shard.WriterOptions{
		TokenizerHash: tokenizer.Hash(), Vocab: tokenizer.Vocab(), BOS: encoding.BOS, EOS: encoding.EOS,
		Source: sourceNote(c.Args().Slice()),
	})
	if err != nil {
		return err
	}
	start := time.Now()
	status := newStatusLine(c)
	stats, err := encodeAll(reader, tokenizer, encoding, writer, status)
	status.clear()
	if err == nil { // before the index: a complete data set always has its tokenizer
		err = tokenizer.Save(filepath.Join(place.dir, tokenizerFile))
	}
	var index shard.Index
	if err == nil {
		index, err = writer.Close()
	}
	if err != nil {
		return errors.Join(err, place.abandon(writer))
	}
	if err := place.commit(); err != nil {
		return err
	}
	result := buildResult{
		Out: c.String("out"), Tokenizer: tokenizer.Hash(), Documents: index.Documents, Tokens: index.Tokens, TextBytes: stats.Bytes,
		Shards: len(index.Shards), TooShort: stats.TooShort, Seconds: time.Since(start).Seconds(), Notes: readerNotes(reader.Report()),
	}
	for _, s := range index.Shards {
		result.DiskBytes += s.Tok.Bytes + s.Len.Bytes
	}
	result.BytesPerToken = float64(result.TextBytes) / float64(max(1, result.Tokens))
	result.Ratio = float64(result.TextBytes) / float64(max(1, result.DiskBytes))
	if stats.TooShort > 0 {
		result.Notes = append(result.Notes, fmt.Sprintf("%s documents have fewer than %d tokens, dropped", count(stats.TooShort), encoding.MinTokens))
	}
	return show(c, result, func(w io.Writer) {
		fmt.Fprintf(w, "%s: %s documents, %s tokens in %d shard(s)\n", result.Out, count(result.Documents), count(result.Tokens), result.Shards)
		fmt.Fprintf(w, "%s of text, %.2f bytes a token; %s on disk, %.1f times smaller than the text; %.1f s\n",
			size(result.TextBytes), result.BytesPerToken, size(result.DiskBytes), result.Ratio, result.Seconds)
		for _, note := range result.Notes {
			fmt.Fprintln(w, "note:", note)
		}
		fmt.Fprintf(w, "next: palimpsest data inspect %s, then palimpsest train --preset mlm-cpu-tiny --data %s --out runs/first\n", result.Out, result.Out)
	})
}

// documentFrame decides what stands around the tokens of a document.
func documentFrame(c *cli.Context, t *text.Tokenizer) (text.EncodeOptions, error) {
	f := text.EncodeOptions{BOS: t.BOS, EOS: t.EOS, MinTokens: c.Int("min-tokens")}
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
	if f.MinTokens < 1 {
		return f, fault.Usage.Errorf("--min-tokens: want 1 or more, not %d", f.MinTokens)
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

// place is where a data set is built: in its folder, or beside one that it replaces when it is complete.
type place struct {
	dir, out string
}

func choosePlace(out string, force bool) (place, error) {
	p := place{dir: out, out: out}
	if exists(filepath.Join(out, "index.json")) {
		if !force {
			return p, fault.Usage.Errorf("%s holds a data set already; hint: choose another --out, or add --force to replace it", out)
		}
		real, err := filepath.EvalSymlinks(out)
		if err != nil {
			return p, fault.Write.Wrap(err)
		}
		if real, err = filepath.Abs(real); err != nil {
			return p, fault.Write.Wrap(err)
		}
		p.out, p.dir = real, real+".building"
	}
	if err := clearTokenizer(p.dir); err != nil {
		return p, err
	}
	// What an interrupted replacement left complete but never moved into place.
	if p.dir != p.out && exists(filepath.Join(p.dir, "index.json")) {
		return p, fault.Write.Wrap(os.RemoveAll(p.dir))
	}
	return p, nil
}

// clearTokenizer removes the tokenizer from an unfinished build, whose other files shard.Create removes itself.
func clearTokenizer(dir string) error {
	if exists(filepath.Join(dir, "index.json")) || !exists(filepath.Join(dir, "UNFINISHED")) {
		return nil
	}
	if err := os.Remove(filepath.Join(dir, tokenizerFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fault.Write.Wrap(err)
	}
	return nil
}

// abandon removes what was built.
func (p place) abandon(w *shard.Writer) error {
	return errors.Join(clearTokenizer(p.dir), w.Abort())
}

// commit swaps a data set that was built beside the one it replaces into place.
func (p place) commit() error {
	if p.dir == p.out {
		return nil
	}
	old := p.out + ".replaced"
	err := os.RemoveAll(old)
	if err == nil {
		err = os.Rename(p.out, old)
	}
	if err == nil {
		err = os.Rename(p.dir, p.out)
	}
	if err != nil {
		return fault.Write.Errorf("the new data set is complete in %s, but cannot take its place: %w", p.dir, err)
	}
	if err := os.RemoveAll(old); err != nil {
		return fault.Write.Errorf("the new data set is in place, but the old one in %s cannot be removed: %w", old, err)
	}
	return nil
}
