package main

import (
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"github.com/urfave/cli/v2"

	"palimpsest/engine"
	"palimpsest/engine/vfs"
)

func importModelCommand() *cli.Command {
	return &cli.Command{
		Name:      "import",
		Usage:     "turn a Hugging Face folder into a trained model for the other verbs",
		ArgsUsage: "FOLDER",
		Description: example("palimpsest import gpt2/ --out models/gpt2",
			"palimpsest generate --model models/gpt2 'Once upon a time'",
			"palimpsest import --adapter gpt2-lora/ models/gpt2 --out models/gpt2-adapted",
			"palimpsest data build --tokenizer models/gpt2/tokenizer.json --out shards texts/",
			"palimpsest train --set train.init=models/gpt2 --set objective=clm --data shards --out runs/adapted") +
			"\n\nFOLDER has config.json, model.safetensors (or an index with its files) and tokenizer.json, as transformers' save_pretrained writes them. " +
			"Families: bert, gpt2, llama, modernbert, roberta. Nothing is downloaded and no pickle is opened.",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "out", Usage: "`FOLDER` to write, which must not exist or be empty"},
			&cli.StringFlag{Name: "adapter", Usage: "`FOLDER` of the library peft whose low-rank adapters go onto FOLDER, which is then a model here: an imported one, a run or a checkpoint"},
			&cli.Uint64Flag{Name: "seed", Value: 1, Usage: "`NUMBER` that decides the initial values of a head that the folder lacks"},
		},
		Action: importModel,
	}
}

func importModel(c *cli.Context) error {
	folder, err := oneArgument(c, "a Hugging Face folder")
	if err != nil {
		return err
	}
	if err := need(c, "out"); err != nil {
		return err
	}
	var r *engine.Imported
	if adapter := c.String("adapter"); adapter != "" {
		r, err = engine.ImportAdapter(vfs.OS{}, adapter, folder, c.String("out"))
	} else {
		r, err = engine.Import(vfs.OS{}, folder, c.String("out"), c.Uint64("seed"))
	}
	if err != nil {
		return err
	}
	if r.New == nil {
		r.New = []string{}
	}
	if r.Notes == nil {
		r.Notes = []string{}
	}
	return show(c, r, func(w io.Writer) {
		m := r.Model
		fmt.Fprintf(w, "%s: %s of %s parameters, %d layers, width %d, %d heads, context %s, vocabulary %s\n", r.Dir, r.Family, count(r.Parameters), m.Layers, m.Width, m.Heads,
			count(m.Context), count(int(m.Vocab)))
		for _, note := range r.Notes {
			fmt.Fprintln(w, "note:", note)
		}
		use := "palimpsest fill-mask --model " + r.Dir + " 'TEXT <mask>'"
		if r.Objective == "clm" {
			use = "palimpsest generate --model " + r.Dir + " 'TEXT'"
		}
		if len(r.New) == 0 && (r.Objective == "clm" || r.Objective == "mlm") {
			fmt.Fprintln(w, "try it:  ", use)
		}
		objective := r.Objective
		if objective == "tag" || objective == "classify" {
			objective = strings.Join([]string{objective, "mlm"}, "|")
		}
		fmt.Fprintf(w, "adapt it: palimpsest data build --tokenizer %s --out shards TEXTS\n", filepath.Join(r.Dir, engine.TokenizerFile))
		fmt.Fprintf(w, "          palimpsest train --set train.init=%s --set objective=%s --set optimizer.learning_rate=5e-5 --data shards --out RUN\n", r.Dir, objective)
	})
}
