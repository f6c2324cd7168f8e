package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"

	"palimpsest/engine/fault"
)

// outputVersion is the "v" of every JSON object that is printed; it changes when a key changes its meaning.
const outputVersion = 1

// printJSON writes an object on one line, with "v" as its first key.
func printJSON(w io.Writer, object any) error {
	var text bytes.Buffer
	e := json.NewEncoder(&text)
	e.SetEscapeHTML(false)
	if err := e.Encode(object); err != nil {
		return err
	}
	rest := text.Bytes()[1:]
	comma := ","
	if rest[0] == '}' {
		comma = ""
	}
	_, err := fmt.Fprintf(w, "{\"v\":%d%s%s", outputVersion, comma, rest)
	return err
}

// show prints a result: as JSON when --json is given, else what text writes. That nobody reads it (any more) is no error:
// what it tells about is done.
func show(c *cli.Context, object any, text func(w io.Writer)) (err error) {
	if c.Bool("json") {
		err = printJSON(c.App.Writer, object)
	} else {
		var page bytes.Buffer
		text(&page)
		_, err = c.App.Writer.Write(page.Bytes())
	}
	if errors.Is(err, syscall.EPIPE) {
		return nil
	}
	return fault.Write.Wrap(err)
}

// count writes a number with thousands separated: 1,234,567.
func count[T int | int32 | int64 | uint64](n T) string {
	digits := fmt.Sprint(n)
	from := 0
	if digits[0] == '-' {
		from = 1
	}
	for i := len(digits) - 3; i > from; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}

// size writes bytes with a binary unit: 1.5 GiB.
func size[T int | int64 | uint64](bytes T) string {
	const units = "KMGTPE"
	if bytes < 1024 {
		return fmt.Sprintf("%d B", bytes)
	}
	value, unit := float64(bytes)/1024, 0
	for value >= 1023.95 && unit < len(units)-1 {
		value, unit = value/1024, unit+1
	}
	return fmt.Sprintf("%.1f %ciB", value, units[unit])
}

// A statusLine is one line that keeps changing, on a terminal; it is nothing elsewhere. Its methods may be used
// concurrently.
type statusLine struct {
	w     io.Writer // nil: not a terminal
	mu    sync.Mutex
	last  time.Time
	shown bool
}

func newStatusLine(c *cli.Context) *statusLine {
	f, ok := c.App.ErrWriter.(*os.File)
	if !ok || c.Bool("json") || os.Getenv("TERM") == "dumb" {
		return &statusLine{}
	}
	if info, err := f.Stat(); err != nil || info.Mode()&os.ModeCharDevice == 0 {
		return &statusLine{}
	}
	return &statusLine{w: f}
}

// update replaces the line, a few times a second at most; text is only asked for when it is shown.
func (s *statusLine) update(text func() string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.w == nil || time.Since(s.last) < 200*time.Millisecond {
		return
	}
	s.last, s.shown = time.Now(), true
	fmt.Fprintf(s.w, "\r%s\x1b[K", text())
}

// clear removes the line.
func (s *statusLine) clear() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.shown {
		fmt.Fprint(s.w, "\r\x1b[K")
		s.shown = false
	}
}
