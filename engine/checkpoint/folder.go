package checkpoint

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"palimpsest/engine/fault"
	"palimpsest/engine/vfs"
)

// Create commits a checkpoint of a step under a path of its own, outside any run: an imported model. It takes the way of Save:
// temporary folder beside it, sync of every file, rename.
func Create(fsys vfs.FS, path string, step int64, contents Contents) error {
	if err := contents.check(step); err != nil {
		return err
	}
	return commit(fsys, path, contents, func(temp string) error { return writeFolder(fsys, temp, step, contents) })
}

// WriteFolder writes files into a new folder without a manifest, for other programs, in the way of Create.
func WriteFolder(fsys vfs.FS, path string, contents Contents) error {
	if err := contents.check(0); err != nil {
		return err
	}
	return commit(fsys, path, contents, func(temp string) error {
		if err := fsys.Mkdir(temp, 0o777); err != nil {
			return err
		}
		for _, f := range contents {
			if _, err := writeFile(fsys, filepath.Join(temp, f.Name), f); err != nil {
				return err
			}
		}
		return fsys.SyncDir(temp)
	})
}

// CheckNew refuses a path for a new folder that is taken by anything but an empty folder.
func CheckNew(fsys vfs.FS, path string) error {
	entries, err := fsys.ReadDir(path)
	switch {
	case errors.Is(err, fs.ErrNotExist), err == nil && len(entries) == 0:
		return nil
	case err == nil:
		return fault.Usage.Errorf("%s is a folder with %s and more in it; hint: name one that does not exist, or move this one away", path, entries[0].Name())
	}
	if info, statErr := fsys.Stat(path); statErr == nil && !info.IsDir() {
		return fault.Usage.Errorf("%s exists and is no folder; hint: name one that does not exist", path)
	}
	return fault.Write.Wrap(err)
}

// commit has write make a temporary folder beside path, then gives it that name. On an error nothing is left.
func commit(fsys vfs.FS, path string, contents Contents, write func(temp string) error) error {
	path, err := filepath.Abs(path)
	if err != nil {
		return fault.Write.Wrap(err)
	}
	if err := CheckNew(fsys, path); err != nil {
		return err
	}
	parent, base := filepath.Dir(path), filepath.Base(path)
	temp := filepath.Join(parent, fmt.Sprintf("%s%s-%d", vfs.TempPrefix, base, os.Getpid()))
	if err = makeDir(fsys, parent); err == nil {
		err = checkSpace(fsys, parent, contents)
	}
	if err == nil {
		err = fsys.RemoveAll(temp) // of an earlier process of this number
	}
	if err != nil {
		return fault.Write.Wrap(fmt.Errorf("%s: not written: %w", path, err))
	}
	if err = write(temp); err == nil {
		if err = fsys.Remove(path); errors.Is(err, fs.ErrNotExist) { // else the empty folder
			err = nil
		}
	}
	if err == nil {
		err = fsys.Rename(temp, path)
	}
	if err != nil {
		err = fmt.Errorf("%s: not written: %w", path, err)
		if left := fsys.RemoveAll(temp); left != nil {
			err = fmt.Errorf("%w (and the temporary folder is left behind: %w)", err, left)
		}
		return fault.Write.Wrap(err)
	}
	if err := fsys.SyncDir(parent); err != nil {
		return fault.Write.Wrap(fmt.Errorf("%s is in place, but it may not survive a loss of power: %w", path, err))
	}
	return nil
}
