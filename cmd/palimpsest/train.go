package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"

	"github.com/urfave/cli/v2"

	"palimpsest/engine"
	"palimpsest/engine/fault"
	"palimpsest/engine/runfile"
	"palimpsest/engine/signals"
)

func trainCommand() *cli.Command {
	return &cli.Command{
		Name:  "train",
		Usage: "train a model, or go on with an interrupted run",
		Description: example("palimpsest train --preset mlm-cpu-tiny --data shards --out runs/first",
			"palimpsest train --config run.yaml --set optimizer.learning_rate=5e-4 --out runs/second",
			"palimpsest train --preset mlm-cpu-tiny --data shards --dry-run") +
			"\n\nThe same command goes on where the run was left. SIGTERM and SIGINT commit a checkpoint and leave with exit code 75; " +
			"SIGUSR1 commits one and goes on. 'palimpsest preset keys' lists the keys of run files.",
		Flags: append(configFlags(),
			&cli.StringFlag{Name: "out", Usage: "run `FOLDER`: checkpoints, log.jsonl, config.yaml, report.html"},
			&cli.StringFlag{Name: "resume", Value: "auto", Usage: "auto goes on from the newest checkpoint of --out, never starts afresh, a `PATH` starts from that checkpoint"},
			&cli.BoolFlag{Name: "cache-reference", Usage: "compute the logits of the run's frozen reference once, into reference.cache; train nothing"},
			&cli.BoolFlag{Name: "dry-run", Usage: "show configuration, parameters, memory, data and one decoded batch; train nothing"},
		),
		Action: train,
	}
}

// configFlags are the options that make up a run's configuration; the ones after --set are short for its most used keys.
func configFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "config", Usage: "run `FILE` (YAML)"},
		&cli.StringFlag{Name: "preset", Usage: "run file that comes with the program, by `NAME`; see 'palimpsest preset ls'"},
		&cli.StringSliceFlag{Name: "set", Usage: "change one key of the run file, `KEY=VALUE`; may be repeated"},
		&cli.StringFlag{Name: "data", Usage: "data set `FOLDER` (data.train)"},
		&cli.StringFlag{Name: "device", Usage: "auto, cpu or cuda (train.device)"},
		&cli.Int64Flag{Name: "steps", DefaultText: "the run file's", Usage: "`NUMBER` of updates of the whole run (train.steps)"},
		&cli.Uint64Flag{Name: "seed", DefaultText: "the run file's", Usage: "`NUMBER` that decides weights, masks and dropout (train.seed)"},
	}
}

// shortcuts maps options to the keys that they set.
var shortcuts = []struct{ option, key string }{
	{"data", "data.train"}, {"device", "train.device"}, {"steps", "train.steps"}, {"seed", "train.seed"},
}

// loadConfig reads the run file and what the options change in it, and reports everything that is wrong.
func loadConfig(c *cli.Context) (engine.Config, error) { return loadConfigOver(c, engine.Default()) }

// loadConfigOver is loadConfig with other defaults.
func loadConfigOver(c *cli.Context, config engine.Config) (engine.Config, error) {
	if c.String("config") != "" && c.String("preset") != "" {
		return config, fault.Usage.Errorf("--config and --preset exclude each other; hint: palimpsest preset copy %s run.yaml, and change that", c.String("preset"))
	}
	loader := runfile.New(&config)
	if name := c.String("preset"); name != "" {
		content, err := readPreset(name)
		if err != nil {
			return config, err
		}
		loader.Decode("preset "+name, content)
	}
	if file := c.String("config"); file != "" {
		content, err := os.ReadFile(file)
		if errors.Is(err, fs.ErrNotExist) {
			return config, fault.Usage.Errorf("--config: there is no file %s; hint: palimpsest preset copy mlm-cpu-tiny %s", file, file)
		}
		if err != nil {
			return config, fault.Usage.Errorf("--config: %w", err)
		}
		loader.Decode(file, content)
	}
	applyOptions(c, loader)
	if loader.Check(); len(config.Phases) == 0 && loader.Given("phases") && !loader.Given("objective") {
		loader.Fail("phases", "there is none, so nothing is trained; hint: name a phase, or the objective")
	}
	return config, loader.Err()
}

// applyOptions changes the keys that --set and its short forms name.
func applyOptions(c *cli.Context, loader *runfile.Loader) {
	loader.Set(c.StringSlice("set")...)
	for _, s := range shortcuts {
		if !c.IsSet(s.option) {
			continue
		}
		value := fmt.Sprint(c.Value(s.option))
		if text, ok := c.Value(s.option).(string); ok {
			value = strconv.Quote(text)
		}
		loader.Override("--"+s.option, s.key, value)
	}
}

// cacheReference computes the logits that a run reads from disk.
func cacheReference(c *cli.Context, config engine.Config) error {
	watch := signals.Watch(context.Background())
	defer watch.Close()
	made, err := engine.CacheReference(engine.Options{Config: config, Watch: watch})
	if err != nil {
		return err
	}
	return show(c, made, func(w io.Writer) {
		fmt.Fprintf(w, "%s: %s rows of the reference's logits, %s\n", made.Dir, count(made.Rows), size(made.Bytes))
	})
}

func train(c *cli.Context) error {
	if err := noArguments(c); err != nil {
		return err
	}
	config, err := loadConfig(c)
	if err != nil {
		return err
	}
	if c.Bool("dry-run") {
		return dryRun(c, config)
	}
	if c.Bool("cache-reference") {
		return cacheReference(c, config)
	}
	if err := need(c, "out"); err != nil {
		return err
	}
	watch := signals.Watch(context.Background())
	defer watch.Close()
	screen := newScreen(c)
	err = engine.Train(engine.Options{
		Config: config, Out: c.String("out"), Resume: c.String("resume"), Watch: watch, Version: c.App.Version, Observe: screen,
	})
	screen.close()
	if err != nil {
		return err
	}
	return summary(c)
}
