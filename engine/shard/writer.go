package shard

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

	"github.com/klauspost/compress/zstd"

	"palimpsest/engine/fault"
)

// A Writer builds a data set. It is not safe for concurrent use.
type Writer struct {
	dir     string
	folder  folder
	done    func() error // closes the folder
	options WriterOptions
	width   int
	zstd    *zstd.Encoder
	index   Index
	shard   Shard
	tok     *frameWriter // nil between shards
	len     *frameWriter
	planes  []*frameWriter // in the order of index.Planes; nil between shards
	tokens  []byte         // of the open frame
	lengths []byte
	values  [][]byte // of the planes, in the same order
	count   int      // tokens of the open frame
	written int64    // documents
	mark    string   // see Mark
	err     error    // the first failure; everything after repeats it
	closed  bool
}

// Create starts a data set in dir, which must be missing, empty, or the remains of an unfinished build (those are removed).
// Errors: fault.Usage for the options or a folder in use, fault.Write for the file system.
func Create(dir string, options WriterOptions) (*Writer, error) {
	if err := options.complete(); err != nil {
		return nil, err
	}
	o, err := makeFolder(dir)
	if err != nil {
		return nil, fault.Write.Errorf("data set %s: %w", dir, err)
	}
	w, err := createIn(dir, o, options)
	if err != nil {
		o.root.Close()
		return nil, err
	}
	w.done = o.root.Close
	return w, nil
}

func createIn(dir string, o folder, options WriterOptions) (*Writer, error) {
	if err := clearUnfinished(dir, o); err != nil {
		return nil, err
	}
	f, err := o.Create(unfinishedName)
	if err == nil {
		_, err = f.Write([]byte("A data set is being built here, or was left unfinished. Without index.json it cannot be used.\n"))
		if e := f.Close(); err == nil {
			err = e
		}
	}
	if err != nil {
		return nil, fault.Write.Errorf("data set %s: %w", dir, err)
	}
	return newWriter(dir, o, options)
}

// newWriter makes a writer without a look at the folder; the options are complete.
func newWriter(dir string, o folder, options WriterOptions) (*Writer, error) {
	z, err := newEncoder()
	if err != nil {
		return nil, err
	}
	return &Writer{
		dir: dir, folder: o, done: func() error { return nil }, options: options, zstd: z,
		width: dtypeWidth(dtypeOf(options.Vocab)), values: make([][]byte, len(options.Planes)),
		index: Index{
			Format: FormatVersion, CreatedBy: options.CreatedBy, DType: dtypeOf(options.Vocab), Shards: shardList{},
			Planes:    append(planeList{}, options.Planes...),
			Tokenizer: Tokenizer{options.TokenizerHash, options.Vocab, options.BOS, options.EOS},
		},
	}, nil
}

// clearUnfinished removes the remains of a build that never committed, and refuses anything else.
func clearUnfinished(dir string, o folder) error {
	names, err := o.Names()
	if err != nil {
		return fault.Write.Errorf("data set %s: %w", dir, err)
	}
	if len(names) == 0 {
		return nil
	}
	if slices.Contains(names, indexName) {
		return fault.Usage.Errorf("data set %s: it exists already; hint: choose another folder or delete this one", dir)
	}
	for _, n := range names {
		if !slices.Contains(names, unfinishedName) || !writtenName.MatchString(n) {
			return fault.Usage.Errorf("data set %s: the folder is not empty (%q); hint: choose a new folder", dir, n)
		}
	}
	for _, n := range names {
		if n == unfinishedName {
			continue // goes last: as long as anything else is left the folder is known to be ours
		}
		if err := o.Remove(n); err != nil {
			return fault.Write.Errorf("data set %s: %w", dir, err)
		}
	}
	if err := o.Remove(unfinishedName); err != nil {
		return fault.Write.Errorf("data set %s: %w", dir, err)
	}
	return nil
}

// Append adds one document to a data set without planes. An id outside the vocabulary, an empty document or one of more than
// MaxDocument tokens is a fault.Data error that leaves the writer usable; a fault.Write error does not.
func (w *Writer) Append(tokens []int32) error { return w.AppendWith(tokens, nil) }

// AppendWith is Append with one byte a token for each of WriterOptions.Planes, no more and no fewer planes; anything else is
// a fault.Usage error that leaves the writer usable.
func (w *Writer) AppendWith(tokens []int32, planes map[string][]byte) error {
	if w.err != nil {
		return w.err
	}
	if w.closed {
		return fault.Usage.Errorf("data set %s: append after close", w.dir)
	}
	if err := w.checkDocument(tokens, planes); err != nil {
		return err
	}
	w.tokens = appendTokens(w.tokens, tokens, w.width)
	w.lengths = binary.LittleEndian.AppendUint32(w.lengths, uint32(len(tokens)))
	for i, p := range w.index.Planes {
		w.values[i] = append(w.values[i], planes[p.Name]...)
	}
	w.count += len(tokens)
	w.shard.Documents++
	w.shard.Tokens += int64(len(tokens))
	w.written++
	if w.count >= w.options.FrameTokens {
		w.err = w.closeFrame()
	}
	if w.err == nil && w.shard.Tokens >= int64(w.options.ShardTokens) {
		w.err = w.closeShard()
	}
	return w.err
}

// checkDocument refuses what AppendWith cannot write, before anything is changed.
func (w *Writer) checkDocument(tokens []int32, planes map[string][]byte) error {
	if len(tokens) == 0 {
		return fault.Data.Errorf("data set %s: document %d is empty; hint: leave empty documents out", w.dir, w.written)
	}
	if len(tokens) > MaxDocument {
		return fault.Data.Errorf("data set %s: document %d has %d tokens, at most %d; "+
			"hint: split it", w.dir, w.written, len(tokens), MaxDocument)
	}
	for i, t := range tokens {
		if uint32(t) >= uint32(w.options.Vocab) {
			return fault.Data.Errorf("data set %s: document %d, token %d: id %d is outside the vocabulary of %d; "+
				"hint: the tokenizer does not fit the data set",
				w.dir, w.written, i, t, w.options.Vocab)
		}
	}
	for _, p := range w.index.Planes {
		v, ok := planes[p.Name]
		if !ok || len(v) != len(tokens) {
			return fault.Usage.Errorf("data set %s, document %d: plane %s has %d values for %d tokens", w.dir, w.written, p.Name, len(v), len(tokens))
		}
	}
	if len(planes) != len(w.index.Planes) {
		return fault.Usage.Errorf("data set %s, document %d: values for %d planes, the data set has %d", w.dir, w.written, len(planes), len(w.index.Planes))
	}
	return nil
}

// Describe replaces the provenance of a declared plane, at any time before Close: some of it (a table of entity types) is
// known only when all documents have been read.
func (w *Writer) Describe(plane, provenance string) error {
	i := slices.IndexFunc(w.index.Planes, func(p Plane) bool { return p.Name == plane })
	provenance = strings.ToValidUTF8(provenance, "\uFFFD")
	switch {
	case i < 0:
		return fault.Usage.Errorf("data set %s: no plane %q was declared", w.dir, plane)
	case w.closed:
		return fault.Usage.Errorf("data set %s: plane %s described after close", w.dir, plane)
	case len(provenance) > maxText:
		return fault.Data.Errorf("data set %s, plane %s: a provenance of %d bytes, at most %d", w.dir, plane, len(provenance), maxText)
	}
	w.index.Planes[i].Provenance = provenance
	return nil
}

func (w *Writer) closeFrame() error {
	if w.count == 0 {
		return nil
	}
	if w.tok == nil {
		if err := w.openShard(); err != nil {
			return err
		}
	}
	if err := w.tok.frame(w.tokens); err != nil {
		return w.wrap(err)
	}
	if err := w.len.frame(w.lengths); err != nil {
		return w.wrap(err)
	}
	for i, p := range w.planes {
		if err := p.frame(w.values[i]); err != nil {
			return w.wrap(err)
		}
		w.values[i] = w.values[i][:0]
	}
	w.shard.Frames++
	w.tokens, w.lengths, w.count = w.tokens[:0], w.lengths[:0], 0
	return nil
}

func (w *Writer) openShard() error {
	if len(w.index.Shards) == MaxShards {
		return fault.Usage.Errorf("data set %s: more than %d shards; hint: make shards larger", w.dir, MaxShards)
	}
	w.shard.Name = fmt.Sprintf("%05d", len(w.index.Shards))
	w.shard.Source = w.options.Source
	var err error
	if w.tok, err = newFrameWriter(w.folder, fileName(w.shard.Name, "tok"), w.zstd); err != nil {
		return w.wrap(err)
	}
	if w.len, err = newFrameWriter(w.folder, fileName(w.shard.Name, "len"), w.zstd); err != nil {
		return w.wrap(err)
	}
	for _, p := range w.index.Planes {
		f, err := newFrameWriter(w.folder, fileName(w.shard.Name, p.Name), w.zstd)
		if err != nil {
			return w.wrap(err)
		}
		w.planes = append(w.planes, f)
	}
	return nil
}

func (w *Writer) closeShard() error {
	if err := w.closeFrame(); err != nil {
		return err
	}
	if w.tok == nil {
		return nil
	}
	var err error
	if w.shard.Tok, err = w.tok.close(); err != nil {
		return w.wrap(err)
	}
	w.tok = nil
	w.shard.Len, err = w.len.close()
	w.len = nil
	if err != nil {
		return w.wrap(err)
	}
	w.shard.Planes = fileList{}
	for len(w.planes) > 0 {
		f, err := w.planes[0].close()
		w.planes = w.planes[1:]
		if err != nil {
			return w.wrap(err)
		}
		w.shard.Planes = append(w.shard.Planes, f)
	}
	w.planes = nil
	w.index.Shards = append(w.index.Shards, w.shard)
	w.shard = Shard{}
	if w.options.Recipe != "" {
		if err := w.writeJournal(); err != nil {
			return w.wrap(err)
		}
	}
	return nil
}

func (w *Writer) wrap(err error) error {
	hint := "nothing of it is usable, build it again"
	if w.options.Recipe != "" {
		hint = "its complete shards are kept when it is resumed"
	}
	return fault.Of(err).Errorf("data set %s: %w; hint: %s", w.dir, err, hint)
}

// Close commits the data set: all files get their names, then index.json appears. After an error there is no data set and
// Abort removes the remains.
func (w *Writer) Close() (Index, error) {
	if w.err == nil && w.closed {
		w.err = fault.Usage.Errorf("data set %s: closed twice", w.dir)
	}
	if w.err == nil && w.written == 0 {
		w.err = fault.Data.Errorf("data set %s: no documents; hint: the input is empty or was filtered away entirely", w.dir)
	}
	if w.err == nil {
		w.err = w.closeShard()
	}
	if w.err == nil {
		w.err = w.commit()
	}
	if w.err != nil {
		return Index{}, w.err
	}
	w.closed = true
	w.zstd.Close()
	return w.index, w.done()
}

// kinds names the files of a shard.
func (w *Writer) kinds() []string {
	kinds := []string{"tok", "len"}
	for _, p := range w.index.Planes {
		kinds = append(kinds, p.Name)
	}
	return kinds
}

func (w *Writer) commit() error {
	names, err := w.folder.Names()
	if err != nil {
		return w.wrap(fault.Write.Wrap(err))
	}
	for _, s := range w.index.Shards {
		for _, kind := range w.kinds() {
			name := fileName(s.Name, kind)
			if slices.Contains(names, name) {
				continue // an interrupted commit came so far
			}
			if err := w.folder.Rename(name+temporary, name); err != nil {
				return w.wrap(fault.Write.Wrap(err))
			}
		}
	}
	if err := w.folder.Sync(); err != nil {
		return w.wrap(fault.Write.Wrap(err))
	}
	text, err := encodeIndex(&w.index)
	if err != nil {
		return w.wrap(err)
	}
	if err := writeFile(w.folder, indexName, text); err != nil {
		return w.wrap(fault.Write.Wrap(err))
	}
	// The data set is committed; what stays behind is ignored by readers.
	for _, name := range []string{journalName, unfinishedName} {
		if name == journalName && w.options.Recipe == "" {
			continue
		}
		if err := w.folder.Remove(name); err != nil {
			return fault.Write.Errorf("data set %s is complete, but %s cannot be removed: %w", w.dir, name, err)
		}
	}
	return nil
}

// Abort removes everything written, unless Close has succeeded. It may follow any error.
func (w *Writer) Abort() error {
	if w.closed {
		return nil
	}
	w.release()
	err := clearUnfinished(w.dir, w.folder)
	if e := w.done(); err == nil {
		err = e
	}
	return err
}

// release closes what is open.
func (w *Writer) release() {
	w.closed = true
	for _, f := range append([]*frameWriter{w.tok, w.len}, w.planes...) {
		if f != nil {
			f.f.Close()
		}
	}
	w.zstd.Close()
}
