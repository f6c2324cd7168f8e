package text

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"palimpsest/engine/fault"
)

// folder writes files and returns their folder; names that end with "/" become folders.
func folder(t testing.TB, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		path := dir + "/" + name
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if !strings.HasSuffix(name, "/") {
			if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	return dir
}

// read returns documents as "base:line:text".
func read(t testing.TB, o ReaderOptions) ([]string, Report, error) {
	t.Helper()
	r, err := Open(o)
	if err != nil {
		return nil, Report{}, err
	}
	var docs []string
	for d, err := range r.Documents() {
		if err != nil {
			return docs, r.Report(), err
		}
		docs = append(docs, fmt.Sprintf("%s:%d:%s", filepath.Base(d.Source), d.Line, d.Text))
	}
	return docs, r.Report(), nil
}

// readOne reads one file of the given name and content.
func readOne(t testing.TB, name, content string, o ReaderOptions) ([]string, Report, error) {
	t.Helper()
	o.Paths = []string{filepath.Join(folder(t, map[string]string{name: content}), name)}
	return read(t, o)
}

func wantDocs(t *testing.T, what string, docs []string, err error, want ...string) {
	t.Helper()
	if err != nil {
		t.Errorf("%s: %v", what, err)
	}
	equal(t, what, docs, want)
}

func TestUnits(t *testing.T) {
	content := "\xEF\xBB\xBFone\r\ntwo\n \t\r\n\nthree\nfour"
	docs, _, err := readOne(t, "a.txt", content, ReaderOptions{})
	wantDocs(t, "file", docs, err, "a.txt:1:"+content[3:])
	docs, report, err := readOne(t, "a.txt", content, ReaderOptions{Unit: "line"})
	wantDocs(t, "line", docs, err, "a.txt:1:one", "a.txt:2:two", "a.txt:5:three", "a.txt:6:four")
	if report.Empty != 2 || report.Bytes != 15 {
		t.Errorf("report %+v", report)
	}
	docs, report, err = readOne(t, "a.txt", content, ReaderOptions{Unit: "paragraph"})
	wantDocs(t, "paragraph", docs, err, "a.txt:1:one\r\ntwo", "a.txt:5:three\nfour")
	if report.Documents != 2 || report.Bytes != 18 || report.NotUTF8 != 0 {
		t.Errorf("report %+v", report)
	}
	docs, report, err = readOne(t, "a.txt", "caf\xe9", ReaderOptions{})
	wantDocs(t, "Latin-1", docs, err, "a.txt:1:caf\xe9")
	if report.NotUTF8 != 1 {
		t.Errorf("report %+v", report)
	}
}

func TestFolders(t *testing.T) {
	dir := folder(t, map[string]string{
		"b.go": "B", "a/z.txt": "Z", "a/c.go": "C", "a/.git/x.go": "hidden", ".x.go": "hidden", "e.go": " \n", "d.jsonl": `{"text":"D"}`, "n/": "",
	})
	outside := folder(t, map[string]string{"o.go": "O"})
	for link, to := range map[string]string{"link.go": filepath.Join(dir, "a/c.go"), "out": outside, "gone.go": "nowhere"} {
		if err := os.Symlink(to, filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	docs, report, err := read(t, ReaderOptions{Paths: []string{dir}})
	wantDocs(t, "all", docs, err, "c.go:1:C", "z.txt:1:Z", "b.go:1:B", "d.jsonl:1:D", "link.go:1:C")
	if report.Hidden != 2 || report.Links != 1 || report.Irregular != 1 || report.Empty != 1 || report.Files != 6 {
		t.Errorf("report %+v", report)
	}
	docs, report, err = read(t, ReaderOptions{Paths: []string{dir}, Include: []string{"[bc].go", "*.jsonl"}, Format: "txt"})
	wantDocs(t, "included", docs, err, "c.go:1:C", "b.go:1:B", `d.jsonl:1:{"text":"D"}`)
	if report.Excluded != 3 {
		t.Errorf("report %+v", report)
	}
	docs, report, err = read(t, ReaderOptions{Paths: []string{dir + "/b*", dir + "/a/z.txt", dir + "/a", dir + "/out"}})
	wantDocs(t, "paths", docs, err, "b.go:1:B", "z.txt:1:Z", "c.go:1:C", "o.go:1:O")
	if report.Repeated != 1 {
		t.Errorf("report %+v", report)
	}
	odd := folder(t, map[string]string{"a[1].txt": "odd"})
	docs, _, err = read(t, ReaderOptions{Paths: []string{odd + "/a[1].txt"}})
	wantDocs(t, "a name like a pattern", docs, err, "a[1].txt:1:odd")
}

func TestInputErrors(t *testing.T) {
	dir := folder(t, map[string]string{"a.txt": "A", "empty/x.txt": "", "none/": ""})
	for _, c := range []struct {
		o    ReaderOptions
		kind fault.Kind
		want string
	}{
		{ReaderOptions{}, fault.Usage, "no input files"},
		{ReaderOptions{Paths: []string{dir + "/missing"}}, fault.Data, "missing: no such file"},
		{ReaderOptions{Paths: []string{dir + "/*.md"}}, fault.Data, "no file matches"},
		{ReaderOptions{Paths: []string{dir + "/[a"}}, fault.Usage, "syntax error in pattern"},
		{ReaderOptions{Paths: []string{dir}, Include: []string{"["}}, fault.Usage, "include pattern"},
		{ReaderOptions{Paths: []string{dir}, Include: []string{"*.md"}}, fault.Data, "no files to read"},
		{ReaderOptions{Paths: []string{dir + "/none"}}, fault.Data, "no files to read"},
		{ReaderOptions{Paths: []string{dir + "/empty"}}, fault.Data, "no documents in 1 files (1 empty, 0 filtered, 0 skipped)"},
		{ReaderOptions{Paths: []string{dir}, Format: "pdf"}, fault.Usage, `format "pdf": expected one of auto, txt, jsonl`},
		{ReaderOptions{Paths: []string{dir}, Unit: "word"}, fault.Usage, "unit"},
		{ReaderOptions{Paths: []string{dir}, OnBadRecord: "ignore"}, fault.Usage, "fail, skip"},
		{ReaderOptions{Paths: []string{dir}, MaxLine: -1}, fault.Usage, "limit of a line"},
	} {
		_, _, err := read(t, c.o)
		wantKind(t, err, c.kind, c.want)
	}
	r, err := Open(ReaderOptions{Paths: []string{dir + "/a.txt"}, OnBadRecord: "skip"})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(dir + "/a.txt"); err != nil {
		t.Fatal(err)
	}
	for _, err := range r.Documents() { // not a bad record: never skipped
		wantKind(t, err, fault.Data, "a.txt: no such file")
	}
}

func TestNotText(t *testing.T) {
	for content, want := range map[string]string{
		"\xff\xfea\x00": "UTF-16", "ELF\x00": "zero byte at offset 3",
	} {
		_, _, err := readOne(t, "f.txt", content, ReaderOptions{})
		wantKind(t, err, fault.Data, "f.txt: is", want)
	}
	dir := folder(t, map[string]string{"a.bin": "\x00", "b.txt": "B"})
	docs, report, err := read(t, ReaderOptions{Paths: []string{dir}, OnBadRecord: "skip"})
	wantDocs(t, "skipped", docs, err, "b.txt:1:B")
	if report.Skipped != 1 || len(report.SkipReasons) != 1 || !strings.Contains(report.SkipReasons[0], "a.bin") {
		t.Errorf("report %+v", report)
	}
}

func TestLimits(t *testing.T) {
	_, _, err := readOne(t, "a.txt", "123456", ReaderOptions{MaxDocument: 5})
	wantKind(t, err, fault.Data, "a.txt: document of 6 bytes, the limit is 5")
	docs, _, err := readOne(t, "a.txt", "12345", ReaderOptions{MaxDocument: 5})
	wantDocs(t, "just fits", docs, err, "a.txt:1:12345")
	docs, report, err := readOne(t, "a.txt", "123456\n12345\r\n1234567", ReaderOptions{MaxDocument: 5, Unit: "line", OnBadRecord: "skip"})
	wantDocs(t, "lines", docs, err, "a.txt:2:12345")
	equal(t, "reasons", []string{report.SkipReasons[0][strings.LastIndex(report.SkipReasons[0], "a.txt"):]},
		[]string{"a.txt:1: line of 7 bytes, the limit is 5"})
	docs, report, err = readOne(t, "a.txt", "1234\n567890\n12\n\nok\n\n", ReaderOptions{MaxDocument: 6, Unit: "paragraph", OnBadRecord: "skip"})
	wantDocs(t, "paragraphs", docs, err, "a.txt:5:ok")
	if report.Skipped != 1 || !strings.Contains(report.SkipReasons[0], "a.txt:1: paragraph of 15 bytes") {
		t.Errorf("report %+v", report)
	}
	// Lines longer than the buffer come whole, or are counted whole.
	long := strings.Repeat("x", 3*readBuffer+17)
	docs, _, err = readOne(t, "a.txt", "a\n"+long+"\nb", ReaderOptions{Unit: "line"})
	wantDocs(t, "long line", docs, err, "a.txt:1:a", "a.txt:2:"+long, "a.txt:3:b")
	docs, report, err = readOne(t, "a.jsonl", `{"text":"`+long+"\"}\n{\"text\":\"b\"}", ReaderOptions{MaxLine: 1000, OnBadRecord: "skip"})
	wantDocs(t, "long record", docs, err, "a.jsonl:2:b")
	if want := fmt.Sprintf("a.jsonl:1: record of %d bytes, the limit is 1000", len(long)+12); !strings.Contains(report.SkipReasons[0], want) {
		t.Errorf("reasons %q, want %q", report.SkipReasons, want)
	}
}

func TestJSONL(t *testing.T) {
	content := "\xEF\xBB\xBF{\"id\":1,\"text\":\"one\"}\r\n\n{\"text\":\"t\\u0077o\\n\\u0000\",\"meta\":{\"a\":[1,{}]}}\n{\"text\":\"  \"}\n {\"text\":\"é😀\"} "
	docs, report, err := readOne(t, "a.ndjson", content, ReaderOptions{})
	wantDocs(t, "records", docs, err, "a.ndjson:1:one", "a.ndjson:3:two\n\x00", "a.ndjson:5:é😀")
	if report.Empty != 2 || report.Documents != 3 || report.Bytes != 14 {
		t.Errorf("report %+v", report)
	}
	docs, _, err = readOne(t, "a.jsonl", `{"text":1,"body":"b"}`, ReaderOptions{Field: "body"})
	wantDocs(t, "other field", docs, err, "a.jsonl:1:b")
}

func TestBadRecords(t *testing.T) {
	bad := []struct{ line, want string }{
		{"{\"text\":\"\xff\"}", "not valid UTF-8 at byte 10"},
		{"{\"text\":\"a\x00b\"}", "control character 0x00"},
		{"\x00\x00", `expected a JSON object, found '\x00'`},
		{`{"text":"a","text":"b"}`, "$.text (byte 20): the key comes twice"},
		{`{"a":1,"text":"a","a":2}`, "$.a (byte"},
		{`{"body":"a","title":"b"}`, `no field "text"; the record has ["body" "title"]`},
		{`{"text":5}`, "$.text (byte 9): expected a string, found a number"},
		{`{"text":null}`, "expected a string, found null"},
		{`{"text":"a"`, "found the end of the text"},
		{`{"text":"a"} {"text":"b"}`, "an object after the end"},
		{`{"text":"\ud83d"}`, "surrogate"},
		{`["a"]`, "expected a JSON object, found an array"},
		{`not JSON`, "expected a JSON object, found 'n'"},
		{`null`, "expected a JSON object, found null"},
		{`plain words`, "expected a JSON object"},
		{`{"text":"a","x":` + strings.Repeat("[", 1000) + strings.Repeat("]", 1000) + "}", "nested deeper"},
	}
	all := `{"text":"first"}` + "\n"
	for _, b := range bad {
		_, _, err := readOne(t, "a.jsonl", `{"text":"first"}`+"\n"+b.line+"\n", ReaderOptions{})
		wantKind(t, err, fault.Data, "a.jsonl:2: ", b.want)
		all += b.line + "\n"
	}
	all += `{"text":"last"}`
	docs, report, err := readOne(t, "a.jsonl", all, ReaderOptions{OnBadRecord: "skip"})
	wantDocs(t, "skip", docs, err, "a.jsonl:1:first", fmt.Sprintf("a.jsonl:%d:last", len(bad)+2))
	if report.Skipped != len(bad) || len(report.SkipReasons) != maxReasons {
		t.Errorf("report %+v", report)
	}
	for i, reason := range report.SkipReasons {
		if want := fmt.Sprintf("a.jsonl:%d: ", i+2); !strings.Contains(reason, want) || !strings.Contains(reason, bad[i].want) {
			t.Errorf("reason %d: %q", i, reason)
		}
	}
	_, _, err = readOne(t, "a.jsonl", bad[0].line, ReaderOptions{OnBadRecord: "skip"})
	wantKind(t, err, fault.Data, "no documents in 1 files (0 empty, 0 filtered, 1 skipped; ", "UTF-8")
}

func TestReaderStopsAndStartsAgain(t *testing.T) {
	dir := folder(t, map[string]string{"a.txt": "1\n2\n3", "b.jsonl": "{\"text\":\"4\"}\n{\"text\":\"5\"}"})
	r, err := Open(ReaderOptions{Paths: []string{dir}, Unit: "line"})
	if err != nil {
		t.Fatal(err)
	}
	for stop := 1; stop <= 5; stop++ {
		n := 0
		for range r.Documents() {
			if n++; n == stop {
				break
			}
		}
		if got := r.Report().Documents; got != stop {
			t.Errorf("stopped after %d, report says %d", stop, got)
		}
	}
	tok, report, err := Train(Texts(r.Documents()), TrainOptions{Vocab: 260})
	if err != nil || report.Documents != 5 || tok.Vocab() != 260 {
		t.Errorf("%+v, %v", report, err)
	}
	if got := r.Files(); !slices.Equal(got, []string{dir + "/a.txt", dir + "/b.jsonl"}) {
		t.Errorf("files %q", got)
	}
}

func FuzzRecord(f *testing.F) {
	f.Add([]byte(`{"id":1,"text":"one \u00e9\ud83d\ude00"}`))
	f.Add([]byte(`{"text":"a","text":"b"}`))
	f.Fuzz(func(t *testing.T, line []byte) {
		before := bytes.Clone(line)
		o := ReaderOptions{}
		m, err := newRecordMap(&o)
		if err != nil {
			t.Fatal(err)
		}
		r := recordReader{m: m}
		d, err := r.read(line)
		if !bytes.Equal(line, before) {
			t.Error("the line was changed")
		}
		if err == nil && len(d.Text) > len(line) {
			t.Error("the text is longer than its record")
		}
	})
}
