package engine

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cespare/xxhash/v2"

	"palimpsest/engine/fault"
	"palimpsest/engine/shard"
)

// Faults of data sets through Train: found before anything is learned from them, with exit code 3 and the file's name, and
// the run that met them goes on with the good data set as if nothing had been. engine/shard has the exhaustive tests.

const indexFile = "index.json"

// onFile changes the bytes of a file.
func onFile(t *testing.T, path string, edit func([]byte) []byte) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err == nil {
		err = os.WriteFile(path, edit(data), 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// onIndex changes an index and makes its own hash right again, as a careful forger would.
func onIndex(t *testing.T, dir string, edit func(x *shard.Index)) {
	t.Helper()
	onFile(t, filepath.Join(dir, indexFile), func(data []byte) []byte {
		var x shard.Index
		if err := json.Unmarshal(data, &x); err != nil {
			t.Fatal(err)
		}
		edit(&x)
		x.Hash = 0
		compact, err := json.Marshal(x)
		if err != nil {
			t.Fatal(err)
		}
		x.Hash = shard.Sum(xxhash.Sum64(compact))
		if data, err = json.MarshalIndent(x, "", " "); err != nil {
			t.Fatal(err)
		}
		return data
	})
}

// onFrame replaces the token file of a data set of one frame by another frame, with a seek table and an index that agree, so
// that only the limits of the reader are left. The frame claims to hold raw.
func onFrame(t *testing.T, dir string, frame, raw []byte) {
	t.Helper()
	table := binary.LittleEndian.AppendUint32(nil, 0x184D2A5E)
	for _, v := range []uint32{12 + 9, uint32(len(frame)), uint32(len(raw)), uint32(xxhash.Sum64(raw)), 1} {
		table = binary.LittleEndian.AppendUint32(table, v)
	}
	table = binary.LittleEndian.AppendUint32(append(table, 1<<7), 0x8F92EAB1)
	file := append(frame[:len(frame):len(frame)], table...)
	onFile(t, filepath.Join(dir, "00000.tok.zst"), func([]byte) []byte { return file })
	onIndex(t, dir, func(x *shard.Index) {
		x.Shards[0].Tok = shard.File{Bytes: int64(len(file)), RawBytes: int64(len(raw)), XXH64: shard.Sum(xxhash.Sum64(file)), RawXXH64: shard.Sum(xxhash.Sum64(raw))}
	})
}

// frameHeader begins a zstd frame of a window of 2^log bytes, without a checksum.
func frameHeader(log int) []byte { return []byte{0x28, 0xB5, 0x2F, 0xFD, 0x00, byte(log-10) << 3} }

// bombFrame holds blocks of 128 KiB of zeros, four bytes each.
func bombFrame(blocks int) []byte {
	b := frameHeader(17)
	for i := range blocks {
		h := uint32(128<<10)<<3 | 1<<1 // type RLE
		if i == blocks-1 {
			h |= 1
		}
		b = append(b, byte(h), byte(h>>8), byte(h>>16), 0)
	}
	return b
}

// rawFrame holds content in one block.
func rawFrame(log int, content []byte) []byte {
	h := uint32(len(content))<<3 | 1 // last block, type raw
	return append(append(frameHeader(log), byte(h), byte(h>>8), byte(h>>16)), content...)
}

func TestDamagedDataSets(t *testing.T) {
	good := dataset(t, 150)
	tokens, err := filepath.Glob(filepath.Join(good, "*.tok.zst"))
	if err != nil || len(tokens) < 2 {
		t.Fatalf("%d shards, %v", len(tokens), err)
	}
	c := tinyConfig(good, 6)
	c.Eval.Every = 0
	straight, run := filepath.Join(t.TempDir(), "straight"), filepath.Join(t.TempDir(), "run")
	mustTrain(t, Options{Config: c, Out: straight})
	before := halfway(t, c, run, 2)
	everyShard := func(edit func([]byte) []byte) func(string) {
		return func(dir string) {
			for _, path := range tokens {
				onFile(t, filepath.Join(dir, filepath.Base(path)), edit)
			}
		}
	}
	index := func(edit func(x *shard.Index)) func(string) {
		return func(dir string) { onIndex(t, dir, edit) }
	}
	named := func(name string) func(string) { return index(func(x *shard.Index) { x.Shards[0].Name = name }) }
	for _, x := range []struct {
		name   string
		damage func(dir string)
		says   []string
	}{
		{"flipped bit", everyShard(func(b []byte) []byte { b[len(b)/3] ^= 4; return b }), []string{".tok.zst", "xxh64"}},
		{"cut", everyShard(func(b []byte) []byte { return b[:len(b)-3] }), []string{"00000.tok.zst", "00001.tok.zst", "bytes"}},
		{"empty", everyShard(func([]byte) []byte { return nil }), []string{"00000.tok.zst"}},
		{"trailing bytes", everyShard(func(b []byte) []byte { return append(b, "tail"...) }), []string{"00001.tok.zst"}},
		{"missing", func(dir string) { os.Remove(filepath.Join(dir, "00001.len.zst")) }, []string{"00001.len.zst"}},
		{"unknown file", func(dir string) { os.WriteFile(filepath.Join(dir, "00077.tok.zst"), nil, 0o644) }, []string{"00077.tok.zst"}},
		{"no index", func(dir string) { os.Remove(filepath.Join(dir, indexFile)) }, []string{indexFile}},
		{"edited index", func(dir string) {
			onFile(t, filepath.Join(dir, indexFile), func(b []byte) []byte {
				return []byte(strings.Replace(string(b), `"source": ""`, `"source": "x"`, 1))
			})
		}, []string{indexFile, "index_xxh64", "hint: "}},
		{"vocabulary of another tokenizer", index(func(x *shard.Index) { x.Tokenizer.Vocab-- }), []string{"of 599 tokens", "hint: "}},
		{"hash of another tokenizer", index(func(x *shard.Index) { x.Tokenizer.Hash = strings.Repeat("0", len(x.Tokenizer.Hash)) }), []string{"tokenizer", "hint: "}},
		{"token width", index(func(x *shard.Index) { x.DType = "uint32" }), []string{indexFile, "dtype", "uint16"}},
		{"path that leads out", named("../../etc/x"), []string{indexFile, "../../etc/x"}},
		{"absolute path", named("/etc/x"), []string{"/etc/x"}},
		{"NUL in a name", named("a\x00b"), []string{indexFile}},
		{"negative count", index(func(x *shard.Index) { x.Shards[0].Tokens = -1 }), []string{"-1 tokens"}},
		{"overflowing counts", index(func(x *shard.Index) { x.Shards[0].Tokens, x.Shards[1].Tokens = 1<<62, 1<<62 }), []string{indexFile}},
		{"symbolic link", func(dir string) {
			path := filepath.Join(dir, "00000.tok.zst")
			if err := errors.Join(os.Remove(path), os.Symlink(tokens[0], path)); err != nil {
				t.Fatal(err)
			}
		}, []string{"00000.tok.zst"}},
	} {
		dir := filepath.Join(t.TempDir(), "data")
		if err := os.CopyFS(dir, os.DirFS(good)); err != nil {
			t.Fatal(err)
		}
		x.damage(dir)
		damaged := c
		damaged.Data.Train = dir
		damaged.Train.AllowChange = []string{"data"} // so that it is not the difference that is refused
		wantFault(t, x.name, Train(Options{Config: damaged, Out: run}), fault.Data, x.says...)
		stillThere(t, x.name, before)
	}
	mustTrain(t, Options{Config: c, Out: run})
	if a, b := fingerprint(t, straight), fingerprint(t, run); a != b {
		t.Errorf("straight:\n%s\nwith damaged data in between:\n%s", a, b)
	}
}

// Frames that are not what index and seek table say, and token ids beyond the vocabulary, all hashes right.
func TestHostileFramesInTraining(t *testing.T) {
	tok, err := trained()
	if err != nil {
		t.Fatal(err)
	}
	docs, err := corpus()
	if err != nil {
		t.Fatal(err)
	}
	var tokens []int32
	for _, d := range docs[:40] {
		tokens = append(append(tok.Encode(append(tokens, tok.BOS), d), tok.EOS), tok.EOS)
	}
	var raw []byte
	for _, id := range tokens {
		raw = binary.LittleEndian.AppendUint16(raw, uint16(id))
	}
	outside := append([]byte(nil), raw...)
	binary.LittleEndian.PutUint16(outside[40:], uint16(tok.Vocab()))
	for _, x := range []struct {
		name       string
		frame, raw []byte
		says       string // "" = readable
	}{
		{"honest", rawFrame(17, raw), raw, ""},
		{"bomb of 750 MiB", bombFrame(6000), raw, "00000.tok.zst"},
		{"window of 64 MiB", rawFrame(26, raw), raw, "window"},
		{"skippable frame only", append([]byte{0x50, 0x2A, 0x4D, 0x18, 8, 0, 0, 0}, "harmless"...), raw, "00000.tok.zst"},
		{"frames joined", append(rawFrame(17, raw), rawFrame(17, raw)...), raw, "00000.tok.zst"},
		{"id beyond the vocabulary", rawFrame(17, outside), outside, "id 600"},
	} {
		dir := filepath.Join(t.TempDir(), "data")
		w, err := shard.Create(dir, shard.WriterOptions{TokenizerHash: tok.Hash(), Vocab: tok.Vocab(), BOS: tok.BOS, EOS: tok.EOS})
		if err == nil {
			err = w.Append(tokens)
		}
		if err == nil {
			_, err = w.Close()
		}
		if err == nil {
			err = tok.Save(filepath.Join(dir, TokenizerFile))
		}
		if err != nil {
			t.Fatal(err)
		}
		onFrame(t, dir, x.frame, x.raw)
		c := tinyConfig(dir, 2)
		c.Data.Valid = Held{}
		run := filepath.Join(t.TempDir(), "run")
		err = Train(Options{Config: c, Out: run})
		if x.says == "" && err != nil {
			t.Errorf("%s: %v", x.name, err)
		}
		if x.says != "" {
			wantFault(t, x.name, err, fault.Data, "step 0", "00000.tok.zst", x.says)
		}
	}
}

// A data set of less than one step: said, and defined. Every step sees documents more than once, epochs end inside the
// accumulation of an update, and the run resumes with the same bits.
func TestDataOfLessThanAStep(t *testing.T) {
	c := tinyConfig(dataset(t, 2), 5)
	c.Data.Valid, c.Eval.Every = Held{}, 0
	for _, packing := range []string{"whole", "cut"} {
		c.Data.Packing, c.StopAfter = packing, 0
		straight, parts, seen := filepath.Join(t.TempDir(), "straight"), filepath.Join(t.TempDir(), "parts"), &notes{}
		mustTrain(t, Options{Config: c, Out: straight, Observe: seen})
		if !seen.has("less than one step of 192") || !seen.has("more than once") {
			t.Errorf("%s: notes %q", packing, seen.lines)
		}
		for _, step := range []int64{1, 2, 4} {
			halfway(t, c, parts, step)
		}
		mustTrain(t, Options{Config: c, Out: parts})
		if a, b := fingerprint(t, straight), fingerprint(t, parts); a != b {
			t.Errorf("%s: straight:\n%s\nin parts:\n%s", packing, a, b)
		}
	}
}
