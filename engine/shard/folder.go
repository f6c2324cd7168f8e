package shard

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/SaveTheRbtz/zstd-seekable-format-go/pkg"
	"github.com/cespare/xxhash/v2"
	"github.com/klauspost/compress/zstd"

	"palimpsest/engine/fault"
)

// A folder is what writing needs of a file system; tests inject faults behind it. Names are base names.
type folder interface {
	Create(name string) (file, error) // refuses an existing name
	Rename(from, to string) error
	Remove(name string) error
	Names() ([]string, error)
	Sync() error // makes renames durable
}

type file interface {
	io.WriteCloser
	Sync() error
}

type osFolder struct{ root *os.Root }

// makeFolder creates dir if needed and opens it.
func makeFolder(dir string) (osFolder, error) {
	_, err := os.Stat(dir)
	if errors.Is(err, fs.ErrNotExist) {
		if err = os.MkdirAll(dir, 0o755); err == nil {
			err = syncDir(filepath.Dir(dir))
		}
	}
	if err != nil {
		return osFolder{}, err
	}
	root, err := os.OpenRoot(dir)
	return osFolder{root}, err
}

func (o osFolder) Create(name string) (file, error) {
	return o.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
}
func (o osFolder) Rename(from, to string) error { return o.root.Rename(from, to) }
func (o osFolder) Remove(name string) error     { return o.root.Remove(name) }
func (o osFolder) Sync() error                  { return syncDir(o.root.Name()) }

func (o osFolder) Names() ([]string, error) {
	d, err := o.root.Open(".")
	if err != nil {
		return nil, err
	}
	defer d.Close()
	return d.Readdirnames(-1)
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// writeFile writes name durably: temporary name, fsync, rename, fsync of the folder.
func writeFile(o folder, name string, text []byte) error {
	f, err := o.Create(name + temporary)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if err == nil {
		err = f.Sync()
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = o.Rename(name+temporary, name)
	}
	if err == nil {
		err = o.Sync()
	}
	return err
}

// A frameWriter writes one member under its temporary name.
type frameWriter struct {
	name    string
	f       file
	encoder *seekable.Encoder
	sum     *xxhash.Digest // of what is written
	raw     *xxhash.Digest
	File
}

func newFrameWriter(o folder, name string, z *zstd.Encoder) (*frameWriter, error) {
	f, err := o.Create(name + temporary)
	if err != nil {
		return nil, fault.Write.Wrap(err)
	}
	e, err := seekable.NewEncoder(z)
	if err != nil {
		f.Close()
		return nil, err
	}
	return &frameWriter{name: name, f: f, encoder: e, sum: xxhash.New(), raw: xxhash.New()}, nil
}

// frame appends raw as one frame.
func (w *frameWriter) frame(raw []byte) error {
	compressed, err := w.encoder.Encode(raw)
	if err != nil {
		return fault.Data.Errorf("%s: %w", w.name, err)
	}
	w.raw.Write(raw)
	w.RawBytes += int64(len(raw))
	return w.write(compressed)
}

func (w *frameWriter) write(b []byte) error {
	w.sum.Write(b)
	w.Bytes += int64(len(b))
	_, err := w.f.Write(b)
	return fault.Write.Wrap(err)
}

// close ends the file with its seek table, fsyncs it and returns what the index declares of it.
func (w *frameWriter) close() (File, error) {
	table, err := w.encoder.EndStream()
	if err == nil {
		err = w.write(table)
	}
	if err == nil {
		err = w.f.Sync()
	}
	if e := w.f.Close(); err == nil {
		err = e
	}
	w.XXH64, w.RawXXH64 = Sum(w.sum.Sum64()), Sum(w.raw.Sum64())
	return w.File, fault.Write.Wrap(err)
}

func newEncoder() (*zstd.Encoder, error) {
	return zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithEncoderCRC(true), zstd.WithWindowSize(encoderWindow))
}
