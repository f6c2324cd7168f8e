package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"palimpsest/engine"
	"palimpsest/engine/eval"
	"palimpsest/engine/fault"
	"palimpsest/engine/vfs"
)

func evalNERCommand() *cli.Command {
	return &cli.Command{
		Name:  "ner",
		Usage: "precision, recall and F1 of recognised entities, exact matches of start, end and type",
		Description: example("palimpsest eval ner --model runs/names",
			"palimpsest eval ner --model runs/names --data test-shards --predictions predictions.conll") +
			"\n\nTwo ways to read tags: default, as conlleval and seqeval do, where an I- without B- begins an entity, and strict (IOB2), where it is part of none.",
		Flags: append(modelFlags(),
			&cli.StringFlag{Name: "data", Usage: "data set `FOLDER` with the plane bio, all of it, made with the same tokenizer; without it the documents that the run held out"},
			&cli.StringFlag{Name: "head", DefaultText: "that of mslm, or the first token head", Usage: "`NAME` of the token head that answers"},
			&cli.StringFlag{Name: "unit", Value: engine.UnitWord, Usage: "what is compared: word (as the tokenizer cuts them; the first token answers), space (words as white space sets them apart, so those of a file of tagged sentences; the first token answers), or token (every token with a tag)"},
			&cli.StringFlag{Name: "predictions", Usage: "`FILE` to write, a word, its tag and the answered one on each line, documents apart by a blank line, as conlleval reads"},
			&cli.Int64Flag{Name: "tokens", Usage: "`NUMBER` of tokens to read; 0 reads all"},
		),
		Action: evalNER,
	}
}

func evalNER(c *cli.Context) error {
	unit := c.String("unit")
	if units := []string{engine.UnitWord, engine.UnitSpace, engine.UnitToken}; !slices.Contains(units, unit) {
		return fault.Usage.Errorf("--unit: want %s, not %q", strings.Join(units, ", "), unit)
	}
	m, err := openForEval(c)
	if err != nil {
		return err
	}
	defer m.Close()
	o := engine.NEROptions{Data: c.String("data"), Head: c.String("head"), Unit: unit, Tokens: c.Int64("tokens")}
	start := time.Now()
	var scores engine.NER
	if path := c.String("predictions"); path != "" {
		err = writeTags(path, func(w io.Writer) (err error) {
			o.Each = func(words, tags, answers []string) error {
				for i, word := range words {
					fmt.Fprintf(w, "%s %s %s\n", word, tags[i], answers[i])
				}
				_, err := fmt.Fprintln(w)
				return fault.Write.Wrap(err)
			}
			scores, err = m.NER(o)
			return err
		})
	} else {
		scores, err = m.NER(o)
	}
	if err != nil {
		return err
	}
	result := struct {
		Model string `json:"model"`
		Step  int64  `json:"step"`
		Unit  string `json:"unit"`
		engine.NER
		Seconds float64 `json:"seconds"`
	}{m.Dir, m.Step, unit, scores, time.Since(start).Seconds()}
	if unit == engine.UnitSpace { // how it is called where they are counted
		unit = engine.UnitWord
	}
	return show(c, result, func(w io.Writer) {
		leaky := ""
		if scores.Leaky {
			leaky = " (leaky)"
		}
		fmt.Fprintf(w, "%s, step %d: head %s on %s %ss of %s documents, in %.1f s%s\n", m.Dir, m.Step, scores.Head, count(scores.Default.Words), unit, count(scores.Documents), result.Seconds, leaky)
		for _, s := range []struct {
			name   string
			scores eval.EntityScores
		}{{"default", scores.Default}, {"strict", scores.Strict}} {
			printEntities(w, s.name, s.scores, scores.Entities)
		}
		fmt.Fprintf(w, "\ntags right: %.2f%%\n", 100*scores.Default.Accuracy)
		for _, note := range scores.Notes {
			fmt.Fprintln(w, "note:", note)
		}
	})
}

// printEntities writes one way to read the tags as a table.
func printEntities(w io.Writer, name string, s eval.EntityScores, types []string) {
	widest := len("weighted")
	for _, t := range types {
		widest = max(widest, len(t))
	}
	fmt.Fprintf(w, "\n%-*s %10s %10s %10s %10s %10s %10s\n", widest, name, "precision", "recall", "F1", "entities", "answered", "right")
	row := func(name string, p eval.PRF) {
		fmt.Fprintf(w, "%-*s %10.4f %10.4f %10.4f", widest, name, p.Precision, p.Recall, p.F1)
	}
	var all eval.EntityCounts
	for _, t := range s.Types {
		label := fmt.Sprintf("type %d", t.Type)
		if t.Type < len(types) {
			label = types[t.Type]
		}
		row(label, t.PRF)
		fmt.Fprintf(w, " %10s %10s %10s\n", count(t.Support), count(t.Predicted), count(t.Right))
		all.Support, all.Predicted, all.Right = all.Support+t.Support, all.Predicted+t.Predicted, all.Right+t.Right
	}
	row("micro", s.Micro)
	fmt.Fprintf(w, " %10s %10s %10s\n", count(all.Support), count(all.Predicted), count(all.Right))
	row("macro", s.Macro)
	fmt.Fprintln(w)
	row("weighted", s.Weighted)
	fmt.Fprintln(w)
}

// writeTags writes a file beside its place and renames it once it is whole.
func writeTags(path string, fill func(w io.Writer) error) error {
	f, err := os.CreateTemp(filepath.Dir(path), vfs.TempPrefix+filepath.Base(path)+"-*")
	if err != nil {
		return fault.Write.Errorf("--predictions: %w", err)
	}
	defer os.Remove(f.Name()) // after the rename there is nothing of that name
	w := bufio.NewWriter(f)
	if err := fill(w); err != nil {
		f.Close()
		return err
	}
	err = w.Flush()
	if err == nil {
		err = f.Chmod(0o644)
	}
	if closed := f.Close(); err == nil {
		err = closed
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	return fault.Write.Wrap(err)
}
