package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/urfave/cli/v2"

	"palimpsest/engine/eval"
	"palimpsest/engine/fault"
	"palimpsest/engine/model"
)

func generateCommand() *cli.Command {
	return &cli.Command{
		Name:      "generate",
		Usage:     "continue a text with a causal model",
		ArgsUsage: "[PROMPT...]",
		Description: example("palimpsest generate --model runs/first --max-tokens 100 'func main() {'",
			"palimpsest generate --model runs/first --temperature 0 --input prompts.txt"),
		Flags: append(modelFlags(),
			&cli.StringSliceFlag{Name: "prompt", Usage: "`TEXT` to continue, as an argument is; may be repeated"},
			inputFlag(),
			&cli.IntFlag{Name: "max-tokens", Value: 64, Usage: "`NUMBER` of tokens to add at most"},
			&cli.Float64Flag{Name: "temperature", Value: 0.8, Usage: "`NUMBER` that flattens the distribution; 0 always takes the most probable token"},
			&cli.IntFlag{Name: "top-k", Usage: "draw from this `NUMBER` of most probable tokens; 0 from all"},
			&cli.Float64Flag{Name: "top-p", Value: 1, Usage: "draw from the most probable tokens that reach this `SHARE` together"},
			&cli.Uint64Flag{Name: "seed", Value: 1, Usage: "`NUMBER` that decides the draws"},
		),
		Action: generate,
	}
}

func generate(c *cli.Context) error {
	sampling := eval.Sampling{
		Temperature: c.Float64("temperature"), TopK: c.Int("top-k"), TopP: c.Float64("top-p"), Seed: c.Uint64("seed"), MaxTokens: c.Int("max-tokens"),
	}
	switch {
	case !(sampling.Temperature >= 0 && sampling.Temperature < 1e6):
		return fault.Usage.Errorf("--temperature: want 0 or more, not %g", sampling.Temperature)
	case sampling.TopK < 0:
		return fault.Usage.Errorf("--top-k: want 0 or more, not %d", sampling.TopK)
	case !(sampling.TopP > 0 && sampling.TopP <= 1):
		return fault.Usage.Errorf("--top-p: want a share above 0, up to 1, not %g", sampling.TopP)
	case sampling.MaxTokens < 1:
		return fault.Usage.Errorf("--max-tokens: want 1 or more, not %d", sampling.MaxTokens)
	}
	m, err := openModel(c)
	if err != nil {
		return err
	}
	defer m.Close()
	if !m.Config.Causal() {
		return fault.Usage.Errorf("%s was trained for %s, which continues no text; hint: palimpsest fill-mask", m.Dir, strings.Join(trainedFor(m.Config), ", "))
	}
	prompts := c.StringSlice("prompt")
	if len(prompts) > 0 {
		if c.Args().Present() || c.String("input") != "" {
			return fault.Usage.Errorf("give prompts as --prompt, as arguments or as --input, not more than one of them")
		}
	} else if prompts, err = inputLines(c); err != nil {
		return err
	}
	t, context := m.Tokenizer, m.Config.Model.Context
	start, end := documentEnds(m)
	if start < 0 {
		start = end // what ends a document stands before the next
	}
	var banned []int32
	for _, id := range t.Specials() {
		if id != end {
			banned = append(banned, id)
		}
	}
	for id := int32(t.Vocab()); id < int32(m.Config.Model.Vocab); id++ {
		banned = append(banned, id)
	}
	decoder := model.NewDecoder(m.Backend, m.Weights, context)
	for number, prompt := range prompts {
		var ids []int32
		if start >= 0 {
			ids = append(ids, start)
		}
		ids = t.Encode(ids, []byte(prompt))
		switch {
		case len(ids) == 0:
			return fault.Data.Errorf("prompt %d is empty, and the tokenizer has no begin token to start from", number+1)
		case len(ids) >= context:
			return fault.Data.Errorf("prompt %d: %d tokens, and the model takes %d with what it adds; hint: a shorter prompt", number+1, len(ids), context)
		}
		g, err := eval.Generate(decoder, ids, end, banned, context, sampling, uint64(number), nil)
		if err != nil {
			return err
		}
		ending := "max-tokens"
		switch {
		case g.Ended:
			ending = "end token"
		case len(g.Tokens) < sampling.MaxTokens:
			ending = "context full"
		}
		view := struct {
			Prompt  string  `json:"prompt"`
			Text    string  `json:"text"`
			Tokens  []int32 `json:"tokens"`
			LogProb float64 `json:"log_prob"`
			Ending  string  `json:"ending"`
		}{prompt, string(t.Decode(g.Tokens)), append([]int32{}, g.Tokens...), g.LogProb, ending}
		err = show(c, view, func(w io.Writer) {
			fmt.Fprintf(w, "%s%s\n", prompt, view.Text)
			if ending == "context full" {
				fmt.Fprintf(w, "(the model's context of %d tokens is full)\n", context)
			}
			if len(prompts) > 1 && number < len(prompts)-1 {
				fmt.Fprintln(w, "---")
			}
		})
		if err != nil {
			return err
		}
	}
	return nil
}
