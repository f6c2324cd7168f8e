//go:build linux || darwin || freebsd

package checkpoint

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"palimpsest/engine/fault"
	"palimpsest/engine/vfs"
)

const (
	childEnv = "PALIMPSEST_CHECKPOINT_TEST"
	runEnv   = "PALIMPSEST_CHECKPOINT_TEST_RUN"
)

// TestMain doubles as the second process of the tests below.
func TestMain(m *testing.M) {
	run := os.Getenv(runEnv)
	var err error
	switch os.Getenv(childEnv) {
	case "":
		os.Exit(m.Run())
	case "lock": // take the lock, say so, hold it until stdin ends
		var l *RunLock
		if l, err = LockRun(run); err == nil {
			fmt.Println("locked")
			_, _ = io.Copy(io.Discard, os.Stdin)
			err = l.Unlock()
		}
	case "save": // what a trainer does at its start and in two steps
		err = childSave(run)
	}
	if err != nil {
		fmt.Println(err)
	}
	os.Exit(int(fault.Of(err)))
}

func childSave(run string) error {
	fsys, err := vfs.FromEnv()
	if err != nil {
		return err
	}
	dir := filepath.Join(run, "checkpoints")
	if _, err := Sweep(fsys, dir); err != nil {
		return err
	}
	c, _, err := Latest(fsys, dir)
	if err != nil {
		return err
	}
	step := int64(0)
	if c != nil {
		step = c.Step()
	}
	for range 2 {
		step++
		fsys.Tick("micro-step")
		if err := Save(fsys, dir, step, Contents{BytesFile("state.json", fmt.Append(nil, step))}); err != nil {
			return err
		}
		fmt.Println(step) // acknowledged
		if _, err := Rotate(fsys, dir, 1, step); err != nil {
			return err
		}
	}
	return nil
}

func child(t *testing.T, what, run string, env ...string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(append(os.Environ(), childEnv+"="+what, runEnv+"="+run), env...)
	return cmd
}

// TestKilledAnywhere kills real processes by SIGKILL at every operation in turn, on one run folder: each next process goes
// on from at least the last acknowledged step (cases 1, 2 and 15).
func TestKilledAnywhere(t *testing.T) {
	run := scratch(t)
	last, kills := int64(0), 0
	for at := 1; ; at += 3 {
		cmd := child(t, "save", run, fmt.Sprintf("%s=%d", vfs.EnvKillAt, at))
		var stdout bytes.Buffer
		cmd.Stdout = &stdout
		err := cmd.Run()
		for _, line := range strings.Fields(stdout.String()) {
			var step int64
			if _, err := fmt.Sscan(line, &step); err != nil {
				t.Fatalf("at %d: %s", at, stdout.String())
			}
			if step <= last {
				t.Errorf("at %d: step %d was acknowledged before, %d is the last", at, step, last)
			}
			last = step
		}
		if err == nil {
			break
		}
		if code := cmd.ProcessState.ExitCode(); code != -1 {
			t.Fatalf("at %d: code %d, %s", at, code, stdout.String())
		}
		kills++
	}
	c := mustLatest(t, filepath.Join(run, "checkpoints"))
	state, err := c.Read("state.json")
	if err != nil || c.Step() < last || string(state) != fmt.Sprint(c.Step()) || kills < 15 {
		t.Errorf("after %d kills: step %d, state %q, acknowledged %d, %v", kills, c.Step(), state, last, err)
	}
}

// TestLockBetweenProcesses: case 9.
func TestLockBetweenProcesses(t *testing.T) {
	run := filepath.Join(t.TempDir(), "run")
	holder := child(t, "lock", run)
	stdin, err := holder.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := holder.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := holder.Start(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(stdout).ReadString('\n'); line != "locked\n" {
		t.Fatalf("holder says %q, %v", line, err)
	}
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	who := fmt.Sprintf("host %s, pid %d, since 20", host, holder.Process.Pid)
	if _, err := LockRun(run); fault.Of(err) != fault.Usage || !strings.Contains(err.Error(), who) {
		t.Errorf("locked by another process: %v", err)
	}
	second := child(t, "lock", run)
	if out, _ := second.Output(); second.ProcessState.ExitCode() != 2 || !strings.Contains(string(out), who) {
		t.Errorf("second process: code %d, %s", second.ProcessState.ExitCode(), out)
	}

	if err := holder.Process.Kill(); err != nil { // dies without unlocking
		t.Fatal(err)
	}
	_ = holder.Wait()
	stdin.Close()
	l, err := LockRun(run)
	if err != nil {
		t.Fatalf("stale lock: %v", err)
	}
	if !strings.Contains(l.Stale(), who) {
		t.Errorf("stale owner: %q, want %q", l.Stale(), who)
	}
	if _, err := LockRun(run); fault.Of(err) != fault.Usage || !strings.Contains(err.Error(), fmt.Sprint("pid ", os.Getpid())) {
		t.Errorf("locked by the own process: %v", err)
	}
	if err := l.Unlock(); err != nil {
		t.Error(err)
	}
	again, err := LockRun(run)
	if err != nil || again.Stale() != "" {
		t.Fatalf("after an orderly end: %v, stale %q", err, again.Stale())
	}
	if err := again.Unlock(); err != nil {
		t.Error(err)
	}
}

func TestLockErrors(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o666); err != nil {
		t.Fatal(err)
	}
	if _, err := LockRun(file); fault.Of(err) != fault.Write {
		t.Errorf("run folder is a file: %v", err)
	}
	run := t.TempDir()
	if err := os.Mkdir(filepath.Join(run, lockName), 0o777); err != nil {
		t.Fatal(err)
	}
	if _, err := LockRun(run); fault.Of(err) != fault.Write {
		t.Errorf("lock is a folder: %v", err)
	}
}
