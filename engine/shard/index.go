// Package shard keeps tokenized text on disk and streams it back for training.
//
// A data set is a folder. `index.json` describes it and is written last, so that a folder without it is no data set.
// Every shard NNNNN has the files
//
//	NNNNN.tok.zst    token ids, uint16 or uint32 (as the vocabulary needs), little-endian
//	NNNNN.len.zst    document lengths in tokens, uint32, little-endian
//	NNNNN.PLANE.zst  optional companions of one byte a token (loss, bio, class, sign)
//
// each a sequence of independent zstd frames with checksums and the public seek table
// (facebook/zstd, contrib/seekable_format), so `zstd -d` opens them. Frame k of every file of a shard covers the same whole
// documents. Nothing is used before it is verified: file sizes and sums when the data set is opened, the xxh64 of a
// compressed file before its first use in a process, checksum, exact size and token ids of a frame when it is decoded.
//
// An unfinished build has UNFINISHED instead of the index, files that end in .tmp, and progress.json if it can be resumed.
package shard

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"

	"github.com/cespare/xxhash/v2"

	"palimpsest/engine/fault"
)

// FormatVersion is the version of the folder format that this package writes and reads.
const FormatVersion = 1

// Limits of the format. A number in an index beyond them is refused before anything is opened or allocated.
const (
	MaxDocument    = 1 << 28 // tokens of one document
	MaxFrameTokens = 1 << 24 // largest WriterOptions.FrameTokens
	MaxShardTokens = 1 << 36 // largest WriterOptions.ShardTokens
	MaxShards      = 100_000
	MaxDocuments   = 1 << 47 // of a data set; the counter-based draws are keyed by 48-bit document numbers

	maxIndexBytes = 128 << 20
	maxText       = 4096 // bytes of a free text in the index
)

// Sum is an xxh64; its text form is 16 hexadecimal digits.
type Sum uint64

// MarshalText implements encoding.TextMarshaler.
func (s Sum) MarshalText() ([]byte, error) { return fmt.Appendf(nil, "%016x", uint64(s)), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (s *Sum) UnmarshalText(text []byte) error {
	v, err := strconv.ParseUint(string(text), 16, 64)
	if err != nil || len(text) != 16 {
		return fmt.Errorf("%q is not an xxh64 of 16 hexadecimal digits", text)
	}
	*s = Sum(v)
	return nil
}

// Index is the content of index.json.
type Index struct {
	Format    int       `json:"format"`
	CreatedBy string    `json:"created_by"`
	Tokenizer Tokenizer `json:"tokenizer"`
	DType     string    `json:"dtype"` // "uint16" or "uint32", little-endian
	Documents int64     `json:"documents"`
	Tokens    int64     `json:"tokens"`
	Frames    int64     `json:"frames"`
	Planes    planeList `json:"planes"`
	Shards    shardList `json:"shards"`
	Hash      Sum       `json:"index_xxh64"` // of the compact JSON of this structure with a zero here
}

// Tokenizer names the tokenizer that made the tokens.
type Tokenizer struct {
	Hash  string `json:"hash"`
	Vocab int    `json:"vocab"`
	BOS   int32  `json:"bos"` // -1: none
	EOS   int32  `json:"eos"` // -1: none
}

// Plane names a per-token companion and says where it came from.
type Plane struct {
	Name       string `json:"name"`
	Provenance string `json:"provenance"`
}

// Shard describes one shard; its files are Name.tok.zst, Name.len.zst and Name.PLANE.zst.
type Shard struct {
	Name      string   `json:"name"`
	Source    string   `json:"source"`
	Documents int64    `json:"documents"`
	Tokens    int64    `json:"tokens"`
	Frames    int64    `json:"frames"`
	Tok       File     `json:"tok"`
	Len       File     `json:"len"`
	Planes    fileList `json:"planes"` // in the order of Index.Planes
}

// File holds the declared sizes and hashes of one file.
type File struct {
	Bytes    int64 `json:"bytes"` // compressed, the whole file
	RawBytes int64 `json:"raw_bytes"`
	XXH64    Sum   `json:"xxh64"`     // of the compressed file
	RawXXH64 Sum   `json:"raw_xxh64"` // of the decompressed content
}

// Width returns the bytes of a token on disk.
func (x *Index) Width() int { return dtypeWidth(x.DType) }

type (
	planeList []Plane
	shardList []Shard
	fileList  []File
)

func (l *planeList) UnmarshalJSON(b []byte) (err error) {
	*l, err = decodeList[Plane](b, len(planeNames), "planes")
	return err
}

func (l *shardList) UnmarshalJSON(b []byte) (err error) {
	*l, err = decodeList[Shard](b, MaxShards, "shards")
	return err
}

func (l *fileList) UnmarshalJSON(b []byte) (err error) {
	*l, err = decodeList[File](b, len(planeNames), "planes of a shard")
	return err
}

// decodeList decodes a JSON array item by item and stops at the limit or the first wrong item: the standard decoder would
// first grow the whole slice, a few hundred bytes for every "1," of a hostile file.
func decodeList[T any](b []byte, limit int, what string) ([]T, error) {
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if t, err := d.Token(); err != nil || t != json.Delim('[') {
		return nil, fmt.Errorf("%s must be a list", what)
	}
	list := []T{}
	for d.More() {
		if len(list) == limit {
			return nil, fmt.Errorf("more than %d %s", limit, what)
		}
		var item T
		if err := d.Decode(&item); err != nil {
			return nil, fmt.Errorf("%s, item %d: %w", what, len(list), err)
		}
		list = append(list, item)
	}
	return list, nil
}

func (x Index) sum() Sum {
	x.Hash = 0
	b, err := json.Marshal(x)
	if err != nil {
		panic(err) // a structure of integers and strings always marshals
	}
	return Sum(xxhash.Sum64(b))
}

// encodeIndex completes totals and hash and returns the text of index.json.
func encodeIndex(x *Index) ([]byte, error) {
	x.Documents, x.Tokens, x.Frames = 0, 0, 0
	for _, s := range x.Shards {
		x.Documents += s.Documents
		x.Tokens += s.Tokens
		x.Frames += s.Frames
	}
	x.Hash = x.sum()
	b, err := json.MarshalIndent(x, "", " ")
	return append(b, '\n'), err
}

// parseIndex decodes and checks the text of an index; path is for messages only. What it returns is consistent: counts are
// positive, bounded and add up, and names are safe. Whether the files agree is for Open to see.
func parseIndex(text []byte, path string) (Index, error) {
	bad := func(format string, args ...any) error {
		return fault.Data.Errorf("%s: %w; hint: the index is damaged or was edited, build the data set again or restore it",
			path, fmt.Errorf(format, args...))
	}
	if len(text) > maxIndexBytes {
		return Index{}, bad("more than %d bytes", maxIndexBytes)
	}
	var version struct{ Format *int }
	if err := json.Unmarshal(text, &version); err != nil {
		return Index{}, bad("not an index: %w", err)
	}
	if version.Format == nil {
		return Index{}, bad("key format is missing")
	}
	if *version.Format != FormatVersion {
		return Index{}, fault.Data.Errorf("%s: format version %d, expected %d; "+
			"hint: use the program version that wrote it, or build the data set again",
			path, *version.Format, FormatVersion)
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	var x Index
	if err := d.Decode(&x); err != nil {
		return Index{}, bad("%w", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return Index{}, bad("text after the end of the index")
	}
	if err := x.check(); err != nil {
		return Index{}, bad("%w", err)
	}
	if got := x.sum(); got != x.Hash {
		return Index{}, bad("index_xxh64 is %016x, the content hashes to %016x", uint64(x.Hash), uint64(got))
	}
	return x, nil
}

// check refuses whatever could not have been written.
func (x *Index) check() error {
	t := x.Tokenizer
	switch {
	case t.Vocab < 1 || t.Vocab > math.MaxInt32:
		return fmt.Errorf("vocabulary of %d", t.Vocab)
	case t.BOS < -1 || int(t.BOS) >= t.Vocab || t.EOS < -1 || int(t.EOS) >= t.Vocab:
		return fmt.Errorf("bos %d or eos %d is outside the vocabulary of %d", t.BOS, t.EOS, t.Vocab)
	case x.DType != dtypeOf(t.Vocab):
		return fmt.Errorf("dtype %q, expected %q for a vocabulary of %d", x.DType, dtypeOf(t.Vocab), t.Vocab)
	case len(x.Shards) == 0:
		return errors.New("no shards")
	case len(t.Hash) > maxText || len(x.CreatedBy) > maxText:
		return errors.New("overlong text")
	}
	for i, p := range x.Planes {
		if !knownPlane(p.Name) {
			return fmt.Errorf("unknown plane %q, expected one of %v", p.Name, planeNames)
		}
		if i > 0 && p.Name <= x.Planes[i-1].Name {
			return fmt.Errorf("plane %q is out of order or twice", p.Name)
		}
		if len(p.Provenance) > maxText {
			return errors.New("overlong text")
		}
	}
	var documents, tokens, frames int64 // at most MaxShards * 2^37: no overflow
	seen := make(map[string]bool, len(x.Shards))
	for i := range x.Shards {
		s := &x.Shards[i]
		if !safeName(s.Name) || seen[s.Name] {
			return fmt.Errorf("shard %d: name %.80q is no plain unique file name of letters, digits, - and _", i, s.Name)
		}
		seen[s.Name] = true
		if err := s.check(x.Width(), len(x.Planes)); err != nil {
			return fmt.Errorf("shard %s: %w", s.Name, err)
		}
		documents, tokens, frames = documents+s.Documents, tokens+s.Tokens, frames+s.Frames
	}
	if documents != x.Documents || tokens != x.Tokens || frames != x.Frames {
		return fmt.Errorf("totals of %d documents, %d tokens, %d frames, but the shards add up to %d, %d, %d",
			x.Documents, x.Tokens, x.Frames, documents, tokens, frames)
	}
	if documents > MaxDocuments {
		return fmt.Errorf("%d documents, at most %d", documents, int64(MaxDocuments))
	}
	return nil
}

func (s *Shard) check(width, planes int) error {
	switch {
	case s.Tokens < 1 || s.Tokens > MaxShardTokens+MaxDocument:
		return fmt.Errorf("%d tokens", s.Tokens)
	case s.Documents < 1 || s.Documents > s.Tokens:
		return fmt.Errorf("%d documents of %d tokens", s.Documents, s.Tokens)
	case s.Frames < 1 || s.Frames > s.Documents:
		return fmt.Errorf("%d frames of %d documents", s.Frames, s.Documents)
	case len(s.Planes) != planes:
		return fmt.Errorf("%d plane files, expected %d", len(s.Planes), planes)
	case len(s.Source) > maxText:
		return errors.New("overlong source")
	}
	if err := s.Tok.check(s.Tokens*int64(width), s.Frames); err != nil {
		return fmt.Errorf("tok: %w", err)
	}
	if err := s.Len.check(s.Documents*lengthWidth, s.Frames); err != nil {
		return fmt.Errorf("len: %w", err)
	}
	for i := range s.Planes {
		if err := s.Planes[i].check(s.Tokens, s.Frames); err != nil {
			return fmt.Errorf("plane %d: %w", i, err)
		}
	}
	return nil
}

func (f File) check(raw, frames int64) error {
	if f.RawBytes != raw {
		return fmt.Errorf("raw_bytes %d, expected %d", f.RawBytes, raw)
	}
	if f.Bytes < tableBytes(frames)+frames*minFrame || f.Bytes > 2*raw+frames*64+64 {
		return fmt.Errorf("%d bytes for %d raw bytes in %d frames", f.Bytes, raw, frames)
	}
	if (f.Bytes-tableBytes(frames))*maxRatio < raw {
		return fmt.Errorf("%d raw bytes out of %d: no zstd frame expands so far", raw, f.Bytes)
	}
	return nil
}
