package main

import (
	"strings"

	"github.com/urfave/cli/v2"

	"palimpsest/engine"
	"palimpsest/engine/eval"
	"palimpsest/engine/fault"
)

// samplingFlags say how texts are continued.
func samplingFlags(tokens int, temperature float64) []cli.Flag {
	return []cli.Flag{
		&cli.IntFlag{Name: "max-tokens", Value: tokens, Usage: "`NUMBER` of tokens to add at most"},
		&cli.Float64Flag{Name: "temperature", Value: temperature, Usage: "`NUMBER` that flattens the distribution; 0 always takes the most probable token"},
		&cli.IntFlag{Name: "top-k", Usage: "draw from this `NUMBER` of most probable tokens; 0 from all"},
		&cli.Float64Flag{Name: "top-p", Value: 1, Usage: "draw from the most probable tokens that reach this `SHARE` together"},
		&cli.Uint64Flag{Name: "seed", Value: 1, Usage: "`NUMBER` that decides the draws"},
		&cli.IntFlag{Name: "samples", Value: 1, Usage: "`NUMBER` of continuations of each prompt"},
	}
}

// samplingOf reads samplingFlags.
func samplingOf(c *cli.Context) (s eval.Sampling, samples int, err error) {
	s = eval.Sampling{
		Temperature: c.Float64("temperature"), TopK: c.Int("top-k"), TopP: c.Float64("top-p"), Seed: c.Uint64("seed"), MaxTokens: c.Int("max-tokens"),
	}
	switch {
	case !(s.Temperature >= 0 && s.Temperature < 1e6):
		err = fault.Usage.Errorf("--temperature: want 0 or more, not %g", s.Temperature)
	case s.TopK < 0:
		err = fault.Usage.Errorf("--top-k: want 0 or more, not %d", s.TopK)
	case !(s.TopP > 0 && s.TopP <= 1):
		err = fault.Usage.Errorf("--top-p: want a share above 0, up to 1, not %g", s.TopP)
	case s.MaxTokens < 1:
		err = fault.Usage.Errorf("--max-tokens: want 1 or more, not %d", s.MaxTokens)
	case c.Int("samples") < 1:
		err = fault.Usage.Errorf("--samples: want 1 or more, not %d", c.Int("samples"))
	case c.Int("samples") > 1 && s.Temperature == 0:
		err = fault.Usage.Errorf("--samples %d: at temperature 0 all of them would be the same; hint: --temperature 1", c.Int("samples"))
	}
	return s, c.Int("samples"), err
}

// promptsOf are the prompts that a verb works on: --prompt, arguments, --input or standard input.
func promptsOf(c *cli.Context) ([]string, error) {
	prompts := c.StringSlice("prompt")
	if len(prompts) == 0 {
		return inputLines(c)
	}
	if c.Args().Present() || c.String("input") != "" {
		return nil, fault.Usage.Errorf("give prompts as --prompt, as arguments or as --input, not more than one of them")
	}
	return prompts, nil
}

func promptFlag() cli.Flag {
	return &cli.StringSliceFlag{Name: "prompt", Usage: "`TEXT` to continue, as an argument is; may be repeated, and empty for texts from nothing"}
}

// A continuer continues prompts with a causal model.
type continuer struct {
	m       *engine.Model
	start   int32 // token before a document, -1 for none
	writer  eval.Writer
	samples int
}

// newContinuer refuses models that look ahead.
func newContinuer(m *engine.Model, s eval.Sampling, samples int) (*continuer, error) {
	if !m.Config.Causal() {
		return nil, fault.Usage.Errorf("%s was trained for %s, which continues no text; hint: %s", m.Dir, strings.Join(trainedFor(m.Config), ", "), verbFor(m.Config))
	}
	start, end := documentEnds(m)
	if start < 0 {
		start = end // what ends a document stands before the next
	}
	g := &continuer{m: m, start: start, samples: samples, writer: eval.Writer{Backend: m.Backend, Weights: m.Weights, End: end, Sampling: s}}
	for _, id := range m.Tokenizer.Specials() {
		if id != end {
			g.writer.Banned = append(g.writer.Banned, id)
		}
	}
	for id := int32(m.Tokenizer.Vocab()); id < int32(m.Config.Model.Vocab); id++ {
		g.writer.Banned = append(g.writer.Banned, id)
	}
	return g, nil
}

// A continuation of a prompt.
type continuation struct {
	prompt, sample int
	eval.Generation
}

// ending says why a continuation is over.
func (g *continuer) ending(c continuation) string {
	switch {
	case c.Ended:
		return "end token"
	case len(c.Tokens) < g.writer.MaxTokens:
		return "context full"
	}
	return "max-tokens"
}

// contexts are the tokens of prompts, behind what begins a document.
func (g *continuer) contexts(prompts []string) ([][]int32, error) {
	contexts := make([][]int32, len(prompts))
	for p, prompt := range prompts {
		if g.start >= 0 {
			contexts[p] = append(contexts[p], g.start)
		}
		contexts[p] = g.m.Tokenizer.Encode(contexts[p], []byte(prompt))
		switch n, most := len(contexts[p]), g.m.Config.Model.Context; {
		case n == 0:
			return nil, fault.Data.Errorf("prompt %d is empty, and the tokenizer has no begin token to start from", p+1)
		case n >= most:
			return nil, fault.Data.Errorf("prompt %d: %d tokens, and the model takes %d with what it adds; hint: a shorter prompt", p+1, n, most)
		}
	}
	return contexts, nil
}

// each continues prompts, each as often as asked for, many side by side, and yields what was written in their order.
func (g *continuer) each(contexts [][]int32, yield func(c continuation) error) error {
	var prompts [][]int32
	for _, ids := range contexts {
		for range g.samples {
			prompts = append(prompts, ids)
		}
	}
	return g.writer.Write(prompts, func(number int, generation eval.Generation) error {
		return yield(continuation{number / g.samples, number % g.samples, generation})
	})
}
