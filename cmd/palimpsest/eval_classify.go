package main

import (
	"fmt"
	"io"
	"time"

	"github.com/urfave/cli/v2"

	"palimpsest/engine/eval"
	"palimpsest/engine/fault"
)

func evalClassifyCommand() *cli.Command {
	return &cli.Command{
		Name:  "classify",
		Usage: "accuracy, F1, Matthews coefficient and correlations of a classification head",
		Description: example("palimpsest eval classify --model runs/topics",
			"palimpsest eval classify --model runs/topics --data test-shards") +
			"\n\nThe correlations are of the true class and the expected one; they mean something for ordered classes only.",
		Flags: append(modelFlags(),
			&cli.StringFlag{Name: "data", Usage: "data set `FOLDER` with the plane of classes, all of it, made with the same tokenizer; without it the documents that the run held out"},
			&cli.StringFlag{Name: "objective", Usage: "`NAME` of what is asked, classify or tag; without it that of the run's last phase"},
			&cli.Int64Flag{Name: "tokens", Usage: "`NUMBER` of tokens to read; 0 reads all"},
		),
		Action: evalClassify,
	}
}

func evalClassify(c *cli.Context) error {
	if err := noArguments(c); err != nil {
		return err
	}
	if c.Int64("tokens") < 0 {
		return fault.Usage.Errorf("--tokens: want 0 or more, not %d", c.Int64("tokens"))
	}
	m, err := openModel(c)
	if err != nil {
		return err
	}
	defer m.Close()
	start := time.Now()
	scores, err := m.Classify(c.String("data"), c.String("objective"), c.Int64("tokens"))
	if err != nil {
		return err
	}
	result := struct {
		Model string `json:"model"`
		Step  int64  `json:"step"`
		eval.Classification
		Seconds float64 `json:"seconds"`
	}{m.Dir, m.Step, scores, time.Since(start).Seconds()}
	return show(c, result, func(w io.Writer) {
		fmt.Fprintf(w, "%s, step %d: head %s on %s rows, in %.1f s\n", m.Dir, m.Step, scores.Head, count(scores.Rows), result.Seconds)
		fmt.Fprintf(w, "%-18s %7.2f%%  (most frequent class: %.2f%%)\n", "accuracy", 100*scores.Accuracy, 100*scores.Majority)
		line := func(name string, value *float64) {
			if value != nil {
				fmt.Fprintf(w, "%-18s %8.4f\n", name, *value)
			}
		}
		line("F1 macro", &scores.MacroF1)
		line("F1 micro", &scores.MicroF1)
		line("F1 of class 1", scores.BinaryF1)
		line("Matthews", &scores.Matthews)
		line("Pearson", scores.Pearson)
		line("Spearman", scores.Spearman)
		fmt.Fprintf(w, "\n%5s %10s %10s %10s %10s\n", "class", "rows", "precision", "recall", "F1")
		for _, s := range scores.Classes {
			fmt.Fprintf(w, "%5d %10s %10.4f %10.4f %10.4f\n", s.Class, count(s.Support), s.Precision, s.Recall, s.F1)
		}
	})
}
