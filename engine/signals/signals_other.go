//go:build !unix

package signals

import (
	"os"
	"syscall"
)

var caught = []os.Signal{os.Interrupt, syscall.SIGTERM}

// isSave: there is no SIGUSR1 outside Unix.
func isSave(os.Signal) bool { return false }

func signalName(s os.Signal) string { return s.String() }
