package main

import (
	"fmt"
	"io"
	"path/filepath"

	"github.com/urfave/cli/v2"

	"palimpsest/engine/fault"
	"palimpsest/engine/shard"
)

func exportCommand() *cli.Command {
	return &cli.Command{
		Name:      "export",
		Usage:     "write the tokens of a data set as files that llm.c or nanoGPT read",
		ArgsUsage: "FOLDER FILE",
		Description: example("palimpsest data export shards train.bin",
			"palimpsest data export --format nanogpt --width 2 shards train.bin",
			"palimpsest data export --file-tokens 100000000 shards train.bin    # train_000000.bin, train_000001.bin, ..."),
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "format", Value: string(shard.LLMC), Usage: "llm.c (with a header) or nanogpt (ids alone)"},
			&cli.IntFlag{Name: "width", DefaultText: "the data set's", Usage: "`BYTES` of an id, 2 or 4"},
			&cli.IntFlag{Name: "separator", Value: -1, DefaultText: "none is added", Usage: "`ID` to put behind each document that does not end with it"},
			&cli.BoolFlag{Name: "leading", Usage: "put the separator before documents that do not begin with it, instead"},
			&cli.Int64Flag{Name: "file-tokens", DefaultText: "one file", Usage: "write several files of at most this `NUMBER` of tokens"},
		},
		Action: exportData,
	}
}

func exportData(c *cli.Context) error {
	if c.NArg() != 2 {
		return fault.Usage.Errorf("want two arguments, the folder of a data set and a file to write, not %d; hint: palimpsest %s --help", c.NArg(), verbOf(c))
	}
	dir, file := c.Args().Get(0), c.Args().Get(1)
	format, err := shard.ParseBinFormat(c.String("format"))
	if err != nil {
		return fault.Of(err).Errorf("--format: %w", err)
	}
	ds, err := openData(dir)
	if err != nil {
		return err
	}
	defer ds.Close()
	index := ds.Index()
	switch separator := c.Int("separator"); {
	case separator < -1 || separator >= index.Tokenizer.Vocab:
		return fault.Usage.Errorf("--separator: the data set has the ids 0 to %d, not %d; hint: -1 means none", index.Tokenizer.Vocab-1, separator)
	case c.Bool("leading") && separator < 0:
		return fault.Usage.Errorf("--leading is about separators; hint: give --separator ID with it")
	}
	if err := writable(filepath.Dir(file)); err != nil {
		return err
	}
	o := shard.ExportOptions{
		Format: format, Width: c.Int("width"), Separator: int32(c.Int("separator")), Leading: c.Bool("leading"), FileTokens: c.Int64("file-tokens"),
	}
	stats, err := shard.ExportBin(ds, file, o)
	if err != nil {
		return err
	}
	result := struct {
		Files     []string `json:"files"`
		Format    string   `json:"format"`
		Width     int      `json:"width"`
		Documents int64    `json:"documents"`
		Tokens    int64    `json:"tokens"`
		Added     int64    `json:"separators_added"`
		Notes     []string `json:"notes"`
	}{stats.Files, string(format), o.Width, stats.Documents, stats.Tokens, stats.Added, []string{}}
	if result.Width == 0 {
		result.Width = index.Width()
	}
	for _, p := range index.Planes {
		result.Notes = append(result.Notes, fmt.Sprintf("the plane %s is left behind: %s has no place for it", p.Name, format))
	}
	if t := index.Tokenizer; o.Separator < 0 && t.BOS < 0 && t.EOS < 0 {
		result.Notes = append(result.Notes, "nothing in the file tells where documents end; hint: --separator ID")
	}
	return show(c, result, func(w io.Writer) {
		first := result.Files[0]
		if len(result.Files) > 1 {
			first = fmt.Sprintf("%s and %d more", first, len(result.Files)-1)
		}
		fmt.Fprintf(w, "%s: %s, %s documents, %s tokens of %d bytes, %s separators added\n", first, format,
			count(result.Documents), count(result.Tokens), result.Width, count(result.Added))
		for _, note := range result.Notes {
			fmt.Fprintln(w, "note:", note)
		}
	})
}
