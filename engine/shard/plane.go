package shard

import (
	"context"
	"slices"
	"strings"

	"palimpsest/engine/fault"
)

// AddPlane computes a plane for the data set in dir and commits it: fill returns one byte for each token of a document. The
// token files are not touched; the new files get their names first and the index is replaced last, so that an interrupted
// call leaves the old data set whole (and stray plane files, which the next call replaces). Data sets open elsewhere keep
// seeing the old index.
func AddPlane(dir string, plane Plane, fill func(d Document) ([]byte, error)) (Index, error) {
	ds, err := Open(dir)
	if err != nil {
		return Index{}, err
	}
	defer ds.Close()
	return ds.addPlane(osFolder{ds.root}, plane, fill)
}

func (ds *Dataset) addPlane(o folder, plane Plane, fill func(d Document) ([]byte, error)) (Index, error) {
	plane.Provenance = strings.ToValidUTF8(plane.Provenance, "\uFFFD")
	at, exists := slices.BinarySearchFunc(ds.index.Planes, plane.Name, func(p Plane, n string) int { return strings.Compare(p.Name, n) })
	switch {
	case !knownPlane(plane.Name):
		return Index{}, fault.Usage.Errorf("plane %q, expected one of %v", plane.Name, planeNames)
	case exists:
		return Index{}, fault.Usage.Errorf("data set %s has a plane %q already; "+
			"hint: build the data set again to replace it", ds.dir, plane.Name)
	case len(plane.Provenance) > maxText:
		return Index{}, fault.Usage.Errorf("plane %s: a provenance of %d bytes, at most %d", plane.Name, len(plane.Provenance), maxText)
	}
	names, err := o.Names()
	if err != nil {
		return Index{}, fault.Write.Errorf("data set %s: %w", ds.dir, err)
	}
	index := ds.index
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
		f, err := ds.writePlane(o, i, name, fill)
		if err != nil {
			for _, n := range made {
				o.Remove(n + temporary) // best effort: the error that stopped us is the one to report
			}
			return Index{}, fault.Of(err).Errorf("data set %s, plane %s: %w; hint: the data set is unchanged", ds.dir, plane.Name, err)
		}
		s.Planes = slices.Insert(slices.Clone(s.Planes), at, f)
	}
	for _, n := range made {
		if err := o.Rename(n+temporary, n); err != nil {
			return Index{}, fault.Write.Errorf("data set %s, plane %s: %w", ds.dir, plane.Name, err)
		}
	}
	if err := o.Sync(); err != nil {
		return Index{}, fault.Write.Errorf("data set %s, plane %s: %w", ds.dir, plane.Name, err)
	}
	text, err := encodeIndex(&index)
	if err != nil {
		return Index{}, err
	}
	if slices.Contains(names, indexName+temporary) {
		if err := o.Remove(indexName + temporary); err != nil {
			return Index{}, fault.Write.Errorf("data set %s: %w", ds.dir, err)
		}
	}
	if err := writeFile(o, indexName, text); err != nil {
		return Index{}, fault.Write.Errorf("data set %s, plane %s: %w", ds.dir, plane.Name, err)
	}
	return index, nil
}

// writePlane writes the plane file of one shard under its temporary name, frame by frame like the tokens.
func (ds *Dataset) writePlane(o folder, shard int, name string, fill func(d Document) ([]byte, error)) (_ File, err error) {
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
		documents, err := ds.frame(context.Background(), g, nil, nil)
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
