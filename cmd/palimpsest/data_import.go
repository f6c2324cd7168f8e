package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/urfave/cli/v2"

	"palimpsest/engine/fault"
	"palimpsest/engine/shard"
	"palimpsest/engine/text"
)

func importCommand() *cli.Command {
	return &cli.Command{
		Name:      "import",
		Usage:     "turn files of token ids, of llm.c or nanoGPT, into a data set",
		ArgsUsage: "FILE...",
		Description: example("palimpsest data import --tokenizer gpt2.json --out shards fineweb_train_000001.bin fineweb_train_000002.bin",
			"palimpsest data import --format nanogpt --width 2 --tokenizer gpt2.json --out shards train.bin",
			"palimpsest data import --format nanogpt --width 2 --block 1024 --tokenizer chars.json --out shards train.bin"),
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "tokenizer", Usage: "tokenizer.json `FILE` that made the ids"},
			&cli.StringFlag{Name: "out", Usage: "`FOLDER` of the data set"},
			&cli.StringFlag{Name: "format", Value: string(shard.LLMC), Usage: "llm.c (with a header) or nanogpt (ids alone)"},
			&cli.IntFlag{Name: "width", DefaultText: "llm.c's header tells", Usage: "`BYTES` of an id, 2 or 4; nanogpt needs it"},
			&cli.IntFlag{Name: "separator", DefaultText: "the tokenizer's end token", Usage: "`ID` between documents, which stays part of them"},
			&cli.BoolFlag{Name: "leading", Usage: "the separator begins a document instead of ending it (on when the first file begins with it, as those of llm.c's scripts do)"},
			&cli.IntFlag{Name: "block", Usage: "without separators: `NUMBER` of tokens of a document"},
			&cli.BoolFlag{Name: "force", Usage: "replace an existing data set, once the new one is complete"},
		},
		Action: importData,
	}
}

type importResult struct {
	Out       string   `json:"out"`
	Tokenizer string   `json:"tokenizer_hash"`
	Files     []string `json:"files"` // each with what it is
	Documents int64    `json:"documents"`
	Tokens    int64    `json:"tokens"`
	Longest   int      `json:"longest_document"`
	Bare      int64    `json:"documents_of_only_the_separator"`
	Separator int32    `json:"separator"` // -1: blocks
	Leading   bool     `json:"leading"`
	Block     int      `json:"block"`
	Shards    int      `json:"shards"`
}

func importData(c *cli.Context) error {
	if err := need(c, "tokenizer", "out"); err != nil {
		return err
	}
	if !c.Args().Present() {
		return fault.Usage.Errorf("name the files to import; hint: palimpsest %s --help", verbOf(c))
	}
	tokenizer, err := text.Load(c.String("tokenizer"))
	if err != nil {
		return err
	}
	how, err := importOptions(c, tokenizer)
	if err != nil {
		return err
	}
	place, err := choosePlace(c.String("out"), c.Bool("force"))
	if err != nil {
		return err
	}
	options := shard.WriterOptions{
		TokenizerHash: tokenizer.Hash(), Vocab: tokenizer.Vocab(), BOS: -1, EOS: -1, Source: sourceNote(c.Args().Slice()),
	}
	if how.Leading {
		options.BOS = how.Separator
	} else {
		options.EOS = how.Separator
	}
	writer, err := place.create(options)
	if err != nil {
		return err
	}
	result := importResult{
		Out: c.String("out"), Tokenizer: tokenizer.Hash(), Files: []string{},
		Separator: how.Separator, Leading: how.Leading, Block: how.Block,
	}
	for _, name := range c.Args().Slice() {
		stats, e := shard.ImportBin(writer, name, how)
		if err = e; err != nil {
			break
		}
		result.Files = append(result.Files, fmt.Sprintf("%s: %s, %s documents", name, stats.BinFile, count(stats.Documents)))
		result.Longest, result.Bare = max(result.Longest, stats.Longest), result.Bare+stats.Bare
	}
	if err == nil { // before the index: a complete data set always has its tokenizer
		err = tokenizer.Save(filepath.Join(place.dir, tokenizerFile))
	}
	var index shard.Index
	if err == nil {
		index, err = writer.Close()
	}
	if err != nil {
		_, e := place.abandon(writer)
		return errors.Join(err, e)
	}
	if err := place.commit(); err != nil {
		return err
	}
	result.Documents, result.Tokens, result.Shards = index.Documents, index.Tokens, len(index.Shards)
	return show(c, result, func(w io.Writer) {
		for _, line := range result.Files {
			fmt.Fprintln(w, line)
		}
		fmt.Fprintf(w, "%s: %s documents, %s tokens in %d shard(s); the longest document has %s tokens\n",
			result.Out, count(result.Documents), count(result.Tokens), result.Shards, count(result.Longest))
		fmt.Fprintln(w, "documents:", documentRule(tokenizer, how))
		if result.Bare > 0 {
			fmt.Fprintf(w, "note: %s documents are nothing but the separator\n", count(result.Bare))
		}
		if how.Separator >= 0 && result.Documents == int64(len(result.Files)) {
			fmt.Fprintf(w, "note: no separator was met inside a file; hint: is %d the right --separator?\n", how.Separator)
		}
		fmt.Fprintf(w, "next: palimpsest data inspect %s, then palimpsest train --preset clm-cpu-tiny --data %s --out runs/first\n", result.Out, result.Out)
	})
}

// importOptions decides where documents end.
func importOptions(c *cli.Context, t *text.Tokenizer) (shard.ImportOptions, error) {
	format, err := shard.ParseBinFormat(c.String("format"))
	if err != nil {
		return shard.ImportOptions{}, fault.Of(err).Errorf("--format: %w", err)
	}
	o := shard.ImportOptions{Format: format, Width: c.Int("width"), Separator: -1, Block: c.Int("block")}
	switch {
	case c.IsSet("separator") && c.Int("separator") >= t.Vocab():
		return o, fault.Usage.Errorf("--separator: %s has the ids 0 to %d, not %d", c.String("tokenizer"), t.Vocab()-1, c.Int("separator"))
	case c.IsSet("separator"):
		o.Separator = int32(max(-1, c.Int("separator")))
	case o.Block == 0 && t.EOS < 0:
		return o, fault.Usage.Errorf("%s has no end token that could part documents; hint: give --separator ID or --block NUMBER", c.String("tokenizer"))
	case o.Block == 0:
		o.Separator = t.EOS
	}
	o.Leading = o.Separator >= 0 && beginsWith(c.Args().First(), o)
	if c.IsSet("leading") {
		if o.Leading = c.Bool("leading"); o.Leading && o.Separator < 0 {
			return o, fault.Usage.Errorf("--leading is about separators, and there are none; hint: leave it out, or give --separator ID")
		}
	}
	return o, nil
}

// beginsWith says whether the first id of a file is the separator. A file that cannot be read is left to the import to report.
func beginsWith(path string, o shard.ImportOptions) bool {
	file, err := shard.InspectBin(path, o.Width)
	if err != nil {
		return false
	}
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return false
	}
	var id [4]byte
	if _, err := f.ReadAt(id[:file.Width], info.Size()-file.Tokens*int64(file.Width)); err != nil {
		return false
	}
	return binary.LittleEndian.Uint32(id[:]) == uint32(o.Separator)
}

// documentRule says in words what a document is.
func documentRule(t *text.Tokenizer, o shard.ImportOptions) string {
	switch {
	case o.Separator < 0:
		return fmt.Sprintf("blocks of %s tokens", count(o.Block))
	case o.Leading:
		return fmt.Sprintf("each begins with id %d, %s", o.Separator, t.Token(o.Separator))
	}
	return fmt.Sprintf("each ends with id %d, %s", o.Separator, t.Token(o.Separator))
}
