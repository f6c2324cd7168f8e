package shard

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"palimpsest/engine/fault"
)

// resumable options: three or four shards of about six frames.
func resumable(t testing.TB) WriterOptions {
	t.Helper()
	o := withPlanes(small(300))
	o.ShardTokens, o.Recipe = 600, "lines of a.txt"
	if err := o.complete(); err != nil {
		t.Fatal(err)
	}
	return o
}

// appendFrom appends documents and marks each with the number of those read.
func appendFrom(w *Writer, docs [][]int32, from int) (err error) {
	for i := from; err == nil && i < len(docs); i++ {
		if err = w.Mark(strconv.Itoa(i + 1)); err == nil {
			err = w.AppendWith(docs[i], planesOf(int64(i), docs[i]))
		}
	}
	return err
}

// resumeAt goes on with a build and returns the finished index and where it went on.
func resumeAt(t *testing.T, dir string, docs [][]int32) (Index, int) {
	t.Helper()
	w, mark, err := Resume(dir, resumable(t))
	if err != nil {
		t.Fatal(err)
	}
	from := 0
	if mark != "" {
		if from, err = strconv.Atoi(mark); err != nil {
			t.Fatal(err)
		}
	}
	if w.Written() != int64(from) {
		t.Errorf("%d documents are written, the mark is %q", w.Written(), mark)
	}
	if err := appendFrom(w, docs, from); err != nil {
		t.Fatal(err)
	}
	index, err := w.Close()
	if err != nil {
		t.Fatal(err)
	}
	return index, from
}

func TestResume(t *testing.T) {
	docs := corpus(80, 60, 300, 65)
	straight, from := resumeAt(t, filepath.Join(t.TempDir(), "set"), docs)
	if from != 0 || len(straight.Shards) < 3 {
		t.Fatalf("%d shards, begun at %d", len(straight.Shards), from)
	}
	o := resumable(t)
	o.Recipe = ""
	dir := filepath.Join(t.TempDir(), "plain")
	w, err := Create(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	if err := appendFrom(w, docs, 0); err != nil {
		t.Fatal(err)
	}
	if plain, err := w.Close(); err != nil || plain.Hash != straight.Hash {
		t.Errorf("without a recipe the data set is another one: %v", err)
	}
	most := 0
	for _, stop := range []int{0, 1, 10, 40, 79, 80} {
		dir := filepath.Join(t.TempDir(), "set")
		w, _, err := Resume(dir, resumable(t))
		if err != nil {
			t.Fatal(err)
		}
		if err := appendFrom(w, docs[:stop], 0); err != nil {
			t.Fatal(err)
		}
		if err := w.Leave(); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(dir); fault.Of(err) != fault.Data {
			t.Errorf("an unfinished build opens: %v", err)
		}
		index, from := resumeAt(t, dir, docs)
		if index.Hash != straight.Hash {
			t.Errorf("stopped at %d: another data set", stop)
		}
		if from > stop {
			t.Errorf("stopped at %d, went on at %d", stop, from)
		}
		most = max(most, from)
		ds := open(t, dir)
		if _, err := ds.Verify(nil); err != nil || len(ds.Stray()) > 0 {
			t.Errorf("%v, stray %v", err, ds.Stray())
		}
		if left, err := filepath.Glob(filepath.Join(dir, "[Up]*")); err != nil || len(left) > 0 {
			t.Errorf("left behind: %v, %v", left, err)
		}
		_, _, err = Resume(dir, resumable(t))
		wantKind(t, fault.Usage, err) // complete
	}
	if most < 40 {
		t.Errorf("never went on later than at document %d", most)
	}
}

// Whatever operation a build dies at, it can be resumed to the same data set.
func TestResumeAfterEveryOperation(t *testing.T) {
	docs := corpus(24, 60, 300, 66)
	straight, _ := resumeAt(t, filepath.Join(t.TempDir(), "set"), docs)
	resumed := 0
	for at := 0; ; at++ {
		dir := t.TempDir()
		o, err := makeFolder(dir)
		if err != nil {
			t.Fatal(err)
		}
		w, err := createIn(dir, &faulty{folder: o, at: at}, resumable(t))
		if err == nil {
			err = appendFrom(w, docs, 0)
			if err == nil {
				_, err = w.Close()
			}
		}
		o.root.Close()
		if err == nil {
			if resumed < 10 {
				t.Errorf("of %d operations only %d left something to go on with", at, resumed)
			}
			return
		}
		wantKind(t, fault.Write, err)
		if ds, err := Open(dir); err == nil { // committed before the failure
			if ds.Index().Hash != straight.Hash {
				t.Errorf("operation %d: another data set", at)
			}
			ds.Close()
			continue
		}
		index, from := resumeAt(t, dir, docs)
		if index.Hash != straight.Hash {
			t.Errorf("operation %d: resumed at %d, another data set", at, from)
		}
		if from > 0 {
			resumed++
		}
	}
}

func TestResumeErrors(t *testing.T) {
	docs := corpus(60, 60, 300, 67)
	left := func() string {
		dir := filepath.Join(t.TempDir(), "set")
		w, _, err := Resume(dir, resumable(t))
		if err != nil {
			t.Fatal(err)
		}
		if err := appendFrom(w, docs, 0); err != nil {
			t.Fatal(err)
		}
		if err := w.Leave(); err != nil {
			t.Fatal(err)
		}
		return dir
	}
	dir := left()
	for what, change := range map[string]func(o *WriterOptions){
		"tokenizer":         func(o *WriterOptions) { o.TokenizerHash = "other" },
		"recipe":            func(o *WriterOptions) { o.Recipe = "lines of b.txt" },
		"tokens of a frame": func(o *WriterOptions) { o.FrameTokens = 99 },
		"tokens of a shard": func(o *WriterOptions) { o.ShardTokens = 601 },
		"version":           func(o *WriterOptions) { o.CreatedBy = "x" },
		"planes":            func(o *WriterOptions) { o.Planes = o.Planes[:1] },
		"only a build with": func(o *WriterOptions) { o.Recipe = "" },
	} {
		o := resumable(t)
		change(&o)
		_, _, err := Resume(dir, o)
		wantKind(t, fault.Usage, err)
		if err != nil && !strings.Contains(err.Error(), what) {
			t.Errorf("%v, want %q", err, what)
		}
	}
	for what, damage := range map[string]func(dir string) error{
		"xxh64": func(dir string) error {
			text, err := os.ReadFile(filepath.Join(dir, "00001.bio.zst.tmp"))
			if err == nil {
				text[len(text)/2] ^= 1
				err = os.WriteFile(filepath.Join(dir, "00001.bio.zst.tmp"), text, 0o644)
			}
			return err
		},
		"missing": func(dir string) error { return os.Remove(filepath.Join(dir, "00000.len.zst.tmp")) },
		"hashes to": func(dir string) error {
			text, err := os.ReadFile(filepath.Join(dir, journalName))
			if err == nil {
				err = os.WriteFile(filepath.Join(dir, journalName), []byte(strings.Replace(string(text), `"mark":"`, `"mark":"1`, 1)), 0o644)
			}
			return err
		},
		"cannot be resumed": func(dir string) error { return os.Truncate(filepath.Join(dir, journalName), 100) },
	} {
		dir := left()
		if err := damage(dir); err != nil {
			t.Fatal(err)
		}
		_, _, err := Resume(dir, resumable(t))
		wantKind(t, fault.Data, err)
		if err != nil && !strings.Contains(err.Error(), what) {
			t.Errorf("%v, want %q", err, what)
		}
		w, err := Create(dir, resumable(t)) // from the start is always possible
		if err != nil {
			t.Fatal(err)
		}
		if err := w.Abort(); err != nil {
			t.Error(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "mine.txt"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	_, _, err := Resume(dir, resumable(t))
	wantKind(t, fault.Usage, err)
}

// What parseJournal accepts has a sound index.
func FuzzParseJournal(f *testing.F) {
	w, _, err := Resume(filepath.Join(f.TempDir(), "set"), resumable(f))
	if err != nil {
		f.Fatal(err)
	}
	if err := appendFrom(w, corpus(30, 60, 300, 68), 0); err != nil {
		f.Fatal(err)
	}
	if err := w.Leave(); err != nil {
		f.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(w.dir, journalName))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Fuzz(func(t *testing.T, text []byte) {
		var draft journal // a right hash leads on to the checks behind it
		if json.Unmarshal(text, &draft) == nil {
			var err error
			if draft.Hash, err = draft.sum(); err != nil {
				t.Fatal(err)
			}
			if text, err = json.Marshal(draft); err != nil {
				t.Fatal(err)
			}
		}
		if j, err := parseJournal(text); err == nil && (j.Index.Documents < 1 || len(j.Index.Shards) < 1) {
			t.Fatalf("%+v", j)
		}
	})
}
