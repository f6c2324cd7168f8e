package checkpoint

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"palimpsest/engine/fault"
)

const (
	lockName = "lock"
	maxOwner = 1 << 10 // bytes of a lock file that are read for a message
)

// errLocked is what lockFile returns when another process holds the lock.
var errLocked = errors.New("held by another process")

// RunLock is a run folder's lock, held until Unlock or the end of the process, however it ends.
type RunLock struct {
	f     *os.File
	stale string
}

// LockRun takes the lock of a run folder, which is made if absent. The lock is the kernel's (flock on RUN/lock), so it
// cannot outlive its process and a file left by a killed one does not count. If another process holds it the error is of
// kind fault.Usage and names that process's host, pid and start.
func LockRun(run string) (*RunLock, error) {
	if err := os.MkdirAll(run, 0o777); err != nil {
		return nil, fault.Write.Errorf("cannot make the run folder: %w", err)
	}
	path := filepath.Join(run, lockName)
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o666)
	if err != nil {
		return nil, fault.Write.Errorf("cannot lock the run folder: %w", err)
	}
	locked := lockFile(f)
	owner, err := io.ReadAll(io.LimitReader(f, maxOwner))
	if locked != nil || err != nil {
		f.Close()
	}
	switch {
	case errors.Is(locked, errLocked):
		by := strings.TrimSpace(string(owner))
		if by == "" {
			by = "another process"
		}
		return nil, fault.Usage.Errorf("run folder %s is in use by %s (hint: wait for it or stop it, or give another "+
			"folder with --out)", run, by)
	case locked != nil:
		return nil, fault.Usage.Errorf("cannot lock %s: %w (hint: put the run on a file system with file locks)",
			path, locked)
	case err != nil:
		return nil, fault.Write.Errorf("cannot lock the run folder: %w", err)
	}
	l := &RunLock{f: f, stale: strings.TrimSpace(string(owner))}
	if err := l.sign(); err != nil {
		f.Close()
		return nil, fault.Write.Errorf("cannot lock the run folder: %w", err)
	}
	return l, nil
}

// sign writes who holds the lock, for the message that a second process prints.
func (l *RunLock) sign() error {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	owner := fmt.Sprintf("host %s, pid %d, since %s\n", host, os.Getpid(), time.Now().UTC().Format(time.RFC3339))
	if err := l.f.Truncate(0); err != nil {
		return err
	}
	_, err = l.f.WriteAt([]byte(owner), 0)
	return err
}

// Stale returns who held the lock before and ended without Unlock, for the log; it is empty after an orderly end.
func (l *RunLock) Stale() string { return l.stale }

// Check reports whether the run folder is still the one that was locked. When it was deleted or replaced, another process
// may hold it, and the error is of kind fault.Write.
func (l *RunLock) Check() error {
	path := l.f.Name()
	there, err := os.Stat(path)
	var locked os.FileInfo
	if err == nil {
		locked, err = l.f.Stat()
	}
	if err == nil && !os.SameFile(there, locked) {
		err = errors.New("another file has its place")
	}
	if err != nil {
		return fault.Write.Errorf("the run folder was deleted or replaced while this process used it, nothing more is saved there: "+
			"lock %s: %w (hint: start again, with another folder if another process uses this one)", path, err)
	}
	return nil
}

// Unlock gives the folder back. The file stays, empty: deleting it could take the lock from a process that has just
// opened it.
func (l *RunLock) Unlock() error {
	err := l.f.Truncate(0)
	if closed := l.f.Close(); err == nil { // the kernel's lock ends with the descriptor
		err = closed
	}
	if err != nil {
		return fault.Write.Errorf("cannot unlock the run folder: %w", err)
	}
	return nil
}
