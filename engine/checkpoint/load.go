package checkpoint

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"time"

	"palimpsest/engine/fault"
	"palimpsest/engine/vfs"
)

// A Checkpoint is one on disk whose manifest and every hash were found right by Open.
type Checkpoint struct {
	fs   vfs.FS
	path string
	m    manifest
}

// Open verifies the checkpoint in a folder: manifest, sizes, SHA-256 of every file. Files that the manifest does not know
// are ignored and cannot be read through it. Errors are of kind fault.Checkpoint.
func Open(fsys vfs.FS, path string) (*Checkpoint, error) {
	c, err := open(fsys, path)
	if err != nil {
		return nil, fault.Checkpoint.Errorf("checkpoint: %s: %w", path, err)
	}
	return c, nil
}

func open(fsys vfs.FS, path string) (*Checkpoint, error) {
	info, err := fsys.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		return nil, errors.New("not a folder")
	}
	m, err := readManifest(fsys, path)
	if err != nil {
		return nil, err
	}
	base := strings.TrimPrefix(filepath.Base(path), oldPrefix)
	if step, ok := parseStep(base); ok && step != m.Step {
		return nil, fmt.Errorf("the manifest is of step %d, not of this folder's", m.Step)
	}
	c := &Checkpoint{fsys, path, m}
	buf := make([]byte, chunkBytes)
	for _, f := range m.Files {
		if err := c.verify(f, buf); err != nil {
			return nil, fmt.Errorf("%s: %w", f.Name, err)
		}
	}
	return c, nil
}

func (c *Checkpoint) verify(f manifestFile, buf []byte) error {
	path := filepath.Join(c.path, f.Name)
	info, err := c.fs.Stat(path) // before opening, which a pipe could block
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return errors.New("not a regular file")
	}
	if info.Size() != f.Bytes {
		return fmt.Errorf("has %d bytes, the manifest says %d: cut short or changed", info.Size(), f.Bytes)
	}
	in, err := c.fs.Open(path)
	if err != nil {
		return err
	}
	defer in.Close()
	hash := sha256.New()
	if _, err := io.CopyBuffer(hash, onlyReader{in}, buf); err != nil {
		return err
	}
	return compareHash(f, hash.Sum(nil))
}

// onlyReader hides WriteTo, which would bypass the buffer.
type onlyReader struct{ io.Reader }

func compareHash(f manifestFile, sum []byte) error {
	if got := hex.EncodeToString(sum); got != f.SHA256 {
		return fmt.Errorf("SHA-256 is %.12s..., the manifest says %.12s...: changed or damaged", got, f.SHA256)
	}
	return nil
}

// Step returns the number of updates that the checkpoint stands after.
func (c *Checkpoint) Step() int64 { return c.m.Step }

// Dir returns the checkpoint's folder.
func (c *Checkpoint) Dir() string { return c.path }

// Created returns when it was written.
func (c *Checkpoint) Created() time.Time { return c.m.Created }

// Files returns the names of its files in the order of writing.
func (c *Checkpoint) Files() []string {
	names := make([]string, len(c.m.Files))
	for i, f := range c.m.Files {
		names[i] = f.Name
	}
	return names
}

func (c *Checkpoint) find(file string) (manifestFile, error) {
	for _, f := range c.m.Files {
		if f.Name == file {
			return f, nil
		}
	}
	return manifestFile{}, fault.Checkpoint.Errorf("checkpoint: %s: no file %q (hint: it has %s)",
		c.path, file, strings.Join(c.Files(), ", "))
}

// Has reports whether a file belongs to the checkpoint.
func (c *Checkpoint) Has(file string) bool {
	_, err := c.find(file)
	return err == nil
}

// Path returns the path of one of its files.
func (c *Checkpoint) Path(file string) (string, error) {
	f, err := c.find(file)
	if err != nil {
		return "", err
	}
	return filepath.Join(c.path, f.Name), nil
}

// Read returns the contents of one of its files, verified once more as they are now.
func (c *Checkpoint) Read(file string) ([]byte, error) {
	f, err := c.find(file)
	if err != nil {
		return nil, err
	}
	path := filepath.Join(c.path, f.Name)
	data, err := c.fs.ReadFile(path)
	if err == nil {
		sum := sha256.Sum256(data)
		err = compareHash(f, sum[:])
	}
	if err != nil {
		return nil, fault.Checkpoint.Errorf("checkpoint: %s: %w", path, err)
	}
	return data, nil
}

// Tensors opens one of its files as safetensors; the caller closes it.
func (c *Checkpoint) Tensors(file string) (*Safetensors, error) {
	path, err := c.Path(file)
	if err != nil {
		return nil, err
	}
	f, err := c.fs.Open(path)
	if err != nil {
		return nil, fault.Checkpoint.Errorf("checkpoint: %w", err)
	}
	return openSafetensors(f, path)
}

// Rejected is a checkpoint that could not be used.
type Rejected struct {
	Entry
	Reason error
	Lost   int64 // steps between it and the checkpoint used instead, which have to be run again
}

// String says it in a line, for the log.
func (r Rejected) String() string {
	return fmt.Sprintf("checkpoint of step %d rejected, %d steps are lost: %v", r.Step, r.Lost, r.Reason)
}

// Latest returns the newest checkpoint of a folder (RUN/checkpoints) that is whole, and the newer ones that are not. It
// returns nil without an error only if there are no checkpoints at all: if none is whole, or a newer one was written in a
// format version beyond this program's, the error is of kind fault.Checkpoint. A run never starts afresh, or from
// earlier than it could, without a word.
func Latest(fsys vfs.FS, dir string) (*Checkpoint, []Rejected, error) {
	list, err := List(fsys, dir)
	if err != nil || len(list) == 0 {
		return nil, nil, err
	}
	var rejected []Rejected
	for i := len(list) - 1; i >= 0; i-- {
		c, err := Open(fsys, list[i].Path)
		if err == nil {
			for j := range rejected {
				rejected[j].Lost = rejected[j].Step - c.Step()
			}
			return c, rejected, nil
		}
		if errors.Is(err, errNewer) {
			return nil, rejected, err
		}
		rejected = append(rejected, Rejected{Entry: list[i], Reason: err, Lost: list[i].Step})
	}
	reasons := make([]error, len(rejected))
	for i, r := range rejected {
		reasons[i] = r.Reason
	}
	return nil, rejected, fault.Checkpoint.Errorf("checkpoint: none of the %d in %s can be used (hint: to start afresh "+
		"on purpose, give another run folder or move this one away):\n%w", len(rejected), dir, errors.Join(reasons...))
}
