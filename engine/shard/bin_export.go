package shard

import (
	"bufio"
	"fmt"
	"path/filepath"
	"strings"

	"palimpsest/engine/fault"
	"palimpsest/engine/vfs"
)

// ExportOptions say what a file of tokens looks like.
type ExportOptions struct {
	Format BinFormat
	Width  int // bytes of a token, 2 or 4; 0 = as the data set has them
	// Separator is put before each document when Leading, otherwise after it, unless it is there already; -1 adds nothing, and
	// then the file tells where documents end only if the data set's own begin and end tokens do.
	Separator int32
	Leading   bool
	// FileTokens > 0 writes files of at most so many tokens, NAME_000000.bin and so on for NAME.bin, cut anywhere.
	FileTokens int64
}

// ExportStats count what was exported.
type ExportStats struct {
	Files     []string
	Documents int64
	Tokens    int64 // added separators included
	Added     int64 // separators
}

// ExportBin writes the tokens of all documents, in order, as files that llm.c or nanoGPT read. It streams. Planes cannot be
// exported and are left behind. A file has its name only when it is complete and on the device; of several files, those
// before a failure stay. Errors: fault.Usage for the options (an id that the width cannot hold, too many tokens for
// llm.c's header, a file that exists), fault.Data for the data set, fault.Write for the file system.
func ExportBin(ds *Dataset, path string, o ExportOptions) (ExportStats, error) {
	return ds.exportBin(vfs.OS{}, path, o)
}

func (ds *Dataset) exportBin(fsys vfs.FS, path string, o ExportOptions) (ExportStats, error) {
	x := binExport{fsys: fsys, path: path, o: o}
	if x.o.Width == 0 {
		x.o.Width = ds.index.Width()
	}
	vocab := ds.index.Tokenizer.Vocab
	switch {
	case o.Format != LLMC && o.Format != NanoGPT:
		return x.stats, fault.Usage.Errorf("export: format %q, expected %s or %s", o.Format, LLMC, NanoGPT)
	case x.o.Width != 2 && x.o.Width != 4:
		return x.stats, fault.Usage.Errorf("export: tokens of %d bytes, expected 2 or 4", o.Width)
	case x.o.Width == 2 && vocab > 1<<16:
		return x.stats, fault.Usage.Errorf("export: a vocabulary of %d needs tokens of 4 bytes", vocab)
	case o.Separator < -1 || int(o.Separator) >= vocab:
		return x.stats, fault.Usage.Errorf("export: separator %d is outside the vocabulary of %d; hint: -1 means none", o.Separator, vocab)
	case o.FileTokens < 0:
		return x.stats, fault.Usage.Errorf("export: files of %d tokens", o.FileTokens)
	}
	total, err := ds.exported(&x.o)
	if err != nil {
		return x.stats, err
	}
	largest := total
	if o.FileTokens > 0 {
		largest = min(total, o.FileTokens)
	}
	if o.Format == LLMC && largest > llmcMost {
		return x.stats, fault.Usage.Errorf("export: %d tokens, a file of %s holds %d at most; hint: write several files", largest, LLMC, llmcMost)
	}
	x.left, x.largest = total, largest
	for i := range ds.Documents() {
		d, err := ds.Document(i)
		if err == nil {
			err = x.document(d.Tokens)
		}
		if err != nil {
			x.abandon()
			return x.stats, err
		}
	}
	return x.stats, nil
}

// exported counts the tokens that the export will have; only separators need a look at the documents.
func (ds *Dataset) exported(o *ExportOptions) (int64, error) {
	total := ds.Tokens()
	if o.Separator < 0 {
		return total, nil
	}
	for i := range ds.Documents() {
		d, err := ds.Document(i)
		if err != nil {
			return 0, err
		}
		if o.lacks(d.Tokens) {
			total++
		}
	}
	return total, nil
}

// lacks says whether a separator must be added to a document.
func (o *ExportOptions) lacks(tokens []int32) bool {
	switch {
	case o.Separator < 0:
		return false
	case o.Leading:
		return tokens[0] != o.Separator
	}
	return tokens[len(tokens)-1] != o.Separator
}

// A binExport writes one file after the other.
type binExport struct {
	fsys    vfs.FS
	path    string
	o       ExportOptions
	left    int64 // tokens not yet promised to a file
	largest int64 // tokens of a file
	stats   ExportStats

	name string // of the open file
	file vfs.File
	out  *bufio.Writer
	room int64 // tokens that the open file still takes
	raw  []byte
}

func (x *binExport) document(tokens []int32) error {
	one := []int32{x.o.Separator}
	lacks := x.o.lacks(tokens)
	if lacks {
		x.stats.Added++
	}
	if lacks && x.o.Leading {
		if err := x.tokens(one); err != nil {
			return err
		}
	}
	if err := x.tokens(tokens); err != nil {
		return err
	}
	if lacks && !x.o.Leading {
		if err := x.tokens(one); err != nil {
			return err
		}
	}
	x.stats.Documents++
	return nil
}

func (x *binExport) tokens(tokens []int32) error {
	for len(tokens) > 0 {
		if x.file == nil {
			if err := x.open(); err != nil {
				return err
			}
		}
		n := int(min(int64(len(tokens)), x.room, binBuffer))
		x.raw = appendTokens(x.raw[:0], tokens[:n], x.o.Width)
		if _, err := x.out.Write(x.raw); err != nil {
			return x.failed(err)
		}
		tokens = tokens[n:]
		x.stats.Tokens += int64(n)
		if x.room -= int64(n); x.room == 0 {
			if err := x.close(); err != nil {
				return err
			}
		}
	}
	return nil
}

func (x *binExport) failed(err error) error {
	return fault.Write.Errorf("export %s: %w; hint: the file was not written", x.name, err)
}

func (x *binExport) temporary() string {
	return filepath.Join(filepath.Dir(x.name), vfs.TempPrefix+filepath.Base(x.name))
}

func (x *binExport) open() error {
	x.name = x.path
	if x.o.FileTokens > 0 {
		ext := filepath.Ext(x.path)
		x.name = fmt.Sprintf("%s_%06d%s", strings.TrimSuffix(x.path, ext), len(x.stats.Files), ext)
	}
	if exists, err := vfs.Exists(x.fsys, x.name); err != nil {
		return x.failed(err)
	} else if exists {
		return fault.Usage.Errorf("export: %s exists already; hint: choose another name or delete it", x.name)
	}
	f, err := x.fsys.Create(x.temporary())
	if err != nil {
		return x.failed(err)
	}
	x.file, x.out = f, bufio.NewWriterSize(f, binBuffer)
	x.room = min(x.left, x.largest)
	x.left -= x.room
	if x.o.Format == LLMC {
		if _, err := x.out.Write(binHeader(x.room, x.o.Width)); err != nil {
			return x.failed(err)
		}
	}
	return nil
}

// close gives the complete file its name.
func (x *binExport) close() error {
	err := x.out.Flush()
	if err == nil {
		err = x.file.Sync()
	}
	if e := x.file.Close(); err == nil {
		err = e
	}
	x.file = nil
	if err == nil {
		err = x.fsys.Rename(x.temporary(), x.name)
	}
	if err != nil {
		x.fsys.Remove(x.temporary()) // best effort: the error that stopped us is the one to report
		return x.failed(err)
	}
	x.stats.Files = append(x.stats.Files, x.name)
	if err := x.fsys.SyncDir(filepath.Dir(x.name)); err != nil {
		return fault.Write.Errorf("export %s: the file is complete, but its name may not survive a loss of power: %w", x.name, err)
	}
	return nil
}

// abandon removes the open file, best effort: the caller has an error to report.
func (x *binExport) abandon() {
	if x.file != nil {
		x.file.Close()
		x.fsys.Remove(x.temporary())
	}
}
