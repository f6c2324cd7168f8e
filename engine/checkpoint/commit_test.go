package checkpoint

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"palimpsest/engine/fault"
	"palimpsest/engine/vfs"
)

// scratch is t.TempDir in memory where there is /dev/shm: the tests below make some ten thousand files, and what a
// process's death leaves does not depend on the disk.
func scratch(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "palimpsest-test-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// syncless is the real file system without the waiting for the disk; a Faulty above it still counts the calls. Process
// death, unlike loss of power, does not depend on them.
type syncless struct{ vfs.OS }

func (syncless) SyncDir(string) error { return nil }

func (s syncless) Create(name string) (vfs.File, error) {
	f, err := s.OS.Create(name)
	if err != nil {
		return nil, err
	}
	return synclessFile{f}, nil
}

type synclessFile struct{ vfs.File }

func (synclessFile) Sync() error { return nil }

// contents of a step: two files, tensors and state, that name their version.
func contents(t testing.TB, version string) Contents {
	t.Helper()
	model, err := TensorFile("model.safetensors", []Tensor{
		{"weight", F32, []int{2, 2}, []float32{1, 2, 3, 4}},
		{"version", U8, []int{len(version)}, []byte(version)},
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return Contents{model, BytesFile("state.json", []byte(version))}
}

func mustSave(t testing.TB, dir string, step int64, version string) {
	t.Helper()
	if err := Save(syncless{}, dir, step, contents(t, version)); err != nil {
		t.Fatal(err)
	}
}

// versionOf reads what contents wrote and checks that both files agree.
func versionOf(t testing.TB, c *Checkpoint) string {
	t.Helper()
	state, err := c.Read("state.json")
	if err != nil {
		t.Fatal(err)
	}
	s, err := c.Tensors("model.safetensors")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	version := make([]byte, len(state))
	if err := s.ReadBytes("version", version); err != nil || !bytes.Equal(version, state) {
		t.Fatalf("step %d: tensors of %q, state of %q, %v", c.Step(), version, state, err)
	}
	return string(state)
}

func mustLatest(t testing.TB, dir string) *Checkpoint {
	t.Helper()
	c, rejected, err := Latest(vfs.OS{}, dir)
	if err != nil || len(rejected) > 0 || c == nil {
		t.Fatalf("latest: %v, %v, %v", c, rejected, err)
	}
	return c
}

func namesIn(t testing.TB, dir string) []string {
	t.Helper()
	names, err := readNames(vfs.OS{}, dir)
	if err != nil {
		t.Fatal(err)
	}
	return names
}

func TestSaveAndLoad(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "run", "checkpoints")
	if c, rejected, err := Latest(vfs.OS{}, dir); c != nil || rejected != nil || err != nil {
		t.Errorf("no folder: %v, %v, %v", c, rejected, err)
	}
	for _, step := range []int64{0, 100, 12345678} {
		if err := Save(vfs.OS{}, dir, step, contents(t, fmt.Sprint(step))); err != nil { // with every sync
			t.Fatal(err)
		}
		c := mustLatest(t, dir)
		if c.Step() != step || versionOf(t, c) != fmt.Sprint(step) || c.Created().IsZero() {
			t.Errorf("step %d: got step %d, created %v", step, c.Step(), c.Created())
		}
	}
	if got := namesIn(t, dir); !slices.Equal(got, []string{"step-0000000", "step-0000100", "step-12345678"}) {
		t.Errorf("folder holds %q", got)
	}
	c, err := Open(vfs.OS{}, filepath.Join(dir, "step-0000100"))
	if err != nil || versionOf(t, c) != "100" {
		t.Fatal(err)
	}
	if !slices.Equal(c.Files(), []string{"model.safetensors", "state.json"}) || !c.Has("state.json") || c.Has(manifestName) {
		t.Errorf("files %q", c.Files())
	}
	if path, err := c.Path("state.json"); err != nil || path != filepath.Join(c.Dir(), "state.json") {
		t.Errorf("path %q, %v", path, err)
	}
	for _, absent := range []string{"optimizer", manifestName, "../step-0000000/state.json"} {
		_, err := c.Path(absent)
		_, err2 := c.Read(absent)
		_, err3 := c.Tensors(absent)
		for _, err := range []error{err, err2, err3} {
			if fault.Of(err) != fault.Checkpoint || !strings.Contains(err.Error(), "state.json") {
				t.Errorf("%q: %v", absent, err)
			}
		}
	}
}

func TestSaveRefusesBadContents(t *testing.T) {
	dir := t.TempDir()
	ok := BytesFile("a", nil)
	for name, c := range map[string]Contents{
		"none": {}, "twice": {ok, ok}, "no writer": {{Name: "a"}}, "manifest": {BytesFile(manifestName, nil)},
		"path": {BytesFile("a/b", nil)}, "parent": {BytesFile("..", nil)}, "empty name": {BytesFile("", nil)},
		"negative size": {{"a", -1, ok.Write}},
	} {
		if err := Save(vfs.OS{}, dir, 1, c); err == nil {
			t.Errorf("%s: saved", name)
		}
	}
	if err := Save(vfs.OS{}, dir, -1, Contents{ok}); err == nil {
		t.Error("negative step saved")
	}
	if got := namesIn(t, dir); len(got) > 0 {
		t.Errorf("left %q", got)
	}
}

func TestSaveKeepsTheWritersError(t *testing.T) {
	dir := t.TempDir()
	mustSave(t, dir, 100, "old")
	lost := Contents{BytesFile("a", []byte("x")), {"b", 0, func(w io.Writer) error {
		if _, err := w.Write([]byte("part")); err != nil {
			return err
		}
		return fault.Peer.Errorf("device lost")
	}}}
	err := Save(syncless{}, dir, 200, lost)
	if fault.Of(err) != fault.Peer || !strings.Contains(err.Error(), filepath.Join("b")) {
		t.Errorf("kind %d: %v", fault.Of(err), err)
	}
	short := Contents{{"a", 5, func(w io.Writer) error { _, err := w.Write([]byte("1234")); return err }}}
	if err := Save(syncless{}, dir, 200, short); err == nil || !strings.Contains(err.Error(), "announced") {
		t.Errorf("short file: %v", err)
	}
	if got := namesIn(t, dir); !slices.Equal(got, []string{"step-0000100"}) {
		t.Errorf("left %q", got)
	}
}

type fullDisk struct {
	syncless
	free uint64
}

func (d fullDisk) Free(string) (uint64, error) { return d.free, nil }

func TestFreeSpaceIsCheckedFirst(t *testing.T) {
	dir := t.TempDir()
	big := Contents{{"a", 3 << 30, func(io.Writer) error { t.Error("was written"); return nil }}}
	err := Save(fullDisk{free: 2 << 30}, dir, 100, big)
	if fault.Of(err) != fault.Write || !strings.Contains(err.Error(), "3.0 GiB") || !strings.Contains(err.Error(), "2.0 GiB") {
		t.Errorf("full disk: %v", err)
	}
	if got := namesIn(t, dir); len(got) > 0 {
		t.Errorf("left %q", got)
	}
}

func TestFormatBytes(t *testing.T) {
	for n, want := range map[uint64]string{0: "0 B", 1023: "1023 B", 1024: "1.0 KiB", 3 << 19: "1.5 MiB", 1<<64 - 1: "16.0 EiB"} {
		if got := formatBytes(n); got != want {
			t.Errorf("%d: %s, want %s", n, got, want)
		}
	}
}

// prepare makes the state that a save meets: two checkpoints, and for some cases leftovers of earlier trouble.
func prepare(t *testing.T) string {
	dir := filepath.Join(scratch(t), "checkpoints")
	mustSave(t, dir, 100, "a")
	mustSave(t, dir, 200, "b")
	return dir
}

// TestEveryOperationFailsOnce: whichever operation of a save fails, the error is returned and names its file, nothing
// temporary stays, the earlier checkpoints are whole, and the next save works (cases 3 and 4 of the reliability list).
func TestEveryOperationFailsOnce(t *testing.T) {
	for _, injected := range []error{syscall.EIO, syscall.ENOSPC} {
		for _, step := range []int64{200, 300} { // a replacement and a new one
			at := int64(1)
			for ; ; at++ {
				dir := prepare(t)
				f := vfs.NewFaulty(syncless{}, vfs.Fail, at, injected)
				err := Save(f, dir, step, contents(t, "new"))
				if f.Ops() < at {
					if err != nil || versionOf(t, mustLatest(t, dir)) != "new" {
						t.Fatalf("undisturbed: %v", err)
					}
					break
				}
				what := fmt.Sprintf("%v at operation %d of saving %d", injected, at, step)
				if !errors.Is(err, injected) || fault.Of(err) != fault.Write || !strings.Contains(err.Error(), dir) {
					t.Errorf("%s: got %v", what, err)
				}
				c := mustLatest(t, dir)
				if got := versionOf(t, c); got != "b" && !(got == "new" && c.Step() == step) {
					t.Errorf("%s: latest is %q of step %d", what, got, c.Step())
				} else if (got == "new") != (strings.Contains(err.Error(), "in place") || strings.Contains(err.Error(), "saved, but")) {
					t.Errorf("%s: latest is %q, but the error says %v", what, got, err)
				}
				if c, err := Open(vfs.OS{}, filepath.Join(dir, "step-0000100")); err != nil || versionOf(t, c) != "a" {
					t.Errorf("%s: step 100: %v", what, err)
				}
				for _, name := range namesIn(t, dir) {
					if strings.HasPrefix(name, vfs.TempPrefix) {
						t.Errorf("%s: left %s", what, name)
					}
				}
				mustSave(t, dir, step, "again")
				if got := versionOf(t, mustLatest(t, dir)); got != "again" {
					t.Errorf("%s: after the next save the latest is %q", what, got)
				}
				if slices.ContainsFunc(namesIn(t, dir), func(n string) bool { return strings.HasPrefix(n, ".") }) {
					t.Errorf("%s: after the next save: %q", what, namesIn(t, dir))
				}
			}
			if at < 20 {
				t.Errorf("only %d operations were tried", at-1)
			}
		}
	}
}

// crashed is one way for a process to end in the middle of its work: save, then rotate.
func crashed(f vfs.FS, t *testing.T, dir string, step int64) (acknowledged bool) {
	if err := Save(f, dir, step, contents(t, "new")); err != nil {
		return false
	}
	_, _ = Rotate(f, dir, 1) // may meet the dead disk: the save has been acknowledged before
	return true
}

// checkRecovered demands that a sweep leaves whole checkpoints only, and the newest is what the crash allows.
func checkRecovered(t *testing.T, what, dir string, step int64, acknowledged bool) {
	t.Helper()
	swept, err := Sweep(syncless{}, dir)
	if err != nil {
		t.Fatalf("%s: sweep: %v", what, err)
	}
	for _, s := range swept {
		if !strings.Contains(s.String(), dir) || s.What == "" {
			t.Errorf("%s: swept %q", what, s)
		}
	}
	c := mustLatest(t, dir)
	got := versionOf(t, c)
	if !(got == "new" && c.Step() == step) && (acknowledged || got != "b") {
		t.Errorf("%s: latest is %q of step %d, acknowledged %t", what, got, c.Step(), acknowledged)
	}
	list, err := List(vfs.OS{}, dir)
	if err != nil || len(list) != len(namesIn(t, dir)) {
		t.Errorf("%s: after the sweep: %q, %v", what, namesIn(t, dir), err)
	}
	for _, e := range list {
		if c, err := Open(vfs.OS{}, e.Path); err != nil {
			t.Errorf("%s: after the sweep: %v", what, err)
		} else {
			versionOf(t, c)
		}
	}
	if again, err := Sweep(syncless{}, dir); err != nil || len(again) > 0 {
		t.Errorf("%s: second sweep found %v, %v", what, again, err)
	}
}

// TestEveryPrefix: a process that dies at any operation of save and rotate leaves something that Sweep and Latest bring
// back to the old or the new checkpoint, also when the sweep itself dies at any operation (case 2). Latest alone, without
// a sweep, never does worse.
func TestEveryPrefix(t *testing.T) {
	swept := map[string]bool{} // trees whose sweeps have been cut short already; a sweep looks at names only
	for _, step := range []int64{200, 300} {
		for at := int64(1); ; at++ {
			dir := prepare(t)
			f := vfs.NewFaulty(syncless{}, vfs.Dead, at, syscall.EIO)
			acknowledged := crashed(f, t, dir, step)
			if f.Ops() < at {
				if got := namesIn(t, dir); !slices.Equal(got, []string{stepName(step)}) {
					t.Errorf("undisturbed: %q", got)
				}
				break
			}
			what := fmt.Sprintf("dead at operation %d of saving %d", at, step)
			if c, _, err := Latest(vfs.OS{}, dir); err != nil || c.Step() < 200 {
				t.Errorf("%s: unswept: %v", what, err)
			}
			tree := fmt.Sprint(step, treeNames(t, dir))
			for sweepAt := int64(1); !swept[tree]; sweepAt++ {
				half := copyTree(t, dir)
				f := vfs.NewFaulty(syncless{}, vfs.Dead, sweepAt, syscall.EIO)
				_, err := Sweep(f, half)
				if f.Ops() < sweepAt {
					break
				}
				if fault.Of(err) != fault.Write {
					t.Errorf("%s: sweep dead at %d: %v", what, sweepAt, err)
				}
				checkRecovered(t, fmt.Sprintf("%s, sweep dead at %d", what, sweepAt), half, step, acknowledged)
			}
			swept[tree] = true
			checkRecovered(t, what, dir, step, acknowledged)
			mustSave(t, dir, step+100, "next")
			if got := versionOf(t, mustLatest(t, dir)); got != "next" {
				t.Errorf("%s: after the next save the latest is %q", what, got)
			}
		}
	}
}

// treeNames lists every path below a folder.
func treeNames(t *testing.T, dir string) (names []string) {
	t.Helper()
	err := fs.WalkDir(os.DirFS(dir), ".", func(path string, _ fs.DirEntry, err error) error {
		names = append(names, path)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

func copyTree(t *testing.T, dir string) string {
	t.Helper()
	to := filepath.Join(scratch(t), "copy")
	if err := os.CopyFS(to, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	return to
}
