// Package vfs is the narrow file-system interface under everything that must survive a crash. OS is the real one; Faulty
// stands before it in tests and fails, or kills the process, at the N-th operation, so that every prefix of a sequence of
// operations can be tried without privileges.
package vfs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// A File is an open file. Sync returns once the contents are on the device; after an error from Sync the state of the
// cached pages is unknown, so the file must be thrown away, never synced again.
type File interface {
	io.Reader
	io.ReaderAt
	io.Writer
	io.Closer
	Name() string
	Stat() (fs.FileInfo, error)
	Sync() error
}

// FS is what a durable commit needs of a file system. Methods without a comment behave as the function of the same name
// in package os; all errors wrap those of package os and io/fs.
type FS interface {
	Create(name string) (File, error)
	Open(name string) (File, error)
	OpenFile(name string, flag int, perm fs.FileMode) (File, error)
	ReadFile(name string) ([]byte, error)
	ReadDir(name string) ([]fs.DirEntry, error)
	Stat(name string) (fs.FileInfo, error)
	Mkdir(name string, perm fs.FileMode) error
	MkdirAll(name string, perm fs.FileMode) error
	Rename(from, to string) error
	Remove(name string) error
	RemoveAll(name string) error

	// SyncDir makes the entries of a folder (names created, renamed or removed in it) durable.
	SyncDir(name string) error
	// Free returns the bytes that this user may still write below a folder, or an error that wraps
	// errors.ErrUnsupported where the system does not tell.
	Free(name string) (uint64, error)
	// Tick marks a point of the caller's own, such as a micro-step, at which a Faulty may kill the process. It does
	// nothing on a real file system.
	Tick(name string)
}

// OS is the file system of the operating system.
type OS struct{}

var _ FS = OS{}

// file keeps a nil *os.File from becoming a File that is not nil.
func file(f *os.File, err error) (File, error) {
	if err != nil {
		return nil, err
	}
	return f, nil
}

func (OS) Create(name string) (File, error) { return file(os.Create(name)) }
func (OS) Open(name string) (File, error)   { return file(os.Open(name)) }
func (OS) OpenFile(name string, flag int, perm fs.FileMode) (File, error) {
	return file(os.OpenFile(name, flag, perm))
}
func (OS) ReadFile(name string) ([]byte, error)         { return os.ReadFile(name) }
func (OS) ReadDir(name string) ([]fs.DirEntry, error)   { return os.ReadDir(name) }
func (OS) Stat(name string) (fs.FileInfo, error)        { return os.Stat(name) }
func (OS) Mkdir(name string, perm fs.FileMode) error    { return os.Mkdir(name, perm) }
func (OS) MkdirAll(name string, perm fs.FileMode) error { return os.MkdirAll(name, perm) }
func (OS) Rename(from, to string) error                 { return os.Rename(from, to) }
func (OS) Remove(name string) error                     { return os.Remove(name) }
func (OS) RemoveAll(name string) error                  { return os.RemoveAll(name) }
func (OS) SyncDir(name string) error                    { return syncDir(name) }
func (OS) Free(name string) (uint64, error)             { return free(name) }
func (OS) Tick(string)                                  {}

// Exists reports whether a name exists; an error other than absence is returned, never taken for absence.
func Exists(fsys FS, name string) (bool, error) {
	_, err := fsys.Stat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// TempPrefix begins the name of every temporary file and folder, so that a start-up sweep recognises strays.
const TempPrefix = ".tmp-"

// WriteAtomic replaces a file so that a crash at any moment leaves the old or the new contents, whole: temporary name,
// sync, rename, sync of the folder. On an error the temporary file is removed and the old file stays, unless the error
// came from the last sync, when the new contents are in place but may not survive a loss of power.
func WriteAtomic(fsys FS, name string, data []byte) error {
	dir, base := filepath.Split(name)
	dir = filepath.Clean(dir)
	temp := filepath.Join(dir, fmt.Sprintf("%s%s-%d", TempPrefix, base, os.Getpid()))
	err := writeSynced(fsys, temp, data)
	if err == nil {
		err = fsys.Rename(temp, name)
	}
	if err != nil {
		if left := fsys.Remove(temp); left != nil && !errors.Is(left, fs.ErrNotExist) {
			err = fmt.Errorf("%w (and the temporary file is left behind: %w)", err, left)
		}
		return err
	}
	return fsys.SyncDir(dir)
}

func writeSynced(fsys FS, name string, data []byte) error {
	f, err := fsys.Create(name)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if closed := f.Close(); err == nil {
		err = closed
	}
	return err
}
