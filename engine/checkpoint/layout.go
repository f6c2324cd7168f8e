package checkpoint

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"palimpsest/engine/fault"
	"palimpsest/engine/vfs"
)

// What lies in RUN/checkpoints:
//
//	step-0000200/              a checkpoint, if it holds a manifest.json
//	.tmp-step-0000300-PID/     one being written
//	.old-step-0000200/         the former step-0000200 while a new one takes its place
//	aside-step-0000400/        set aside by SetAside; never read or deleted here
//	best.json                  which step had the best metric
const (
	manifestName = "manifest.json"
	bestName     = "best.json"
	oldPrefix    = ".old-"
	asidePrefix  = "aside-"
)

func stepName(step int64) string { return fmt.Sprintf("step-%07d", step) }

// parseStep is the inverse of stepName.
func parseStep(name string) (int64, bool) {
	digits, ok := strings.CutPrefix(name, "step-")
	if !ok {
		return 0, false
	}
	step, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || stepName(step) != name {
		return 0, false
	}
	return step, true
}

// An Entry is the place of a checkpoint that has not been verified yet.
type Entry struct {
	Step int64
	Path string
}

// List returns the checkpoints of a folder (RUN/checkpoints) in order of their steps, whether they are whole or not. A
// folder that does not exist holds none. A save of the same step that was cut short between its two renames is listed
// under the name that it left.
func List(fsys vfs.FS, dir string) ([]Entry, error) {
	names, err := readNames(fsys, dir)
	if err != nil {
		return nil, fault.Checkpoint.Errorf("checkpoint: cannot list %s: %w", dir, err)
	}
	var list []Entry
	for _, name := range names {
		base, wasOld := strings.CutPrefix(name, oldPrefix)
		step, ok := parseStep(base)
		if ok && !(wasOld && slices.Contains(names, base)) {
			list = append(list, Entry{step, filepath.Join(dir, name)})
		}
	}
	slices.SortFunc(list, func(a, b Entry) int { return cmp.Compare(a.Step, b.Step) })
	return list, nil
}

// readNames returns the names in a folder, none if it does not exist.
func readNames(fsys vfs.FS, dir string) ([]string, error) {
	entries, err := fsys.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names, err
}

func hasManifest(fsys vfs.FS, path string) (bool, error) {
	return vfs.Exists(fsys, filepath.Join(path, manifestName))
}

// remove deletes a checkpoint, its manifest durably first, so that a half-deleted one is never taken for a whole one.
func remove(fsys vfs.FS, path string) error {
	there, err := vfs.Exists(fsys, path)
	if err != nil || !there {
		return err
	}
	marked, err := hasManifest(fsys, path)
	if err != nil {
		return err
	}
	if marked {
		if err := fsys.Remove(filepath.Join(path, manifestName)); err != nil {
			return err
		}
		if err := fsys.SyncDir(path); err != nil {
			return err
		}
	}
	if err := fsys.RemoveAll(path); err != nil {
		return err
	}
	return fsys.SyncDir(filepath.Dir(path))
}
