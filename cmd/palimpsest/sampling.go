package main

import (
	"strings"

	"github.com/urfave/cli/v2"

	"palimpsest/engine"
	"palimpsest/engine/eval"
	"palimpsest/engine/fault"
	"palimpsest/engine/model"
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
	m          *engine.Model
	decoder    *model.Decoder
	start, end int32 // tokens around a document, -1 for none
	banned     []int32
	sampling   eval.Sampling
	samples    int
}

// newContinuer refuses models that look ahead.
func newContinuer(m *engine.Model, s eval.Sampling, samples int) (*continuer, error) {
	if !m.Config.Causal() {
		return nil, fault.Usage.Errorf("%s was trained for %s, which continues no text; hint: %s", m.Dir, strings.Join(trainedFor(m.Config), ", "), verbFor(m.Config))
	}
	g := &continuer{m: m, sampling: s, samples: samples}
	g.start, g.end = documentEnds(m)
	if g.start < 0 {
		g.start = g.end // what ends a document stands before the next
	}
	for _, id := range m.Tokenizer.Specials() {
		if id != g.end {
			g.banned = append(g.banned, id)
		}
	}
	for id := int32(m.Tokenizer.Vocab()); id < int32(m.Config.Model.Vocab); id++ {
		g.banned = append(g.banned, id)
	}
	g.decoder = model.NewDecoder(m.Backend, m.Weights, m.Config.Model.Context)
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
	case len(c.Tokens) < g.sampling.MaxTokens:
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

// each continues prompts one after the other, each as often as asked for. The draws depend on the seed and on the number of
// the continuation alone.
func (g *continuer) each(contexts [][]int32, yield func(c continuation) error) error {
	for p, ids := range contexts {
		for sample := range g.samples {
			generation, err := eval.Generate(g.decoder, ids, g.end, g.banned, g.m.Config.Model.Context, g.sampling, uint64(p*g.samples+sample), nil)
			if err != nil {
				return err
			}
			if err := yield(continuation{p, sample, generation}); err != nil {
				return err
			}
		}
	}
	return nil
}
