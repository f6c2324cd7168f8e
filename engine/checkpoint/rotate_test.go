package checkpoint

import (
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"palimpsest/engine/fault"
	"palimpsest/engine/vfs"
)

func saveSteps(t *testing.T, steps ...int64) string {
	t.Helper()
	dir := filepath.Join(scratch(t), "checkpoints")
	for _, s := range steps {
		mustSave(t, dir, s, fmt.Sprint(s))
	}
	return dir
}

func steps(t *testing.T, dir string) []int64 {
	t.Helper()
	list, err := List(vfs.OS{}, dir)
	if err != nil {
		t.Fatal(err)
	}
	var out []int64
	for _, e := range list {
		out = append(out, e.Step)
	}
	return out
}

func TestRotate(t *testing.T) {
	for _, c := range []struct {
		keep      int
		best      int64
		protected []int64
		want      []int64
	}{
		{keep: 9, best: -1, want: []int64{1, 2, 3, 4, 5}},
		{keep: 2, best: -1, want: []int64{4, 5}},
		{keep: 1, best: -1, want: []int64{5}},
		{keep: 2, best: 2, want: []int64{2, 4, 5}},
		{keep: 2, best: 5, want: []int64{4, 5}},
		{keep: 1, best: 2, protected: []int64{1, 9}, want: []int64{1, 2, 5}},
	} {
		dir := saveSteps(t, 1, 2, 3, 4, 5)
		if c.best >= 0 {
			if err := SetBest(syncless{}, dir, Best{c.best, 0.5}); err != nil {
				t.Fatal(err)
			}
		}
		removed, err := Rotate(syncless{}, dir, c.keep, c.protected...)
		if got := steps(t, dir); err != nil || !slices.Equal(got, c.want) || len(removed) != 5-len(c.want) {
			t.Errorf("keep %d, best %d, protected %v: left %v, removed %q, %v", c.keep, c.best, c.protected, got, removed, err)
		}
		if !slices.IsSorted(removed) {
			t.Errorf("removed %q, not oldest first", removed)
		}
	}
	if _, err := Rotate(syncless{}, t.TempDir(), 0); fault.Of(err) != fault.Usage {
		t.Errorf("keep 0: %v", err)
	}
}

// TestRotateDoesNotCountHalves: a folder without manifest is not one of those kept.
func TestRotateDoesNotCountHalves(t *testing.T) {
	dir := saveSteps(t, 1, 2, 3, 4)
	for _, step := range []int64{1, 4} {
		if err := os.Remove(filepath.Join(dir, stepName(step), manifestName)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := Rotate(syncless{}, dir, 1); err != nil {
		t.Fatal(err)
	}
	if got := steps(t, dir); !slices.Equal(got, []int64{3, 4}) {
		t.Errorf("left %v", got)
	}
}

// recorder notes the order of what changes names.
type recorder struct {
	syncless
	log *[]string
}

func (r recorder) note(op, name string) {
	*r.log = append(*r.log, op+" "+filepath.Base(filepath.Dir(name))+"/"+filepath.Base(name))
}
func (r recorder) Remove(name string) error { r.note("remove", name); return r.syncless.Remove(name) }
func (r recorder) RemoveAll(name string) error {
	r.note("removeall", name)
	return r.syncless.RemoveAll(name)
}
func (r recorder) SyncDir(name string) error { r.note("syncdir", name); return nil }

func TestMarkerGoesFirst(t *testing.T) {
	dir := saveSteps(t, 1, 2, 3)
	var log []string
	if _, err := Rotate(recorder{log: &log}, dir, 1); err != nil {
		t.Fatal(err)
	}
	run := filepath.Base(filepath.Dir(dir))
	var want []string
	for _, name := range []string{"step-0000001", "step-0000002"} {
		want = append(want, "remove "+name+"/manifest.json", "syncdir checkpoints/"+name,
			"removeall checkpoints/"+name, "syncdir "+run+"/checkpoints")
	}
	if !slices.Equal(log, want) {
		t.Errorf("did\n%s\nwant\n%s", strings.Join(log, "\n"), strings.Join(want, "\n"))
	}
}

func TestRotateFails(t *testing.T) {
	for at := int64(1); ; at++ {
		dir := saveSteps(t, 1, 2, 3)
		f := vfs.NewFaulty(syncless{}, vfs.Fail, at, syscall.EIO)
		_, err := Rotate(f, dir, 1)
		if f.Ops() < at {
			break
		}
		if k := fault.Of(err); k != fault.Write && k != fault.Checkpoint {
			t.Errorf("at %d: %v", at, err)
		}
		if c := mustLatest(t, dir); c.Step() != 3 {
			t.Errorf("at %d: latest is %d", at, c.Step())
		}
		if _, err := Rotate(syncless{}, dir, 1); err != nil || !slices.Equal(steps(t, dir), []int64{3}) {
			t.Errorf("at %d: the next rotation left %v, %v", at, steps(t, dir), err)
		}
	}
}

func TestBest(t *testing.T) {
	dir := scratch(t)
	if _, ok, err := ReadBest(vfs.OS{}, dir); ok || err != nil {
		t.Errorf("none: %t, %v", ok, err)
	}
	for _, want := range []Best{{0, 0}, {200, 1.0 / 3}, {300, -math.MaxFloat64}, {300, math.SmallestNonzeroFloat64}} {
		if err := SetBest(vfs.OS{}, dir, want); err != nil {
			t.Fatal(err)
		}
		if got, ok, err := ReadBest(vfs.OS{}, dir); got != want || !ok || err != nil {
			t.Errorf("got %v, %t, %v, want %v", got, ok, err, want)
		}
	}
	if err := SetBest(vfs.OS{}, dir, Best{1, math.NaN()}); err == nil {
		t.Error("NaN recorded as the best")
	}
	f := vfs.NewFaulty(vfs.OS{}, vfs.Fail, 2, syscall.ENOSPC)
	if err := SetBest(f, dir, Best{400, 1}); fault.Of(err) != fault.Write {
		t.Errorf("disk full: %v", err)
	}
	if got := namesIn(t, dir); !slices.Equal(got, []string{bestName}) {
		t.Errorf("left %q", got)
	}
	mustSave(t, dir, 1, "a")
	mustSave(t, dir, 2, "b")
	for _, bad := range []string{"", "{", "{}", `{"step":1}`, strings.Repeat(" ", 5000)} {
		damage(t, filepath.Join(dir, bestName), func([]byte) []byte { return []byte(bad) })
		if _, _, err := ReadBest(vfs.OS{}, dir); fault.Of(err) != fault.Checkpoint || !strings.Contains(err.Error(), bestName) {
			t.Errorf("%q: %v", bad, err)
		}
		if _, err := Rotate(syncless{}, dir, 1); err == nil || len(steps(t, dir)) != 2 {
			t.Errorf("%q: rotation went on, %v", bad, err)
		}
	}
}

func TestSweep(t *testing.T) {
	dir := filepath.Join(scratch(t), "checkpoints")
	if swept, err := Sweep(syncless{}, dir); err != nil || len(swept) > 0 {
		t.Errorf("no folder: %v, %v", swept, err)
	}
	dir = saveSteps(t, 100, 200, 300, 400)
	for _, name := range []string{".tmp-step-0000500-77/model.safetensors", ".tmp-best.json-77", ".old-step-0000300/x",
		"aside-step-0000900/manifest.json", "notes/x"} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, nil, 0o666); err != nil {
			t.Fatal(err)
		}
	}
	for from, to := range map[string]string{
		"step-0000200": ".old-step-0000200", "step-0000100/manifest.json": "gone", "step-0000400/manifest.json": "gone2",
	} {
		if err := os.Rename(filepath.Join(dir, from), filepath.Join(dir, to)); err != nil {
			t.Fatal(err)
		}
	}
	swept, err := Sweep(syncless{}, dir)
	var lines []string
	for _, s := range swept {
		name, what, _ := strings.Cut(strings.TrimPrefix(s.String(), dir+string(os.PathSeparator)), ": ")
		lines = append(lines, name+" "+what[strings.LastIndex(what, ": ")+2:])
	}
	want := []string{".old-step-0000200 renamed to step-0000200", ".old-step-0000300 removed", ".tmp-best.json-77 removed",
		".tmp-step-0000500-77 removed", "step-0000100 removed"}
	if err != nil || !slices.Equal(lines, want) {
		t.Errorf("swept %q, %v, want %q", lines, err, want)
	}
	left := []string{"aside-step-0000900", "gone", "gone2", "notes", "step-0000200", "step-0000300", "step-0000400"}
	if got := namesIn(t, dir); !slices.Equal(got, left) {
		t.Errorf("left %q, want %q", got, left)
	}
}

// TestSetAside: a run that goes back to step 200 must neither resume from, nor rotate in favour of, what came after.
func TestSetAside(t *testing.T) {
	dir := saveSteps(t, 100, 200, 300, 400)
	for round, want := range [][]string{
		{"aside-step-0000300", "aside-step-0000400"},
		{"aside-step-0000300.2"},
		nil,
	} {
		moved, err := SetAside(syncless{}, dir, 200)
		for i := range moved {
			moved[i] = filepath.Base(moved[i])
		}
		if err != nil || !slices.Equal(moved, want) {
			t.Errorf("round %d: moved %q, %v, want %q", round, moved, err, want)
		}
		if c := mustLatest(t, dir); c.Step() != 200 {
			t.Errorf("round %d: latest is %d", round, c.Step())
		}
		if round == 0 {
			mustSave(t, dir, 300, "second attempt")
		}
	}
	mustSave(t, dir, 250, "new")
	if _, err := Rotate(syncless{}, dir, 1); err != nil || mustLatest(t, dir).Step() != 250 {
		t.Errorf("after rotation: %v, %v", steps(t, dir), err)
	}
	if _, err := fs.Stat(os.DirFS(dir), "aside-step-0000400/manifest.json"); err != nil {
		t.Errorf("rotation touched what was set aside: %v", err)
	}
	f := vfs.NewFaulty(syncless{}, vfs.Fail, 3, syscall.EROFS)
	if _, err := SetAside(f, dir, -1); fault.Of(err) != fault.Write {
		t.Errorf("read-only: %v", err)
	}
}
