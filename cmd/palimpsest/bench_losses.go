package main

import (
	"fmt"
	"io"

	"github.com/urfave/cli/v2"

	"palimpsest/bench"
	"palimpsest/engine/fault"
)

func benchLossesCommand() *cli.Command {
	return &cli.Command{
		Name:      "losses",
		Usage:     "compare the losses of a run with those of the same run on another device",
		ArgsUsage: "RUN REFERENCE [YARDSTICK]",
		Description: "YARDSTICK is the same run with --device refbf16, some steps of it. RUN passes when it is at most twice as far from\n" +
			"REFERENCE as YARDSTICK is, and ends within 0.05 nats of REFERENCE; else the exit code is 1.\n\n" +
			example("palimpsest bench losses runs/cuda runs/cpu runs/refbf16"),
		Action: benchLosses,
	}
}

func benchLosses(c *cli.Context) error {
	if n := c.NArg(); n != 2 && n != 3 {
		return fault.Usage.Errorf("want two or three run folders, not %d arguments", n)
	}
	r, err := bench.CompareLosses(c.Args().Get(0), c.Args().Get(1), c.Args().Get(2))
	if err != nil {
		return err
	}
	err = show(c, r, func(w io.Writer) {
		fmt.Fprintf(w, "%s: %d steps, at most %.4g nats apart (step %d); ends at %.4f, the reference at %.4f\n", r.Correct, r.Steps, r.Apart, r.ApartAt, r.Last, r.LastOf)
		if r.Early > 0 {
			fmt.Fprintf(w, "over %d steps at most %.4g nats apart, naive bfloat16 %.4g\n", r.Early, r.EarlyApart, r.Yardstick)
		}
	})
	if err == nil && r.Correct != bench.Passed {
		return fault.Internal.Errorf("%s is not the run that %s is: %s", r.Run, r.Reference, r.Reason)
	}
	return err
}
