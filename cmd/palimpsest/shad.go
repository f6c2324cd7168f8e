package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"palimpsest/engine"
	"palimpsest/engine/fault"
	"palimpsest/engine/shad"
	"palimpsest/engine/signals"
	"palimpsest/engine/text"
)

func shadCommand() *cli.Command {
	return &cli.Command{
		Name:        "shad",
		Usage:       "tell reasoning tokens from boilerplate, for the objective rft: shuffle, tune, score, or run for all three",
		Subcommands: []*cli.Command{shadShuffleCommand(), shadTuneCommand(), shadScoreCommand(), shadRunCommand()},
	}
}

func shadShuffleCommand() *cli.Command {
	return &cli.Command{
		Name:      "shuffle",
		Usage:     "give a sample of prompts the responses of others",
		ArgsUsage: "[FILE...]",
		Description: example("palimpsest shad shuffle --data shards --out shuffled",
			"palimpsest shad shuffle --fields prompt=question,completion=answer --fraction 0.05 --out shuffled.jsonl train.jsonl",
			"palimpsest shad shuffle --fields prompt=question,completion=answer --tokenizer tokenizer.json --out shuffled train.jsonl") +
			"\n\nResponses are permuted by a derangement: no prompt keeps its own, nor one that is equal to it; a pair for which there is no other is dropped and " +
			"counted. A data set (plane loss) gives a data set, records (pair, alpaca, messages) give JSON lines of prompt and completion, or with --tokenizer a " +
			"data set. A response goes from the first learned token to the end.",
		Flags: append([]cli.Flag{
			&cli.StringFlag{Name: "data", Usage: "data set `FOLDER` with the plane loss, instead of files"},
			&cli.StringFlag{Name: "out", Usage: "`FOLDER` of the data set, or file of JSON lines"},
			&cli.StringFlag{Name: "tokenizer", Usage: "tokenizer.json `FILE` that makes a data set of records"},
			&cli.Float64Flag{Name: "fraction", Value: engine.Default().SHAD.ShuffleFraction, Usage: "`SHARE` of the pairs, at least 2 of them (shad.shuffle_fraction)"},
			&cli.Uint64Flag{Name: "seed", Value: engine.Default().Train.Seed, Usage: "`NUMBER` that decides sample and permutation"},
		}, readerFlags()...),
		Action: shadShuffle,
	}
}

func shadTuneCommand() *cli.Command {
	return &cli.Command{
		Name:  "tune",
		Usage: "train a copy of a model on shuffled pairs",
		Description: example("palimpsest shad tune --model runs/base --data shuffled --out runs/shuffled",
			"palimpsest shad tune --model runs/base --data shuffled --out runs/shuffled --set optimizer.learning_rate=1e-4 --set adapter.rank=8") +
			"\n\nAn ordinary run of the objective clm on the responses, from the model's weights: optimizer, schedule, lengths, adapter and device are those of the run " +
			"file. It prints the mean loss before and after, on the shuffled pairs and on 200 correct ones: too little tuning changes nothing, too much destroys the model. " +
			"The same command goes on where it was left.",
		Flags: append([]cli.Flag{
			&cli.StringFlag{Name: "model", Usage: "run `FOLDER` or checkpoint to start from"},
			&cli.StringFlag{Name: "out", Usage: "run `FOLDER` of the tuned model"},
			epochsFlag(),
			&cli.StringFlag{Name: "correct", Usage: "data set `FOLDER` of correct pairs, where it is not known from the shuffling"},
		}, configFlagsBut("steps")...),
		Action: shadTune,
	}
}

func epochsFlag() cli.Flag {
	return &cli.Float64Flag{Name: "epochs", Value: 1, Usage: "`NUMBER` of passes over the shuffled pairs"}
}

func scoreFlags() []cli.Flag {
	return []cli.Flag{
		&cli.BoolFlag{Name: "strict-length", Usage: "a response that is longer than what the model sees is an error, not a note (shad.strict_length)"},
		&cli.BoolFlag{Name: "replace", Usage: "replace a plane class that was made otherwise"},
		&cli.StringFlag{Name: "html", Usage: "write a page with coloured text, histogram and most frequent tokens to this `FILE`"},
	}
}

func shadScoreCommand() *cli.Command {
	return &cli.Command{
		Name:  "score",
		Usage: "losses of response tokens under both models, and from them the plane class",
		Description: example("palimpsest shad score --model runs/base --tuned runs/shuffled --data shards --out scores --html classes.html",
			"palimpsest shad score --model runs/base --data shards --out scores       # two jobs: first the losses of one,",
			"palimpsest shad score --tuned runs/shuffled --data shards --out scores   # then of the other, and the classes") +
			"\n\nA token whose loss grew by more than shad.threshold with shuffled tuning is reasoning, any other boilerplate; shad.deadzone and shad.smooth refine that. " +
			"The losses stay in the folder, so that classes with another threshold cost no model (--replace). The same command goes on where it was stopped.",
		Flags: append(append([]cli.Flag{
			&cli.StringFlag{Name: "model", Usage: "run `FOLDER` or checkpoint that tuning started from"},
			&cli.StringFlag{Name: "tuned", Usage: "run `FOLDER` or checkpoint that was tuned on shuffled pairs"},
			&cli.StringFlag{Name: "out", Usage: "`FOLDER` of the losses"},
		}, scoreFlags()...), configFlagsBut("steps", "seed")...),
		Action: shadScore,
	}
}

func shadRunCommand() *cli.Command {
	return &cli.Command{
		Name:  "run",
		Usage: "shuffle, tune and score: a data set gets its plane class",
		Description: example("palimpsest shad run --model runs/base --data shards --out shad --html classes.html",
			"palimpsest train --preset rft-cpu-tiny --set train.init=runs/base --data shards --out runs/rft") +
			"\n\nBelow --out: shuffled (a data set), tuned (a run), scores (losses). Stages that are done are not done again; the same command goes on where it was left. " +
			"SIGTERM and SIGINT commit and leave with exit code 75.",
		Flags: append(append([]cli.Flag{
			&cli.StringFlag{Name: "model", Usage: "run `FOLDER` or checkpoint to start from"},
			&cli.StringFlag{Name: "out", Usage: "`FOLDER` of all stages"},
			epochsFlag(),
		}, scoreFlags()...), configFlagsBut("steps")...),
		Action: shadRun,
	}
}

// configFlagsBut are the options of a run's configuration without some.
func configFlagsBut(names ...string) (list []cli.Flag) {
	for _, f := range configFlags() {
		keep := true
		for _, name := range names {
			keep = keep && f.Names()[0] != name
		}
		if keep {
			list = append(list, f)
		}
	}
	return list
}

func shadShuffle(c *cli.Context) error {
	if err := need(c, "out"); err != nil {
		return err
	}
	if f := c.Float64("fraction"); !(f > 0 && f <= 1) {
		return fault.Usage.Errorf("--fraction (shad.shuffle_fraction): want a share above 0, up to 1, not %g", f)
	}
	o := engine.ShuffleOptions{Data: c.String("data"), Fraction: c.Float64("fraction"), Seed: c.Uint64("seed"), Out: c.String("out"), Version: c.App.Version}
	switch {
	case o.Data != "" && c.Args().Present():
		return fault.Usage.Errorf("give --data or files, not both")
	case o.Data != "" && c.IsSet("tokenizer"):
		return fault.Usage.Errorf("--tokenizer is for files of records; the data set %s has its own", o.Data)
	case o.Data == "":
		var err error
		if o.Records, err = readerOptions(c); err != nil {
			return err
		}
		if o.Records.Shape == "" && len(o.Records.Fields) == 0 {
			o.Records.Shape = "pair"
		}
		if file := c.String("tokenizer"); file != "" {
			if o.Tokenizer, err = text.Load(file); err != nil {
				return err
			}
			if o.Encode, err = documentFrame(c, o.Tokenizer); err != nil {
				return err
			}
		}
	}
	start := time.Now()
	r, err := engine.Shuffle(o)
	if err != nil {
		return err
	}
	result := struct {
		engine.Shuffled
		Seconds float64 `json:"seconds"`
	}{r, time.Since(start).Seconds()}
	return show(c, result, func(w io.Writer) {
		printShuffled(w, r)
		if o.Data == "" && o.Tokenizer == nil {
			fmt.Fprintf(w, "next: palimpsest data build --fields prompt=prompt,completion=completion --tokenizer tokenizer.json --out shuffled %s\n", r.Out)
			return
		}
		fmt.Fprintf(w, "next: palimpsest shad tune --model RUN --data %s --out runs/shuffled\n", r.Out)
	})
}

func printShuffled(w io.Writer, r engine.Shuffled) {
	fmt.Fprintf(w, "%s: %s of %s pairs have the response of another", r.Out, count(r.Written), count(r.Pairs))
	if r.Tokens > 0 {
		fmt.Fprintf(w, ", %s tokens", count(r.Tokens))
	}
	fmt.Fprintf(w, "; %s had drawn one equal to their own, %s dropped%s\n", count(r.Repaired), count(r.Dropped), wasDone(r.Before))
}

func wasDone(before bool) string {
	if before {
		return " (done before)"
	}
	return ""
}

// shadConfig reads the run file of a stage, which begins with the model that the option names.
func shadConfig(c *cli.Context) (engine.Config, error) {
	config := engine.Default()
	config.Train.Init = cmp.Or(c.String("model"), c.String("tuned"))
	return loadConfigOver(c, config)
}

func shadTune(c *cli.Context) error {
	if err := noArguments(c); err != nil {
		return err
	}
	if err := need(c, "model", "out"); err != nil {
		return err
	}
	config, err := shadConfig(c)
	if err != nil {
		return err
	}
	watch := signals.Watch(context.Background())
	defer watch.Close()
	r, err := tuneStage(c, config, engine.TuneOptions{Model: c.String("model"), Data: config.Data.Train, Correct: c.String("correct"), Out: c.String("out"), Watch: watch})
	if err != nil {
		return err
	}
	return show(c, r, func(w io.Writer) {
		printTuned(w, r)
		fmt.Fprintf(w, "next: palimpsest shad score --model %s --tuned %s --data SHARDS --out scores\n", r.Model, r.Out)
	})
}

func tuneStage(c *cli.Context, config engine.Config, o engine.TuneOptions) (engine.Tuned, error) {
	screen := newScreen(c)
	screen.name = o.Out
	o.Config, o.Epochs, o.Version, o.Observe = config, c.Float64("epochs"), c.App.Version, screen
	r, err := engine.Tune(o)
	screen.close()
	return r, err
}

func printTuned(w io.Writer, r engine.Tuned) {
	fmt.Fprintf(w, "%s: tuned on %s shuffled pairs%s\n", r.Out, count(r.Pairs), wasDone(r.Before))
	fmt.Fprintf(w, "%-32s %8s %8s\n", "mean loss of response tokens", "before", "after")
	fmt.Fprintf(w, "%-32s %8.4f %8.4f\n", "shuffled pairs", r.Shuffled[0], r.Shuffled[1])
	if r.Correct != nil {
		fmt.Fprintf(w, "%-32s %8.4f %8.4f\n", fmt.Sprintf("%d correct pairs, not shuffled", r.CorrectPairs), r.Correct[0], r.Correct[1])
	}
	for _, note := range r.Notes {
		fmt.Fprintln(w, "note:", note)
	}
}

func shadScore(c *cli.Context) error {
	if err := noArguments(c); err != nil {
		return err
	}
	if err := need(c, "out"); err != nil {
		return err
	}
	config, err := shadConfig(c)
	if err != nil {
		return err
	}
	watch := signals.Watch(context.Background())
	defer watch.Close()
	r, err := scoreStage(c, config, engine.ScoreOptions{Model: c.String("model"), Tuned: c.String("tuned"), Out: c.String("out"), Watch: watch})
	if err != nil {
		return err
	}
	return show(c, r, func(w io.Writer) { printScore(w, r, c.String("model")) })
}

func scoreStage(c *cli.Context, config engine.Config, o engine.ScoreOptions) (engine.Score, error) {
	o.Config, o.Data, o.StrictLength, o.Replace, o.HTML, o.Version = config, config.Data.Train, config.SHAD.StrictLength || c.Bool("strict-length"), c.Bool("replace"), c.String("html"), c.App.Version
	line := newStatusLine(c)
	o.Progress = func(which string, documents, of int64) {
		line.update(func() string {
			return fmt.Sprintf("losses of the %s: %s of %s documents", which, count(documents), count(of))
		})
	}
	r, err := engine.ScoreClasses(o)
	line.clear()
	return r, err
}

func printScore(w io.Writer, r engine.Score, from string) {
	for _, side := range []struct {
		what string
		s    *shad.Scored
	}{{"model", r.Model}, {"tuned model", r.Tuned}} {
		if side.s != nil {
			fmt.Fprintf(w, "%-12s mean loss %.4f on %s response tokens of %s documents (%s)\n", side.what, side.s.Mean(), count(side.s.Tokens), count(side.s.Documents), side.s.Path)
		}
	}
	if r.Summary != nil {
		fmt.Fprintf(w, "%s: plane class: %.1f %% boilerplate, %.1f %% reasoning of %s response tokens; mean difference %+.4f nats; %s of %s documents have one class only%s\n",
			r.Data, 100*r.Share(), 100*(1-r.Share()), count(r.Tokens()), r.Mean, count(r.OneClass), count(r.Documents), wasDone(r.Before))
		fmt.Fprintln(w, "\ndifference of losses LD, in nats")
		r.WriteHistogram(w)
		for class, name := range []string{"boilerplate", "reasoning"} {
			fmt.Fprintf(w, "\nmost frequent %s (times, share of the token's own occurrences)\n", name)
			printTokens(w, r.Top[class])
		}
		fmt.Fprintln(w)
	}
	for _, note := range r.Notes {
		fmt.Fprintln(w, "note:", note)
	}
	if r.Page != "" {
		fmt.Fprintf(w, "%s shows %s in colours; open it in a browser\n", r.Page, r.Data)
	}
	if r.Summary != nil {
		if from == "" {
			from = "RUN"
		}
		fmt.Fprintf(w, "next: palimpsest train --preset rft-cpu-tiny --set train.init=%s --data %s --out runs/rft\n", from, r.Data)
	}
}

// printTokens lists tokens in two columns.
func printTokens(w io.Writer, list []shad.TokenCount) {
	half := (len(list) + 1) / 2
	for i := range half {
		var cells []string
		for _, k := range []int{i, i + half} {
			if k < len(list) {
				cells = append(cells, fmt.Sprintf("%-16q %8s %4.0f %%", list[k].Text, count(list[k].Count), list[k].Percent()))
			}
		}
		fmt.Fprintln(w, "  "+strings.Join(cells, "    "))
	}
}

func shadRun(c *cli.Context) error {
	if err := noArguments(c); err != nil {
		return err
	}
	if err := need(c, "model", "out"); err != nil {
		return err
	}
	config, err := shadConfig(c)
	if err != nil {
		return err
	}
	watch := signals.Watch(context.Background())
	defer watch.Close()
	out := func(name string) string { return filepath.Join(c.String("out"), name) }
	result := struct {
		Shuffle engine.Shuffled `json:"shuffle"`
		Tune    engine.Tuned    `json:"tune"`
		Score   engine.Score    `json:"score"`
		Seconds float64         `json:"seconds"`
	}{}
	start := time.Now()
	if result.Shuffle, err = engine.Shuffle(engine.ShuffleOptions{Data: config.Data.Train, Fraction: config.SHAD.ShuffleFraction, Seed: config.Train.Seed, Out: out("shuffled"), Version: c.App.Version}); err != nil {
		return err
	}
	if result.Tune, err = tuneStage(c, config, engine.TuneOptions{Model: c.String("model"), Data: out("shuffled"), Correct: config.Data.Train, Out: out("tuned"), Watch: watch}); err != nil {
		return err
	}
	if result.Score, err = scoreStage(c, config, engine.ScoreOptions{Model: c.String("model"), Tuned: out("tuned"), Out: out("scores"), Watch: watch}); err != nil {
		return err
	}
	result.Seconds = time.Since(start).Seconds()
	return show(c, result, func(w io.Writer) {
		printShuffled(w, result.Shuffle)
		printTuned(w, result.Tune)
		printScore(w, result.Score, c.String("model"))
	})
}
