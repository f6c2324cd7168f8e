//go:build unix

package report

import (
	"io"
	"os"
	"os/signal"
	"syscall"

	"golang.org/x/sys/unix"
)

// terminalWidth returns the columns of the terminal that w writes to, and whether it is one.
func terminalWidth(w io.Writer) (columns int, ok bool) {
	file, isFile := w.(*os.File)
	if !isFile {
		return 0, false
	}
	size, err := unix.IoctlGetWinsize(int(file.Fd()), unix.TIOCGWINSZ)
	if err != nil {
		return 0, false
	}
	if size.Col == 0 { // some serial consoles do not say
		return 80, true
	}
	return int(size.Col), true
}

// keepSIGPIPE makes a write to a closed standard output return EPIPE; without it the signal ends the process.
func keepSIGPIPE() { signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE) }
