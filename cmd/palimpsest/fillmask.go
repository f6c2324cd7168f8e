package main

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"palimpsest/engine"
	"palimpsest/engine/eval"
	"palimpsest/engine/fault"
	"palimpsest/engine/text"
	"palimpsest/kernels/philox"
)

func fillMaskCommand() *cli.Command {
	return &cli.Command{
		Name:      "fill-mask",
		Usage:     "fill the masks of a text with the most probable tokens",
		ArgsUsage: "[TEXT...]",
		Description: example("palimpsest fill-mask --model runs/first 'if err != <mask> {'",
			"palimpsest fill-mask --model runs/first --mask-random 0.15 --input lines.txt",
			"palimpsest fill-mask --model runs/first --held-out 5") +
			"\n\nA mask is written <mask> or [MASK]; it stands for one token, and a space before it belongs to the answer. Models that exlm trained answer with the most likely path through the text's graph.",
		Flags: append(modelFlags(),
			&cli.IntFlag{Name: "top", Value: 5, Usage: "`NUMBER` of answers for each mask"},
			inputFlag(),
			&cli.Float64Flag{Name: "mask-random", Usage: "mask this `SHARE` of the words, at least one a line, and show the truth beside the answers"},
			&cli.IntFlag{Name: "held-out", Usage: "take this `NUMBER` of lines from the documents that the run held out, and mask them at random"},
			&cli.Uint64Flag{Name: "seed", Value: 1, Usage: "`NUMBER` that decides the random masks"},
		),
		Action: fillMask,
	}
}

type answerView struct {
	ID    int32   `json:"id"`
	Token string  `json:"token"`
	P     float64 `json:"p"`
}

type maskView struct {
	Truth   string       `json:"truth,omitempty"`
	Answers []answerView `json:"answers"`
}

type clozeView struct {
	Text  string     `json:"text"`
	Masks []maskView `json:"masks"`
}

func fillMask(c *cli.Context) error {
	share := c.Float64("mask-random")
	heldOut := c.Int("held-out")
	switch {
	case c.Int("top") < 1:
		return fault.Usage.Errorf("--top: want 1 or more, not %d", c.Int("top"))
	case !(share >= 0 && share <= 1):
		return fault.Usage.Errorf("--mask-random: want a share in [0,1], not %g", share)
	case heldOut < 0:
		return fault.Usage.Errorf("--held-out: want a number of lines, not %d", heldOut)
	case heldOut > 0 && (c.Args().Present() || c.String("input") != ""):
		return fault.Usage.Errorf("give a text or --held-out, not both")
	case heldOut > 0 && !c.IsSet("mask-random"):
		share = 0.15
	}
	m, err := openModel(c)
	if err != nil {
		return err
	}
	defer m.Close()
	if !slices.ContainsFunc(trainedFor(m.Config), func(name string) bool { return slices.Contains([]string{"mlm", "mslm", "exlm"}, name) }) {
		return fault.Usage.Errorf("%s was trained for %s, which fills no masks; hint: %s", m.Dir, strings.Join(trainedFor(m.Config), ", "), verbFor(m.Config))
	}
	if m.Tokenizer.Mask < 0 {
		return fault.Data.Errorf("the tokenizer of %s has no mask token", m.Dir)
	}
	var clozes []cloze
	if heldOut > 0 {
		clozes, err = heldOutClozes(m, heldOut, share, c.Uint64("seed"))
	} else {
		clozes, err = readClozes(c, m, c.IsSet("mask-random"))
	}
	if err != nil {
		return err
	}
	sequences := make([][]int32, len(clozes))
	for i := range clozes {
		sequences[i] = clozes[i].ids
	}
	answers, err := m.FillMask(sequences, c.Int("top"))
	if err != nil {
		return err
	}
	return showAnswers(c, clozeViews(m.Tokenizer, clozes, answers))
}

// readClozes makes clozes of the texts that the user gave, of whose words random masks a share; otherwise the user wrote the masks.
func readClozes(c *cli.Context, m *engine.Model, random bool) ([]cloze, error) {
	lines, err := inputLines(c)
	if err != nil {
		return nil, err
	}
	bos, eos := documentEnds(m)
	clozes := make([]cloze, len(lines))
	for i, line := range lines {
		z := &clozes[i]
		if random {
			draw := philox.New(c.Uint64("seed"), philox.StreamMask, uint64(i), 0)
			ids := m.Tokenizer.Encode(nil, []byte(line))
			*z = maskWords(m.Tokenizer, ids, 0, len(ids), c.Float64("mask-random"), &draw)
		} else {
			*z = writtenMasks(m.Tokenizer, line)
		}
		z.frame(bos, eos)
		switch n := len(z.ids); {
		case random && !slices.Contains(z.ids, m.Tokenizer.Mask):
			return nil, fault.Data.Errorf("text %d: %q has no word to mask", i+1, line)
		case !slices.Contains(z.ids, m.Tokenizer.Mask):
			return nil, fault.Data.Errorf("text %d: nothing to fill in %q; hint: write <mask>, or use --mask-random 0.15", i+1, line)
		case n > m.Config.Model.Context:
			return nil, fault.Data.Errorf("text %d: %d tokens, and the model takes %d; hint: shorter lines", i+1, n, m.Config.Model.Context)
		}
	}
	return clozes, nil
}

// clozeViews joins texts and answers.
func clozeViews(t *text.Tokenizer, clozes []cloze, answers [][][]eval.Answer) []clozeView {
	var views []clozeView
	for i, z := range clozes {
		view := clozeView{Text: z.shown}
		for m, candidates := range answers[i] {
			mask := maskView{}
			for _, a := range candidates {
				mask.Answers = append(mask.Answers, answerView{a.ID, string(t.Decode([]int32{a.ID})), a.Probability})
			}
			if z.truth != nil {
				mask.Truth = z.truth[m]
			}
			view.Masks = append(view.Masks, mask)
		}
		views = append(views, view)
	}
	return views
}

func showAnswers(c *cli.Context, views []clozeView) error {
	if c.Bool("json") {
		for _, view := range views {
			if err := printJSON(c.App.Writer, view); err != nil {
				return err
			}
		}
		return nil
	}
	return show(c, nil, func(w io.Writer) {
		hits, known := 0, 0
		for _, view := range views {
			fmt.Fprintln(w, view.Text)
			for _, mask := range view.Masks {
				var list []string
				for _, a := range mask.Answers {
					list = append(list, fmt.Sprintf("%q %.0f%%", a.Token, 100*a.P))
				}
				truth := ""
				if mask.Truth != "" {
					known++
					if mask.Truth == mask.Answers[0].Token {
						hits++
					}
					truth = fmt.Sprintf("truth %q, answers ", mask.Truth)
				}
				fmt.Fprintf(w, "    %s%s\n", truth, strings.Join(list, ", "))
			}
		}
		if known > 0 {
			fmt.Fprintf(w, "%d of %d masks have the truth as first answer\n", hits, known)
		}
	})
}
