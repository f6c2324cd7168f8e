package shard

import (
	"fmt"
	"io"
	"os"

	"palimpsest/engine/fault"
)

// binBuffer is the size of the reads and writes of token files, in bytes; a multiple of every width.
const binBuffer = 256 << 10

// ImportOptions say how a stream of tokens becomes documents.
type ImportOptions struct {
	Format BinFormat
	Width  int // bytes of a token, 2 or 4; NanoGPT only, the header of LLMC tells it
	// Separator is the id between documents, -1 for none. It stays part of a document: of the one that it begins when
	// Leading (llm.c's scripts), otherwise of the one that it ends (nanoGPT's). Text before the first leading separator and
	// after the last trailing one is a document too.
	Separator int32
	Leading   bool
	Block     int // tokens of a document when there is no separator; the last one may be shorter
}

// ImportStats count what was imported.
type ImportStats struct {
	BinFile
	Documents int64
	Longest   int   // tokens of the longest document
	Bare      int64 // documents of nothing but the separator
}

// ImportBin appends the documents of one file of tokens to a data set that has no planes. It holds one document and a buffer
// in memory. The file's size and header, and every id against the Writer's vocabulary, are checked (fault.Data, with the
// byte offset); options that make no sense are a fault.Usage. It may be called again with the next file; a document never
// reaches from one file into the next.
func ImportBin(w *Writer, path string, o ImportOptions) (ImportStats, error) {
	if err := o.check(w); err != nil {
		return ImportStats{}, err
	}
	f, err := os.Open(path)
	if err != nil {
		return ImportStats{}, fault.Data.Errorf("tokens: %w", err)
	}
	defer f.Close()
	file, err := inspectBin(f, path, o.Format, o.Width)
	if err != nil {
		return ImportStats{}, err
	}
	i := binImport{w: w, o: o, path: path, stats: ImportStats{BinFile: file}}
	err = i.run(f)
	return i.stats, err
}

func (o *ImportOptions) check(w *Writer) error {
	vocab := w.options.Vocab
	switch {
	case o.Format != LLMC && o.Format != NanoGPT:
		return fault.Usage.Errorf("import: format %q, expected %s or %s", o.Format, LLMC, NanoGPT)
	case o.Format == NanoGPT && o.Width != 2 && o.Width != 4:
		return fault.Usage.Errorf("import: tokens of %d bytes, expected 2 or 4; hint: nanoGPT's prepare.py writes 2", o.Width)
	case o.Format == LLMC && o.Width != 0:
		return fault.Usage.Errorf("import: the header of %s tells the width; hint: leave it out", LLMC)
	case o.Separator < -1 || int(o.Separator) >= vocab:
		return fault.Usage.Errorf("import: separator %d is outside the vocabulary of %d; hint: -1 means none", o.Separator, vocab)
	case o.Separator < 0 && (o.Block < 1 || o.Block > MaxDocument):
		return fault.Usage.Errorf("import: without a separator, documents are blocks of 1 to %d tokens, not %d", MaxDocument, o.Block)
	case o.Separator >= 0 && o.Block != 0:
		return fault.Usage.Errorf("import: documents end at a separator or after a block, not both")
	case len(w.index.Planes) > 0:
		return fault.Usage.Errorf("import: a file of tokens says nothing about planes %v", w.kinds()[2:])
	}
	return nil
}

type binImport struct {
	w        *Writer
	o        ImportOptions
	path     string
	document []int32
	stats    ImportStats
}

func (i *binImport) run(r io.Reader) error {
	buffer := make([]byte, binBuffer)
	ids := make([]int32, binBuffer/i.stats.Width)
	for done := int64(0); done < i.stats.Tokens; {
		n := int(min(int64(len(ids)), i.stats.Tokens-done))
		raw := buffer[:n*i.stats.Width]
		if _, err := io.ReadFull(r, raw); err != nil {
			return fault.Data.Errorf("%s: after token %d of %d: %w", i.path, done, i.stats.Tokens, err)
		}
		widen(ids[:n], raw, i.stats.Width)
		for k, id := range ids[:n] {
			if uint32(id) >= uint32(i.w.options.Vocab) {
				return i.outside(done+int64(k), id)
			}
			if err := i.add(id); err != nil {
				return err
			}
		}
		done += int64(n)
	}
	return i.flush()
}

func (i *binImport) outside(token int64, id int32) error {
	start := int64(0)
	if i.o.Format == LLMC {
		start = llmcHeader
	}
	return fault.Data.Errorf("%s: byte %d (token %d): id %d is outside the vocabulary of %d; hint: the tokenizer or the width does "+
		"not fit the file", i.path, start+token*int64(i.stats.Width), token, uint32(id), i.w.options.Vocab)
}

// add takes one token and closes documents where they end.
func (i *binImport) add(id int32) error {
	separator := i.o.Separator >= 0 && id == i.o.Separator
	if separator && i.o.Leading {
		if err := i.flush(); err != nil {
			return err
		}
	}
	if len(i.document) == MaxDocument {
		return fault.Data.Errorf("%s: document %d has more than %d tokens; hint: is %d the separator? Otherwise import blocks",
			i.path, i.stats.Documents, MaxDocument, i.o.Separator)
	}
	i.document = append(i.document, id)
	if separator && !i.o.Leading || i.o.Separator < 0 && len(i.document) == i.o.Block {
		return i.flush()
	}
	return nil
}

// flush appends the open document.
func (i *binImport) flush() error {
	n := len(i.document)
	if n == 0 {
		return nil
	}
	if err := i.w.Append(i.document); err != nil {
		return fault.Of(err).Errorf("%s: %w", i.path, err)
	}
	i.stats.Documents++
	i.stats.Longest = max(i.stats.Longest, n)
	if n == 1 && i.document[0] == i.o.Separator {
		i.stats.Bare++
	}
	i.document = i.document[:0]
	return nil
}

// String describes the file for a person.
func (b BinFile) String() string {
	return fmt.Sprintf("%s, %d tokens of %d bytes", b.Format, b.Tokens, b.Width)
}
