package shard

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/klauspost/compress/zstd"

	"palimpsest/engine/fault"
)

// WriterOptions say what a data set is made of. The same options and documents give the same bytes.
type WriterOptions struct {
	TokenizerHash string
	Vocab         int   // ids are in [0, Vocab)
	BOS, EOS      int32 // -1: none
	FrameTokens   int   // a frame closes when it holds as many tokens; 0 = 64 Ki
	ShardTokens   int   // a shard closes when it holds as many tokens; 0 = 64 Mi
	Source        string
	CreatedBy     string // "" = "palimpsest"
}

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
	tokens  []byte // of the open frame
	lengths []byte
	count   int   // tokens of the open frame
	written int64 // documents
	err     error // the first failure; everything after repeats it
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

func (o *WriterOptions) complete() error {
	if o.FrameTokens == 0 {
		o.FrameTokens = 64 << 10
	}
	if o.ShardTokens == 0 {
		o.ShardTokens = 64 << 20
	}
	if o.CreatedBy == "" {
		o.CreatedBy = "palimpsest"
	}
	for _, s := range []*string{&o.TokenizerHash, &o.Source, &o.CreatedBy} {
		// The index hashes its own JSON, which must survive a round trip.
		*s = strings.ToValidUTF8(*s, "\uFFFD")
		if len(*s) > maxText {
			return fault.Usage.Errorf("data set: a text of %d bytes in the options, at most %d", len(*s), maxText)
		}
	}
	switch {
	case o.Vocab < 1 || o.Vocab > math.MaxInt32:
		return fault.Usage.Errorf("data set: a vocabulary of %d; hint: pass the tokenizer's size", o.Vocab)
	case o.BOS < -1 || int(o.BOS) >= o.Vocab || o.EOS < -1 || int(o.EOS) >= o.Vocab:
		return fault.Usage.Errorf("data set: bos %d or eos %d is outside the vocabulary of %d; "+
			"hint: -1 means none", o.BOS, o.EOS, o.Vocab)
	case o.FrameTokens < 1 || o.FrameTokens > MaxFrameTokens:
		return fault.Usage.Errorf("data set: frames of %d tokens, expected 1 to %d", o.FrameTokens, MaxFrameTokens)
	case o.ShardTokens < o.FrameTokens || o.ShardTokens > MaxShardTokens:
		return fault.Usage.Errorf("data set: shards of %d tokens, expected %d (a frame) to %d",
			o.ShardTokens, o.FrameTokens, int64(MaxShardTokens))
	}
	return nil
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
	z, err := newEncoder()
	if err != nil {
		return nil, err
	}
	return &Writer{
		dir: dir, folder: o, done: func() error { return nil }, options: options, zstd: z,
		width: dtypeWidth(dtypeOf(options.Vocab)),
		index: Index{
			Format: FormatVersion, CreatedBy: options.CreatedBy, DType: dtypeOf(options.Vocab), Planes: planeList{}, Shards: shardList{},
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

// Append adds one document. An id outside the vocabulary, an empty document or one of more than MaxDocument tokens is a
// fault.Data error that leaves the writer usable; a fault.Write error does not.
func (w *Writer) Append(tokens []int32) error {
	if w.err != nil {
		return w.err
	}
	if w.closed {
		return fault.Usage.Errorf("data set %s: append after close", w.dir)
	}
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
	w.tokens = appendTokens(w.tokens, tokens, w.width)
	w.lengths = binary.LittleEndian.AppendUint32(w.lengths, uint32(len(tokens)))
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

func (w *Writer) closeFrame() error {
	if w.count == 0 {
		return nil
	}
	if w.tok == nil {
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
	}
	if err := w.tok.frame(w.tokens); err != nil {
		return w.wrap(err)
	}
	if err := w.len.frame(w.lengths); err != nil {
		return w.wrap(err)
	}
	w.shard.Frames++
	w.tokens, w.lengths, w.count = w.tokens[:0], w.lengths[:0], 0
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
	w.index.Shards = append(w.index.Shards, w.shard)
	w.shard = Shard{}
	return nil
}

func (w *Writer) wrap(err error) error {
	return fault.Of(err).Errorf("data set %s: %w; hint: nothing of it is usable, build it again", w.dir, err)
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

func (w *Writer) commit() error {
	for _, s := range w.index.Shards {
		for _, kind := range []string{"tok", "len"} {
			name := fileName(s.Name, kind)
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
	// The data set is committed; a marker that stays behind is ignored by readers.
	if err := w.folder.Remove(unfinishedName); err != nil {
		return fault.Write.Errorf("data set %s is complete, but its marker %s cannot be removed: %w", w.dir, unfinishedName, err)
	}
	return nil
}

// Abort removes everything written, unless Close has succeeded. It may follow any error.
func (w *Writer) Abort() error {
	if w.closed {
		return nil
	}
	w.closed = true
	for _, f := range []*frameWriter{w.tok, w.len} {
		if f != nil {
			f.f.Close()
		}
	}
	w.zstd.Close()
	err := clearUnfinished(w.dir, w.folder)
	if e := w.done(); err == nil {
		err = e
	}
	return err
}
