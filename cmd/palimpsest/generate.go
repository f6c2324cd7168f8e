package main

import (
	"fmt"
	"io"
	"slices"

	"github.com/urfave/cli/v2"

	"palimpsest/engine/fault"
)

func generateCommand() *cli.Command {
	return &cli.Command{
		Name:      "generate",
		Usage:     "continue a text with a causal model",
		ArgsUsage: "[PROMPT...]",
		Description: example("palimpsest generate --model runs/first --max-tokens 100 'func main() {'",
			"palimpsest generate --model runs/first --temperature 0 --input prompts.txt",
			"palimpsest generate --model runs/first --input prompts.txt --samples 20 --temperature 1 --annotate own.jsonl --words unwanted.txt") +
			"\n\n--annotate writes what the model generates as JSON lines with prompt, generation, its tokens, and the spans (in code points) that are unwanted in it: " +
			"'data build --shape generation' makes a data set for the objective tnt of them. Without --words, --patterns, --regexp or --detector there are no spans yet, and another program can add them.",
		Flags: slices.Concat(modelFlags(), []cli.Flag{promptFlag(), inputFlag()}, samplingFlags(64, 0.8),
			[]cli.Flag{
				&cli.StringFlag{Category: annotateCategory, Name: "annotate", Usage: "JSON lines `FILE` to write, with what is unwanted in every continuation"},
				&cli.BoolFlag{Category: annotateCategory, Name: "force", Usage: "replace the file if it exists"},
			}, detectorFlags(annotateCategory)),
		Action: generate,
	}
}

const annotateCategory = "Own outputs as training data"

func generate(c *cli.Context) error {
	sampling, samples, err := samplingOf(c)
	if err != nil {
		return err
	}
	if !c.IsSet("annotate") {
		for _, name := range []string{"words", "keep-case", "patterns", "regexp", "detector", "force"} {
			if c.IsSet(name) {
				return fault.Usage.Errorf("--%s is about --annotate FILE; hint: name the file", name)
			}
		}
	}
	m, err := openModel(c)
	if err != nil {
		return err
	}
	defer m.Close()
	g, err := newContinuer(m, sampling, samples)
	if err != nil {
		return err
	}
	prompts, err := promptsOf(c)
	if err != nil {
		return err
	}
	contexts, err := g.contexts(prompts)
	if err != nil {
		return err
	}
	if c.IsSet("annotate") {
		return annotateOutputs(c, g, prompts, contexts)
	}
	return g.each(contexts, func(o continuation) error {
		prompt, ending := prompts[o.prompt], g.ending(o)
		view := struct {
			Prompt  string  `json:"prompt"`
			Text    string  `json:"text"`
			Tokens  []int32 `json:"tokens"`
			LogProb float64 `json:"log_prob"`
			Ending  string  `json:"ending"`
		}{prompt, string(m.Tokenizer.Decode(o.Tokens)), append([]int32{}, o.Tokens...), o.LogProb, ending}
		return show(c, view, func(w io.Writer) {
			fmt.Fprintf(w, "%s%s\n", prompt, view.Text)
			if ending == "context full" {
				fmt.Fprintf(w, "(the model's context of %d tokens is full)\n", m.Config.Model.Context)
			}
			if o.prompt < len(prompts)-1 || o.sample < samples-1 {
				fmt.Fprintln(w, "---")
			}
		})
	})
}
