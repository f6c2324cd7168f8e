package shard

import (
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"strings"

	"palimpsest/engine/fault"
)

// A BinFormat names a file of bare token ids that another trainer reads.
//
// llm.c (karpathy/llm.c, dev/data/data_common.py): 256 little-endian int32 (magic, version, number of tokens, zeros), then the
// ids; magic 20240520 with version 1 has uint16, magic 20240801 with version 7 has uint32. nanoGPT (karpathy/nanoGPT,
// data/*/prepare.py): the ids alone, little-endian; nothing in the file tells their width or the vocabulary.
type BinFormat string

// The formats.
const (
	LLMC    BinFormat = "llm.c"
	NanoGPT BinFormat = "nanogpt"
)

const (
	llmcHeader   = 1024 // bytes
	llmcMagic    = 20240520
	llmcVersion  = 1
	llmcMagic4   = 20240801 // tokens of four bytes
	llmcVersion4 = 7
	llmcMost     = 1<<31 - 1 // tokens: the header's count is an int32
)

// ParseBinFormat reads a format's name; errors are fault.Usage.
func ParseBinFormat(name string) (BinFormat, error) {
	if f := BinFormat(strings.ToLower(name)); f == LLMC || f == NanoGPT {
		return f, nil
	}
	return "", fault.Usage.Errorf("format %q: expected %s or %s", name, LLMC, NanoGPT)
}

// A BinFile says what the beginning and the size of a file of tokens tell.
type BinFile struct {
	Format BinFormat
	Width  int // bytes of a token
	Tokens int64
}

// InspectBin reads the header of an llm.c file and checks it against the file's size. Without that header a file can only be
// taken for one of nanoGPT, whose width (2 or 4) must be given; a width of 0 asks for llm.c. Errors are fault.Data.
func InspectBin(path string, width int) (BinFile, error) {
	f, err := os.Open(path)
	if err != nil {
		return BinFile{}, fault.Data.Errorf("tokens: %w", err)
	}
	defer f.Close()
	format := NanoGPT
	if width == 0 {
		format = LLMC
	}
	return inspectBin(f, path, format, width)
}

// inspectBin leaves f at the first token.
func inspectBin(f *os.File, path string, format BinFormat, width int) (BinFile, error) {
	info, err := f.Stat()
	if err != nil {
		return BinFile{}, fault.Data.Errorf("tokens: %w", err)
	}
	if !info.Mode().IsRegular() {
		return BinFile{}, fault.Data.Errorf("%s: %s, expected a plain file, whose size can be checked", path, info.Mode().Type())
	}
	header := make([]byte, llmcHeader)
	n, err := io.ReadFull(f, header)
	if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
		return BinFile{}, fault.Data.Errorf("tokens: %w", err)
	}
	b, err := parseBin(header[:n], info.Size(), format, width)
	if err != nil {
		return BinFile{}, fault.Data.Errorf("%s: %w", path, err)
	}
	if format == NanoGPT {
		if _, err := f.Seek(0, io.SeekStart); err != nil {
			return BinFile{}, fault.Data.Errorf("tokens: %w", err)
		}
	}
	return b, nil
}

// parseBin judges the first bytes of a file of the given size.
func parseBin(header []byte, size int64, format BinFormat, width int) (BinFile, error) {
	magic, version, count := int32(0), int32(0), int32(0)
	if len(header) >= 12 {
		magic = int32(binary.LittleEndian.Uint32(header))
		version = int32(binary.LittleEndian.Uint32(header[4:]))
		count = int32(binary.LittleEndian.Uint32(header[8:]))
	}
	known := magic == llmcMagic && version == llmcVersion || magic == llmcMagic4 && version == llmcVersion4
	if format == NanoGPT {
		switch {
		case width != 2 && width != 4:
			return BinFile{}, fmt.Errorf("tokens of %d bytes, expected 2 or 4; hint: nanoGPT's prepare.py writes 2", width)
		case known && len(header) == llmcHeader:
			return BinFile{}, fmt.Errorf("begins with the header of llm.c; hint: import it as %s", LLMC)
		case size == 0 || size%int64(width) != 0:
			return BinFile{}, fmt.Errorf("%d bytes, expected a positive multiple of %d; hint: it is cut short, or the width is wrong", size, width)
		}
		return BinFile{NanoGPT, width, size / int64(width)}, nil
	}
	switch {
	case len(header) < llmcHeader:
		return BinFile{}, fmt.Errorf("%d bytes, less than the %d of llm.c's header", size, llmcHeader)
	case !known:
		return BinFile{}, fmt.Errorf("magic %d, version %d, expected %d, %d (uint16) or %d, %d (uint32); hint: import a file without "+
			"header as %s", magic, version, llmcMagic, llmcVersion, llmcMagic4, llmcVersion4, NanoGPT)
	case count < 1:
		return BinFile{}, fmt.Errorf("the header declares %d tokens", count)
	}
	width = 2
	if magic == llmcMagic4 {
		width = 4
	}
	if want := llmcHeader + int64(count)*int64(width); size != want {
		return BinFile{}, fmt.Errorf("%d bytes, but the header's %d tokens need %d; hint: the file is cut short or damaged", size, count, want)
	}
	return BinFile{LLMC, width, int64(count)}, nil
}

// binHeader is what an llm.c file of so many tokens begins with.
func binHeader(tokens int64, width int) []byte {
	header := make([]byte, llmcHeader)
	magic, version := uint32(llmcMagic), uint32(llmcVersion)
	if width == 4 {
		magic, version = llmcMagic4, llmcVersion4
	}
	binary.LittleEndian.PutUint32(header, magic)
	binary.LittleEndian.PutUint32(header[4:], version)
	binary.LittleEndian.PutUint32(header[8:], uint32(tokens))
	return header
}
