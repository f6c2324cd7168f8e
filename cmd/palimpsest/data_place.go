package main

import (
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"palimpsest/engine/fault"
	"palimpsest/engine/shard"
	"palimpsest/engine/text"
)

// progressFile is what package shard keeps beside the complete shards of a build that can be resumed.
const progressFile = "progress.json"

// place is where a data set is built: in its folder, or beside one that it replaces when it is complete.
type place struct {
	dir, out string
}

func choosePlace(out string, force bool) (place, error) {
	p := place{dir: out, out: out}
	if exists(filepath.Join(out, "index.json")) {
		if !force {
			return p, fault.Usage.Errorf("%s holds a data set already; hint: choose another --out, or add --force to replace it", out)
		}
		real, err := filepath.EvalSymlinks(out)
		if err != nil {
			return p, fault.Write.Wrap(err)
		}
		if real, err = filepath.Abs(real); err != nil {
			return p, fault.Write.Wrap(err)
		}
		p.out, p.dir = real, real+".building"
	}
	if err := clearTokenizer(p.dir); err != nil {
		return p, err
	}
	// What an interrupted replacement left complete but never moved into place.
	if p.dir != p.out && exists(filepath.Join(p.dir, "index.json")) {
		return p, fault.Write.Wrap(os.RemoveAll(p.dir))
	}
	return p, nil
}

// clearTokenizer removes the tokenizer from an unfinished build, whose other files package shard removes itself.
func clearTokenizer(dir string) error {
	if exists(filepath.Join(dir, "index.json")) || !exists(filepath.Join(dir, "UNFINISHED")) {
		return nil
	}
	names, err := filepath.Glob(filepath.Join(dir, tokenizerFile+".tmp-*"))
	if err != nil {
		names = nil // the folder's name is no pattern that Glob reads; what it misses is refused by name later
	}
	for _, name := range append(names, filepath.Join(dir, tokenizerFile)) {
		if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fault.Write.Wrap(err)
		}
	}
	return nil
}

// create starts a data set, over the remains of an unfinished one.
func (p place) create(o shard.WriterOptions) (*shard.Writer, error) { return shard.Create(p.dir, o) }

// resume goes on with an unfinished build of the same recipe, or starts one. With force, a build that it cannot go on with is
// removed, and anew says why.
func (p place) resume(o shard.WriterOptions, force bool) (w *shard.Writer, from text.Mark, anew string, err error) {
	if old, ok := oldRecipe(p.dir); ok && old != o.Recipe {
		difference := recipeDifference(old, o.Recipe)
		if !force {
			return nil, from, "", fault.Usage.Errorf("%s holds an interrupted build with other settings: %s; hint: give the same settings to go on "+
				"with it, or add --force to start anew", p.dir, difference)
		}
		w, err = p.create(o)
		return w, from, "an interrupted build with other settings was removed: " + difference, err
	}
	w, mark, err := shard.Resume(p.dir, o)
	if err == nil {
		if from, err = text.ParseMark(mark); err == nil {
			return w, from, "", nil
		}
		err = errors.Join(err, w.Leave())
	}
	if !exists(filepath.Join(p.dir, progressFile)) {
		return nil, from, "", err
	}
	if !force {
		return nil, from, "", fault.Of(err).Errorf("%w (--force starts anew)", err)
	}
	cause := err
	w, err = p.create(o)
	return w, text.Mark{}, "an interrupted build was removed: " + cause.Error(), err
}

// abandon ends a build that failed or was stopped. Complete shards of one that can be resumed are kept; otherwise all is
// removed.
func (p place) abandon(w *shard.Writer) (kept bool, err error) {
	err = clearTokenizer(p.dir)
	if exists(filepath.Join(p.dir, progressFile)) {
		return true, errors.Join(err, w.Leave())
	}
	return false, errors.Join(err, w.Abort())
}

// commit swaps a data set that was built beside the one it replaces into place.
func (p place) commit() error {
	if p.dir == p.out {
		return nil
	}
	old := p.out + ".replaced"
	err := os.RemoveAll(old)
	if err == nil {
		err = os.Rename(p.out, old)
	}
	if err == nil {
		err = os.Rename(p.dir, p.out)
	}
	if err != nil {
		return fault.Write.Errorf("the new data set is complete in %s, but cannot take its place: %w", p.dir, err)
	}
	if err := os.RemoveAll(old); err != nil {
		return fault.Write.Errorf("the new data set is in place, but the old one in %s cannot be removed: %w", old, err)
	}
	return nil
}

// oldRecipe reads the recipe of an unfinished build, to tell what is different. Package shard checks the whole file; what
// cannot be read here is left to its judgement.
func oldRecipe(dir string) (string, bool) {
	if exists(filepath.Join(dir, "index.json")) {
		return "", false
	}
	f, err := os.Open(filepath.Join(dir, progressFile))
	if err != nil {
		return "", false
	}
	defer f.Close()
	var journal struct {
		Recipe string `json:"recipe"`
	}
	const most = 256 << 20
	if err := json.NewDecoder(io.LimitReader(f, most)).Decode(&journal); err != nil || journal.Recipe == "" {
		return "", false
	}
	return journal.Recipe, true
}
