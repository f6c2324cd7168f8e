//go:build !(linux || darwin || freebsd)

package vfs

import (
	"errors"
	"io/fs"
	"os"
)

func free(name string) (uint64, error) {
	return 0, &fs.PathError{Op: "statfs", Path: name, Err: errors.ErrUnsupported}
}

// syncDir only checks that the folder is there: these systems have no call that syncs one.
func syncDir(name string) error {
	_, err := os.Stat(name)
	return err
}
