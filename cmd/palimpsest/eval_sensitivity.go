package main

import (
	"fmt"
	"io"
	"time"

	"github.com/urfave/cli/v2"

	"palimpsest/engine"
	"palimpsest/engine/eval"
)

func evalSensitivityCommand() *cli.Command {
	return &cli.Command{
		Name:  "sensitivity",
		Usage: "how well a masked model recovers domain terms, against ordinary tokens",
		Description: example("palimpsest eval sensitivity --model runs/names", "palimpsest eval sensitivity --model runs/names --data test-shards") +
			"\n\nEvery entity of the plane bio is masked whole, one at a time, and as many random tokens outside of entities in another copy of its document: " +
			"share of first choices that are right, probability of the right token (confidence), cross-entropy. A token head also tells how many entities' first words " +
			"it finds in unmasked text, apart for those that the training documents have and others.",
		Flags: append(modelFlags(),
			&cli.StringFlag{Name: "data", Usage: "data set `FOLDER` with the plane bio, all of it, made with the same tokenizer; without it the documents that the run held out"},
			&cli.StringFlag{Name: "head", DefaultText: "that of mslm, or the first token head", Usage: "`NAME` of the token head that detects"},
			&cli.Int64Flag{Name: "tokens", Usage: "`NUMBER` of tokens to read; 0 reads all"},
		),
		Action: evalSensitivity,
	}
}

func evalSensitivity(c *cli.Context) error {
	m, err := openForEval(c)
	if err != nil {
		return err
	}
	defer m.Close()
	start := time.Now()
	s, err := m.Sensitivity(c.String("data"), c.String("head"), c.Int64("tokens"))
	if err != nil {
		return err
	}
	result := struct {
		Model string `json:"model"`
		Step  int64  `json:"step"`
		engine.Sensitivity
		Seconds float64 `json:"seconds"`
	}{m.Dir, m.Step, s, time.Since(start).Seconds()}
	return show(c, result, func(w io.Writer) {
		fmt.Fprintf(w, "%s, step %d: %s entities, in %.1f s\n", m.Dir, m.Step, count(s.Entities), result.Seconds)
		fmt.Fprintf(w, "%-12s %10s %10s %12s %14s\n", "masked", "tokens", "accuracy", "confidence", "cross-entropy")
		row := func(name string, r eval.Recovery) {
			fmt.Fprintf(w, "%-12s %10s %9.2f%% %11.2f%% %14.4f\n", name, count(r.Tokens), 100*r.Accuracy, 100*r.Confidence, r.CrossEntropy)
		}
		row("domain", s.Domain)
		row("ordinary", s.Ordinary)
		row("difference", s.Difference)
		if s.Heads != nil {
			fmt.Fprintf(w, "\nfirst words of entities that head %s finds, without masks\n", s.Heads.Head)
			for _, r := range []struct {
				name string
				engine.Recall
			}{{"seen", s.Heads.Seen}, {"unseen", s.Heads.Unseen}, {"all", s.Heads.Unknown}} {
				if r.Entities > 0 {
					fmt.Fprintf(w, "%-12s %10s %9.2f%%\n", r.name, count(r.Entities), 100*r.Recall.Recall)
				}
			}
		}
		for _, note := range s.Notes {
			fmt.Fprintln(w, "note:", note)
		}
	})
}
