package shard

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/cespare/xxhash/v2"

	"palimpsest/engine/fault"
	"palimpsest/kernels/philox"
)

func files(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, filepath.Join(dir, e.Name()))
	}
	return names
}

func read(t testing.TB, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func write(t testing.TB, path string, b []byte) {
	t.Helper()
	if err := os.WriteFile(path, b, 0o644); err != nil {
		t.Fatal(err)
	}
}

func withPlane(t *testing.T, docs [][]int32) string {
	t.Helper()
	dir := build(t, docs, small(300))
	if _, err := AddPlane(dir, Plane{"class", "test"}, func(d Document) ([]byte, error) { return planeOf(d), nil }); err != nil {
		t.Fatal(err)
	}
	return dir
}

// A flipped bit is found, or it changed nothing that is read from the data set.
func TestEveryBitFlipIsFound(t *testing.T) {
	docs := corpus(40, 60, 300, 21)
	dir := withPlane(t, docs)
	index := open(t, dir).Index()
	names := files(t, dir)
	draw := philox.New(21, philox.StreamTest, 1, 0)
	harmless := 0
	const flips = 400
	for n := range flips {
		path := names[n%len(names)]
		good := read(t, path)
		bad := slices.Clone(good)
		bit := draw.IntN(8 * len(bad))
		bad[bit/8] ^= 1 << (bit % 8)
		write(t, path, bad)
		got, err := readAll(dir)
		if err == nil {
			harmless++
			ds := open(t, dir)
			if !strings.HasSuffix(path, indexName) || !reflect.DeepEqual(got, docs) || !reflect.DeepEqual(ds.Index(), index) {
				t.Errorf("bit %d of %s went unnoticed", bit, path)
			}
		} else {
			wantKind(t, fault.Data, err)
		}
		write(t, path, good)
	}
	t.Logf("%d flips, %d harmless", flips, harmless)
	if harmless > flips/20 {
		t.Errorf("%d of %d flips were harmless", harmless, flips)
	}
}

func TestEveryWrongSizeIsFound(t *testing.T) {
	dir := withPlane(t, corpus(40, 60, 300, 22))
	for _, path := range files(t, dir) {
		good := read(t, path)
		for _, bad := range [][]byte{nil, good[:len(good)/2], good[:len(good)-3], append(slices.Clone(good), "tail"...)} {
			write(t, path, bad)
			_, err := Open(dir)
			wantKind(t, fault.Data, err)
			if err != nil && !strings.Contains(err.Error(), filepath.Base(path)) {
				t.Errorf("%v does not name %s", err, path)
			}
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		_, err := Open(dir)
		wantKind(t, fault.Data, err)
		write(t, path, good)
	}
	for _, name := range []string{"00077.tok.zst", "00077.loss.zst", "x.zst"} {
		write(t, filepath.Join(dir, name), nil)
		_, err := Open(dir)
		wantKind(t, fault.Data, err)
		os.Remove(filepath.Join(dir, name))
	}
	open(t, dir)
}

func TestAllProblemsAreReported(t *testing.T) {
	dir := build(t, corpus(60, 60, 300, 23), small(300))
	ds := open(t, dir)
	for _, name := range []string{"00000.tok.zst", "00001.len.zst"} {
		b := read(t, filepath.Join(dir, name))
		b[12] ^= 4
		write(t, filepath.Join(dir, name), b)
	}
	report, err := ds.Verify(nil)
	wantKind(t, fault.Data, err)
	if report.Shards != len(ds.shards)-2 {
		t.Errorf("%d sound shards of %d", report.Shards, len(ds.shards))
	}
	os.Remove(filepath.Join(dir, "00001.tok.zst"))
	write(t, filepath.Join(dir, "00000.len.zst"), nil)
	_, other := Open(dir)
	wantKind(t, fault.Data, other)
	for _, want := range []string{"00000.tok.zst: xxh64", "00000.tok.zst: frame 0", "00001.len.zst: xxh64"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("verify does not report %q:\n%v", want, err)
		}
	}
	for _, want := range []string{"00001.tok.zst", "00000.len.zst"} {
		if !strings.Contains(other.Error(), want) {
			t.Errorf("open does not report %q:\n%v", want, other)
		}
	}
}

func TestLinksAreRefused(t *testing.T) {
	for _, name := range []string{indexName, "00000.tok.zst", "00000.len.zst"} {
		dir := build(t, [][]int32{{1, 2, 3}}, small(300))
		aside := filepath.Join(t.TempDir(), "aside")
		if err := os.Rename(filepath.Join(dir, name), aside); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(aside, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
		_, err := Open(dir)
		wantKind(t, fault.Data, err)
	}
}

func TestFileReplacedWhileInUse(t *testing.T) {
	dir := build(t, [][]int32{{1, 2, 3}, {4}}, WriterOptions{Vocab: 300, FrameTokens: 1})
	ds := open(t, dir)
	if _, err := ds.Document(0); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "00000.tok.zst")
	write(t, path+".new", read(t, path))
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
	_, err := ds.Document(1)
	wantKind(t, fault.Data, err)
}

// rawFrame is a zstd frame by hand: one raw block and no checksum, with the window of 2^log bytes in its header.
func rawFrame(log int, content []byte) []byte {
	b := []byte{0x28, 0xB5, 0x2F, 0xFD, 0x00, byte(log-10) << 3}
	h := uint32(len(content))<<3 | 1 // last block, type raw
	return append(append(b, byte(h), byte(h>>8), byte(h>>16)), content...)
}

// bombFrame expands to blocks * 128 KiB of zeros: four bytes a block.
func bombFrame(blocks int) []byte {
	b := []byte{0x28, 0xB5, 0x2F, 0xFD, 0x00, (17 - 10) << 3}
	for i := range blocks {
		h := uint32(128<<10)<<3 | 1<<1 // type RLE
		if i == blocks-1 {
			h |= 1
		}
		b = append(b, byte(h), byte(h>>8), byte(h>>16), 0)
	}
	return b
}

// forge replaces the frames of the only shard's file by one frame that claims to hold raw, with a seek table and an index
// that agree, so that only the reader's own limits are left.
func forge(t *testing.T, dir, kind string, frame, raw []byte) {
	t.Helper()
	table := binary.LittleEndian.AppendUint32(nil, 0x184D2A5E)
	table = binary.LittleEndian.AppendUint32(table, 12+9)
	table = binary.LittleEndian.AppendUint32(table, uint32(len(frame)))
	table = binary.LittleEndian.AppendUint32(table, uint32(len(raw)))
	table = binary.LittleEndian.AppendUint32(table, uint32(xxhash.Sum64(raw)))
	table = binary.LittleEndian.AppendUint32(table, 1)
	table = append(table, 1<<7)
	table = binary.LittleEndian.AppendUint32(table, 0x8F92EAB1)
	text := append(slices.Clone(frame), table...)
	write(t, filepath.Join(dir, "00000."+kind+".zst"), text)
	editIndex(t, dir, func(x *Index) {
		f := map[string]*File{"tok": &x.Shards[0].Tok, "len": &x.Shards[0].Len}[kind]
		*f = File{Bytes: int64(len(text)), RawBytes: int64(len(raw)), XXH64: Sum(xxhash.Sum64(text)), RawXXH64: Sum(xxhash.Sum64(raw))}
	})
}

func TestHostileFrames(t *testing.T) {
	docs := corpus(20, 3000, 300, 24)
	o := WriterOptions{Vocab: 300, BOS: -1, EOS: -1}
	var raw, lengths []byte
	for _, d := range docs {
		raw = appendTokens(raw, d, 2)
		lengths = binary.LittleEndian.AppendUint32(lengths, uint32(len(d)))
	}
	outside := slices.Clone(raw)
	binary.LittleEndian.PutUint16(outside[100:], 300)
	swapped := make([]byte, len(raw)) // big-endian tokens
	for i := 0; i < len(raw); i += 2 {
		swapped[i], swapped[i+1] = raw[i+1], raw[i]
	}
	wrong := slices.Clone(lengths)
	binary.LittleEndian.PutUint32(wrong, binary.LittleEndian.Uint32(wrong)+1)
	huge := slices.Clone(lengths)
	binary.LittleEndian.PutUint32(huge, 1<<31)
	zero := slices.Clone(lengths)
	binary.LittleEndian.PutUint32(zero, 0)
	skippable := append([]byte{0x50, 0x2A, 0x4D, 0x18, 8, 0, 0, 0}, "harmless"...)
	for _, c := range []struct {
		name, kind string
		frame, raw []byte
		want       string // "" = readable
	}{
		{"honest", "tok", rawFrame(17, raw), raw, ""},
		{"bomb", "tok", bombFrame(8192), raw, "frame 0"}, // 1 GiB
		{"window of 64 MiB", "tok", rawFrame(26, raw), raw, "window size exceeded"},
		{"skippable only", "tok", skippable, raw, "holds 0 bytes"},
		{"frames joined", "tok", append(rawFrame(17, raw), rawFrame(17, raw)...), raw, "frame 0"},
		{"short", "tok", rawFrame(17, raw[2:]), raw, "declares"},
		{"another content", "tok", rawFrame(17, swapped), raw, "checksum"},
		{"id outside", "tok", rawFrame(17, outside), outside, "id 300"},
		{"byte order", "tok", rawFrame(17, swapped), swapped, "outside the vocabulary"},
		{"honest lengths", "len", rawFrame(17, lengths), lengths, ""},
		{"wrong length", "len", rawFrame(17, wrong), wrong, "len.zst"},
		{"huge length", "len", rawFrame(17, huge), huge, "len.zst"},
		{"zero length", "len", rawFrame(17, zero), zero, "len.zst"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := build(t, docs, o)
			forge(t, dir, c.kind, c.frame, c.raw)
			ds := open(t, dir)
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			_, first := ds.Document(0)
			got, second := drain(stream(t, ds, StreamConfig{Epochs: 1}, Cursor{}), 100)
			_, third := ds.Verify(nil)
			runtime.ReadMemStats(&after)
			if mib := (after.TotalAlloc - before.TotalAlloc) >> 20; mib > 32 {
				t.Errorf("allocated %d MiB", mib)
			}
			for i, err := range []error{first, second, third} {
				switch {
				case c.want == "" && err != nil:
					t.Error(err)
				case c.want != "":
					wantKind(t, fault.Data, err)
					if err != nil && !strings.Contains(err.Error(), c.want) {
						t.Errorf("reader %d: %v does not say %q", i, err, c.want)
					}
				}
			}
			if c.want == "" && len(got) != len(docs) {
				t.Errorf("%d documents", len(got))
			}
		})
	}
}

// A wrong dtype in the index is refused although its hash is right.
func TestWrongDType(t *testing.T) {
	dir := build(t, corpus(5, 60, 300, 25), small(300))
	text := strings.Replace(string(read(t, filepath.Join(dir, indexName))), `"uint16"`, `"uint32"`, 1)
	write(t, filepath.Join(dir, indexName), []byte(text))
	_, err := Open(dir)
	wantKind(t, fault.Data, err)
	if !strings.Contains(err.Error(), "dtype") {
		t.Error(err)
	}
}

func TestHostileIndex(t *testing.T) {
	dir := build(t, corpus(60, 60, 300, 26), small(300))
	path := filepath.Join(dir, indexName)
	text := read(t, path)
	for name, edit := range map[string]func(x *Index){
		"escape":           func(x *Index) { x.Shards[0].Name = "../../etc/x" },
		"absolute":         func(x *Index) { x.Shards[0].Name = "/etc/x" },
		"backslash":        func(x *Index) { x.Shards[0].Name = `..\x` },
		"nul":              func(x *Index) { x.Shards[0].Name = "a\x00b" },
		"dots":             func(x *Index) { x.Shards[0].Name = ".." },
		"empty name":       func(x *Index) { x.Shards[0].Name = "" },
		"twice":            func(x *Index) { x.Shards[1].Name = x.Shards[0].Name },
		"no shards":        func(x *Index) { x.Shards, x.Documents, x.Tokens, x.Frames = shardList{}, 0, 0, 0 },
		"negative tokens":  func(x *Index) { x.Shards[0].Tokens = -5 },
		"negative bytes":   func(x *Index) { x.Shards[0].Tok.Bytes = -1 },
		"huge bytes":       func(x *Index) { x.Shards[0].Tok.Bytes = 1 << 62 },
		"huge raw":         func(x *Index) { x.Shards[0].Tok.RawBytes = 1 << 62 },
		"overflow":         func(x *Index) { x.Shards[0].Tokens, x.Shards[1].Tokens = 1<<62, 1<<62 },
		"ratio":            func(x *Index) { x.Shards[0].Tokens, x.Shards[0].Tok.RawBytes = 1<<35, 1<<36 },
		"many documents":   func(x *Index) { x.Shards[0].Documents = x.Shards[0].Tokens + 1 },
		"many frames":      func(x *Index) { x.Shards[0].Frames = x.Shards[0].Documents + 1 },
		"no frames":        func(x *Index) { x.Shards[0].Frames = 0 },
		"total tokens":     func(x *Index) { x.Tokens++ },
		"total documents":  func(x *Index) { x.Documents-- },
		"vocabulary":       func(x *Index) { x.Tokenizer.Vocab = 1 << 40 },
		"no vocabulary":    func(x *Index) { x.Tokenizer.Vocab = 0 },
		"eos":              func(x *Index) { x.Tokenizer.EOS = 300 },
		"unknown plane":    func(x *Index) { x.Planes = planeList{{"../x", ""}} },
		"plane files":      func(x *Index) { x.Planes = planeList{{"loss", ""}} },
		"long text":        func(x *Index) { x.CreatedBy = strings.Repeat("x", maxText+1) },
		"fewer frames":     func(x *Index) { x.Shards[0].Frames, x.Frames = x.Shards[0].Frames-1, x.Frames-1 },
		"documents differ": func(x *Index) { x.Shards[0].Documents--; x.Documents--; x.Shards[0].Len.RawBytes -= 4 },
	} {
		editIndex(t, dir, edit)
		_, err := readAll(dir)
		wantKind(t, fault.Data, err)
		if err == nil {
			t.Error(name)
		}
		write(t, path, text)
	}
	for name, bad := range map[string]string{
		"version":      strings.Replace(string(text), `"format": 1`, `"format": 2`, 1),
		"no version":   strings.Replace(string(text), `"format"`, `"farmat"`, 1),
		"unknown key":  strings.Replace(string(text), `"created_by"`, `"x": 1, "created_by"`, 1),
		"deep unknown": strings.Replace(string(text), `"source"`, `"x": 1, "source"`, 1),
		"trailing":     string(text) + "{}",
		"edited":       strings.Replace(string(text), `"source": "test"`, `"source": "best"`, 1),
		"float":        strings.Replace(string(text), `"bos": 0`, `"bos": 0.5`, 1),
		"overflow":     strings.Replace(string(text), `"bos": 0`, `"bos": 99999999999999999999`, 1),
		"null":         "null",
		"empty":        "",
	} {
		if bad == string(text) {
			t.Fatalf("%s: nothing replaced", name)
		}
		_, err := parseIndex([]byte(bad), "index.json")
		if fault.Of(err) != fault.Data {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestIndexOfManyEntriesIsRefusedCheaply(t *testing.T) {
	for _, item := range []string{"{}", "1", "[]"} {
		text := []byte(`{"format":1,"shards":[` + strings.Repeat(item+",", 2_000_000) + item + `]}`)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := parseIndex(text, "index.json")
		runtime.ReadMemStats(&after)
		wantKind(t, fault.Data, err)
		if mib := (after.TotalAlloc - before.TotalAlloc) >> 20; mib > 256 {
			t.Errorf("%s: allocated %d MiB for %d MiB", item, mib, len(text)>>20)
		}
	}
}
