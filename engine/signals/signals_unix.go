//go:build unix

package signals

import (
	"os"
	"syscall"
)

// SIGPIPE is caught, not ignored: then it is dropped here, and child processes start with its default action.
var caught = []os.Signal{os.Interrupt, syscall.SIGTERM, syscall.SIGUSR1, syscall.SIGPIPE}

func isSave(s os.Signal) bool { return s == syscall.SIGUSR1 }

func signalName(s os.Signal) string {
	if s == os.Interrupt {
		return "SIGINT"
	}
	return "SIGTERM"
}
