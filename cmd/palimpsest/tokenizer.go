package main

import (
	"cmp"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"palimpsest/engine/fault"
	"palimpsest/engine/text"
)

func tokenizerCommand() *cli.Command {
	return &cli.Command{
		Name:  "tokenizer",
		Usage: "train a tokenizer, look at one, or encode with it",
		Subcommands: []*cli.Command{
			{
				Name:      "train",
				Usage:     "learn a vocabulary from files, byte-level BPE or WordPiece, and write a tokenizer.json",
				ArgsUsage: "FILE|FOLDER|PATTERN...",
				Description: example("palimpsest tokenizer train --vocab 8192 --out tokenizer.json texts/",
					"palimpsest tokenizer train --vocab 4096 --include '*.go' --out go.json src/",
					"palimpsest tokenizer train --kind wordpiece --lowercase --vocab 16000 --out bert.json texts/",
					"palimpsest tokenizer train --special '<|im_start|>' --special '<|im_end|>' --shape messages --template chatml --out chat.json chats.jsonl"),
				Flags: append([]cli.Flag{
					&cli.StringFlag{Name: "kind", Value: text.KindBPE, Usage: "bpe (over bytes, loses nothing) or wordpiece (over characters, as BERT)"},
					&cli.BoolFlag{Name: "lowercase", Usage: "of wordpiece: drop case and accents, as BERT uncased"},
					&cli.IntFlag{Name: "vocab", Value: 8192, Usage: "`NUMBER` of ids, the special tokens and the 256 bytes (or the alphabet) included"},
					&cli.StringFlag{Name: "out", Usage: "tokenizer.json `FILE` to write"},
					&cli.IntFlag{Name: "min-frequency", Value: 2, Usage: "a pair seen fewer `TIMES` is not merged"},
					&cli.StringSliceFlag{Name: "special", Usage: "`NAME` of one more special token, such as a marker of --template; may be repeated"},
					&cli.BoolFlag{Name: "force", Usage: "replace an existing file"},
				}, readerFlags()...),
				Action: trainTokenizer,
			},
			{
				Name:        "inspect",
				Usage:       "show a tokenizer, and how it cuts a text",
				ArgsUsage:   "TOKENIZER.JSON",
				Description: example(`palimpsest tokenizer inspect tokenizer.json --text "func main() {"`),
				Flags: []cli.Flag{
					&cli.StringFlag{Name: "text", Usage: "`TEXT` to cut into tokens"},
					&cli.IntFlag{Name: "longest", Value: 12, Usage: "`NUMBER` of longest tokens to show"},
				},
				Action: inspectTokenizer,
			},
			tokenizerEncodeCommand(),
		},
	}
}

type tokenizerResult struct {
	File    string           `json:"file"`
	Hash    string           `json:"hash"`
	Vocab   int              `json:"vocab"`
	Merges  int              `json:"merges"`
	Seconds float64          `json:"seconds"`
	Train   text.TrainReport `json:"training"`
	Reading readCounts       `json:"reading"`
	Notes   []string         `json:"notes"`
}

func trainTokenizer(c *cli.Context) error {
	if err := need(c, "out"); err != nil {
		return err
	}
	out := c.String("out")
	if !c.Bool("force") && exists(out) {
		return fault.Usage.Errorf("%s exists already; hint: choose another --out, or add --force to replace it", out)
	}
	reader, err := openReader(c)
	if err != nil {
		return err
	}
	if err := writable(filepath.Dir(out)); err != nil {
		return err
	}
	specials := text.DefaultSpecials
	if c.String("kind") == text.KindWordPiece {
		specials = text.WordPieceSpecials
	}
	start := time.Now()
	status := newStatusLine(c)
	tokenizer, report, err := text.Train(text.Texts(reader.Documents()), text.TrainOptions{
		Vocab: c.Int("vocab"), MinFrequency: c.Int("min-frequency"), Specials: slices.Concat(specials, c.StringSlice("special")),
		Kind: c.String("kind"), Lowercase: c.Bool("lowercase"),
		Progress: func(p text.TrainProgress) {
			status.update(func() string {
				if p.MaxMerges == 0 {
					return fmt.Sprintf("counting words: %s documents, %s, %s words", count(p.Documents), size(p.Bytes), count(p.Words))
				}
				return fmt.Sprintf("learning merges: %s of %s", count(p.Merges), count(p.MaxMerges))
			})
		},
	})
	status.clear()
	if err != nil {
		return err
	}
	if err := tokenizer.Save(out); err != nil {
		return err
	}
	result := tokenizerResult{
		File: out, Hash: tokenizer.Hash(), Vocab: tokenizer.Vocab(), Merges: report.Merges,
		Seconds: time.Since(start).Seconds(), Train: report, Reading: countsOf(reader.Report()), Notes: readerNotes(reader.Report()),
	}
	if report.Exhausted {
		result.Notes = append(result.Notes, fmt.Sprintf("the text has no more pairs to merge: %d ids instead of %d", tokenizer.Vocab(), c.Int("vocab")))
	}
	if report.PrunedWords > 0 {
		result.Notes = append(result.Notes, fmt.Sprintf("%s rare words were dropped while counting, to bound the memory", count(report.PrunedWords)))
	}
	if report.RareCharacters > 0 {
		result.Notes = append(result.Notes, fmt.Sprintf("%s rare characters got no token, and %s words with them were left out: WordPiece knows neither",
			count(report.RareCharacters), count(report.RareWords)))
	}
	if report.LongWords > 0 {
		result.Notes = append(result.Notes, fmt.Sprintf("%s words of more than 100 characters were left out, which WordPiece does not cut", count(report.LongWords)))
	}
	return show(c, result, func(w io.Writer) {
		fmt.Fprintf(w, "%s: %s ids, %s merges, hash %s\n", out, count(result.Vocab), count(result.Merges), result.Hash)
		fmt.Fprintf(w, "learned from %s documents, %s, %s distinct words, in %.1f s\n",
			count(report.Documents), size(report.Bytes), count(report.Words), result.Seconds)
		for _, note := range result.Notes {
			fmt.Fprintln(w, "note:", note)
		}
		fmt.Fprintf(w, "next: palimpsest data build --tokenizer %s --out shards %s\n", out, abbreviated(c.Args().Slice()))
	})
}

type tokenView struct {
	ID    int32  `json:"id"`
	Token string `json:"token"`
	Bytes int    `json:"bytes"`
	Start *int   `json:"start,omitempty"` // code points of the text
	End   *int   `json:"end,omitempty"`
}

type tokenizerView struct {
	File     string      `json:"file"`
	Kind     string      `json:"kind"`
	Hash     string      `json:"hash"`
	Vocab    int         `json:"vocab"`
	Merges   int         `json:"merges"`
	BOS      int32       `json:"bos"`
	EOS      int32       `json:"eos"`
	Pad      int32       `json:"pad"`
	Mask     int32       `json:"mask"`
	Specials []tokenView `json:"specials"`
	Longest  []tokenView `json:"longest"`
	Text     []tokenView `json:"text,omitempty"`
}

func inspectTokenizer(c *cli.Context) error {
	file, err := oneArgument(c, "a tokenizer.json")
	if err != nil {
		return err
	}
	t, err := text.Load(file)
	if err != nil {
		return err
	}
	view := tokenizerView{
		File: file, Kind: t.Kind(), Hash: t.Hash(), Vocab: t.Vocab(), Merges: t.Merges(), BOS: t.BOS, EOS: t.EOS, Pad: t.Pad, Mask: t.Mask,
		Specials: []tokenView{}, Longest: longestTokens(t, c.Int("longest")),
	}
	for _, id := range t.Specials() {
		view.Specials = append(view.Specials, viewToken(t, id))
	}
	sample := c.String("text")
	if c.IsSet("text") {
		ids, spans := t.EncodeSpecialsOffsets([]byte(sample))
		for i, id := range ids {
			token := viewToken(t, id)
			token.Start, token.End = &spans[i].Start, &spans[i].End
			view.Text = append(view.Text, token)
		}
	}
	return show(c, view, func(w io.Writer) {
		fmt.Fprintf(w, "%s: %s, %s ids, %s merges, hash %s\n", file, view.Kind, count(view.Vocab), count(view.Merges), view.Hash)
		for _, s := range view.Specials {
			fmt.Fprintf(w, "special %6d  %s%s\n", s.ID, s.Token, roles(t, s.ID))
		}
		for _, l := range view.Longest {
			fmt.Fprintf(w, "longest %6d  %3d bytes  %q\n", l.ID, l.Bytes, t.TokenBytes(l.ID))
		}
		if c.IsSet("text") {
			fmt.Fprintf(w, "%d bytes are %d tokens:\n", len(sample), len(view.Text))
			for _, token := range view.Text {
				fmt.Fprintf(w, "  %4d-%-4d %6d  %q\n", *token.Start, *token.End, token.ID, t.TokenBytes(token.ID))
			}
		}
	})
}

func viewToken(t *text.Tokenizer, id int32) tokenView {
	return tokenView{ID: id, Token: t.Token(id), Bytes: len(t.TokenBytes(id))}
}

func roles(t *text.Tokenizer, id int32) string {
	var out []string
	for _, r := range []struct {
		id   int32
		name string
	}{{t.BOS, "begin of document"}, {t.EOS, "end of document"}, {t.Pad, "padding"}, {t.Mask, "mask"}} {
		if r.id == id {
			out = append(out, r.name)
		}
	}
	if len(out) == 0 {
		return ""
	}
	return "  (" + strings.Join(out, ", ") + ")"
}

func longestTokens(t *text.Tokenizer, n int) []tokenView {
	ids := make([]int32, 0, t.Vocab())
	for id := range int32(t.Vocab()) {
		if !t.IsSpecial(id) {
			ids = append(ids, id)
		}
	}
	slices.SortStableFunc(ids, func(a, b int32) int { return cmp.Compare(len(t.TokenBytes(b)), len(t.TokenBytes(a))) })
	out := []tokenView{}
	for _, id := range ids[:max(0, min(n, len(ids)))] {
		out = append(out, viewToken(t, id))
	}
	return out
}

// abbreviated lists a few of many paths.
func abbreviated(paths []string) string {
	if len(paths) > 3 {
		return strings.Join(paths[:2], " ") + " ..."
	}
	return strings.Join(paths, " ")
}
