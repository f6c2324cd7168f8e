package report

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

func TestColourIsForTerminalsOnly(t *testing.T) {
	t.Setenv("NO_COLOR", "")
	t.Setenv("TERM", "xterm")
	terminal, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer terminal.Close()
	file, err := os.Create(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if !TakesColour(terminal) || TakesColour(file) || TakesColour(&bytes.Buffer{}) {
		t.Error("a terminal takes colour; a file and a buffer do not")
	}
	t.Setenv("TERM", "dumb")
	if TakesColour(terminal) {
		t.Error("TERM=dumb takes no colour")
	}
	t.Setenv("TERM", "xterm")
	t.Setenv("NO_COLOR", "1")
	if TakesColour(terminal) {
		t.Error("NO_COLOR is not heeded")
	}
}
