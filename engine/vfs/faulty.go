package vfs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"sync"
	"syscall"

	"palimpsest/engine/fault"
)

// A Mode says what a Faulty does when its operation comes.
type Mode int

const (
	// Fail makes one operation fail; those after it work again.
	Fail Mode = iota
	// Dead makes that operation and all after it fail: what the disk then holds is what a kill leaves behind.
	Dead
	// Kill ends the own process there by SIGKILL: nothing is flushed, no deferred function runs.
	Kill
)

// EnvKillAt is the environment variable that FromEnv reads. It is a test aid: PALIMPSEST_KILL_AT=N kills the process
// (SIGKILL) at the N-th file-system operation or tick, counted from 1.
const EnvKillAt = "PALIMPSEST_KILL_AT"

// Faulty counts the operations of another file system and disturbs the one numbered at. Counted are all calls of FS and
// of its files except Name and File.Stat; RemoveAll counts as the single steps that it takes. A disturbed Write first
// writes half of its bytes; any other disturbed operation does nothing, but a disturbed Close still releases the file.
// Ticks count too, but as there is nothing to fail in a tick, only Kill acts at one. It may be used concurrently.
type Faulty struct {
	under FS
	mode  Mode
	at    int64
	err   error
	kill  func(op, name string, n int64)

	mu    sync.Mutex
	count int64
}

var _ FS = (*Faulty)(nil)

// NewFaulty disturbs operation number at (from 1; 0 only counts) of a file system. The error, for example syscall.EIO or
// syscall.ENOSPC, arrives inside an *fs.PathError that names the operation and the file; Kill does not use it.
func NewFaulty(under FS, mode Mode, at int64, err error) *Faulty {
	return &Faulty{under: under, mode: mode, at: at, err: err, kill: killSelf}
}

// FromEnv returns the real file system, behind a killing Faulty if PALIMPSEST_KILL_AT is set.
func FromEnv() (FS, error) {
	text := os.Getenv(EnvKillAt)
	if text == "" {
		return OS{}, nil
	}
	at, err := strconv.ParseInt(text, 10, 64)
	if err != nil || at < 1 {
		return nil, fault.Usage.Errorf("%s=%q: expected a whole number from 1 (hint: unset it, it is meant for tests)",
			EnvKillAt, text)
	}
	return NewFaulty(OS{}, Kill, at, nil), nil
}

// Ops returns how many operations and ticks have been counted.
func (f *Faulty) Ops() int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.count
}

func killSelf(op, name string, n int64) {
	fmt.Fprintf(os.Stderr, "%s=%d: killed at %s %s\n", EnvKillAt, n, op, name)
	p, err := os.FindProcess(os.Getpid())
	if err == nil {
		err = p.Kill()
	}
	if err != nil {
		panic("vfs: cannot kill the own process: " + err.Error())
	}
	select {} // the signal is on its way; nothing more may happen here
}

// step counts one operation. It returns the error to fail with, or nil to go on; before stands for what a disturbed
// operation still does, and may be nil.
func (f *Faulty) step(op, name string, before func()) error {
	f.mu.Lock()
	f.count++
	n := f.count
	f.mu.Unlock()
	if f.at == 0 || n < f.at || n > f.at && f.mode != Dead {
		return nil
	}
	if n == f.at && before != nil {
		before()
	}
	if f.mode == Kill {
		f.kill(op, name, n)
		return nil
	}
	return &fs.PathError{Op: op, Path: name, Err: f.err}
}

func (f *Faulty) Tick(name string) {
	_ = f.step("tick", name, nil) // a tick has no result that could carry the error
}

func (f *Faulty) open(op, name string, open func() (File, error)) (File, error) {
	if err := f.step(op, name, nil); err != nil {
		return nil, err
	}
	under, err := open()
	if err != nil {
		return nil, err
	}
	return &faultyFile{under, f}, nil
}

func (f *Faulty) Create(name string) (File, error) {
	return f.open("create", name, func() (File, error) { return f.under.Create(name) })
}

func (f *Faulty) Open(name string) (File, error) {
	return f.open("open", name, func() (File, error) { return f.under.Open(name) })
}

func (f *Faulty) OpenFile(name string, flag int, perm fs.FileMode) (File, error) {
	return f.open("open", name, func() (File, error) { return f.under.OpenFile(name, flag, perm) })
}

func (f *Faulty) ReadFile(name string) ([]byte, error) {
	if err := f.step("read", name, nil); err != nil {
		return nil, err
	}
	return f.under.ReadFile(name)
}

func (f *Faulty) ReadDir(name string) ([]fs.DirEntry, error) {
	if err := f.step("readdir", name, nil); err != nil {
		return nil, err
	}
	return f.under.ReadDir(name)
}

func (f *Faulty) Stat(name string) (fs.FileInfo, error) {
	if err := f.step("stat", name, nil); err != nil {
		return nil, err
	}
	return f.under.Stat(name)
}

func (f *Faulty) Mkdir(name string, perm fs.FileMode) error {
	if err := f.step("mkdir", name, nil); err != nil {
		return err
	}
	return f.under.Mkdir(name, perm)
}

func (f *Faulty) MkdirAll(name string, perm fs.FileMode) error {
	if err := f.step("mkdir", name, nil); err != nil {
		return err
	}
	return f.under.MkdirAll(name, perm)
}

func (f *Faulty) Rename(from, to string) error {
	if err := f.step("rename", from, nil); err != nil {
		return err
	}
	return f.under.Rename(from, to)
}

func (f *Faulty) Remove(name string) error {
	if err := f.step("remove", name, nil); err != nil {
		return err
	}
	return f.under.Remove(name)
}

// RemoveAll removes entry by entry through the counted operations, so that a half-removed tree can be met.
func (f *Faulty) RemoveAll(name string) error {
	entries, err := f.ReadDir(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case errors.Is(err, syscall.ENOTDIR):
		entries = nil
	case err != nil:
		return err
	}
	for _, e := range entries {
		below := name + string(os.PathSeparator) + e.Name()
		if e.IsDir() {
			err = f.RemoveAll(below)
		} else {
			err = f.Remove(below)
		}
		if err != nil {
			return err
		}
	}
	return f.Remove(name)
}

func (f *Faulty) SyncDir(name string) error {
	if err := f.step("syncdir", name, nil); err != nil {
		return err
	}
	return f.under.SyncDir(name)
}

func (f *Faulty) Free(name string) (uint64, error) {
	if err := f.step("statfs", name, nil); err != nil {
		return 0, err
	}
	return f.under.Free(name)
}

type faultyFile struct {
	File
	f *Faulty
}

func (o *faultyFile) Read(p []byte) (int, error) {
	if err := o.f.step("read", o.Name(), nil); err != nil {
		return 0, err
	}
	return o.File.Read(p)
}

func (o *faultyFile) ReadAt(p []byte, off int64) (int, error) {
	if err := o.f.step("read", o.Name(), nil); err != nil {
		return 0, err
	}
	return o.File.ReadAt(p, off)
}

func (o *faultyFile) Write(p []byte) (int, error) {
	short := 0
	half := func() { short, _ = o.File.Write(p[:len(p)/2]) } // the injected error is the one that counts
	if err := o.f.step("write", o.Name(), half); err != nil {
		return short, err
	}
	return o.File.Write(p)
}

func (o *faultyFile) Sync() error {
	if err := o.f.step("sync", o.Name(), nil); err != nil {
		return err
	}
	return o.File.Sync()
}

func (o *faultyFile) Close() error {
	injected := o.f.step("close", o.Name(), nil)
	if err := o.File.Close(); injected == nil {
		return err
	}
	return injected
}
