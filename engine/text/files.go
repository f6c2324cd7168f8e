package text

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"palimpsest/engine/fault"
)

// find turns the paths into files.
func (r *Reader) find() error {
	for _, pattern := range r.o.Include {
		if _, err := filepath.Match(pattern, ""); err != nil {
			return fault.Usage.Errorf("include pattern %q: %w", pattern, err)
		}
	}
	if len(r.o.Paths) == 0 {
		return fault.Usage.Errorf("no input files; hint: name files, folders or patterns such as corpus/*.txt")
	}
	f := finder{r: r, seen: map[string]bool{}}
	for _, path := range r.o.Paths {
		if err := f.path(path); err != nil {
			return err
		}
	}
	if len(r.files) == 0 {
		return fault.Data.Errorf("no files to read in %s (%d not included by %q, %d hidden, %d links to folders, %d not regular)",
			strings.Join(r.o.Paths, ", "), r.found.Excluded, r.o.Include, r.found.Hidden, r.found.Links, r.found.Irregular)
	}
	return nil
}

type finder struct {
	r    *Reader
	seen map[string]bool // absolute paths of the files found
}

// path resolves one path of the options: what exists by that name, otherwise what the pattern matches.
func (f *finder) path(path string) error {
	if path == stdinPath {
		return f.stdin()
	}
	info, err := os.Stat(path)
	if err == nil {
		return f.add(path, info)
	}
	if !strings.ContainsAny(path, "*?[") {
		return fault.Data.Errorf("input: %w", err)
	}
	matches, err := filepath.Glob(path)
	if err != nil {
		return fault.Usage.Errorf("pattern %q: %w", path, err)
	}
	if len(matches) == 0 {
		return fault.Data.Errorf("input: no file matches %q", path)
	}
	for _, match := range matches { // sorted by Glob
		info, err := os.Stat(match)
		if err != nil {
			return fault.Data.Errorf("input: %w", err)
		}
		if err := f.add(match, info); err != nil {
			return err
		}
	}
	return nil
}

// stdin takes standard input for a file.
func (f *finder) stdin() error {
	switch {
	case f.seen[stdinPath]: // no absolute path
		f.r.found.Repeated++
		return nil
	case f.r.o.Format == "conll" && f.r.o.Scheme == "auto":
		return fault.Usage.Errorf("standard input can be read only once, so the scheme of its tags cannot be found out; hint: give the scheme")
	}
	f.seen[stdinPath] = true
	f.r.files = append(f.r.files, stdinPath)
	f.r.found.Files++
	f.r.unsized = true
	return nil
}

func (f *finder) add(path string, info fs.FileInfo) error {
	if info.IsDir() {
		return f.folder(path)
	}
	full, err := filepath.Abs(path)
	if err != nil {
		return fault.Data.Errorf("input %s: %w", path, err)
	}
	if f.seen[full] {
		f.r.found.Repeated++
		return nil
	}
	f.seen[full] = true
	f.r.files = append(f.r.files, path)
	f.r.found.Files++
	f.r.size += info.Size()
	return nil
}

func (f *finder) folder(dir string) error {
	entries, err := os.ReadDir(dir) // sorted
	if err != nil {
		return fault.Data.Errorf("input: %w", err)
	}
	found := &f.r.found
	for _, entry := range entries {
		path := filepath.Join(dir, entry.Name())
		mode := entry.Type()
		if mode&fs.ModeSymlink != 0 {
			mode = fs.ModeIrregular // unless it leads somewhere
			if info, err := os.Stat(path); err == nil {
				mode = info.Mode().Type()
			}
			if mode.IsDir() {
				found.Links++
				continue
			}
		}
		switch {
		case strings.HasPrefix(entry.Name(), "."):
			found.Hidden++
		case mode.IsDir():
			if err := f.folder(path); err != nil {
				return err
			}
		case !mode.IsRegular():
			found.Irregular++
		case !f.included(entry.Name()):
			found.Excluded++
		default:
			info, err := os.Stat(path)
			if err != nil {
				return fault.Data.Errorf("input: %w", err)
			}
			if err := f.add(path, info); err != nil {
				return err
			}
		}
	}
	return nil
}

// included says whether a base name passes Include, whose patterns have been checked.
func (f *finder) included(base string) bool {
	for _, pattern := range f.r.o.Include {
		if ok, err := filepath.Match(pattern, base); ok && err == nil {
			return true
		}
	}
	return len(f.r.o.Include) == 0
}
