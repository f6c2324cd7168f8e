package shard

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"testing"

	"palimpsest/engine/fault"
	"palimpsest/engine/vfs"
)

// tokenFile writes ids after a header of so many int32, as the other trainers' scripts do.
func tokenFile(t testing.TB, header []int32, width int, ids ...int32) string {
	t.Helper()
	var b []byte
	if header != nil {
		for _, v := range append(header, make([]int32, 256-len(header))...) {
			b = binary.LittleEndian.AppendUint32(b, uint32(v))
		}
	}
	for _, id := range ids {
		if width == 2 {
			b = binary.LittleEndian.AppendUint16(b, uint16(id))
		} else {
			b = binary.LittleEndian.AppendUint32(b, uint32(id))
		}
	}
	path := filepath.Join(t.TempDir(), "tokens.bin")
	if err := os.WriteFile(path, b, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// imported returns the documents that a file becomes.
func imported(t testing.TB, path string, o ImportOptions) ([][]int32, ImportStats, error) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "set")
	w, err := Create(dir, WriterOptions{Vocab: 100, BOS: -1, EOS: 9})
	if err != nil {
		t.Fatal(err)
	}
	stats, err := ImportBin(w, path, o)
	if err != nil {
		if e := w.Abort(); e != nil {
			t.Fatal(e)
		}
		return nil, stats, err
	}
	if _, err := w.Close(); err != nil {
		t.Fatal(err)
	}
	docs, err := readAll(dir)
	if err != nil {
		t.Fatal(err)
	}
	return docs, stats, nil
}

func TestImport(t *testing.T) {
	ids := []int32{1, 9, 9, 2, 3, 9, 4}
	for _, c := range []struct {
		name   string
		header []int32
		width  int
		o      ImportOptions
		want   [][]int32
		bare   int64
	}{
		{"llm.c, leading", []int32{20240520, 1, 7}, 2, ImportOptions{Format: LLMC, Separator: 9, Leading: true}, [][]int32{{1}, {9}, {9, 2, 3}, {9, 4}}, 1},
		{"llm.c, trailing", []int32{20240520, 1, 7}, 2, ImportOptions{Format: LLMC, Separator: 9}, [][]int32{{1, 9}, {9}, {2, 3, 9}, {4}}, 1},
		{"llm.c, 4 bytes", []int32{20240801, 7, 7}, 4, ImportOptions{Format: LLMC, Separator: -1, Block: 3}, [][]int32{{1, 9, 9}, {2, 3, 9}, {4}}, 0},
		{"nanoGPT", nil, 2, ImportOptions{Format: NanoGPT, Width: 2, Separator: 9}, [][]int32{{1, 9}, {9}, {2, 3, 9}, {4}}, 1},
		{"nanoGPT, 4 bytes", nil, 4, ImportOptions{Format: NanoGPT, Width: 4, Separator: -1, Block: 7}, [][]int32{ids}, 0},
	} {
		docs, stats, err := imported(t, tokenFile(t, c.header, c.width, ids...), c.o)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if !reflect.DeepEqual(docs, c.want) || stats.Bare != c.bare || stats.Documents != int64(len(c.want)) || stats.Tokens != 7 {
			t.Errorf("%s: %v, %+v, want %v", c.name, docs, stats, c.want)
		}
	}
}

func TestImportErrors(t *testing.T) {
	gpt := []int32{20240520, 1, 3}
	llmc := ImportOptions{Format: LLMC, Separator: 9}
	nano := ImportOptions{Format: NanoGPT, Width: 2, Separator: 9}
	cut := tokenFile(t, gpt, 2, 1, 2, 3)
	if err := os.Truncate(cut, 1029); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		path string
		o    ImportOptions
		kind fault.Kind
		want string
	}{
		{cut, llmc, fault.Data, "1029 bytes, but the header's 3 tokens need 1030"},
		{cut, nano, fault.Data, "begins with the header of llm.c"},
		{tokenFile(t, gpt, 2, 1, 2, 3, 4), llmc, fault.Data, "1032 bytes"},
		{tokenFile(t, []int32{20240520, 2, 3}, 2, 1, 2, 3), llmc, fault.Data, "version 2"},
		{tokenFile(t, []int32{20240522, 1, 3}, 2, 1, 2, 3), llmc, fault.Data, "magic 20240522"},
		{tokenFile(t, []int32{20240520, 1, -3}, 2), llmc, fault.Data, "declares -3 tokens"},
		{tokenFile(t, nil, 2, 1, 2), llmc, fault.Data, "4 bytes, less than the 1024"},
		{tokenFile(t, gpt, 2, 1, 2, 100), llmc, fault.Data, "byte 1028 (token 2): id 100 is outside"},
		{tokenFile(t, nil, 4, 1, -2), ImportOptions{Format: NanoGPT, Width: 4, Separator: 9}, fault.Data, "byte 4 (token 1): id 4294967294"},
		{tokenFile(t, nil, 2), nano, fault.Data, "0 bytes, expected a positive multiple of 2"},
		{tokenFile(t, nil, 2, 1), ImportOptions{Format: NanoGPT, Width: 4, Separator: 9}, fault.Data, "2 bytes, expected"},
		{t.TempDir(), nano, fault.Data, "expected a plain file"},
		{t.TempDir() + "/none", nano, fault.Data, "no such file"},
		{cut, ImportOptions{Format: NanoGPT, Separator: 9}, fault.Usage, "tokens of 0 bytes"},
		{cut, ImportOptions{Format: LLMC, Width: 2, Separator: 9}, fault.Usage, "tells the width"},
		{cut, ImportOptions{Format: LLMC, Separator: 100}, fault.Usage, "separator 100"},
		{cut, ImportOptions{Format: LLMC, Separator: -1}, fault.Usage, "blocks of"},
		{cut, ImportOptions{Format: LLMC, Separator: 9, Block: 4}, fault.Usage, "not both"},
		{cut, ImportOptions{Format: "mds", Separator: 9}, fault.Usage, "format"},
	} {
		_, _, err := imported(t, c.path, c.o)
		wantKind(t, c.kind, err)
		if err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v, want %q", err, c.want)
		}
	}
	w, err := Create(filepath.Join(t.TempDir(), "set"), withPlanes(small(300)))
	if err != nil {
		t.Fatal(err)
	}
	_, err = ImportBin(w, cut, llmc)
	wantKind(t, fault.Usage, err)
}

func TestInspectBin(t *testing.T) {
	b, err := InspectBin(tokenFile(t, []int32{20240801, 7, 2}, 4, 5, 6), 0)
	if err != nil || b != (BinFile{LLMC, 4, 2}) || b.String() != "llm.c, 2 tokens of 4 bytes" {
		t.Errorf("%v, %v", b, err)
	}
	b, err = InspectBin(tokenFile(t, nil, 2, 5, 6, 7), 2)
	if err != nil || b != (BinFile{NanoGPT, 2, 3}) {
		t.Errorf("%v, %v", b, err)
	}
	if f, err := ParseBinFormat("LLM.c"); f != LLMC || err != nil {
		t.Errorf("%v, %v", f, err)
	}
	_, err = ParseBinFormat("megatron")
	wantKind(t, fault.Usage, err)
}

func TestExport(t *testing.T) {
	ds := open(t, build(t, [][]int32{{1, 9}, {2, 3}, {9}, {4, 5, 9}}, small(100)))
	u16 := func(ids ...uint16) (b []byte) {
		for _, id := range ids {
			b = binary.LittleEndian.AppendUint16(b, id)
		}
		return b
	}
	header := func(n byte) []byte { // magic 20240520 is 0x0134D888
		return append([]byte{0x88, 0xD8, 0x34, 0x01, 1, 0, 0, 0, n}, make([]byte, 1024-9)...)
	}
	for _, c := range []struct {
		o     ExportOptions
		added int64
		want  [][]byte
	}{
		{ExportOptions{Format: NanoGPT, Separator: -1}, 0, [][]byte{u16(1, 9, 2, 3, 9, 4, 5, 9)}},
		{ExportOptions{Format: NanoGPT, Separator: 9}, 1, [][]byte{u16(1, 9, 2, 3, 9, 9, 4, 5, 9)}},
		{ExportOptions{Format: LLMC, Separator: 9, Leading: true}, 3, [][]byte{append(header(11), u16(9, 1, 9, 9, 2, 3, 9, 9, 4, 5, 9)...)}},
		{ExportOptions{Format: LLMC, Separator: -1, FileTokens: 5}, 0,
			[][]byte{append(header(5), u16(1, 9, 2, 3, 9)...), append(header(3), u16(4, 5, 9)...)}},
		{ExportOptions{Format: NanoGPT, Separator: -1, Width: 4}, 0, [][]byte{slices.Concat(
			[]byte{1, 0, 0, 0, 9, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0}, []byte{9, 0, 0, 0, 4, 0, 0, 0, 5, 0, 0, 0, 9, 0, 0, 0})}},
	} {
		path := filepath.Join(t.TempDir(), "out.bin")
		stats, err := ExportBin(ds, path, c.o)
		if err != nil || len(stats.Files) != len(c.want) || stats.Added != c.added || stats.Documents != 4 || stats.Tokens != 8+c.added {
			t.Errorf("%+v: %+v, %v", c.o, stats, err)
			continue
		}
		for i, name := range stats.Files {
			if c.o.FileTokens > 0 && filepath.Base(name) != fmt.Sprintf("out_%06d.bin", i) {
				t.Errorf("file %s", name)
			}
			got, err := os.ReadFile(name)
			if err != nil || !bytes.Equal(got, c.want[i]) {
				t.Errorf("%+v: file %d is % x, %v, want % x", c.o, i, got, err, c.want[i])
			}
		}
		_, err = ExportBin(ds, path, c.o)
		wantKind(t, fault.Usage, err) // it exists
	}
	wide := open(t, build(t, [][]int32{{70000}}, small(80000)))
	for _, o := range []ExportOptions{
		{Format: "mds"}, {Format: LLMC, Width: 3, Separator: -1}, {Format: LLMC, Width: 2, Separator: -1}, {Format: LLMC, Separator: 80000},
		{Format: LLMC, Separator: -1, FileTokens: -1},
	} {
		_, err := ExportBin(wide, filepath.Join(t.TempDir(), "x.bin"), o)
		wantKind(t, fault.Usage, err)
	}
}

// What is exported with separators comes back as the same documents, whatever the format.
func TestBinRoundTrip(t *testing.T) {
	for _, vocab := range []int{300, 70000} {
		docs := corpus(200, 900, vocab-1, 63)
		for i := range docs {
			docs[i] = append(docs[i], int32(vocab-1))
		}
		ds := open(t, build(t, docs, WriterOptions{Vocab: vocab, BOS: -1, EOS: int32(vocab - 1), FrameTokens: 5000}))
		for _, format := range []BinFormat{LLMC, NanoGPT} {
			path := filepath.Join(t.TempDir(), "out.bin")
			if _, err := ExportBin(ds, path, ExportOptions{Format: format, Separator: int32(vocab - 1)}); err != nil {
				t.Fatal(err)
			}
			dir := filepath.Join(t.TempDir(), "set")
			w, err := Create(dir, WriterOptions{Vocab: vocab, BOS: -1, EOS: int32(vocab - 1)})
			if err != nil {
				t.Fatal(err)
			}
			o := ImportOptions{Format: format, Separator: int32(vocab - 1)}
			if format == NanoGPT {
				o.Width = ds.index.Width()
			}
			if _, err := ImportBin(w, path, o); err != nil {
				t.Fatal(err)
			}
			if _, err := w.Close(); err != nil {
				t.Fatal(err)
			}
			got, err := readAll(dir)
			if err != nil {
				t.Fatal(err)
			}
			sameTokens(t, got, docs)
		}
	}
}

// Whatever operation of an export fails, a file that has its name is complete, no temporary file is left unless its removal
// failed too, and the error is a fault.Write.
func TestExportFailsCleanlyAtEveryOperation(t *testing.T) {
	ds := open(t, build(t, corpus(30, 60, 300, 64), small(300)))
	o := ExportOptions{Format: LLMC, Separator: -1, FileTokens: 400}
	for at := int64(1); ; at++ {
		dir := t.TempDir()
		stats, err := ds.exportBin(vfs.NewFaulty(vfs.OS{}, vfs.Fail, at, syscall.ENOSPC), filepath.Join(dir, "out.bin"), o)
		entries, e := os.ReadDir(dir)
		if e != nil {
			t.Fatal(e)
		}
		for _, entry := range entries {
			if _, err := InspectBin(filepath.Join(dir, entry.Name()), 0); err != nil {
				t.Errorf("operation %d: %v", at, err)
			}
		}
		if err == nil {
			if at < 10 || len(entries) != len(stats.Files) {
				t.Errorf("%d operations, %d files", at, len(entries))
			}
			return
		}
		wantKind(t, fault.Write, err)
	}
}

func FuzzImport(f *testing.F) {
	for _, path := range []string{tokenFile(f, []int32{20240520, 1, 3}, 2, 1, 9, 3), tokenFile(f, []int32{20240801, 7, 2}, 4, 1, 2), tokenFile(f, nil, 2, 1, 2)} {
		text, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text, byte(0))
		f.Add(text, byte(2))
	}
	f.Fuzz(func(t *testing.T, text []byte, width byte) {
		format := LLMC
		if width = width % 3 * 2; width > 0 {
			format = NanoGPT
		}
		b, err := parseBin(text[:min(len(text), llmcHeader)], int64(len(text)), format, int(width))
		if err != nil {
			return
		}
		start := 0
		if format == LLMC {
			start = llmcHeader
		}
		if want := int64(len(text)-start) / int64(b.Width); b.Tokens != want || b.Tokens < 1 {
			t.Fatalf("%v for %d bytes", b, len(text))
		}
		dir := t.TempDir()
		w, err := Create(filepath.Join(dir, "set"), WriterOptions{Vocab: 100, BOS: -1, EOS: -1})
		if err != nil {
			t.Fatal(err)
		}
		defer w.Abort()
		i := binImport{w: w, o: ImportOptions{Format: format, Separator: 9}, path: "x", stats: ImportStats{BinFile: b}}
		if err := i.run(bytes.NewReader(text[start:])); err == nil && w.shard.Tokens != b.Tokens {
			t.Fatalf("%d tokens of %d", w.shard.Tokens, b.Tokens)
		}
	})
}
