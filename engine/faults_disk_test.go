package engine

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"palimpsest/engine/checkpoint"
	"palimpsest/engine/fault"
	"palimpsest/engine/report"
	"palimpsest/engine/signals"
	"palimpsest/engine/vfs"
)

// Faults of the disk, of run folders and of checkpoints, through Train. The tests of engine/checkpoint take one save apart
// operation by operation; these ask what a run makes of it.

// wantFault demands a kind of error and parts of its message.
func wantFault(t *testing.T, what string, err error, kind fault.Kind, parts ...string) {
	t.Helper()
	if fault.Of(err) != kind {
		t.Errorf("%s: kind %d, want %d: %v", what, fault.Of(err), kind, err)
		return
	}
	for _, part := range parts {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%s: the message lacks %q: %v", what, part, err)
		}
	}
}

// snapshot hashes every file below a folder.
func snapshot(t *testing.T, dir string) map[string]string {
	t.Helper()
	sums := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		sums[path] = fmt.Sprintf("%x", sha256.Sum256(data))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return sums
}

// stillThere demands that all files of a snapshot are as they were.
func stillThere(t *testing.T, what string, before map[string]string) {
	t.Helper()
	for path, sum := range before {
		if data, err := os.ReadFile(path); err != nil || fmt.Sprintf("%x", sha256.Sum256(data)) != sum {
			t.Errorf("%s: %s was changed or lost (%v)", what, path, err)
		}
	}
}

// halfway trains a run to a step and leaves it, and returns what its checkpoints hold.
func halfway(t *testing.T, c Config, run string, step int64) map[string]string {
	t.Helper()
	c.StopAfter = step
	wantFault(t, "halfway", Train(Options{Config: c, Out: run}), fault.Preempted)
	return snapshot(t, filepath.Join(run, "checkpoints"))
}

// refusing is the real file system on which, after some updates of the run, files cannot be made, or cannot be synced.
type refusing struct {
	vfs.OS
	after  int // updates
	err    error
	onSync bool
	synced map[string]int // failed syncs by file
}

func (f *refusing) Tick(name string) {
	if name == "update" {
		f.after--
	}
}

func (f *refusing) fail(op, name string) error {
	if f.after > 0 {
		return nil
	}
	return &fs.PathError{Op: op, Path: name, Err: f.err}
}

func (f *refusing) Create(name string) (vfs.File, error) {
	if err := f.fail("create", name); err != nil && !f.onSync {
		return nil, err
	}
	file, err := f.OS.Create(name)
	return unsynced{file, f}, err
}

func (f *refusing) Mkdir(name string, perm fs.FileMode) error {
	if err := f.fail("mkdir", name); err != nil && !f.onSync {
		return err
	}
	return f.OS.Mkdir(name, perm)
}

type unsynced struct {
	vfs.File
	f *refusing
}

func (u unsynced) Sync() error {
	if err := u.f.fail("sync", u.Name()); err != nil && u.f.onSync {
		u.f.synced[u.Name()]++
		return err
	}
	return u.File.Sync()
}

// A disk that stays full, or read-only, or fails to sync: three checkpoints in a row are tried, a line for each, then the
// run ends with exit code 6. Those before are whole, and the run goes on from them as if nothing had been.
func TestDiskThatStaysBroken(t *testing.T) {
	c := tinyConfig(dataset(t, 200), 7)
	c.Checkpoint.Every, c.Eval.Every = 1, 0
	straight := filepath.Join(t.TempDir(), "straight")
	mustTrain(t, Options{Config: c, Out: straight})
	for _, x := range []struct {
		name   string
		err    error
		onSync bool
	}{{"full", syscall.ENOSPC, false}, {"read-only", syscall.EROFS, false}, {"EIO from fsync", syscall.EIO, true}} {
		run, seen := filepath.Join(t.TempDir(), "run"), &notes{}
		disk := &refusing{after: 3, err: x.err, onSync: x.onSync, synced: map[string]int{}}
		wantFault(t, x.name, Train(Options{Config: c, Out: run, FS: disk, Observe: seen}), fault.Write, "checkpoint", x.err.Error())
		if !seen.has("checkpoint of step 3 failed, the run goes on (failure 1 of 3)") || !seen.has("checkpoint of step 4 failed") || seen.has("step 5 failed") {
			t.Errorf("%s: notes %q", x.name, seen.lines)
		}
		for name, n := range disk.synced {
			if n > 1 {
				t.Errorf("%s: %s was synced again after an error", x.name, name)
			}
		}
		if left, _ := filepath.Glob(filepath.Join(run, "checkpoints", vfs.TempPrefix+"*")); len(left) > 0 {
			t.Errorf("%s: left %v", x.name, left)
		}
		again := &notes{}
		mustTrain(t, Options{Config: c, Out: run, Observe: again})
		if !again.has("resuming from " + filepath.Join(run, "checkpoints", "step-0000002")) {
			t.Errorf("%s: notes %q", x.name, again.lines)
		}
		if a, b := fingerprint(t, straight), fingerprint(t, run); a != b {
			t.Errorf("%s: straight:\n%s\nafter the fault:\n%s", x.name, a, b)
		}
	}
}

// A log that cannot be written any more costs one warning, not the run. A limit on the size of files is the full disk that a
// test can have: the log is longer than it already, checkpoints are not.
func TestLogThatCannotBeWritten(t *testing.T) {
	const limit = 4 << 20
	if run := os.Getenv("PALIMPSEST_TEST_LIMITED_RUN"); run != "" { // a process of its own, as the limit is on all its files
		small := syscall.Rlimit{Cur: limit, Max: limit}
		if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &small); err != nil {
			t.Fatal(err)
		}
		seen := &notes{}
		mustTrain(t, Options{Config: limitedConfig(os.Getenv("PALIMPSEST_TEST_DATA")), Out: run, Observe: seen})
		fmt.Println(strings.Join(seen.lines, "\n"))
		return
	}
	data := dataset(t, 200)
	c := limitedConfig(data)
	straight, run := filepath.Join(t.TempDir(), "straight"), filepath.Join(t.TempDir(), "run")
	mustTrain(t, Options{Config: c, Out: straight})
	halfway(t, c, run, 2)
	path := filepath.Join(run, LogFile)
	log, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	long := fmt.Appendf(log, "{\"type\":\"note\",\"step\":2,\"text\":\"%s\"}\n", strings.Repeat("x", limit))
	if err := os.WriteFile(path, long, 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestLogThatCannotBeWritten$")
	cmd.Env = append(os.Environ(), "PALIMPSEST_TEST_LIMITED_RUN="+run, "PALIMPSEST_TEST_DATA="+data)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if n := strings.Count(string(out), "training goes on"); n != 1 || !strings.Contains(string(out), LogFile) || !strings.Contains(string(out), "are missing") {
		t.Errorf("%d warnings: %.2000q", n, out)
	}
	if now, err := os.ReadFile(path); err != nil || !bytes.Equal(now, long) {
		t.Errorf("what the log held before is lost (%d bytes, were %d; %v)", len(now), len(long), err)
	}
	model := filepath.Join("checkpoints", "step-0000004", modelFile)
	if a, b := snapshot(t, filepath.Join(straight, model)), snapshot(t, filepath.Join(run, model)); a[filepath.Join(straight, model)] != b[filepath.Join(run, model)] {
		t.Error("the weights differ from those of a run with a log")
	}
}

func limitedConfig(data string) Config {
	c := tinyConfig(data, 4)
	c.Eval.Every = 0
	return c
}

// A second process on a run folder is told who holds it, and touches nothing.
func TestSecondProcess(t *testing.T) {
	c := tinyConfig(dataset(t, 150), 4)
	run := filepath.Join(t.TempDir(), "run")
	halfway(t, c, run, 2)
	lock, err := checkpoint.LockRun(run)
	if err != nil {
		t.Fatal(err)
	}
	before := snapshot(t, run)
	wantFault(t, "second process", Train(Options{Config: c, Out: run}), fault.Usage, run, fmt.Sprintf("pid %d", os.Getpid()), "hint: ")
	stillThere(t, "second process", before)
	if err := lock.Unlock(); err != nil {
		t.Fatal(err)
	}
	mustTrain(t, Options{Config: c, Out: run})
}

// rewrite saves a checkpoint again with other contents of some files, all hashes right.
func rewrite(t *testing.T, run string, step int64, edit func(name string, data []byte) []byte) {
	t.Helper()
	dir := filepath.Join(run, "checkpoints")
	c, err := checkpoint.Open(vfs.OS{}, filepath.Join(dir, fmt.Sprintf("step-%07d", step)))
	if err != nil {
		t.Fatal(err)
	}
	var contents checkpoint.Contents
	for _, name := range c.Files() {
		data, err := c.Read(name)
		if err != nil {
			t.Fatal(err)
		}
		contents = append(contents, checkpoint.BytesFile(name, edit(name, data)))
	}
	if err := checkpoint.Save(vfs.OS{}, dir, step, contents); err != nil {
		t.Fatal(err)
	}
}

// A checkpoint of a later program is refused with its version, as is one that contradicts itself; the run does not go back to
// an older one.
func TestCheckpointOfALaterProgram(t *testing.T) {
	c := tinyConfig(dataset(t, 150), 6)
	c.Checkpoint.Every, c.Eval.Every = 2, 0
	for name, edit := range map[string]func(run string){
		"manifest": func(run string) {
			path := filepath.Join(run, "checkpoints", "step-0000004", "manifest.json")
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, bytes.Replace(data, []byte(`"format": 1`), []byte(`"format": 2`), 1), 0o644); err != nil {
				t.Fatal(err)
			}
		},
		"state": func(run string) {
			rewrite(t, run, 4, func(name string, data []byte) []byte {
				if name == stateFile {
					data = bytes.Replace(data, []byte(`"format": 1`), []byte(`"format": 2`), 1)
				}
				return data
			})
		},
		"state of another step": func(run string) {
			rewrite(t, run, 4, func(name string, data []byte) []byte {
				if name == stateFile {
					data = bytes.Replace(data, []byte(`"step": 4`), []byte(`"step": 2`), 1)
				}
				return data
			})
		},
	} {
		run := filepath.Join(t.TempDir(), "run")
		halfway(t, c, run, 4)
		edit(run)
		before := snapshot(t, filepath.Join(run, "checkpoints"))
		wantFault(t, name, Train(Options{Config: c, Out: run}), fault.Checkpoint, "step-0000004", "2", "hint: ")
		stillThere(t, name, before)
	}
}

// A checkpoint that is cut, empty, or without its manifest is named and passed over; demanded by its path, it is refused.
func TestCheckpointThatIsNotWhole(t *testing.T) {
	c := tinyConfig(dataset(t, 150), 5)
	c.Checkpoint.Every, c.Eval.Every = 2, 0
	straight := filepath.Join(t.TempDir(), "straight")
	mustTrain(t, Options{Config: c, Out: straight})
	for name, damage := range map[string]func(dir string) error{
		"cut": func(dir string) error {
			path := filepath.Join(dir, optimizerFile)
			info, err := os.Stat(path)
			if err != nil {
				return err
			}
			return os.Truncate(path, info.Size()-1)
		},
		"an empty file": func(dir string) error { return os.Truncate(filepath.Join(dir, stateFile), 0) },
		"a file less":   func(dir string) error { return os.Remove(filepath.Join(dir, modelFile)) },
		"no manifest":   func(dir string) error { return os.Remove(filepath.Join(dir, "manifest.json")) },
	} {
		run, seen := filepath.Join(t.TempDir(), "run"), &notes{}
		halfway(t, c, run, 4)
		dir := filepath.Join(run, "checkpoints", "step-0000004")
		if err := damage(dir); err != nil {
			t.Fatal(err)
		}
		wantFault(t, name+", by path", Train(Options{Config: c, Out: filepath.Join(t.TempDir(), "other"), Resume: dir}), fault.Checkpoint, dir)
		mustTrain(t, Options{Config: c, Out: run, Observe: seen})
		if !seen.has("checkpoint of step 4 rejected, 2 steps are lost") || !seen.has("step 2 of 5") {
			t.Errorf("%s: notes %q", name, seen.lines)
		}
		if a, b := fingerprint(t, straight), fingerprint(t, run); a != b {
			t.Errorf("%s: straight:\n%s\nfrom the older one:\n%s", name, a, b)
		}
	}
}

// SIGTERM, and the kill before the checkpoint is committed: the one before serves, and the run ends with the same bits.
func TestKilledWhileLeaving(t *testing.T) {
	c := tinyConfig(dataset(t, 150), 5)
	c.Checkpoint.Every, c.Eval.Every = 2, 0
	straight := filepath.Join(t.TempDir(), "straight")
	mustTrain(t, Options{Config: c, Out: straight})
	leave := func(run string, disk *vfs.Faulty) (asked int64, err error) {
		watch := signals.Watch(t.Context())
		defer watch.Close()
		seen := &stopping{at: 3, stop: func() {
			asked = disk.Ops()
			watch.Stop()
		}}
		return asked, Train(Options{Config: c, Out: run, Watch: watch, FS: disk, Observe: seen})
	}
	counting := vfs.NewFaulty(vfs.OS{}, vfs.Fail, 0, nil)
	asked, err := leave(filepath.Join(t.TempDir(), "count"), counting)
	wantFault(t, "stopped", err, fault.Preempted)
	if n := counting.Ops() - asked; n < 20 {
		t.Fatalf("only %d operations from the request to the end", n)
	}
	for at := asked + 2; at <= counting.Ops(); at += 4 {
		run := filepath.Join(t.TempDir(), fmt.Sprint(at))
		if _, err := leave(run, vfs.NewFaulty(vfs.OS{}, vfs.Dead, at, errors.New("the process is dead"))); err == nil {
			t.Fatalf("operation %d: nothing happened", at)
		}
		mustTrain(t, Options{Config: c, Out: run})
		if a, b := fingerprint(t, straight), fingerprint(t, run); a != b {
			t.Errorf("operation %d: straight:\n%s\nkilled:\n%s", at, a, b)
		}
	}
}

// stopping looks on and does something after one of the steps.
type stopping struct {
	notes
	at   int64
	stop func()
}

func (s *stopping) Step(line report.Step) {
	if line.Step == s.at {
		s.stop()
	}
}

// A run folder that is deleted under a run ends it when it would save, for the folder is no longer its own; one that cannot be
// made is named.
func TestRunFolderThatIsNotThere(t *testing.T) {
	c := tinyConfig(dataset(t, 150), 5)
	c.Eval.Every = 0
	for name, instead := range map[string]func(run string) error{
		"deleted":  func(string) error { return nil },
		"replaced": func(run string) error { _, err := checkpoint.LockRun(run); return err },
	} {
		run := filepath.Join(t.TempDir(), "run")
		disk := &ticking{do: map[int]func(){6: func() {
			if err := errors.Join(os.RemoveAll(run), instead(run)); err != nil {
				t.Error(err)
			}
		}}}
		wantFault(t, name, Train(Options{Config: c, Out: run, FS: disk}), fault.Write, "was deleted or replaced", run, "hint: ")
		if left, _ := filepath.Glob(filepath.Join(run, "checkpoints", "*")); len(left) > 0 {
			t.Errorf("%s: %v in a folder that is another's", name, left)
		}
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	wantFault(t, "no folder possible", Train(Options{Config: c, Out: filepath.Join(file, "run")}), fault.Write, "run folder", file)
}
