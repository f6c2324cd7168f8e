package checkpoint

import (
	"bytes"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"palimpsest/engine/fault"
	"palimpsest/engine/vfs"
)

// damage changes a file of a checkpoint.
func damage(t testing.TB, path string, change func([]byte) []byte) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, change(data), 0o666); err != nil {
		t.Fatal(err)
	}
}

func cutOne(b []byte) []byte  { return b[:len(b)-1] }
func empty([]byte) []byte     { return nil }
func addOne(b []byte) []byte  { return append(b, 0) }
func flipBit(b []byte) []byte { b[len(b)/2] ^= 4; return b }
func reencode(change func(*manifest)) func([]byte) []byte {
	return func(b []byte) []byte {
		var m manifest
		if err := json.Unmarshal(b, &m); err != nil {
			panic(err)
		}
		change(&m)
		b, err := m.encode()
		if err != nil {
			panic(err)
		}
		return b
	}
}

// TestDamagedNewest: whatever is wrong with the newest checkpoint is named, the one before is used, and the steps lost are
// counted; demanded by its path, the damaged one is refused (cases 6 and 7).
func TestDamagedNewest(t *testing.T) {
	for name, c := range map[string]struct {
		file   string
		change func([]byte) []byte
		reason string
	}{
		"bit flip in the tensors":  {"model.safetensors", flipBit, "model.safetensors: SHA-256"},
		"bit flip in the state":    {"state.json", flipBit, "state.json: SHA-256"},
		"bit flip in the manifest": {manifestName, flipBit, "manifest.json is damaged"},
		"tensors cut":              {"model.safetensors", cutOne, "cut short"},
		"tensors empty":            {"model.safetensors", empty, "cut short"},
		"state grown":              {"state.json", addOne, "the manifest says"},
		"manifest cut":             {manifestName, cutOne, "manifest.json"},
		"manifest empty":           {manifestName, empty, "manifest.json"},
		"manifest of another step": {manifestName, reencode(func(m *manifest) { m.Step = 200 }), "of step 200"},
		"path escape":              {manifestName, reencode(func(m *manifest) { m.Files[0].Name = "../x" }), "is no name"},
		"file twice":               {manifestName, reencode(func(m *manifest) { m.Files[1] = m.Files[0] }), "twice"},
		"negative size":            {manifestName, reencode(func(m *manifest) { m.Files[0].Bytes = -1 }), "negative"},
		"huge size":                {manifestName, reencode(func(m *manifest) { m.Files[0].Bytes = 1 << 60 }), "1152921504606846976"},
		"no files":                 {manifestName, reencode(func(m *manifest) { m.Files = nil }), "no checkpoint"},
		"version 0":                {manifestName, reencode(func(m *manifest) { m.Format = 0 }), "no checkpoint"},
		"manifest too large":       {manifestName, func([]byte) []byte { return make([]byte, maxManifest+1) }, "at most"},
	} {
		dir := prepare(t)
		newest := filepath.Join(dir, "step-0000320")
		mustSave(t, dir, 320, "c")
		damage(t, filepath.Join(newest, c.file), c.change)
		used, rejected, err := Latest(vfs.OS{}, dir)
		if err != nil || used == nil || used.Step() != 200 || versionOf(t, used) != "b" {
			t.Errorf("%s: %v, %v", name, used, err)
			continue
		}
		if len(rejected) != 1 || rejected[0].Step != 320 || rejected[0].Lost != 120 || rejected[0].Path != newest ||
			!strings.Contains(rejected[0].String(), c.reason) || !strings.Contains(rejected[0].String(), "120 steps") {
			t.Errorf("%s: rejected %v", name, rejected)
		}
		if _, err := Open(vfs.OS{}, newest); fault.Of(err) != fault.Checkpoint || !strings.Contains(err.Error(), newest) {
			t.Errorf("%s: demanded by path: %v", name, err)
		}
	}
}

func TestMissingPieces(t *testing.T) {
	for _, missing := range []string{manifestName, "state.json"} {
		dir := prepare(t)
		if err := os.Remove(filepath.Join(dir, "step-0000200", missing)); err != nil {
			t.Fatal(err)
		}
		c, rejected, err := Latest(vfs.OS{}, dir)
		if err != nil || c.Step() != 100 || len(rejected) != 1 || !errors.Is(rejected[0].Reason, fs.ErrNotExist) {
			t.Errorf("%s: %v, %v", missing, rejected, err)
		}
	}
	dir := t.TempDir()
	if _, err := Open(vfs.OS{}, filepath.Join(dir, "absent")); fault.Of(err) != fault.Checkpoint {
		t.Errorf("absent: %v", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "step-0000001"), nil, 0o666); err != nil {
		t.Fatal(err)
	}
	if c, _, err := Latest(vfs.OS{}, dir); c != nil || fault.Of(err) != fault.Checkpoint {
		t.Errorf("a file in place of a folder: %v, %v", c, err)
	}
}

// TestAllBad: no checkpoint at all is a fresh start, only bad ones are an error that names each (case 8), and a sweep
// before does not turn the one into the other.
func TestAllBad(t *testing.T) {
	dir := prepare(t)
	damage(t, filepath.Join(dir, "step-0000100", "state.json"), flipBit)
	if err := os.Remove(filepath.Join(dir, "step-0000200", manifestName)); err != nil {
		t.Fatal(err)
	}
	if swept, err := Sweep(syncless{}, dir); err != nil || len(swept) > 0 {
		t.Errorf("swept %v, %v", swept, err)
	}
	c, rejected, err := Latest(vfs.OS{}, dir)
	if c != nil || fault.Of(err) != fault.Checkpoint || len(rejected) != 2 || rejected[0].Lost != 200 {
		t.Fatalf("all bad: %v, %v, %v", c, rejected, err)
	}
	for _, want := range []string{"step-0000100", "step-0000200", "no manifest", "hint"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is missing in %v", want, err)
		}
	}
}

func TestUnreadableFolder(t *testing.T) {
	dir := prepare(t)
	f := vfs.NewFaulty(vfs.OS{}, vfs.Fail, 1, syscall.EIO)
	if c, _, err := Latest(f, dir); c != nil || !errors.Is(err, syscall.EIO) || fault.Of(err) != fault.Checkpoint {
		t.Errorf("unreadable folder: %v, %v", c, err)
	}
}

// TestNewerFormat: a newer version's checkpoint is refused by name, and never passed over for an older one (case 12).
func TestNewerFormat(t *testing.T) {
	for name, change := range map[string]func([]byte) []byte{
		"written": reencode(func(m *manifest) { m.Format = 7 }),
		"by hand": func(b []byte) []byte { return bytes.Replace(b, []byte(`"format": 1`), []byte(`"format": 7`), 1) },
		"other keys": func([]byte) []byte {
			return []byte(`{"format": 7, "shards": {"of": "a later kind"}, "step": "200"}`)
		},
	} {
		dir := prepare(t)
		damage(t, filepath.Join(dir, "step-0000200", manifestName), change)
		c, _, err := Latest(vfs.OS{}, dir)
		_, err2 := Open(vfs.OS{}, filepath.Join(dir, "step-0000200"))
		for _, err := range []error{err, err2} {
			if c != nil || fault.Of(err) != fault.Checkpoint || !strings.Contains(err.Error(), "version 7") {
				t.Errorf("%s: %v, %v", name, c, err)
			}
		}
	}
}

// TestEveryBitFlip flips each bit of each file once; none may pass.
func TestEveryBitFlip(t *testing.T) {
	dir := filepath.Join(scratch(t), "checkpoints")
	mustSave(t, dir, 7, "v")
	path := filepath.Join(dir, stepName(7))
	flips := 0
	for _, name := range []string{manifestName, "state.json", "model.safetensors"} {
		file := filepath.Join(path, name)
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		f, err := os.OpenFile(file, os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		for i := range 8 * len(data) {
			for _, flipped := range []bool{true, false} {
				b := data[i/8]
				if flipped {
					b ^= 1 << (i % 8)
				}
				if _, err := f.WriteAt([]byte{b}, int64(i/8)); err != nil {
					t.Fatal(err)
				}
				if flipped {
					if _, err := Open(vfs.OS{}, path); fault.Of(err) != fault.Checkpoint {
						t.Errorf("bit %d of %s: %v", i, name, err)
					}
					flips++
				}
			}
		}
		f.Close()
	}
	if c, err := Open(vfs.OS{}, path); err != nil || versionOf(t, c) != "v" || flips < 1000 {
		t.Errorf("flipped back after %d flips: %v", flips, err)
	}
}

func TestReadVerifiesAgain(t *testing.T) {
	dir := prepare(t)
	c := mustLatest(t, dir)
	damage(t, filepath.Join(c.Dir(), "state.json"), flipBit)
	if _, err := c.Read("state.json"); fault.Of(err) != fault.Checkpoint {
		t.Errorf("changed after Open: %v", err)
	}
}

func FuzzManifest(f *testing.F) {
	good, err := manifest{Format: 1, Step: 3, Files: []manifestFile{{"a", 1, "00"}}}.encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte(`{"format":2}`))
	f.Add([]byte(`{"format":1,"manifest_sha256": "`))
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := decodeManifest(data)
		if err != nil {
			return
		}
		for _, file := range m.Files {
			if !fs.ValidPath(file.Name) || filepath.Base(file.Name) != file.Name {
				t.Errorf("%q leads out of the folder", file.Name)
			}
		}
	})
}
