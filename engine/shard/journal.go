package shard

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"

	"github.com/cespare/xxhash/v2"

	"palimpsest/engine/fault"
)

// journalName is a file beside the shards of an unfinished build that can be resumed. It is replaced whole each time a shard
// is complete and on the device, so what it lists is there.
const journalName = "progress.json"

// A journal is what Resume needs to know.
type journal struct {
	Format      int    `json:"format"`
	Recipe      string `json:"recipe"`
	FrameTokens int    `json:"frame_tokens"`
	ShardTokens int    `json:"shard_tokens"`
	Mark        string `json:"mark"`
	Index       Index  `json:"index"` // of the complete shards
	Hash        Sum    `json:"xxh64"` // of the compact JSON of this structure with a zero here
}

func (j journal) sum() (Sum, error) {
	j.Hash = 0
	b, err := json.Marshal(j)
	return Sum(xxhash.Sum64(b)), err
}

// writeJournal records the complete shards and the mark.
func (w *Writer) writeJournal() error {
	j := journal{FormatVersion, w.options.Recipe, w.options.FrameTokens, w.options.ShardTokens, w.mark, w.index, 0}
	if _, err := encodeIndex(&j.Index); err != nil {
		return err
	}
	var err error
	if j.Hash, err = j.sum(); err != nil {
		return err
	}
	text, err := json.Marshal(j)
	if err != nil {
		return err
	}
	return fault.Write.Wrap(writeFile(w.folder, journalName, append(text, '\n')))
}

// parseJournal checks a journal by itself.
func parseJournal(text []byte) (journal, error) {
	var j journal
	if len(text) > maxIndexBytes {
		return j, fmt.Errorf("%d bytes, at most %d", len(text), maxIndexBytes)
	}
	if err := json.Unmarshal(text, &j); err != nil {
		return j, err
	}
	if j.Format != FormatVersion || j.Index.Format != FormatVersion {
		return j, fmt.Errorf("format version %d, expected %d", j.Format, FormatVersion)
	}
	sum, err := j.sum()
	if err != nil {
		return j, err
	}
	if sum != j.Hash {
		return j, fmt.Errorf("xxh64 is %016x, the content hashes to %016x", uint64(j.Hash), uint64(sum))
	}
	return j, j.Index.check()
}

// Mark sets what Resume gives back when the build ends before Close: the caller's note of how far the input was read when the
// last complete shard was. Set it before the AppendWith that it includes. At most 4096 bytes of UTF-8 (fault.Usage).
func (w *Writer) Mark(mark string) error {
	if len(mark) > maxText {
		return fault.Usage.Errorf("data set %s: a mark of %d bytes, at most %d", w.dir, len(mark), maxText)
	}
	w.mark = mark
	return nil
}

// Written returns the number of documents so far, those of a resumed build included.
func (w *Writer) Written() int64 { return w.written }

// Leave ends the work without Close and keeps the complete shards of a build that can be resumed. It may follow any error.
func (w *Writer) Leave() error {
	if w.closed {
		return nil
	}
	w.release()
	return w.done()
}

// Resume goes on with the build that was left in dir, or starts one like Create when nothing complete is there. The options,
// the Recipe above all, must be those of the build (fault.Usage). Files of complete shards are read and compared with their
// hashes (fault.Data); everything else is removed. mark is the last Mark before the last complete shard, "" for a new build;
// the documents after it must be appended again, and then the data set is the same, bit for bit, as without interruption.
func Resume(dir string, options WriterOptions) (w *Writer, mark string, err error) {
	if options.Recipe == "" {
		return nil, "", fault.Usage.Errorf("data set %s: only a build with a recipe can be resumed", dir)
	}
	j, found, err := readJournal(dir)
	if err != nil {
		return nil, "", err
	}
	if !found {
		w, err := Create(dir, options)
		return w, "", err
	}
	if err := options.complete(); err != nil {
		return nil, "", err
	}
	if err := j.fits(dir, options); err != nil {
		return nil, "", err
	}
	o, err := makeFolder(dir)
	if err != nil {
		return nil, "", fault.Write.Errorf("data set %s: %w", dir, err)
	}
	w, err = newWriter(dir, o, options)
	if err == nil {
		w.index.Shards, w.written, w.mark = j.Index.Shards, j.Index.Documents, j.Mark
		err = w.recover(o)
	}
	if err != nil {
		o.root.Close()
		return nil, "", err
	}
	w.done = o.root.Close
	return w, j.Mark, nil
}

// readJournal finds and checks a journal. A complete data set has none, whatever lies there.
func readJournal(dir string) (journal, bool, error) {
	root, err := os.OpenRoot(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return journal{}, false, nil
	}
	if err != nil {
		return journal{}, false, fault.Write.Errorf("data set %s: %w", dir, err)
	}
	defer root.Close()
	if _, err := root.Lstat(indexName); err == nil {
		return journal{}, false, nil
	}
	info, err := root.Lstat(journalName)
	if errors.Is(err, fs.ErrNotExist) {
		return journal{}, false, nil
	}
	damaged := func(err error) (journal, bool, error) {
		return journal{}, false, fault.Data.Errorf("%s/%s: %w; hint: it cannot be resumed, build it from the start", dir, journalName, err)
	}
	if err != nil {
		return damaged(err)
	}
	if !info.Mode().IsRegular() || info.Size() > maxIndexBytes {
		return damaged(fmt.Errorf("%s of %d bytes, expected a plain file of at most %d", info.Mode().Type(), info.Size(), maxIndexBytes))
	}
	text, err := root.ReadFile(journalName)
	if err != nil {
		return damaged(err)
	}
	j, err := parseJournal(text)
	if err != nil {
		return damaged(err)
	}
	return j, true, nil
}

// fits compares a journal with the options of the build that shall go on.
func (j *journal) fits(dir string, o WriterOptions) error {
	x := &j.Index
	tokenizer := Tokenizer{o.TokenizerHash, o.Vocab, o.BOS, o.EOS}
	for _, c := range []struct {
		what     string
		was, now any
	}{
		{"tokenizer", x.Tokenizer, tokenizer},
		{"recipe", j.Recipe, o.Recipe},
		{"tokens of a frame", j.FrameTokens, o.FrameTokens},
		{"tokens of a shard", j.ShardTokens, o.ShardTokens},
		{"version", x.CreatedBy, o.CreatedBy},
	} {
		if c.was != c.now {
			return fault.Usage.Errorf("data set %s: it was begun with another %s: %v, now %v; hint: resume with the same settings, or build it "+
				"from the start", dir, c.what, c.was, c.now)
		}
	}
	names := func(p Plane) string { return p.Name }
	if was, now := mapped(x.Planes, names), mapped(o.Planes, names); !slices.Equal(was, now) {
		return fault.Usage.Errorf("data set %s: it was begun with planes %v, now %v; hint: build it from the start", dir, was, now)
	}
	return nil
}

func mapped[T, U any](list []T, f func(T) U) []U {
	var out []U
	for _, v := range list {
		out = append(out, f(v))
	}
	return out
}

// recover checks the files of complete shards, which have their names or, if the commit did not come so far, the temporary
// ones, and removes what is left of others.
func (w *Writer) recover(o osFolder) error {
	names, err := o.Names()
	if err != nil {
		return fault.Write.Errorf("data set %s: %w", w.dir, err)
	}
	known := map[string]bool{unfinishedName: true, journalName: true}
	for i := range w.index.Shards {
		s := &w.index.Shards[i]
		if s.Name != fmt.Sprintf("%05d", i) {
			return fault.Data.Errorf("%s/%s: shard %d is called %.20q; hint: it cannot be resumed, build it from the start", w.dir, journalName, i, s.Name)
		}
		files := append([]File{s.Tok, s.Len}, s.Planes...)
		for k, kind := range w.kinds() {
			name := fileName(s.Name, kind)
			if !slices.Contains(names, name) {
				name += temporary
			}
			known[name] = true
			m := &member{root: o.root, dir: w.dir, name: name, File: files[k]}
			f, _, err := m.open()
			if err != nil {
				return err
			}
			err = m.checkHash(context.Background(), f, nil)
			f.Close()
			if err != nil {
				return err
			}
		}
	}
	for _, n := range names {
		if !known[n] && !writtenName.MatchString(n) {
			return fault.Usage.Errorf("data set %s: %q does not belong there; hint: move it away", w.dir, n)
		}
	}
	for _, n := range names {
		if known[n] {
			continue
		}
		if err := o.Remove(n); err != nil {
			return fault.Write.Errorf("data set %s: %w", w.dir, err)
		}
	}
	return nil
}
