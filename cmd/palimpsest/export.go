package main

import (
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"

	"palimpsest/engine"
	"palimpsest/engine/checkpoint"
	"palimpsest/engine/fault"
	"palimpsest/engine/vfs"
)

func exportModelCommand() *cli.Command {
	return &cli.Command{
		Name:      "export",
		Usage:     "write a trained model as a Hugging Face folder",
		ArgsUsage: "MODEL",
		Description: example("palimpsest export runs/first --out first-hf",
			"palimpsest export runs/adapted --adapter --out adapted-peft",
			"palimpsest export runs/first/checkpoints/step-0002000 --dtype bfloat16 --out first-hf",
			"python -c \"from transformers import AutoModelForCausalLM; AutoModelForCausalLM.from_pretrained('first-hf')\"") +
			"\n\nMODEL is a run folder (its best checkpoint, else the newest), one of its checkpoints, or an imported model. The architecture is the one of bert, roberta, gpt2, " +
			"llama and modernbert that holds the model; where none holds all of it, the error names every choice that has no place.",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "out", Usage: "`FOLDER` to write, which must not exist or be empty"},
			&cli.StringFlag{Name: "dtype", Value: "float32", Usage: "`TYPE` of the weights: float32, bfloat16 or float16, rounded to the nearest, ties to even"},
			&cli.StringFlag{Name: "shard-size", Value: "5GB", Usage: "`SIZE` of a weights file at most, such as 500MB; larger models get several and an index"},
			&cli.StringFlag{Name: "head", DefaultText: "the one trained last", Usage: "`NAME` of the head: lm, none, or that of a classification head"},
			&cli.BoolFlag{Name: "adapter", Usage: "export the low-rank adapters of a run alone, in the layout of the library peft; without it they are merged into the weights"},
			&cli.BoolFlag{Name: "lossy", Usage: "export what the nearest architecture can hold of a model that has none, and say what is lost"},
		},
		Action: exportModel,
	}
}

// exportTypes are the values of --dtype.
var exportTypes = map[string]checkpoint.DType{"float32": checkpoint.F32, "bfloat16": checkpoint.BF16, "float16": checkpoint.F16}

func exportModel(c *cli.Context) error {
	from, err := oneArgument(c, "a run folder or checkpoint")
	if err != nil {
		return err
	}
	if err := need(c, "out"); err != nil {
		return err
	}
	dtype, ok := exportTypes[c.String("dtype")]
	if !ok {
		return fault.Usage.Errorf("--dtype: want float32, bfloat16 or float16, not %q", c.String("dtype"))
	}
	shard, err := parseSize(c.String("shard-size"))
	if err != nil {
		return fault.Usage.Errorf("--shard-size: %w", err)
	}
	e, err := engine.Export(engine.ExportOptions{From: from, Out: c.String("out"), Head: c.String("head"), DType: dtype, ShardSize: shard,
		Lossy: c.Bool("lossy"), Adapter: c.Bool("adapter"), Version: buildVersion(), FS: vfs.OS{}})
	if err != nil {
		return err
	}
	return show(c, e, func(w io.Writer) {
		fmt.Fprintf(w, "%s: %s, %s parameters in %s, %s: %s\n", c.String("out"), e.Architecture, count(e.Parameters), e.DType, size(e.Bytes), strings.Join(e.Files, ", "))
		for _, lost := range e.Lost {
			fmt.Fprintf(w, "lost: %s\n", lost)
		}
		if len(e.Lost) > 0 {
			fmt.Fprintln(w, "the exported model computes something else than the trained one and needs further training")
		}
		for _, note := range e.Notes {
			fmt.Fprintln(w, "note:", note)
		}
	})
}

// parseSize reads a number of bytes with a decimal or binary unit: 5GB, 500MB, 2GiB.
func parseSize(s string) (int64, error) {
	units := []struct {
		name  string
		bytes float64
	}{{"KIB", 1 << 10}, {"MIB", 1 << 20}, {"GIB", 1 << 30}, {"TIB", 1 << 40}, {"KB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"TB", 1e12}, {"B", 1}, {"", 1}}
	upper := strings.ToUpper(strings.TrimSpace(s))
	for _, u := range units {
		digits, ok := strings.CutSuffix(upper, u.name)
		if !ok {
			continue
		}
		n, err := strconv.ParseFloat(strings.TrimSpace(digits), 64)
		if err == nil && n*u.bytes >= 1 && n*u.bytes < 1<<62 {
			return int64(n * u.bytes), nil
		}
		break
	}
	return 0, fmt.Errorf("want a size such as 5GB, 500MB or 2GiB, not %q", s)
}
