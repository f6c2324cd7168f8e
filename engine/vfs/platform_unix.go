//go:build linux || darwin || freebsd

package vfs

import (
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

func free(name string) (uint64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(name, &st); err != nil {
		return 0, &fs.PathError{Op: "statfs", Path: name, Err: err}
	}
	if st.Bavail <= 0 { // signed on FreeBSD, where the reserve for root can make it negative
		return 0, nil
	}
	return uint64(st.Bavail) * uint64(st.Bsize), nil
}

func syncDir(name string) error {
	d, err := os.Open(name)
	if err != nil {
		return err
	}
	err = d.Sync()
	if closed := d.Close(); err == nil {
		err = closed
	}
	return err
}
