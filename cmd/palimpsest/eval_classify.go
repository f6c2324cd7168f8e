package main

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/urfave/cli/v2"

	"palimpsest/engine"
	"palimpsest/engine/eval"
	"palimpsest/engine/shard"
	"palimpsest/engine/text"
)

func evalClassifyCommand() *cli.Command {
	return &cli.Command{
		Name:  "classify",
		Usage: "accuracy, F1, Matthews coefficient and correlations of a classification head",
		Description: example("palimpsest eval classify --model runs/topics",
			"palimpsest eval classify --model runs/topics --data test-shards") +
			"\n\nClasses have their names where the data set's plane has them (data build --label). The correlations are of the true class and the expected one; they mean something for ordered classes only.",
		Flags: append(modelFlags(),
			&cli.StringFlag{Name: "data", Usage: "data set `FOLDER` with the plane of classes, all of it, made with the same tokenizer; without it the documents that the run held out"},
			&cli.StringFlag{Name: "objective", Usage: "`NAME` of what is asked, classify or tag; without it that of the run's last phase"},
			&cli.Int64Flag{Name: "tokens", Usage: "`NUMBER` of tokens to read; 0 reads all"},
		),
		Action: evalClassify,
	}
}

func evalClassify(c *cli.Context) error {
	m, err := openForEval(c)
	if err != nil {
		return err
	}
	defer m.Close()
	start := time.Now()
	scores, err := m.Classify(c.String("data"), c.String("objective"), c.Int64("tokens"))
	if err != nil {
		return err
	}
	names, notes, err := classNames(m.Config, c.String("data"), c.String("objective"))
	if err != nil {
		return err
	}
	result := struct {
		Model string `json:"model"`
		Step  int64  `json:"step"`
		eval.Classification
		Names   []string `json:"class_names"` // by class; empty where the data set has none
		Notes   []string `json:"notes"`
		Seconds float64  `json:"seconds"`
	}{m.Dir, m.Step, scores, names, notes, time.Since(start).Seconds()}
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
		shown, widest := make([]string, len(scores.Classes)), len("class")
		for i, s := range scores.Classes {
			shown[i] = strconv.Itoa(s.Class)
			if s.Class < len(names) {
				shown[i] = names[s.Class]
			}
			widest = max(widest, utf8.RuneCountInString(shown[i]))
		}
		fmt.Fprintf(w, "\n%*s %10s %10s %10s %10s\n", widest, "class", "rows", "precision", "recall", "F1")
		for i, s := range scores.Classes {
			fmt.Fprintf(w, "%*s %10s %10.4f %10.4f %10.4f\n", widest, shown[i], count(s.Support), s.Precision, s.Recall, s.F1)
		}
		for _, note := range notes {
			fmt.Fprintln(w, "note:", note)
		}
	})
}

// classNames returns the names of the classes in the data set that was evaluated, and notes on what they do not fit.
func classNames(c engine.Config, data, objective string) (names, notes []string, err error) {
	plane := c.Classify.Plane
	if trained := trainedFor(c); objective == "" {
		objective = trained[len(trained)-1]
	}
	switch {
	case plane != "":
	case objective == "tag":
		plane = text.PlaneBIO
	default:
		plane = text.PlaneLabel
	}
	of := func(dir string) ([]string, error) {
		planes, err := planesOf(dir)
		i := slices.IndexFunc(planes, func(p shard.Plane) bool { return p.Name == plane })
		if err != nil || i < 0 {
			return []string{}, err
		}
		return append([]string{}, planeNamesOf(planes[i])...), nil
	}
	if data == "" {
		if data = c.Data.Valid.Dir; data == "" {
			data = c.Data.Train
		}
	}
	if names, err = of(data); err != nil {
		return nil, nil, err
	}
	notes = []string{}
	trained, err := of(c.Data.Train)
	switch {
	case err != nil: // need not be there any more
		notes = append(notes, fmt.Sprintf("%s, which the run was trained on, cannot be read, so its classes may be others", c.Data.Train))
	case len(names) > 0 && len(trained) > 0 && !slices.Equal(names, trained):
		notes = append(notes, fmt.Sprintf("classes have other names or numbers in %s, which the run was trained on: %q there, %q here; "+
			"hint: data build --labels-from %s", c.Data.Train, trained, names, c.Data.Train))
	}
	return names, notes, nil
}
