package main

import (
	"fmt"
	"io"
	"math"
	"strings"

	"github.com/urfave/cli/v2"

	"palimpsest/engine"
	"palimpsest/engine/eval"
	"palimpsest/engine/fault"
)

func exlmCommand() *cli.Command {
	return &cli.Command{
		Name:  "exlm",
		Usage: "look into models of the objective exlm",
		Subcommands: []*cli.Command{{
			Name:      "align",
			Usage:     "show which states emit what was masked, on the likeliest path through a text's graph",
			ArgsUsage: "[TEXT...]",
			Description: example("palimpsest exlm align --model runs/exlm --held-out 3",
				"palimpsest exlm align --model runs/exlm --mask-random 0.3 'To be or not to be'") +
				"\n\nWords of each text are masked at random, so that the targets are known. For every target, begin and end included, the state that emits it on the likeliest path (Viterbi) is shown: " +
				"its token and its number among that token's states, the log-probability of the target there and of the link to it, and which share of all paths, weighed by their probability, emits the target at this state. " +
				"A star marks targets that another token's state emits.",
			Flags: append(modelFlags(),
				inputFlag(),
				&cli.Float64Flag{Name: "mask-random", Value: 0.15, Usage: "mask this `SHARE` of the words, at least one a line"},
				&cli.IntFlag{Name: "held-out", Usage: "take this `NUMBER` of lines from the documents that the run held out"},
				&cli.Uint64Flag{Name: "seed", Value: 1, Usage: "`NUMBER` that decides the random masks"},
			),
			Action: exlmAlign,
		}},
	}
}

// stepView is a target on the likeliest path.
type stepView struct {
	ID       int32   `json:"id"`
	Target   string  `json:"target"`
	Place    int     `json:"place"`
	Source   int     `json:"source"`
	State    int     `json:"state"`
	States   int     `json:"states"`
	Emission float64 `json:"emission"`
	Link     float64 `json:"link"`
	Share    float64 `json:"share"`
}

// alignView is a text with its path; without one there are no log-probabilities.
type alignView struct {
	Text     string     `json:"text"`
	LogP     *float64   `json:"logp"`
	BestLogP *float64   `json:"best_logp"`
	Path     []stepView `json:"path"`
}

func exlmAlign(c *cli.Context) error {
	share, n := c.Float64("mask-random"), c.Int("held-out")
	switch {
	case !(share >= 0 && share <= 1):
		return fault.Usage.Errorf("--mask-random: want a share in [0,1], not %g", share)
	case n < 0:
		return fault.Usage.Errorf("--held-out: want a number of lines, not %d", n)
	case n > 0 && (c.Args().Present() || c.String("input") != ""):
		return fault.Usage.Errorf("give a text or --held-out, not both")
	}
	m, err := openModel(c)
	if err != nil {
		return err
	}
	defer m.Close()
	if _, err := m.Align(nil, nil); err != nil { // before texts are read
		return err
	}
	var clozes []cloze
	if n > 0 {
		clozes, err = heldOutClozes(m, n, share, c.Uint64("seed"))
	} else {
		clozes, err = readClozes(c, m, true)
	}
	if err != nil {
		return err
	}
	var texts, originals [][]int32
	for _, z := range clozes {
		texts, originals = append(texts, z.ids), append(originals, z.original)
	}
	aligned, err := m.Align(texts, originals)
	if err != nil {
		return err
	}
	views := make([]alignView, len(clozes))
	for i, z := range clozes {
		views[i] = newAlignView(m, z, aligned[i])
	}
	if c.Bool("json") {
		for _, v := range views {
			if err := printJSON(c.App.Writer, v); err != nil {
				return err
			}
		}
		return nil
	}
	return show(c, nil, func(w io.Writer) {
		for _, v := range views {
			v.write(w)
		}
	})
}

func newAlignView(m *engine.Model, z cloze, a eval.AlignedText) alignView {
	v := alignView{Text: z.shown, Path: []stepView{}}
	if len(a.Path) > 0 {
		v.LogP, v.BestLogP = &a.LogP, &a.BestLogP
	}
	for _, s := range a.Path {
		target := string(m.Tokenizer.Decode([]int32{s.Target}))
		if m.Tokenizer.IsSpecial(s.Target) {
			target = m.Tokenizer.Token(s.Target)
		}
		v.Path = append(v.Path, stepView{s.Target, target, s.Place, s.Source, s.State, s.States, s.Emission, s.Link, s.Share})
	}
	return v
}

func (v alignView) write(w io.Writer) {
	fmt.Fprintln(w, v.Text)
	if len(v.Path) == 0 {
		fmt.Fprintln(w, "    no path through the graph emits what was masked")
		return
	}
	n := float64(len(v.Path))
	fmt.Fprintf(w, "    log P %.3f, %.3f a target; the likeliest path has %.3f, %.1f %% of it\n", *v.LogP, *v.LogP/n, *v.BestLogP, 100*math.Exp(*v.BestLogP-*v.LogP))
	widest := len("target")
	for _, s := range v.Path {
		widest = max(widest, len([]rune(fmt.Sprintf("%q", s.Target))))
	}
	fmt.Fprintf(w, "    %*s %s   token  state   emission      link   share\n", -widest, "target", " ")
	for _, s := range v.Path {
		star := " "
		if s.Source != s.Place {
			star = "*"
		}
		quoted := fmt.Sprintf("%q", s.Target)
		fmt.Fprintf(w, "    %s%s %s %7d %6s %10.3f %9.3f %6.1f%%\n", quoted, strings.Repeat(" ", widest-len([]rune(quoted))), star, s.Source, fmt.Sprintf("%d/%d", s.State, s.States), s.Emission, s.Link, 100*s.Share)
	}
}
