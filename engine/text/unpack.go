package text

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

const (
	// DefaultMaxRatio is the default of ReaderOptions.MaxRatio. Text seldom shrinks by more than 20.
	DefaultMaxRatio = 500

	ratioFloor  = 16 << 20  // unpacked bytes below which the ratio does not matter
	zstdWindow  = 128 << 20 // the largest window of `zstd --ultra` without --long; bounds the decoder's memory
	stdinPath   = "-"
	stdinSource = "stdin"
)

var (
	gzipMagic = []byte("\x1F\x8B")
	zstdMagic = []byte("\x28\xB5\x2F\xFD")
)

// unpackedName returns a name without the ending of a compressed file.
func unpackedName(name string) string {
	switch ext := filepath.Ext(name); strings.ToLower(ext) {
	case ".gz", ".zst":
		return strings.TrimSuffix(name, ext)
	}
	return name
}

// An input is an open file, unpacked when it is compressed, which its first bytes tell.
type input struct {
	io.Reader
	close func()
}

// openInput opens a file, or standard input for "-". Its errors, and those of reading, name the file. What is read from it
// goes into progress unless that is nil.
func (r *Reader) openInput(name string, progress *atomic.Int64) (input, error) {
	var raw io.Reader
	closeFile := func() {}
	if name == stdinPath {
		if r.stdinUsed {
			return input{}, fmt.Errorf("%s: it can be read only once; hint: put it into a file", stdinSource)
		}
		r.stdinUsed = true
		raw = r.o.Stdin
	} else {
		f, err := os.Open(name)
		if err != nil {
			return input{}, err
		}
		raw, closeFile = f, func() { f.Close() }
	}
	in, err := r.unpack(name, raw, progress)
	if err != nil {
		closeFile()
		return input{}, err
	}
	unpackerClose := in.close
	in.close = func() {
		unpackerClose()
		closeFile()
	}
	return in, nil
}

func (r *Reader) unpack(name string, raw io.Reader, progress *atomic.Int64) (input, error) {
	head := make([]byte, len(zstdMagic))
	n, err := io.ReadFull(raw, head)
	if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
		return input{}, err
	}
	head = head[:n]
	counted := &countReader{r: io.MultiReader(bytes.NewReader(head), raw), total: progress}
	u := &unpacker{name: sourceName(name), packed: counted, ratio: int64(r.o.MaxRatio)}
	switch {
	case bytes.HasPrefix(head, gzipMagic):
		u.kind = "gzip"
		z, err := gzip.NewReader(counted)
		if err != nil {
			return input{}, fmt.Errorf("%s: gzip: %w", u.name, unexpected(err))
		}
		u.r = z
		return input{u, func() { z.Close() }}, nil
	case bytes.HasPrefix(head, zstdMagic):
		u.kind = "zstd"
		z, err := zstd.NewReader(counted, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(zstdWindow), zstd.WithDecoderLowmem(true))
		if err != nil {
			return input{}, fmt.Errorf("%s: zstd: %w", u.name, unexpected(err))
		}
		u.r = z
		return input{u, z.Close}, nil
	case name != unpackedName(name):
		return input{}, fmt.Errorf("%s: its name ends in %s, its first bytes (% x) do not say so; hint: rename it, or it is cut to nothing",
			u.name, filepath.Ext(name), head)
	}
	return input{counted, func() {}}, nil
}

// sourceName is what documents of a file say about where they come from.
func sourceName(name string) string {
	if name == stdinPath {
		return stdinSource
	}
	return name
}

// unexpected tells the end inside compressed data from other errors.
func unexpected(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

type countReader struct {
	r     io.Reader
	n     int64
	total *atomic.Int64 // of all files, or nil
}

func (c *countReader) Read(b []byte) (int, error) {
	n, err := c.r.Read(b)
	c.n += int64(n)
	if c.total != nil {
		c.total.Add(int64(n))
	}
	return n, err
}

// An unpacker names the file in errors and stops when too much comes out of too little.
type unpacker struct {
	name, kind string
	packed     *countReader
	r          io.Reader
	out, ratio int64
	err        error
}

func (u *unpacker) Read(b []byte) (int, error) {
	if u.err != nil {
		return 0, u.err
	}
	n, err := u.r.Read(b)
	u.out += int64(n)
	switch {
	case err == io.ErrUnexpectedEOF:
		u.err = fmt.Errorf("%s: %s: cut short after %d unpacked bytes; hint: copy it again: %w", u.name, u.kind, u.out, err)
	case err != nil && err != io.EOF:
		u.err = fmt.Errorf("%s: %s: after %d unpacked bytes: %w", u.name, u.kind, u.out, err)
	case u.out > ratioFloor && u.out/u.ratio > u.packed.n:
		n, u.err = 0, fmt.Errorf("%s: %s: %d bytes came out of %d, more than %d times as many; hint: unpack it by hand if it is no attack",
			u.name, u.kind, u.out, u.packed.n, u.ratio)
	default:
		u.err = err
	}
	return n, u.err
}
