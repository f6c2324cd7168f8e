//go:build unix

package checkpoint

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
)

// A mapped file reads as any other; one that becomes shorter gives an error, whether a page is gone or a part of one.
func TestMappingOfAFileThatShrinks(t *testing.T) {
	data := bytes.Repeat([]byte("palimpsest"), 2000) // five pages of 4 KiB
	for _, rest := range []int64{0, 4096, 4100} {
		path := filepath.Join(t.TempDir(), "file")
		if err := os.WriteFile(path, data, 0o666); err != nil {
			t.Fatal(err)
		}
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		m := mapFile(f, int64(len(data)))
		if m == nil {
			t.Fatal("the file is not mapped")
		}
		buf := make([]byte, 100)
		if n, err := m.ReadAt(buf, 10_000); n != 100 || err != nil || !bytes.Equal(buf, data[10_000:10_100]) {
			t.Errorf("%d bytes, %v", n, err)
		}
		if n, err := m.ReadAt(buf, int64(len(data))-30); n != 30 || err != io.EOF {
			t.Errorf("at the end: %d bytes, %v", n, err)
		}
		if err := os.Truncate(path, rest); err != nil {
			t.Fatal(err)
		}
		if n, err := m.ReadAt(buf, 10_000); n != 0 || !errors.Is(err, ErrTruncated) {
			t.Errorf("cut to %d: %d bytes, %v", rest, n, err)
		}
		if n, err := m.ReadAt(buf, 4110); n != 0 || !errors.Is(err, ErrTruncated) {
			t.Errorf("cut to %d, within a page: %d bytes, %v", rest, n, err)
		}
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	}
}
