package checkpoint

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"palimpsest/engine/fault"
	"palimpsest/engine/vfs"
)

// A File is one file of a checkpoint to be written.
type File struct {
	Name  string                // plain, without a folder
	Size  int64                 // in bytes, checked against what Write gives; 0 where it is not known beforehand
	Write func(io.Writer) error // gives the contents, once
}

// Contents is what a checkpoint consists of, in the order of writing.
type Contents []File

// TensorFile makes a safetensors file of known size out of tensors.
func TensorFile(name string, tensors []Tensor, metadata map[string]string) (File, error) {
	size, err := SafetensorsSize(tensors, metadata)
	if err != nil {
		return File{}, fmt.Errorf("checkpoint: %s: %w", name, err)
	}
	return File{name, size, func(w io.Writer) error { return WriteSafetensors(w, tensors, metadata) }}, nil
}

// BytesFile makes a file out of bytes.
func BytesFile(name string, data []byte) File {
	return File{name, int64(len(data)), func(w io.Writer) error {
		_, err := w.Write(data)
		return err
	}}
}

// Save commits a checkpoint of a step into dir (RUN/checkpoints, made if absent): every file is written into a temporary
// folder, hashed on the way and synced; then the manifest, the folder, the rename to step-NNNNNNN, the parent folder. A
// checkpoint of the same step is replaced, and one of the two is there at every moment.
//
// On an error nothing temporary is left, earlier checkpoints are whole, and a file whose sync failed is never synced
// again. Errors are of kind fault.Write, unless the Write of a file gave one of another kind. If only the last sync or
// the removal of the replaced checkpoint failed, the new one is in place and the error says so.
func Save(fsys vfs.FS, dir string, step int64, contents Contents) error {
	if err := contents.check(step); err != nil {
		return err
	}
	err := save(fsys, dir, step, contents)
	if err == nil {
		return nil
	}
	return fault.Write.Wrap(fmt.Errorf("checkpoint: step %d: %w", step, err))
}

// check finds mistakes of the caller.
func (c Contents) check(step int64) error {
	if step < 0 || len(c) == 0 {
		return fmt.Errorf("checkpoint: step %d with %d files cannot be saved", step, len(c))
	}
	seen := map[string]bool{}
	for _, f := range c {
		if err := checkFileName(f.Name); err != nil {
			return fmt.Errorf("checkpoint: step %d: %w", step, err)
		}
		if seen[f.Name] || f.Write == nil || f.Size < 0 {
			return fmt.Errorf("checkpoint: step %d: %q comes twice, has no writer or a negative size", step, f.Name)
		}
		seen[f.Name] = true
	}
	return nil
}

func save(fsys vfs.FS, dir string, step int64, contents Contents) error {
	if err := makeDir(fsys, dir); err != nil {
		return fmt.Errorf("not saved: %w", err)
	}
	if err := checkSpace(fsys, dir, contents); err != nil {
		return fmt.Errorf("not saved, earlier checkpoints are kept: %w", err)
	}
	temp := filepath.Join(dir, fmt.Sprintf("%s%s-%d", vfs.TempPrefix, stepName(step), os.Getpid()))
	err := fsys.RemoveAll(temp) // of an earlier save that could not clean up
	if err == nil {
		err = writeFolder(fsys, temp, step, contents)
	}
	replaced := false
	if err == nil {
		replaced, err = moveIn(fsys, temp, dir, step)
	}
	if err != nil {
		err = fmt.Errorf("not saved, earlier checkpoints are kept: %w", err)
		if left := fsys.RemoveAll(temp); left != nil {
			err = fmt.Errorf("%w (and the temporary folder is left behind: %w)", err, left)
		}
		return err
	}
	if err := fsys.SyncDir(dir); err != nil {
		return fmt.Errorf("in place, but it may not survive a loss of power: %w", err)
	}
	if replaced {
		if err := remove(fsys, filepath.Join(dir, oldPrefix+stepName(step))); err != nil {
			return fmt.Errorf("saved, but the checkpoint that it replaces is left behind: %w", err)
		}
	}
	return nil
}

func makeDir(fsys vfs.FS, dir string) error {
	there, err := vfs.Exists(fsys, dir)
	if err != nil || there {
		return err
	}
	if err := fsys.MkdirAll(dir, 0o777); err != nil {
		return err
	}
	return fsys.SyncDir(filepath.Dir(dir))
}

// checkSpace refuses a save that cannot fit. Where the system does not tell, the writes themselves find out.
func checkSpace(fsys vfs.FS, dir string, contents Contents) error {
	const perFile = 64 << 10 // manifest, blocks begun, the file system's own records
	need := uint64(perFile)
	for _, f := range contents {
		need += uint64(f.Size) + perFile
	}
	free, err := fsys.Free(dir)
	if errors.Is(err, errors.ErrUnsupported) {
		return nil
	}
	if err != nil {
		return err
	}
	if need > free {
		return fmt.Errorf("it needs %s, but only %s are free in %s (hint: free some space, keep fewer checkpoints "+
			"with checkpoint.keep, or move the run to another disk)", formatBytes(need), formatBytes(free), dir)
	}
	return nil
}

func formatBytes(n uint64) string {
	const units = "KMGTPE"
	if n < 1<<10 {
		return fmt.Sprintf("%d B", n)
	}
	v, i := float64(n)/1024, 0
	for v >= 1024 {
		v, i = v/1024, i+1
	}
	return fmt.Sprintf("%.1f %ciB", v, units[i])
}

// writeFolder writes a whole checkpoint under a temporary name and syncs all of it.
func writeFolder(fsys vfs.FS, temp string, step int64, contents Contents) error {
	if err := fsys.Mkdir(temp, 0o777); err != nil {
		return err
	}
	m := manifest{Format: FormatVersion, Step: step, Created: time.Now().UTC().Truncate(time.Second)}
	for _, f := range contents {
		record, err := writeFile(fsys, filepath.Join(temp, f.Name), f)
		if err != nil {
			return err
		}
		m.Files = append(m.Files, record)
	}
	data, err := m.encode()
	if err != nil {
		return err
	}
	if len(data) > maxManifest {
		return fmt.Errorf("%d files are too many for one checkpoint", len(contents))
	}
	if _, err := writeFile(fsys, filepath.Join(temp, manifestName), BytesFile(manifestName, data)); err != nil {
		return err
	}
	return fsys.SyncDir(temp)
}

// writeFile writes, hashes and syncs one file. Every error names it.
func writeFile(fsys vfs.FS, path string, f File) (manifestFile, error) {
	out, err := fsys.Create(path)
	if err != nil {
		return manifestFile{}, err
	}
	hash := sha256.New()
	count := &countingWriter{w: io.MultiWriter(out, hash)}
	buffered := bufio.NewWriterSize(count, chunkBytes)
	err = f.Write(buffered)
	if err == nil {
		err = buffered.Flush()
	}
	if err == nil && f.Size != 0 && count.n != f.Size {
		err = fmt.Errorf("%d bytes were announced, %d came", f.Size, count.n)
	}
	if err == nil {
		err = out.Sync()
	}
	if closed := out.Close(); err == nil {
		err = closed
	}
	if err != nil {
		return manifestFile{}, fmt.Errorf("%s: %w", path, err)
	}
	return manifestFile{f.Name, count.n, hex.EncodeToString(hash.Sum(nil))}, nil
}

// moveIn gives the temporary folder its name. A checkpoint of the same step steps aside first and comes back if the
// second rename fails; killed between the two, List still finds it and Sweep restores it.
func moveIn(fsys vfs.FS, temp, dir string, step int64) (replaced bool, err error) {
	target := filepath.Join(dir, stepName(step))
	old := filepath.Join(dir, oldPrefix+stepName(step))
	there, err := vfs.Exists(fsys, target)
	if err != nil {
		return false, err
	}
	oldThere, err := vfs.Exists(fsys, old)
	if err != nil {
		return false, err
	}
	if there {
		if oldThere { // left by a save that could not remove it; the one under the right name counts
			if err := remove(fsys, old); err != nil {
				return false, err
			}
		}
		if err := fsys.Rename(target, old); err != nil {
			return false, err
		}
	}
	if err := fsys.Rename(temp, target); err != nil {
		if there {
			if back := fsys.Rename(old, target); back != nil {
				err = fmt.Errorf("%w (and the earlier checkpoint of this step is now %s: %w)", err, old, back)
			}
		}
		return false, err
	}
	return there || oldThere, nil
}
