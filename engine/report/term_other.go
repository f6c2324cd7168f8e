//go:build !unix

package report

import "io"

// terminalWidth takes every writer for a file: plain lines are right everywhere.
func terminalWidth(io.Writer) (columns int, ok bool) { return 0, false }

func keepSIGPIPE() {}
