package shard

import (
	"errors"
	"testing"

	"palimpsest/engine/fault"
)

// A faulty folder fails its operation number `at`, counting from 0, and everything after it, as a full disk does.
type faulty struct {
	folder
	count, at int
}

var errFull = errors.New("no space left on device")

func (f *faulty) fail() error {
	f.count++
	if f.count > f.at {
		return errFull
	}
	return nil
}

func (f *faulty) Create(name string) (file, error) {
	if err := f.fail(); err != nil {
		return nil, err
	}
	x, err := f.folder.Create(name)
	return &faultyFile{x, f}, err
}
func (f *faulty) Rename(from, to string) error {
	return errors.Join(f.fail(), f.onlyIfSound(func() error { return f.folder.Rename(from, to) }))
}
func (f *faulty) Remove(name string) error {
	return errors.Join(f.fail(), f.onlyIfSound(func() error { return f.folder.Remove(name) }))
}
func (f *faulty) Sync() error { return errors.Join(f.fail(), f.onlyIfSound(f.folder.Sync)) }

func (f *faulty) onlyIfSound(do func() error) error {
	if f.count > f.at {
		return nil // the failure is reported already
	}
	return do()
}

type faultyFile struct {
	file
	f *faulty
}

func (x *faultyFile) Write(b []byte) (int, error) {
	if err := x.f.fail(); err != nil {
		n, _ := x.file.Write(b[:len(b)/2])
		return n, err
	}
	return x.file.Write(b)
}
func (x *faultyFile) Sync() error { return errors.Join(x.f.fail(), x.file.Sync()) }

// Whatever operation of a build fails, there is no data set or the whole one, the error is a fault.Write, and the folder
// can be built again.
func TestBuildFailsCleanlyAtEveryOperation(t *testing.T) {
	docs := corpus(30, 60, 300, 27)
	options := withPlanes(small(300))
	if err := options.complete(); err != nil {
		t.Fatal(err)
	}
	committed := 0
	for at := 0; ; at++ {
		dir := t.TempDir()
		o, err := makeFolder(dir)
		if err != nil {
			t.Fatal(err)
		}
		f := &faulty{folder: o, at: at}
		w, err := createIn(dir, f, options)
		for i := 0; err == nil && i < len(docs); i++ {
			err = w.AppendWith(docs[i], planesOf(int64(i), docs[i]))
		}
		if err == nil {
			_, err = w.Close()
		}
		o.root.Close()
		got, bad := readAll(dir)
		if err == nil {
			if f.count > at || bad != nil {
				t.Fatalf("operation %d: success of %d operations; %v", at, f.count, bad)
			}
			if at < 20 || committed == 0 {
				t.Errorf("only %d operations, %d of them after the commit", at, committed)
			}
			return
		}
		wantKind(t, fault.Write, err)
		if bad == nil {
			sameTokens(t, got, docs)
			committed++
			continue
		}
		again, err := Create(dir, small(300))
		if err != nil {
			t.Fatalf("operation %d: cannot build again: %v (it was %v)", at, err, bad)
		}
		if err := again.Abort(); err != nil {
			t.Fatal(err)
		}
	}
}

// Whatever operation of AddPlane fails, the data set stays whole, and the plane can be added afterwards.
func TestAddPlaneFailsCleanlyAtEveryOperation(t *testing.T) {
	docs := corpus(30, 60, 300, 28)
	fill := func(d Document) ([]byte, error) { return planeOf(d), nil }
	for at := 0; ; at++ {
		dir := build(t, docs, small(300))
		ds := open(t, dir)
		f := &faulty{folder: osFolder{ds.root}, at: at}
		_, err := ds.putPlane(f, Plane{"loss", "test"}, PlaneOptions{}, fill)
		got, bad := readAll(dir)
		if bad != nil {
			t.Fatalf("operation %d: %v", at, bad)
		}
		sameTokens(t, got, docs)
		if err == nil {
			if at < 10 {
				t.Errorf("only %d operations", at)
			}
			return
		}
		wantKind(t, fault.Write, err)
		if len(open(t, dir).Index().Planes) == 0 {
			if _, err := AddPlane(dir, Plane{"loss", "test"}, fill); err != nil {
				t.Fatalf("operation %d: %v", at, err)
			}
		}
	}
}

// Whatever operation of replacing a plane fails, the data set is whole: with the old plane, the new one, or none.
func TestReplacingAPlaneFailsCleanlyAtEveryOperation(t *testing.T) {
	docs := corpus(12, 40, 300, 28)
	fill := func(d Document) ([]byte, error) { return planeOf(d), nil }
	inverted := func(d Document) ([]byte, error) { // sees the plane that it replaces
		v := make([]byte, len(d.Tokens))
		for i, old := range d.Planes["loss"] {
			v[i] = ^old
		}
		return v, nil
	}
	read := func(dir string) string {
		t.Helper()
		ds := open(t, dir)
		if _, err := ds.Verify(nil); err != nil {
			t.Fatal(err)
		}
		if len(ds.Index().Planes) == 0 {
			return "none"
		}
		for id := range ds.Documents() {
			d, err := ds.Document(id, "loss")
			if err != nil {
				t.Fatal(err)
			}
			want := planeOf(d)
			if ds.Index().Planes[0].Provenance == "new" {
				for i := range want {
					want[i] = ^want[i]
				}
			}
			if string(want) != string(d.Planes["loss"]) {
				t.Fatalf("document %d of the plane %q", id, ds.Index().Planes[0].Provenance)
			}
		}
		return ds.Index().Planes[0].Provenance
	}
	seen := map[string]int{}
	for at := 0; ; at++ {
		dir := build(t, docs, small(300))
		if _, err := AddPlane(dir, Plane{"loss", "old"}, fill); err != nil {
			t.Fatal(err)
		}
		ds := open(t, dir)
		f := &faulty{folder: osFolder{ds.root}, at: at}
		_, err := ds.putPlane(f, Plane{"loss", "new"}, PlaneOptions{Replace: true, Read: []string{"loss"}}, inverted)
		seen[read(dir)]++
		if err == nil {
			if seen["old"] < 10 || seen["none"] == 0 || seen["new"] == 0 || read(dir) != "new" {
				t.Errorf("%v", seen)
			}
			break
		}
		wantKind(t, fault.Write, err)
		if _, err := PutPlane(dir, Plane{"loss", "again"}, PlaneOptions{Replace: true}, fill); err != nil || read(dir) != "again" {
			t.Fatalf("operation %d: %v, %s", at, err, read(dir))
		}
	}
	dir := build(t, docs, small(300))
	_, err := PutPlane(dir, Plane{"loss", ""}, PlaneOptions{Read: []string{"bio"}}, fill)
	wantKind(t, fault.Data, err)
}
