package text

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"palimpsest/engine/fault"
)

// packed compresses content; several parts become several members or frames.
func packed(t testing.TB, kind string, parts ...string) string {
	t.Helper()
	var b bytes.Buffer
	for _, part := range parts {
		var w io.WriteCloser = gzip.NewWriter(&b)
		if kind == "zst" {
			z, err := zstd.NewWriter(&b, zstd.WithEncoderConcurrency(1))
			if err != nil {
				t.Fatal(err)
			}
			w = z
		}
		if _, err := w.Write([]byte(part)); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return b.String()
}

func TestPackedFiles(t *testing.T) {
	for _, kind := range []string{"gz", "zst"} {
		for _, c := range []struct{ name, content, want string }{
			{"a.txt", "one", "1:one"},
			{"a.jsonl", `{"text":"one"}`, "1:one"},
			{"a.csv", "text\none", "2:one"},
			{"a.conll", "one I-X\n", "1:[one|X]"}, // read twice, to find the scheme
		} {
			docs, _, err := readMarked(t, c.name+"."+kind, packed(t, kind, c.content), ReaderOptions{})
			wantDocs(t, kind+" "+c.name, docs, err, c.want)
			docs, _, err = readMarked(t, c.name, packed(t, kind, c.content[:2], c.content[2:]), ReaderOptions{}) // the name says nothing
			wantDocs(t, kind+" in two parts "+c.name, docs, err, c.want)
		}
		docs, _, err := readMarked(t, "A.TXT."+strings.ToUpper(kind), packed(t, kind, "\xEF\xBB\xBFone"), ReaderOptions{})
		wantDocs(t, kind, docs, err, "1:one")
		_, _, err = readMarked(t, "a.txt."+kind, "one", ReaderOptions{})
		wantKind(t, err, fault.Data, "a.txt."+kind+": its name ends in ."+kind)
		_, _, err = readMarked(t, "a.txt."+kind, packed(t, kind, packed(t, kind, "one")), ReaderOptions{OnBadRecord: "fail"})
		wantKind(t, err, fault.Data, "twice")
	}
}

// A packed file that is cut anywhere, or damaged in one byte, is an error that names it, never a shorter text; also when bad
// records are skipped.
func TestDamagedPackedFiles(t *testing.T) {
	line := ""
	for d, i := draw(70), 0; i < 40; i++ {
		line += `{"text":"` + string(rune('a'+d.IntN(26))) + strings.Repeat("x", d.IntN(9)) + "\"}\n"
	}
	for _, kind := range []string{"gz", "zst"} {
		whole := packed(t, kind, line)
		o := ReaderOptions{Format: "jsonl", OnBadRecord: "skip"}
		for cut := 4; cut < len(whole); cut++ {
			docs, _, err := readMarked(t, "a.jsonl."+kind, whole[:cut], o)
			wantKind(t, err, fault.Data, "a.jsonl."+kind)
			if len(docs) > 40 {
				t.Fatalf("%d documents", len(docs))
			}
		}
		damaged := []byte(whole)
		damaged[len(damaged)-6] ^= 1 // in the data or its checksum
		_, _, err := readMarked(t, "a.jsonl."+kind, string(damaged), o)
		wantKind(t, err, fault.Data, "a.jsonl."+kind)
		_, _, err = readMarked(t, "a.jsonl."+kind, whole+"trailing", o)
		wantKind(t, err, fault.Data, "a.jsonl."+kind)
	}
}

func TestBomb(t *testing.T) {
	zeros := strings.Repeat(strings.Repeat(" ", 1<<20-1)+"\n", 24)
	for _, kind := range []string{"gz", "zst"} {
		bomb := packed(t, kind, zeros)
		_, _, err := readMarked(t, "a.txt."+kind, bomb, ReaderOptions{Unit: "line"})
		wantKind(t, err, fault.Data, "a.txt."+kind, "more than 500 times as many")
		_, _, err = readMarked(t, "a.txt."+kind, bomb, ReaderOptions{Unit: "line", MaxRatio: 100_000})
		wantKind(t, err, fault.Data, "no documents in 1 files (24 empty")
	}
}

func TestStandardInput(t *testing.T) {
	for _, content := range []string{`{"text":"one"}`, packed(t, "gz", `{"text":"one"}`)} {
		r, err := Open(ReaderOptions{Paths: []string{"-", "-"}, Format: "jsonl", Stdin: strings.NewReader(content)})
		if err != nil {
			t.Fatal(err)
		}
		for d, err := range r.Documents() {
			if err != nil || string(d.Text) != "one" || d.Source != "stdin" || d.Line != 1 {
				t.Errorf("%+v, %v", d, err)
			}
		}
		if rep := r.Report(); rep.Documents != 1 || rep.Repeated != 1 {
			t.Errorf("report %+v", rep)
		}
		for _, err := range r.Documents() {
			wantKind(t, err, fault.Data, "stdin: it can be read only once")
		}
	}
	docs, _, err := read(t, ReaderOptions{Paths: []string{"-"}, Format: "conll", Scheme: "iob2", Stdin: strings.NewReader("a B-X\n")})
	wantDocs(t, "conll", docs, err, "stdin:1:a")
}

// Files that were opened are closed, whatever happens to the pass.
func TestInputsAreClosed(t *testing.T) {
	dir := folder(t, map[string]string{"a.txt.gz": packed(t, "gz", "a\nb"), "b.txt.zst": packed(t, "zst", "c\nd"), "c.conll": "e B-X\n", "d.gz": "no"})
	open := func() int {
		entries, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			return 0 // nothing to compare on this system
		}
		n := 0
		for _, e := range entries {
			if to, _ := os.Readlink(filepath.Join("/proc/self/fd", e.Name())); strings.HasPrefix(to, dir) {
				n++
			}
		}
		return n
	}
	r, err := Open(ReaderOptions{Paths: []string{dir}, Unit: "line"})
	if err != nil {
		t.Fatal(err)
	}
	for stop := range 7 {
		n := 0
		for range r.Documents() {
			if n++; n == stop {
				break
			}
		}
		if left := open(); left != 0 {
			t.Errorf("stopped after %d: %d files are open", stop, left)
		}
	}
}

func TestProgress(t *testing.T) {
	files := map[string]string{"a.txt.gz": packed(t, "gz", strings.Repeat("a\n", 5000)), "b.conll": "e B-X\n", "c.txt": "c"}
	want := int64(0)
	for _, content := range files {
		want += int64(len(content))
	}
	r, err := Open(ReaderOptions{Paths: []string{folder(t, files)}, Unit: "line"})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		last := int64(0)
		for _, err := range r.Documents() {
			done, total := r.Progress()
			if err != nil || done < last || done == 0 || done > total || total != want {
				t.Fatalf("%d after %d of %d, want %d, %v", done, last, total, want, err)
			}
			last = done
		}
		if done, _ := r.Progress(); done != want {
			t.Errorf("%d at the end, want %d", done, want)
		}
	}
	r, err = Open(ReaderOptions{Paths: []string{"-"}, Stdin: strings.NewReader("abc")})
	if err != nil {
		t.Fatal(err)
	}
	for range r.Documents() {
	}
	if done, total := r.Progress(); done != 3 || total != 0 {
		t.Errorf("standard input: %d of %d", done, total)
	}
}
