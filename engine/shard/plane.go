package shard

import (
	"context"
	"slices"
	"strings"

	"palimpsest/engine/fault"
)

// PlaneOptions say how a plane comes into a data set.
type PlaneOptions struct {
	Replace bool     // a plane of the name; without it one is an error
	Read    []string // planes that fill sees in its documents
}

// AddPlane computes a plane for the data set in dir and commits it: fill returns one byte for each token of a document. The
// token files are not touched; the new files get their names first and the index is replaced last, so that an interrupted
// call leaves the old data set whole (and stray plane files, which the next call replaces). Data sets open elsewhere keep
// seeing the old index.
func AddPlane(dir string, plane Plane, fill func(d Document) ([]byte, error)) (Index, error) {
	return PutPlane(dir, plane, PlaneOptions{}, fill)
}

// PutPlane is AddPlane with options. Replacing takes the old plane out of the index before the files change places, when all
// new ones are complete: interrupted between the two it leaves a whole data set without the plane. Data sets open elsewhere
// cannot read a plane that is replaced.
func PutPlane(dir string, plane Plane, options PlaneOptions, fill func(d Document) ([]byte, error)) (Index, error) {
	ds, err := Open(dir)
	if err != nil {
		return Index{}, err
	}
	defer ds.Close()
	return ds.putPlane(osFolder{ds.root}, plane, options, fill)
}

func (ds *Dataset) putPlane(o folder, plane Plane, options PlaneOptions, fill func(d Document) ([]byte, error)) (Index, error) {
	plane.Provenance = strings.ToValidUTF8(plane.Provenance, "\uFFFD")
	at, exists := slices.BinarySearchFunc(ds.index.Planes, plane.Name, func(p Plane, n string) int { return strings.Compare(p.Name, n) })
	switch {
	case !knownPlane(plane.Name):
		return Index{}, fault.Usage.Errorf("plane %q, expected one of %v", plane.Name, planeNames)
	case exists && !options.Replace:
		return Index{}, fault.Usage.Errorf("data set %s has a plane %q already; "+
			"hint: replace it, or build the data set again", ds.dir, plane.Name)
	case len(plane.Provenance) > maxText:
		return Index{}, fault.Usage.Errorf("plane %s: a provenance of %d bytes, at most %d", plane.Name, len(plane.Provenance), maxText)
	}
	names, err := o.Names()
	if err != nil {
		return Index{}, fault.Write.Errorf("data set %s: %w", ds.dir, err)
	}
	read, err := ds.planeIndices(options.Read)
	if err != nil {
		return Index{}, err
	}
	without := ds.index
	if exists {
		without = ds.index.withoutPlane(at)
	}
	index := without
	index.Planes = slices.Insert(slices.Clone(index.Planes), at, plane)
	index.Shards = slices.Clone(index.Shards)
	var made []string
	for i := range index.Shards {
		s := &index.Shards[i]
		name := fileName(s.Name, plane.Name)
		if slices.Contains(names, name+temporary) {
			if err := o.Remove(name + temporary); err != nil {
				return Index{}, fault.Write.Errorf("data set %s: %w", ds.dir, err)
			}
		}
		made = append(made, name)
		f, err := ds.writePlane(o, i, name, read, fill)
		if err != nil {
			for _, n := range made {
				o.Remove(n + temporary) // best effort: the error that stopped us is the one to report
			}
			return Index{}, fault.Of(err).Errorf("data set %s, plane %s: %w; hint: the data set is unchanged", ds.dir, plane.Name, err)
		}
		s.Planes = slices.Insert(slices.Clone(s.Planes), at, f)
	}
	if exists {
		if err := putIndex(o, &without); err != nil {
			return Index{}, fault.Of(err).Errorf("data set %s, plane %s: %w", ds.dir, plane.Name, err)
		}
	}
	for _, n := range made {
		if err := o.Rename(n+temporary, n); err != nil {
			return Index{}, fault.Write.Errorf("data set %s, plane %s: %w", ds.dir, plane.Name, err)
		}
	}
	if err := o.Sync(); err != nil {
		return Index{}, fault.Write.Errorf("data set %s, plane %s: %w", ds.dir, plane.Name, err)
	}
	if err := putIndex(o, &index); err != nil {
		return Index{}, fault.Of(err).Errorf("data set %s, plane %s: %w", ds.dir, plane.Name, err)
	}
	return index, nil
}

// putIndex replaces the index. What an interrupted call left behind is removed before.
func putIndex(o folder, index *Index) error {
	text, err := encodeIndex(index)
	if err != nil {
		return err
	}
	names, err := o.Names()
	if err == nil && slices.Contains(names, indexName+temporary) {
		err = o.Remove(indexName + temporary)
	}
	if err == nil {
		err = writeFile(o, indexName, text)
	}
	return fault.Write.Wrap(err)
}

// withoutPlane returns the index of the same data set without plane number at.
func (x Index) withoutPlane(at int) Index {
	x.Planes = slices.Delete(slices.Clone(x.Planes), at, at+1)
	x.Shards = slices.Clone(x.Shards)
	for i := range x.Shards {
		s := &x.Shards[i]
		s.Planes = slices.Delete(slices.Clone(s.Planes), at, at+1)
	}
	return x
}

// writePlane writes the plane file of one shard under its temporary name, frame by frame like the tokens.
func (ds *Dataset) writePlane(o folder, shard int, name string, read []int, fill func(d Document) ([]byte, error)) (_ File, err error) {
	z, err := newEncoder()
	if err != nil {
		return File{}, err
	}
	defer z.Close()
	w, err := newFrameWriter(o, name, z)
	if err != nil {
		return File{}, err
	}
	var values []byte
	for g := ds.frames[shard]; g < ds.frames[shard+1]; g++ {
		documents, err := ds.frame(context.Background(), g, nil, read)
		values = values[:0]
		for i := 0; err == nil && i < len(documents); i++ {
			var v []byte
			if v, err = fill(documents[i]); err == nil && len(v) != len(documents[i].Tokens) {
				err = fault.Data.Errorf("document %d: %d values for %d tokens", documents[i].ID, len(v), len(documents[i].Tokens))
			}
			values = append(values, v...)
		}
		if err == nil {
			err = w.frame(values)
		}
		if err != nil {
			w.f.Close()
			return File{}, err
		}
	}
	return w.close()
}
