package shard

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"palimpsest/engine/fault"
)

func withPlanes(o WriterOptions) WriterOptions {
	o.Planes = []Plane{{"loss", "from a template"}, {"bio", "tags"}}
	return o
}

// planesOf are two different planes of a document.
func planesOf(id int64, tokens []int32) map[string][]byte {
	loss := planeOf(Document{ID: id, Tokens: tokens})
	bio := make([]byte, len(tokens))
	for i, v := range loss {
		bio[i] = ^v
	}
	return map[string][]byte{"loss": loss, "bio": bio}
}

func TestPlanesWithTokens(t *testing.T) {
	docs := corpus(60, 60, 300, 61)
	dir := filepath.Join(t.TempDir(), "set")
	o := withPlanes(small(300))
	w, err := Create(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	for i, d := range docs {
		if err := w.AppendWith(d, planesOf(int64(i), d)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Describe("bio", `types "A" "B"`); err != nil {
		t.Fatal(err)
	}
	index, err := w.Close()
	if err != nil {
		t.Fatal(err)
	}
	if len(index.Shards) < 2 || o.Planes[0].Name != "loss" {
		t.Errorf("%d shards; the caller's planes are now %v", len(index.Shards), o.Planes)
	}
	equalPlanes := []Plane{{"bio", `types "A" "B"`}, {"loss", "from a template"}}
	for i, p := range index.Planes {
		if p != equalPlanes[i] {
			t.Errorf("plane %d is %v, want %v", i, p, equalPlanes[i])
		}
	}
	ds := open(t, dir)
	if _, err := ds.Verify(nil); err != nil {
		t.Error(err)
	}
	if len(ds.Stray()) != 0 {
		t.Errorf("stray %v", ds.Stray())
	}
	s := stream(t, ds, StreamConfig{Seed: 3, Shuffle: true, Epochs: 1, Window: 2, Planes: []string{"loss", "bio"}}, Cursor{})
	read, err := drain(s, 1<<30)
	if err != nil || len(read) != len(docs) {
		t.Fatalf("%d documents, %v", len(read), err)
	}
	for _, d := range read {
		for name, want := range planesOf(d.ID, docs[d.ID]) {
			if string(d.Planes[name]) != string(want) {
				t.Fatalf("document %d: plane %s differs", d.ID, name)
			}
		}
	}
	// A plane that is added later sits beside them, and the whole is what one pass would have written.
	if _, err := AddPlane(dir, Plane{"class", "later"}, func(d Document) ([]byte, error) { return planeOf(d), nil }); err != nil {
		t.Error(err)
	}
	if _, err := open(t, dir).Verify(nil); err != nil {
		t.Error(err)
	}
}

// Planes written with the tokens are the same files as planes added afterwards.
func TestPlanesAreTheSameEitherWay(t *testing.T) {
	docs := corpus(40, 60, 300, 62)
	later := build(t, docs, small(300))
	for _, p := range withPlanes(small(300)).Planes {
		_, err := AddPlane(later, p, func(d Document) ([]byte, error) { return planesOf(d.ID, d.Tokens)[p.Name], nil })
		if err != nil {
			t.Fatal(err)
		}
	}
	once := filepath.Join(t.TempDir(), "once")
	w, err := Create(once, withPlanes(small(300)))
	if err != nil {
		t.Fatal(err)
	}
	for i, d := range docs {
		if err := w.AppendWith(d, planesOf(int64(i), d)); err != nil {
			t.Fatal(err)
		}
	}
	index, err := w.Close()
	if err != nil {
		t.Fatal(err)
	}
	if got := open(t, later).Index(); got.Hash != index.Hash {
		t.Errorf("index %016x, in one pass %016x", uint64(got.Hash), uint64(index.Hash))
	}
}

func TestPlaneErrors(t *testing.T) {
	for _, planes := range [][]Plane{{{"nonsense", ""}}, {{"loss", ""}, {"loss", ""}}, {{"loss", strings.Repeat("x", maxText+1)}}} {
		o := small(300)
		o.Planes = planes
		_, err := Create(filepath.Join(t.TempDir(), "set"), o)
		wantKind(t, fault.Usage, err)
	}
	dir := filepath.Join(t.TempDir(), "set")
	w, err := Create(dir, withPlanes(small(300)))
	if err != nil {
		t.Fatal(err)
	}
	tokens := []int32{1, 2, 3}
	wantKind(t, fault.Usage, w.Append(tokens))
	wantKind(t, fault.Usage, w.AppendWith(tokens, map[string][]byte{"loss": {1, 1, 1}}))
	wantKind(t, fault.Usage, w.AppendWith(tokens, map[string][]byte{"loss": {1, 1, 1}, "bio": {1, 1}}))
	wantKind(t, fault.Usage, w.AppendWith(tokens, map[string][]byte{"loss": {1, 1, 1}, "bio": {1, 1, 1}, "sign": {1, 1, 1}}))
	wantKind(t, fault.Data, w.AppendWith([]int32{300}, map[string][]byte{"loss": {1}, "bio": {1}}))
	wantKind(t, fault.Usage, w.Describe("sign", ""))
	wantKind(t, fault.Data, w.Describe("bio", strings.Repeat("x", maxText+1)))
	if err := w.AppendWith(tokens, planesOf(0, tokens)); err != nil { // none of these broke the writer
		t.Error(err)
	}
	if w.closeFrame() != nil || w.Abort() != nil {
		t.Error("abort after a frame with planes")
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left after abort: %v, %v", left, err)
	}
}
