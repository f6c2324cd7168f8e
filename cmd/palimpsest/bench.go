package main

import (
	"encoding/json"
	"fmt"
	"io"

	"github.com/urfave/cli/v2"

	"palimpsest/bench"
	"palimpsest/engine"
	"palimpsest/engine/fault"
	"palimpsest/engine/shard"
)

func benchCommand() *cli.Command {
	return &cli.Command{
		Name:  "bench",
		Usage: "measure kernels, training steps or the data path on this machine, also beside PyTorch",
		Subcommands: []*cli.Command{{
			Name:  "train",
			Usage: "tokens/s, FLOP/s and the share of the product rate of whole updates, on synthetic documents",
			Description: example("palimpsest bench train --preset mlm-cpu-small",
				"palimpsest bench train --preset clm-cpu-tiny --set model.preset=gpt2 --set model.context=1024 --length 1024 --json"),
			Flags: append(configFlags(),
				&cli.IntFlag{Name: "vocab", Value: 8192, Usage: "`NUMBER` of synthetic token ids, where model.vocab is auto"},
				&cli.IntFlag{Name: "length", Usage: "`NUMBER` of tokens of a document; without it data.length, or the model's context"},
				&cli.StringFlag{Name: "case", Usage: "print one line of a result file, under this `NAME`"},
				&cli.IntFlag{Name: "updates", Value: 10, Usage: "`NUMBER` of updates to measure, after one that is not counted"},
			),
			Action: benchTrain,
		}, {
			Name:        "data",
			Usage:       "tokens/s of decoding, verifying, shuffling and packing a data set",
			Description: example("palimpsest bench data --data shards --packing whole"),
			Flags: []cli.Flag{
				&cli.StringFlag{Name: "data", Usage: "data set `FOLDER`"},
				&cli.StringFlag{Name: "packing", Value: "cut", Usage: "cut or whole"},
				&cli.IntFlag{Name: "tokens-per-step", Value: 8192, Usage: "`NUMBER` of tokens of a step"},
				&cli.IntFlag{Name: "length", Value: 512, Usage: "`NUMBER` of tokens of a segment at most"},
				&cli.IntFlag{Name: "decoders", Value: 1, Usage: "`NUMBER` of frames decoded at the same time"},
				&cli.StringFlag{Name: "case", Usage: "print one line of a result file, under this `NAME`"},
				&cli.IntFlag{Name: "runs", Value: 5, Usage: "`NUMBER` of passes"},
			},
			Action: benchData,
		}, {
			Name:        "table",
			Usage:       "the newest result of each case of a results folder, as Markdown",
			Description: example("palimpsest bench table bench/results"),
			Action:      benchTable,
		}, benchKernelsCommand(), benchCompareCommand(), benchLossesCommand()},
	}
}

func benchTrain(c *cli.Context) error {
	if err := noArguments(c); err != nil {
		return err
	}
	defaults := engine.Default()
	defaults.Data.Train = "(synthetic)"
	config, err := loadConfigOver(c, defaults)
	if err != nil {
		return err
	}
	if c.Int("updates") < 1 || c.Int("vocab") < 8 {
		return fault.Usage.Errorf("want --updates of at least 1 and --vocab of at least 8")
	}
	resolved, problems := config.Model.Resolve(c.Int("vocab"))
	if len(problems) > 0 {
		return fault.Usage.Errorf("model.%w", problems[0])
	}
	length := c.Int("length")
	if length == 0 {
		length = config.Data.Length
	}
	if length == 0 {
		length = min(resolved.Context, config.Data.TokensPerStep)
	}
	r, err := bench.Train(bench.TrainOptions{Config: config, Vocab: c.Int("vocab"), Length: length, Steps: c.Int("updates"), Version: c.App.Version})
	if err != nil {
		return err
	}
	if name := c.String("case"); name != "" {
		return json.NewEncoder(c.App.Writer).Encode(bench.Case{Name: name, Train: &r})
	}
	return show(c, r, func(w io.Writer) {
		fmt.Fprintf(w, "%s, %s; products: %s; %d threads\n", r.Objective, r.Device, r.Products, r.Threads)
		fmt.Fprintf(w, "model      %s parameters, %d layers, width %d, vocabulary %s; %s tokens a step in documents of %d\n",
			count(r.Parameters), r.Layers, r.Width, count(r.Vocab), count(r.TokensPerStep), r.Length)
		fmt.Fprintf(w, "speed      %s tokens/s (median of %d updates; p10 to p90 %.3f to %.3f s)\n", count(int64(r.TokensPerS)), r.Seconds.Runs, r.Seconds.P10, r.Seconds.P90)
		fmt.Fprintf(w, "           %.1f GFLOP/s, MFU %.1f%% of the %.1f GFLOP/s of the product %s in this process\n", r.FLOPsPerS/1e9, 100*r.MFU, r.Product/1e9, r.ProductShape)
		if r.Datasheet != nil {
			fmt.Fprintf(w, "           %.1f%% of %s's datasheet, %.0f TFLOP/s (dense bfloat16)\n", 100*r.DatasheetMFU, r.Datasheet.Device, r.Datasheet.Product/1e12)
		}
		fmt.Fprintf(w, "FLOPs      %s\n", r.FLOPRule)
		fmt.Fprintf(w, "memory     %s at most, predicted %s\n", size(r.PeakMemoryBytes), size(r.PredictedMemoryBytes))
	})
}

func benchTable(c *cli.Context) error {
	dir, err := oneArgument(c, "a results folder")
	if err != nil {
		return err
	}
	table, err := bench.Table(dir)
	if err != nil {
		return err
	}
	return show(c, map[string]string{"markdown": table}, func(w io.Writer) { io.WriteString(w, table) })
}

func benchData(c *cli.Context) error {
	if err := noArguments(c); err != nil {
		return err
	}
	if err := need(c, "data"); err != nil {
		return err
	}
	if c.Int("runs") < 1 {
		return fault.Usage.Errorf("--runs: want at least 1")
	}
	pack := shard.PackConfig{Mode: shard.Mode(c.String("packing")), Capacity: c.Int("tokens-per-step"), MaxLength: c.Int("length"), Long: shard.LongSplit}
	if pack.Mode != shard.Cut && pack.Mode != shard.Whole {
		return fault.Usage.Errorf("--packing: want cut or whole, not %q", pack.Mode)
	}
	r, err := bench.Data(c.String("data"), pack, shard.StreamConfig{Seed: 1, Shuffle: true, Decoders: c.Int("decoders")}, c.Int("runs"), c.App.Version)
	if err != nil {
		return err
	}
	if name := c.String("case"); name != "" {
		return json.NewEncoder(c.App.Writer).Encode(bench.Case{Name: name, Data: &r})
	}
	return show(c, r, func(w io.Writer) {
		fmt.Fprintf(w, "%s: %s tokens, packing %s: %s tokens/s with %d decoder(s) (median of %d passes, p10 to p90 %.3f to %.3f s), steps %.1f%% full\n",
			r.Data, count(r.Tokens), r.Packing, count(int64(r.TokensPerS)), r.Decoders, r.Seconds.Runs, r.Seconds.P10, r.Seconds.P90, 100*r.Fill)
	})
}
