package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/urfave/cli/v2"

	"palimpsest/engine/fault"
	"palimpsest/engine/shard"
	"palimpsest/engine/text"
)

func verifyCommand() *cli.Command {
	return &cli.Command{
		Name:        "verify",
		Usage:       "check every hash, frame, length and token id of a data set",
		ArgsUsage:   "FOLDER",
		Description: example("palimpsest data verify shards"),
		Action:      verifyData,
	}
}

func inspectCommand() *cli.Command {
	return &cli.Command{
		Name:        "inspect",
		Usage:       "show what a data set holds, with decoded documents and planes, or what a file of token ids is",
		ArgsUsage:   "FOLDER|FILE.bin",
		Description: example("palimpsest data inspect --documents 3 --at 100 shards", "palimpsest data inspect train.bin"),
		Flags: []cli.Flag{
			&cli.IntFlag{Name: "documents", Value: 2, Usage: "`NUMBER` of documents to decode"},
			&cli.Int64Flag{Name: "at", Usage: "number of the first `DOCUMENT` to decode, from 0"},
			&cli.IntFlag{Name: "width", DefaultText: "2, unless llm.c's header tells", Usage: "`BYTES` of an id in a file without header"},
			&cli.IntFlag{Name: "tokens", Value: 48, Usage: "`NUMBER` of tokens of a document to show; 0 shows all"},
		},
		Action: inspectData,
	}
}

// dataTokenizer loads the tokenizer that lies in a data set's folder and makes sure that it is the one.
func dataTokenizer(dir string, ds *shard.Dataset) (*text.Tokenizer, error) {
	path := filepath.Join(dir, tokenizerFile)
	if !exists(path) {
		return nil, fault.Data.Errorf("%s is missing; hint: copy the tokenizer.json with hash %s there", path, ds.Index().Tokenizer.Hash)
	}
	t, err := text.Load(path)
	if err != nil {
		return nil, err
	}
	if err := ds.CheckTokenizer(t.Hash(), t.Vocab()); err != nil {
		return nil, fault.Of(err).Errorf("%s: %w", path, err)
	}
	return t, nil
}

// openData opens a data set with the way out for the two usual mistakes.
func openData(dir string) (*shard.Dataset, error) {
	ds, err := shard.Open(dir)
	if errors.Is(err, fs.ErrNotExist) && !exists(dir) {
		return nil, fault.Data.Errorf("there is no folder %s; hint: palimpsest data build --out %s ...", dir, dir)
	}
	return ds, err
}

func verifyData(c *cli.Context) error {
	dir, err := oneArgument(c, "the folder of a data set")
	if err != nil {
		return err
	}
	ds, err := openData(dir)
	if err != nil {
		return err
	}
	defer ds.Close()
	status := newStatusLine(c)
	report, err := ds.Verify(func(done, total int64) {
		status.update(func() string { return fmt.Sprintf("verifying %3.0f%%", 100*float64(done)/float64(max(1, total))) })
	})
	status.clear()
	if _, e := dataTokenizer(dir, ds); e != nil {
		err = errors.Join(err, e)
	}
	if err != nil {
		return fault.Data.Wrap(err)
	}
	result := struct {
		Dir       string   `json:"dir"`
		Shards    int      `json:"shards"`
		Files     int      `json:"files"`
		Bytes     int64    `json:"bytes"`
		Documents int64    `json:"documents"`
		Tokens    int64    `json:"tokens"`
		Stray     []string `json:"stray"`
	}{dir, report.Shards, report.Files, report.Bytes, report.Documents, report.Tokens, append([]string{}, report.Stray...)}
	return show(c, result, func(w io.Writer) {
		fmt.Fprintf(w, "%s is sound: %d shard(s), %d files, %s, %s documents, %s tokens, tokenizer\n",
			dir, report.Shards, report.Files, size(report.Bytes), count(report.Documents), count(report.Tokens))
		for _, name := range report.Stray {
			fmt.Fprintf(w, "note: %s belongs to no entry of the index and is never read\n", name)
		}
	})
}

type documentView struct {
	ID     int64       `json:"id"`
	Tokens int         `json:"tokens"`
	IDs    []int32     `json:"ids"` // the first --tokens of them
	Text   string      `json:"text"`
	Planes []planeView `json:"planes"`
}

// inspectBin names the format of a file of token ids.
func inspectBin(c *cli.Context, path string) error {
	width := 2 // what nanoGPT's prepare.py writes
	if c.IsSet("width") {
		width = c.Int("width")
	}
	file, err := shard.InspectBin(path, 0)
	if err != nil {
		without, e := shard.InspectBin(path, width)
		if e != nil {
			return fault.Data.Errorf("as llm.c: %w; as nanogpt: %w", err, e)
		}
		file = without
	}
	result := struct {
		File   string `json:"file"`
		Format string `json:"format"`
		Width  int    `json:"width"`
		Tokens int64  `json:"tokens"`
	}{path, string(file.Format), file.Width, file.Tokens}
	return show(c, result, func(w io.Writer) {
		fmt.Fprintf(w, "%s: %s, %s tokens of %d bytes\n", path, file.Format, count(file.Tokens), file.Width)
		if file.Format == shard.LLMC {
			fmt.Fprintf(w, "next: palimpsest data import --tokenizer tokenizer.json --out shards %s\n", path)
			return
		}
		fmt.Fprintln(w, "note: it has no header, so the width is a guess that only the tokenizer can confirm; hint: --width 4")
		fmt.Fprintf(w, "next: palimpsest data import --format %s --width %d --tokenizer tokenizer.json --out shards %s\n", file.Format, file.Width, path)
	})
}

func inspectData(c *cli.Context) error {
	dir, err := oneArgument(c, "the folder of a data set, or a file of token ids")
	if err != nil {
		return err
	}
	if info, err := os.Stat(dir); err == nil && !info.IsDir() {
		return inspectBin(c, dir)
	}
	ds, err := openData(dir)
	if err != nil {
		return err
	}
	defer ds.Close()
	at, n := c.Int64("at"), int64(max(0, c.Int("documents")))
	if n > 0 && (at < 0 || at >= ds.Documents()) {
		return fault.Usage.Errorf("--at: there is no document %d; documents are 0 to %d", at, ds.Documents()-1)
	}
	var tokenizer *text.Tokenizer
	if n > 0 {
		if tokenizer, err = dataTokenizer(dir, ds); err != nil {
			return fault.Of(err).Errorf("%w (--documents 0 shows the rest without it)", err)
		}
	}
	view := struct {
		shard.Summary
		Examples []documentView `json:"examples"`
	}{ds.Inspect(), []documentView{}}
	for id := at; id < min(at+n, ds.Documents()); id++ {
		d, err := ds.Document(id, planeNames(view.Planes)...)
		if err != nil {
			return err
		}
		shown := d.Tokens
		if most := c.Int("tokens"); most > 0 {
			shown = shown[:min(most, len(shown))]
		}
		example := documentView{id, len(d.Tokens), append([]int32{}, shown...), string(tokenizer.Decode(shown)), []planeView{}}
		for _, p := range view.Planes {
			example.Planes = append(example.Planes, decodePlane(p, shown, d.Planes[p.Name], tokenizer))
		}
		view.Examples = append(view.Examples, example)
	}
	return show(c, view, func(w io.Writer) {
		total := view.Total
		fmt.Fprintf(w, "%s: %s documents, %s tokens (%.1f a document), %d shard(s), %s, %.1f times smaller than raw %s\n", dir,
			count(total.Documents), count(total.Tokens), total.MeanLength, len(view.Shards), size(total.Bytes), total.Ratio, view.DType)
		fmt.Fprintf(w, "tokenizer %s, %s ids; index %016x\n", view.Tokenizer.Hash, count(view.Tokenizer.Vocab), uint64(view.Hash))
		for _, p := range view.Planes {
			fmt.Fprintf(w, "plane %s: %s\n", p.Name, p.Provenance)
		}
		for _, s := range view.Shards {
			fmt.Fprintf(w, "shard %s: %s documents, %s tokens, %d frames, %s  %s\n", s.Name, count(s.Documents), count(s.Tokens), s.Frames, size(s.Bytes), s.Source)
		}
		for _, e := range view.Examples {
			fmt.Fprintf(w, "\ndocument %d, %s tokens\nids  %s\ntext %q\n", e.ID, count(e.Tokens), strings.Trim(fmt.Sprint(e.IDs), "[]"), e.Text)
			for _, p := range e.Planes {
				p.print(w)
			}
			if more := e.Tokens - len(e.IDs); more > 0 {
				fmt.Fprintf(w, "... and %s more tokens (--tokens 0 shows all)\n", count(more))
			}
		}
	})
}
