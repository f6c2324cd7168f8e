package vfs

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"palimpsest/engine/fault"
)

const childEnv = "PALIMPSEST_VFS_TEST_FILE"

// TestMain doubles as the process that kills itself: see TestKillAt.
func TestMain(m *testing.M) {
	name := os.Getenv(childEnv)
	if name == "" {
		os.Exit(m.Run())
	}
	fsys, err := FromEnv()
	if err == nil {
		fsys.Tick("start")
		err = WriteAtomic(fsys, name, []byte("new contents"))
	}
	if err != nil {
		fmt.Println(err)
		os.Exit(3)
	}
}

func read(t *testing.T, name string) string {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func names(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, e := range entries {
		out = append(out, e.Name())
	}
	return out
}

// syncless keeps the tests from waiting for the disk; the calls still count in the Faulty above it.
type syncless struct{ OS }

func (syncless) SyncDir(string) error { return nil }

func TestWriteAtomicFailsCleanly(t *testing.T) {
	for _, injected := range []error{syscall.EIO, syscall.ENOSPC} {
		for _, mode := range []Mode{Fail, Dead} {
			for at := int64(1); ; at++ {
				dir := t.TempDir()
				name := filepath.Join(dir, "a.json")
				if err := os.WriteFile(name, []byte("old"), 0o666); err != nil {
					t.Fatal(err)
				}
				f := NewFaulty(syncless{}, mode, at, injected)
				err := WriteAtomic(f, name, []byte("new contents"))
				if f.Ops() < at {
					if err != nil || read(t, name) != "new contents" {
						t.Fatalf("undisturbed: %v", err)
					}
					if at != 7 { // create, write, sync, close, rename, sync of the folder
						t.Errorf("%d operations, want 6", at-1)
					}
					break
				}
				if !errors.Is(err, injected) {
					t.Errorf("mode %d at %d: got %v, want %v", mode, at, err, injected)
				}
				if got := read(t, name); got != "old" && got != "new contents" {
					t.Errorf("mode %d at %d: contents %q", mode, at, got)
				}
				if got := names(t, dir); mode == Fail && !slices.Equal(got, []string{"a.json"}) {
					t.Errorf("at %d: left %q", at, got)
				}
			}
		}
	}
}

func TestShortWrite(t *testing.T) {
	name := filepath.Join(t.TempDir(), "a")
	f := NewFaulty(OS{}, Fail, 2, syscall.ENOSPC)
	file, err := f.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	n, err := file.Write([]byte("12345678"))
	var path *fs.PathError
	if n != 4 || !errors.Is(err, syscall.ENOSPC) || !errors.As(err, &path) || path.Op != "write" || path.Path != name {
		t.Errorf("wrote %d, %v", n, err)
	}
	if _, err := file.Write([]byte("x")); err != nil {
		t.Errorf("after the one failure: %v", err)
	}
	if err := file.Close(); err != nil {
		t.Error(err)
	}
	if got := read(t, name); got != "1234x" {
		t.Errorf("file holds %q", got)
	}
}

func TestRemoveAllInSteps(t *testing.T) {
	for at := int64(1); ; at++ {
		dir := filepath.Join(t.TempDir(), "tree")
		if err := os.MkdirAll(filepath.Join(dir, "sub"), 0o777); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"1", "sub/2", "z"} {
			if err := os.WriteFile(filepath.Join(dir, name), nil, 0o666); err != nil {
				t.Fatal(err)
			}
		}
		f := NewFaulty(OS{}, Dead, at, syscall.EIO)
		err := f.RemoveAll(dir)
		there, statErr := Exists(OS{}, dir)
		if statErr != nil {
			t.Fatal(statErr)
		}
		if f.Ops() < at {
			if err != nil || there || at != 8 { // two folders read, three files and two folders removed
				t.Errorf("undisturbed after %d operations: %v, still there %t", at-1, err, there)
			}
			break
		}
		if !errors.Is(err, syscall.EIO) || !there {
			t.Errorf("at %d: %v, still there %t", at, err, there)
		}
	}
	f := NewFaulty(OS{}, Fail, 0, nil)
	if err := f.RemoveAll(filepath.Join(t.TempDir(), "absent")); err != nil {
		t.Errorf("absent tree: %v", err)
	}
	plain := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(plain, nil, 0o666); err != nil {
		t.Fatal(err)
	}
	if err := f.RemoveAll(plain); err != nil {
		t.Errorf("plain file: %v", err)
	}
}

func TestTicksCountAndOnlyKillActs(t *testing.T) {
	f := NewFaulty(OS{}, Fail, 1, syscall.EIO)
	f.Tick("micro-step")
	if _, err := f.Stat(t.TempDir()); err != nil || f.Ops() != 2 {
		t.Errorf("after a tick: %v, %d operations", err, f.Ops())
	}
	var killed []string
	k := NewFaulty(OS{}, Kill, 2, nil)
	k.kill = func(op, name string, n int64) { killed = append(killed, fmt.Sprint(op, " ", name, " ", n)) }
	for _, name := range []string{"a", "b", "c"} {
		k.Tick(name)
	}
	if !slices.Equal(killed, []string{"tick b 2"}) {
		t.Errorf("killed %q", killed)
	}
}

func TestKillAt(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for at, want := range []string{1: "old", 3: "old", 6: "old", 7: "new contents", 8: "new contents"} {
		if want == "" {
			continue
		}
		name := filepath.Join(t.TempDir(), "a.json")
		if err := os.WriteFile(name, []byte("old"), 0o666); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(self)
		cmd.Env = append(os.Environ(), childEnv+"="+name, fmt.Sprintf("%s=%d", EnvKillAt, at))
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		err := cmd.Run()
		if at == 8 { // beyond the last operation
			if err != nil {
				t.Errorf("undisturbed: %v", err)
			}
		} else if err == nil || cmd.ProcessState.ExitCode() != -1 || !strings.Contains(stderr.String(), "killed at") {
			t.Errorf("at %d: %v, %q", at, err, stderr.String())
		}
		if got := read(t, name); got != want {
			t.Errorf("at %d: contents %q, want %q", at, got, want)
		}
	}
}

func TestFromEnv(t *testing.T) {
	t.Setenv(EnvKillAt, "")
	if fsys, err := FromEnv(); err != nil || fsys != (OS{}) {
		t.Errorf("unset: %v, %v", fsys, err)
	}
	for _, bad := range []string{"0", "-1", "x", "99999999999999999999"} {
		t.Setenv(EnvKillAt, bad)
		if _, err := FromEnv(); fault.Of(err) != fault.Usage {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestOS(t *testing.T) {
	dir := t.TempDir()
	if _, err := (OS{}).Create(filepath.Join(dir, "no", "a")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("create below a missing folder: %v", err)
	}
	if f, err := (OS{}).Open(filepath.Join(dir, "absent")); f != nil || err == nil {
		t.Errorf("open of an absent file: %v, %v", f, err)
	}
	if err := (OS{}).SyncDir(dir); err != nil {
		t.Error(err)
	}
	if err := (OS{}).SyncDir(filepath.Join(dir, "absent")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("sync of an absent folder: %v", err)
	}
	if n, err := (OS{}).Free(dir); err != nil && !errors.Is(err, errors.ErrUnsupported) || err == nil && n == 0 {
		t.Errorf("free: %d, %v", n, err)
	}
	(OS{}).Tick("nothing")
}
