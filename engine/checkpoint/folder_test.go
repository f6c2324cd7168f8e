package checkpoint

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"palimpsest/engine/fault"
	"palimpsest/engine/vfs"
)

// At every operation that fails, the folder is there whole or not at all, and nothing else is left.
func TestFoldersAreAtomic(t *testing.T) {
	for _, withManifest := range []bool{true, false} {
		for at := int64(1); ; at++ {
			dir := scratch(t)
			target := filepath.Join(dir, "models", "new")
			faulty := vfs.NewFaulty(syncless{}, vfs.Fail, at, syscall.ENOSPC)
			var err error
			if withManifest {
				err = Create(faulty, target, 3, contents(t, "one"))
			} else {
				err = WriteFolder(faulty, target, contents(t, "one"))
			}
			if err == nil {
				if faulty.Ops() >= at {
					t.Errorf("operation %d failed without a word", at)
				}
				if at < 10 {
					t.Errorf("only %d operations", at)
				}
				break
			}
			if fault.Of(err) != fault.Write || !errors.Is(err, syscall.ENOSPC) {
				t.Errorf("operation %d: of kind %d: %v", at, fault.Of(err), err)
			}
			entries, readErr := os.ReadDir(filepath.Join(dir, "models"))
			if readErr != nil && !errors.Is(readErr, os.ErrNotExist) {
				t.Fatal(readErr)
			}
			for _, e := range entries {
				if e.Name() != "new" && !strings.Contains(err.Error(), "left behind") {
					t.Errorf("operation %d leaves %s", at, e.Name())
				}
			}
			if _, statErr := os.Stat(filepath.Join(target, "state.json")); len(entries) > 0 && entries[0].Name() == "new" && statErr != nil {
				t.Errorf("operation %d: half a folder", at)
			}
		}
	}
}

func TestFoldersAreNeverReplaced(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "made")
	if err := Create(vfs.OS{}, dir, 7, contents(t, "one")); err != nil {
		t.Fatal(err)
	}
	c, err := Open(vfs.OS{}, dir)
	if err != nil || c.Step() != 7 || versionOf(t, c) != "one" {
		t.Errorf("%v", err)
	}
	for _, write := range []func() error{
		func() error { return Create(vfs.OS{}, dir, 8, contents(t, "two")) },
		func() error { return WriteFolder(vfs.OS{}, dir, contents(t, "two")) },
		func() error { return WriteFolder(vfs.OS{}, filepath.Join(dir, "state.json"), contents(t, "two")) },
	} {
		if err := write(); fault.Of(err) != fault.Usage {
			t.Errorf("of kind %d: %v", fault.Of(err), err)
		}
	}
	empty := t.TempDir()
	if err := WriteFolder(vfs.OS{}, empty, contents(t, "two")); err != nil {
		t.Errorf("an empty folder: %v", err)
	}
	if _, err := os.Stat(filepath.Join(empty, "manifest.json")); err == nil {
		t.Error("a folder for other programs has a manifest")
	}
}
