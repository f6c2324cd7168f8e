package shard

import (
	"bytes"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/SaveTheRbtz/zstd-seekable-format-go/pkg"
	"github.com/klauspost/compress/zstd"

	"palimpsest/engine/fault"
)

func marshal(x Index) ([]byte, error) { return json.Marshal(x) }

func TestRoundTrip(t *testing.T) {
	for _, vocab := range []int{300, 1 << 16, 1<<16 + 1} {
		docs := corpus(200, 60, vocab, 1)
		docs = append(docs, corpus(1, 3000, vocab, 2)...) // longer than a shard
		docs[7][0] = int32(vocab - 1)
		ds := open(t, build(t, docs, small(vocab)))
		x := ds.Index()
		if ds.Documents() != int64(len(docs)) || len(x.Shards) < 4 || (x.DType == "uint16") != (vocab <= 1<<16) {
			t.Fatalf("vocab %d: %d documents, %d shards, %s", vocab, ds.Documents(), len(x.Shards), x.DType)
		}
		got, err := readAll(ds.dir)
		if err != nil {
			t.Fatal(err)
		}
		sameTokens(t, got, docs)
		for _, i := range []int{200, 0, 199, 57, 58, 120} {
			d, err := ds.Document(int64(i))
			if err != nil || d.ID != int64(i) || !slices.Equal(d.Tokens, docs[i]) {
				t.Fatalf("document %d: %v, %v", i, d.ID, err)
			}
		}
		_, err = ds.Document(201)
		wantKind(t, fault.Usage, err)
	}
}

// The files must open with any zstd and any reader of the public seekable format.
func TestFilesArePublicSeekableZstd(t *testing.T) {
	docs := corpus(50, 60, 300, 3)
	dir := build(t, docs, small(300))
	var want []byte
	for _, d := range docs {
		want = appendTokens(want, d, 2)
	}
	decoder, err := zstd.NewReader(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer decoder.Close()
	var all []byte
	for _, s := range open(t, dir).Index().Shards {
		text, err := os.ReadFile(filepath.Join(dir, s.Name+".tok.zst"))
		if err != nil {
			t.Fatal(err)
		}
		plain, err := decoder.DecodeAll(text, nil)
		if err != nil {
			t.Fatal(err)
		}
		r, err := seekable.NewReader(bytes.NewReader(text), decoder)
		if err != nil {
			t.Fatal(err)
		}
		part := make([]byte, 10)
		if _, err := r.ReadAt(part, 150); err != nil && err != io.EOF || !bytes.Equal(part, plain[150:160]) {
			t.Errorf("ReadAt gave %v, %v", part, err)
		}
		r.Close()
		all = append(all, plain...)
	}
	if !bytes.Equal(all, want) {
		t.Error("the decompressed shards are not the tokens")
	}
}

func TestSameInputGivesTheSameBytes(t *testing.T) {
	docs := corpus(100, 60, 300, 4)
	a, b := build(t, docs, small(300)), build(t, docs, small(300))
	entries, err := os.ReadDir(a)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		x, _ := os.ReadFile(filepath.Join(a, e.Name()))
		y, _ := os.ReadFile(filepath.Join(b, e.Name()))
		if !bytes.Equal(x, y) || strings.HasSuffix(e.Name(), temporary) || e.Name() == unfinishedName {
			t.Errorf("%s differs or is left over", e.Name())
		}
	}
}

func TestAppendRefuses(t *testing.T) {
	w, err := Create(filepath.Join(t.TempDir(), "set"), small(300))
	if err != nil {
		t.Fatal(err)
	}
	wantKind(t, fault.Data, w.Append(nil))
	wantKind(t, fault.Data, w.Append([]int32{1, 300}))
	err = w.Append([]int32{5, -1})
	wantKind(t, fault.Data, err)
	if !strings.Contains(err.Error(), "document 0, token 1: id -1") {
		t.Error(err)
	}
	if err := w.Append([]int32{1, 2}); err != nil { // none of these spoilt the writer
		t.Fatal(err)
	}
	if x, err := w.Close(); err != nil || x.Tokens != 2 {
		t.Fatal(x.Tokens, err)
	}
	wantKind(t, fault.Usage, w.Append([]int32{1}))
	_, err = w.Close()
	wantKind(t, fault.Usage, err)
}

func TestCreateRefuses(t *testing.T) {
	for name, edit := range map[string]func(o *WriterOptions){
		"vocab": func(o *WriterOptions) { o.Vocab = 0 }, "bos": func(o *WriterOptions) { o.BOS = 300 },
		"frame": func(o *WriterOptions) { o.FrameTokens = -1 }, "shard": func(o *WriterOptions) { o.ShardTokens = 1 },
		"text": func(o *WriterOptions) { o.Source = strings.Repeat("x", maxText+1) },
	} {
		o := small(300)
		edit(&o)
		if _, err := Create(t.TempDir(), o); fault.Of(err) != fault.Usage {
			t.Errorf("%s: %v", name, err)
		}
	}
	used := t.TempDir()
	if err := os.WriteFile(filepath.Join(used, "00000.tok.zst"), nil, 0o644); err != nil { // no marker: not ours to delete
		t.Fatal(err)
	}
	_, err := Create(used, small(300))
	wantKind(t, fault.Usage, err)
	_, err = Create(build(t, [][]int32{{1}}, small(300)), small(300))
	wantKind(t, fault.Usage, err)

	empty, err := Create(t.TempDir(), small(300))
	if err != nil {
		t.Fatal(err)
	}
	_, err = empty.Close()
	wantKind(t, fault.Data, err)
}

func TestUnfinishedBuildIsNoDataSet(t *testing.T) {
	dir := t.TempDir()
	w, err := Create(dir, small(300))
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range corpus(100, 60, 300, 5) {
		if err := w.Append(d); err != nil {
			t.Fatal(err)
		}
	}
	_, err = Open(dir)
	wantKind(t, fault.Data, err)
	again, err := Create(dir, small(300)) // as after a kill
	if err != nil {
		t.Fatal(err)
	}
	if err := again.Append([]int32{1}); err != nil {
		t.Fatal(err)
	}
	if err := again.Abort(); err != nil {
		t.Fatal(err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left over: %v, %v", left, err)
	}
}

func TestInvalidTextSurvivesTheIndex(t *testing.T) {
	o := small(300)
	o.Source = "a\xffb<&\u2028"
	ds := open(t, build(t, [][]int32{{1}}, o))
	if s := ds.Inspect().Shards[0].Source; s != "a\uFFFDb<&\u2028" {
		t.Errorf("source %q", s)
	}
}

func TestCheckTokenizer(t *testing.T) {
	ds := open(t, build(t, [][]int32{{1}}, small(300)))
	if err := ds.CheckTokenizer(testHash, 300); err != nil {
		t.Error(err)
	}
	wantKind(t, fault.Data, ds.CheckTokenizer(testHash, 301))
	wantKind(t, fault.Data, ds.CheckTokenizer("tokenizer-2", 300))
}

func TestInspectAndVerifyAgree(t *testing.T) {
	docs := corpus(100, 60, 300, 6)
	ds := open(t, build(t, docs, small(300)))
	s := ds.Inspect()
	var last, total int64
	r, err := ds.Verify(func(d, n int64) { last, total = d, n })
	if err != nil {
		t.Fatal(err)
	}
	if last != total || r.Tokens != s.Total.Tokens || r.Documents != 100 ||
		r.Bytes != s.Total.Bytes || r.Shards != len(s.Shards) || r.Files != 2*r.Shards {
		t.Errorf("report %+v, summary %+v, progress %d of %d", r, s.Total, last, total)
	}
	if s.Total.Ratio <= 0 || s.Total.MeanLength != float64(s.Total.Tokens)/100 {
		t.Errorf("total %+v", s.Total)
	}
}

func TestPlanes(t *testing.T) {
	docs := corpus(100, 60, 300, 7)
	dir := build(t, docs, small(300))
	before := open(t, dir).Index()
	fill := func(d Document) ([]byte, error) { return planeOf(d), nil }
	if _, err := AddPlane(dir, Plane{"loss", "test"}, fill); err != nil {
		t.Fatal(err)
	}
	zeros := func(d Document) ([]byte, error) { return make([]byte, len(d.Tokens)), nil }
	if _, err := AddPlane(dir, Plane{"bio", "other"}, zeros); err != nil {
		t.Fatal(err)
	}
	ds := open(t, dir)
	if x := ds.Index(); x.Planes[0].Name != "bio" || x.Planes[1] != (Plane{"loss", "test"}) ||
		!reflect.DeepEqual(x.Shards[1].Tok, before.Shards[1].Tok) {
		t.Errorf("planes %v", x.Planes)
	}
	if _, err := ds.Verify(nil); err != nil {
		t.Error(err)
	}
	s := stream(t, ds, StreamConfig{Epochs: 1, Shuffle: true, Seed: 3, Planes: []string{"loss", "bio"}}, Cursor{})
	got, err := drain(s, 1000)
	if err != nil || len(got) != 100 {
		t.Fatal(len(got), err)
	}
	for _, d := range got {
		if !bytes.Equal(d.Planes["loss"], planeOf(d)) || len(d.Planes["bio"]) != len(d.Tokens) {
			t.Fatalf("document %d: plane differs", d.ID)
		}
	}
	if d, err := ds.Document(42, "loss"); err != nil || !bytes.Equal(d.Planes["loss"], planeOf(d)) || len(d.Planes) != 1 {
		t.Error(d.Planes, err)
	}
	_, err = ds.Stream(StreamConfig{Planes: []string{"class"}}, Cursor{})
	wantKind(t, fault.Data, err)
	_, err = AddPlane(dir, Plane{"loss", "again"}, fill)
	wantKind(t, fault.Usage, err)
	_, err = AddPlane(dir, Plane{"../x", ""}, fill)
	wantKind(t, fault.Usage, err)
	_, err = AddPlane(dir, Plane{"sign", ""}, func(Document) ([]byte, error) { return []byte{1}, nil })
	wantKind(t, fault.Data, err)
	open(t, dir) // the failed attempt left nothing that matters
	if err := os.WriteFile(filepath.Join(dir, "00000.sign.zst"), []byte("cut off"), 0o644); err != nil {
		t.Fatal(err)
	}
	if stray := open(t, dir).Stray(); !slices.Equal(stray, []string{"00000.sign.zst"}) {
		t.Errorf("stray %v", stray)
	}
	if _, err := AddPlane(dir, Plane{"sign", ""}, fill); err != nil {
		t.Error(err)
	}
}
