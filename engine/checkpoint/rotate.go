package checkpoint

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"path/filepath"
	"slices"
	"strings"

	"palimpsest/engine/fault"
	"palimpsest/engine/vfs"
)

// Best names the step with the best evaluation so far.
type Best struct {
	Step   int64   `json:"step"`
	Metric float64 `json:"metric"`
}

// SetBest records the best step in dir/best.json, atomically.
func SetBest(fsys vfs.FS, dir string, best Best) error {
	if math.IsNaN(best.Metric) || math.IsInf(best.Metric, 0) {
		return fmt.Errorf("checkpoint: a metric of %v is not the best of anything", best.Metric)
	}
	data, err := json.Marshal(best)
	if err == nil {
		err = vfs.WriteAtomic(fsys, filepath.Join(dir, bestName), append(data, '\n'))
	}
	if err != nil {
		return fault.Write.Errorf("checkpoint: best step %d is not recorded: %w", best.Step, err)
	}
	return nil
}

// ReadBest returns what SetBest recorded last and whether there is such a record.
func ReadBest(fsys vfs.FS, dir string) (Best, bool, error) {
	path := filepath.Join(dir, bestName)
	info, err := fsys.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return Best{}, false, nil
	}
	if err == nil && info.Size() > 4<<10 {
		err = fmt.Errorf("%s has %d bytes, expected one short line", path, info.Size())
	}
	var data []byte
	if err == nil {
		data, err = fsys.ReadFile(path)
	}
	var record struct {
		Step   *int64   `json:"step"`
		Metric *float64 `json:"metric"`
	}
	if err == nil {
		err = json.Unmarshal(data, &record)
	}
	if err == nil && (record.Step == nil || record.Metric == nil) {
		err = errors.New("it needs step and metric")
	}
	if err != nil {
		return Best{}, false, fault.Checkpoint.Errorf("checkpoint: %s cannot be read (hint: delete it; the next "+
			"evaluation writes it anew): %w", path, err)
	}
	return Best{*record.Step, *record.Metric}, true, nil
}

// Rotate deletes old checkpoints of dir and returns their paths, oldest first. The newest keep of those with a manifest
// stay, and so do the one in best.json and the protected steps, such as the one just saved. Errors are of kind
// fault.Write, or fault.Checkpoint if best.json cannot be read, and then nothing is deleted.
func Rotate(fsys vfs.FS, dir string, keep int, protected ...int64) ([]string, error) {
	if keep < 1 {
		return nil, fault.Usage.Errorf("checkpoint.keep: %d: expected at least 1", keep)
	}
	best, haveBest, err := ReadBest(fsys, dir)
	if err != nil {
		return nil, err
	}
	list, err := List(fsys, dir)
	if err != nil {
		return nil, err
	}
	var removed []string
	kept, whole := 0, make([]bool, len(list))
	for i, e := range list {
		if whole[i], err = hasManifest(fsys, e.Path); err != nil {
			return nil, fault.Write.Errorf("checkpoint: old ones are not deleted: %w", err)
		}
	}
	for i := len(list) - 1; i >= 0; i-- {
		safe := kept < keep || haveBest && list[i].Step == best.Step || slices.Contains(protected, list[i].Step)
		if kept < keep && whole[i] {
			kept++
		}
		if safe {
			list = slices.Delete(list, i, i+1)
		}
	}
	for _, e := range list {
		if err := remove(fsys, e.Path); err != nil {
			return removed, fault.Write.Errorf("checkpoint: old one of step %d is not fully deleted: %w", e.Step, err)
		}
		removed = append(removed, e.Path)
	}
	return removed, nil
}

// Swept is something that Sweep tidied up.
type Swept struct {
	Path string
	What string // why it was there and what was done
}

// String says it in a line, for the log.
func (s Swept) String() string { return s.Path + ": " + s.What }

// Sweep tidies dir (RUN/checkpoints) after a crash: temporary files and folders are removed, half-deleted checkpoints are
// removed, and a checkpoint that stepped aside for one that never came gets its name back. Only the process that holds
// the run's lock may call it. A folder without a manifest is removed only if a newer one has its own, as it is when
// Rotate was cut short; otherwise it is evidence of damage, left for Latest to reject. Errors are of kind fault.Write.
func Sweep(fsys vfs.FS, dir string) ([]Swept, error) {
	var swept []Swept
	fail := func(err error) ([]Swept, error) {
		return swept, fault.Write.Errorf("checkpoint: cannot tidy up %s: %w", dir, err)
	}
	names, err := readNames(fsys, dir)
	if err != nil {
		return fail(err)
	}
	for _, name := range names {
		path := filepath.Join(dir, name)
		base, wasOld := strings.CutPrefix(name, oldPrefix)
		switch _, isStep := parseStep(base); {
		case strings.HasPrefix(name, vfs.TempPrefix):
			if err := fsys.RemoveAll(path); err != nil {
				return fail(err)
			}
			swept = append(swept, Swept{path, "temporary, of a save that was cut short: removed"})
		case wasOld && isStep && slices.Contains(names, base):
			if err := remove(fsys, path); err != nil {
				return fail(err)
			}
			swept = append(swept, Swept{path, "replaced by a newer save of the same step: removed"})
		case wasOld && isStep:
			if err := fsys.Rename(path, filepath.Join(dir, base)); err != nil {
				return fail(err)
			}
			swept = append(swept, Swept{path, "its replacement was cut short: renamed to " + base})
		}
	}
	list, err := List(fsys, dir)
	if err != nil {
		return fail(err)
	}
	newerIsWhole := false
	for i := len(list) - 1; i >= 0; i-- {
		whole, err := hasManifest(fsys, list[i].Path)
		switch {
		case err != nil:
			return fail(err)
		case whole:
			newerIsWhole = true
		case newerIsWhole:
			if err := fsys.RemoveAll(list[i].Path); err != nil {
				return fail(err)
			}
			swept = append(swept, Swept{list[i].Path, "without manifest, half deleted: removed"})
		}
	}
	if len(swept) > 0 {
		if err := fsys.SyncDir(dir); err != nil {
			return fail(err)
		}
	}
	return swept, nil
}

// SetAside renames all checkpoints of dir beyond a step to aside-step-NNNNNNN and returns their new paths. A run that
// goes back, because newer checkpoints are damaged or because an older one was asked for, calls it before its first save:
// otherwise the abandoned ones would pass for its newest, and Rotate would delete the real ones in their place. What is
// set aside is the user's: nothing here reads or deletes it. Errors are of kind fault.Write.
func SetAside(fsys vfs.FS, dir string, beyond int64) ([]string, error) {
	list, err := List(fsys, dir)
	if err != nil {
		return nil, err
	}
	var moved []string
	for _, e := range list {
		if e.Step <= beyond {
			continue
		}
		to, err := freeName(fsys, filepath.Join(dir, asidePrefix+stepName(e.Step)))
		if err == nil {
			err = fsys.Rename(e.Path, to)
		}
		if err != nil {
			return moved, fault.Write.Errorf("checkpoint: step %d cannot be set aside: %w", e.Step, err)
		}
		moved = append(moved, to)
	}
	if len(moved) > 0 {
		if err := fsys.SyncDir(dir); err != nil {
			return moved, fault.Write.Errorf("checkpoint: %w", err)
		}
	}
	return moved, nil
}

// freeName appends .2, .3, ... to a name that is taken.
func freeName(fsys vfs.FS, name string) (string, error) {
	for i, try := 2, name; ; i++ {
		there, err := vfs.Exists(fsys, try)
		if err != nil || !there {
			return try, err
		}
		try = fmt.Sprintf("%s.%d", name, i)
	}
}
