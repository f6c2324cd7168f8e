package main

import (
	"io"

	"github.com/urfave/cli/v2"

	"palimpsest/engine"
)

func dryRun(c *cli.Context, config engine.Config) error {
	return show(c, config, func(w io.Writer) {})
}
