package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"palimpsest/engine"
	"palimpsest/engine/eval"
	"palimpsest/engine/fault"
	"palimpsest/engine/runfile"
)

func evalCommand() *cli.Command {
	return &cli.Command{
		Name:  "eval",
		Usage: "measure a trained model",
		Subcommands: []*cli.Command{{
			Name:  "loss",
			Usage: "loss, perplexity and accuracy on held-out documents, beside the unigram baseline",
			Description: example("palimpsest eval loss --model runs/first",
				"palimpsest eval loss --model runs/first --data other-shards",
				"palimpsest eval loss --model runs/first --set mask.p=0.4"),
			Flags: append(modelFlags(),
				&cli.StringFlag{Name: "data", Usage: "data set `FOLDER`, all of it, made with the same tokenizer; without it the documents that the run held out"},
				&cli.StringFlag{Name: "objective", Usage: "`NAME` of what is asked; without it that of the run's last phase"},
				&cli.Int64Flag{Name: "tokens", Usage: "`NUMBER` of tokens to read; 0 reads all"},
				&cli.StringSliceFlag{Name: "set", Usage: "mask otherwise than the run did: a key of the section mask, `KEY=VALUE`; may be repeated"},
			),
			Action: evalLoss,
		}, evalClassifyCommand(), evalNERCommand(), evalSensitivityCommand(), evalBlimpCommand(), evalAvoidCommand(), evalLogitsCommand()},
	}
}

// openForEval checks what all evaluations take and opens the model.
func openForEval(c *cli.Context) (*engine.Model, error) {
	if err := noArguments(c); err != nil {
		return nil, err
	}
	if c.Int64("tokens") < 0 {
		return nil, fault.Usage.Errorf("--tokens: want 0 or more, not %d", c.Int64("tokens"))
	}
	return openModel(c)
}

func evalLoss(c *cli.Context) error {
	m, err := openForEval(c)
	if err != nil {
		return err
	}
	defer m.Close()
	if err := maskOtherwise(&m.Config, c.StringSlice("set")); err != nil {
		return err
	}
	start := time.Now()
	loss, err := m.Evaluate(c.String("data"), c.String("objective"), c.Int64("tokens"))
	if err != nil {
		return err
	}
	result := struct {
		Model string `json:"model"`
		Step  int64  `json:"step"`
		eval.Loss
		Seconds float64  `json:"seconds"`
		Notes   []string `json:"notes"`
	}{m.Dir, m.Step, loss, time.Since(start).Seconds(), []string{}}
	if o := c.String("objective"); o != "" && o != "exlm" && !slices.Contains(m.Config.Trained(), o) {
		result.Notes = unexpanded(m)
	}
	if note := eval.Astray(loss.NLL, loss.BaselineLoss, loss.Measures); note != "" {
		result.Notes = append(result.Notes, note)
	}
	return show(c, result, func(w io.Writer) {
		fmt.Fprintf(w, "%s, step %d: %s rows of %s held-out tokens, in %.1f s\n", m.Dir, m.Step, count(loss.Rows), count(loss.Tokens), result.Seconds)
		fmt.Fprintf(w, "%-12s %10s %10s\n", "", "model", "unigram")
		fmt.Fprintf(w, "%-12s %10.4f %10.4f\n", "loss (nats)", loss.NLL, loss.BaselineLoss)
		fmt.Fprintf(w, "%-12s %10.2f\n", "perplexity", loss.Perplexity)
		fmt.Fprintf(w, "%-12s %9.2f%% %9.2f%%\n", "accuracy", 100*loss.Accuracy, 100*loss.BaselineAccuracy)
		showMeasures(w, loss)
		writeNotes(w, result.Notes)
	})
}

// maskOtherwise changes keys of the section mask. Others say how a model was made, which an evaluation cannot change.
func maskOtherwise(config *engine.Config, set []string) error {
	for _, assignment := range set {
		if !strings.HasPrefix(assignment, "mask.") {
			return fault.Usage.Errorf("--set %s: an evaluation can change keys of the section mask only; hint: --set mask.p=0.4", assignment)
		}
	}
	return runfile.Set(config, set)
}

// unexpanded is the note that a model is read otherwise than it was trained, if it is.
func unexpanded(m *engine.Model) []string {
	if note := m.Unexpanded(); note != "" {
		return []string{note}
	}
	return []string{}
}

func writeNotes(w io.Writer, notes []string) {
	for _, note := range notes {
		fmt.Fprintln(w, "note:", note)
	}
}

// showMeasures writes further figures of an evaluation, and the loss of the objective where that is another than the rows'.
func showMeasures(w io.Writer, l eval.Loss) {
	if !l.Plain() {
		fmt.Fprintf(w, "%-12s %10.4f\n", "objective", l.Loss)
	}
	for _, name := range slices.Sorted(maps.Keys(l.Measures)) {
		fmt.Fprintf(w, "%-20s %.4f\n", name, l.Measures[name])
	}
}
