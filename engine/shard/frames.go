package shard

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync"

	"github.com/SaveTheRbtz/zstd-seekable-format-go/pkg"
	"github.com/cespare/xxhash/v2"
	"github.com/klauspost/compress/zstd"

	"palimpsest/engine/fault"
)

const (
	encoderWindow = 4 << 20 // above it a frame is written with a window instead of as a single segment
	decoderWindow = 8 << 20
	minFrame      = 9        // bytes of the shortest frame: magic, header, one block header
	maxRatio      = 32 << 10 // the most a zstd frame can expand: 128 KiB out of a 4-byte RLE block
	overAlloc     = 16       // room beyond the declared size that lets the decoder use wide copies
)

// tableBytes returns the size of the seek table's skippable frame: header 8, entries 12 each, footer 9.
func tableBytes(frames int64) int64 { return 8 + 12*frames + 9 }

// An entry locates one frame in its file.
type entry struct {
	offset int64
	bytes  uint32
	raw    uint32
	sum    uint32 // low half of the xxh64 of the raw bytes
}

// A member is one file of a shard as the index declares it, and what is known of it after its first use.
type member struct {
	root   *os.Root
	dir    string
	name   string
	width  int // bytes of an item
	frames int64
	File

	mu      sync.Mutex
	info    fs.FileInfo // of the file that was verified
	entries []entry     // nil until verified
	err     error
}

func (m *member) errorf(format string, args ...any) error {
	return fault.Data.Errorf("%s/%s: %w", m.dir, m.name, fmt.Errorf(format, args...))
}

// lstat sees to it that the member is a plain file of the declared size.
func (m *member) lstat() (fs.FileInfo, error) {
	info, err := m.root.Lstat(m.name)
	switch {
	case err != nil:
		return nil, m.errorf("%w; hint: a file of the data set is missing or unreadable, restore it or build again", err)
	case !info.Mode().IsRegular():
		return nil, m.errorf("%s, expected a plain file; "+
			"hint: links are refused, copy the file itself into the folder", info.Mode().Type())
	case info.Size() != m.Bytes:
		return nil, m.errorf("%d bytes, the index declares %d; hint: the file is cut short or was changed, restore it or build again",
			info.Size(), m.Bytes)
	}
	return info, nil
}

func (m *member) open() (*os.File, fs.FileInfo, error) {
	before, err := m.lstat()
	if err != nil {
		return nil, nil, err
	}
	f, err := m.root.Open(m.name)
	if err != nil {
		return nil, nil, m.errorf("%w", err)
	}
	after, err := f.Stat()
	if err != nil || !os.SameFile(before, after) || after.Size() != m.Bytes {
		f.Close()
		return nil, nil, m.errorf("replaced while it was opened")
	}
	return f, after, nil
}

// load verifies the hash of the whole file and reads its seek table, once for a process; the verdict is kept. A cancelled
// context leaves the question open.
func (m *member) load(ctx context.Context) ([]entry, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.entries != nil || m.err != nil {
		return m.entries, m.err
	}
	f, info, err := m.open()
	if err != nil {
		m.err = err
		return nil, err
	}
	defer f.Close()
	err = m.checkHash(ctx, f, nil)
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	var entries []entry
	if err == nil {
		entries, err = m.readTable(f)
	}
	m.info, m.entries, m.err = info, entries, err
	return entries, err
}

// checkHash compares the xxh64 of the compressed file; progress, if any, is told the bytes read.
func (m *member) checkHash(ctx context.Context, f *os.File, progress func(int64)) error {
	c := codecs.Get().(*codec)
	defer codecs.Put(c)
	buffer := grow(&c.in, 1<<20)
	digest := xxhash.New()
	for offset := int64(0); offset < m.Bytes; {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, err := f.ReadAt(buffer[:min(int64(len(buffer)), m.Bytes-offset)], offset)
		if n == 0 {
			return m.errorf("reading at byte %d: %w", offset, err)
		}
		digest.Write(buffer[:n])
		offset += int64(n)
		if progress != nil {
			progress(int64(n))
		}
	}
	if got := Sum(digest.Sum64()); got != m.XXH64 {
		return m.errorf("xxh64 is %016x, the index declares %016x; hint: the file is damaged, restore it or build again",
			uint64(got), uint64(m.XXH64))
	}
	return nil
}

// readTable reads the seek table, whose place and size follow from the declared frames, and checks that its entries cover
// the file and the declared raw size exactly.
func (m *member) readTable(f io.ReaderAt) ([]entry, error) {
	size := tableBytes(m.frames) // File.check: at most Bytes, and Bytes is the file's real size
	text := make([]byte, size)
	if _, err := f.ReadAt(text, m.Bytes-size); err != nil {
		return nil, m.errorf("seek table: %w", err)
	}
	table, err := seekable.NewSeekTable(text)
	if err != nil {
		return nil, m.errorf("seek table: %w", err)
	}
	if table.NumFrames() != m.frames || !table.HasChecksums() {
		return nil, m.errorf("seek table of %d frames (checksums: %t), expected %d with checksums",
			table.NumFrames(), table.HasChecksums(), m.frames)
	}
	entries := make([]entry, m.frames)
	var offset, raw int64
	for k := range entries {
		e, _ := table.EntryByID(int64(k))
		if e.CompressedSize < minFrame || e.DecompressedSize == 0 || int(e.DecompressedSize)%m.width != 0 ||
			int64(e.DecompressedSize) > int64(e.CompressedSize)*maxRatio ||
			int64(e.DecompressedSize) > (MaxFrameTokens+MaxDocument)*int64(m.width) {
			return nil, m.errorf("seek table, frame %d: %d raw bytes out of %d", k, e.DecompressedSize, e.CompressedSize)
		}
		entries[k] = entry{offset, e.CompressedSize, e.DecompressedSize, e.Checksum}
		offset += int64(e.CompressedSize)
		raw += int64(e.DecompressedSize)
	}
	if offset+size != m.Bytes || raw != m.RawBytes {
		return nil, m.errorf("seek table covers %d of %d bytes and %d of %d raw bytes", offset+size, m.Bytes, raw, m.RawBytes)
	}
	return entries, nil
}

// readFrame decodes frame k of a loaded member. The result is valid until the codec's next use for the same slot of out.
func (m *member) readFrame(c *codec, k int, out *[]byte) ([]byte, error) {
	f, info, err := m.open()
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if !os.SameFile(info, m.info) || !info.ModTime().Equal(m.info.ModTime()) {
		return nil, m.errorf("changed while in use; hint: nothing may write to a data set that a run reads")
	}
	return m.decode(c, f, k, m.entries[k], out)
}

func (m *member) decode(c *codec, f io.ReaderAt, k int, e entry, out *[]byte) ([]byte, error) {
	in := grow(&c.in, int(e.bytes))
	if _, err := f.ReadAt(in, e.offset); err != nil {
		return nil, m.errorf("frame %d at byte %d: %w", k, e.offset, err)
	}
	raw, err := c.decoder.DecodeAll(in, grow(out, int(e.raw)+overAlloc)[:0:int(e.raw)+overAlloc])
	if err != nil {
		return nil, m.errorf("frame %d at byte %d: %w; hint: the file is damaged, restore it or build again", k, e.offset, err)
	}
	if len(raw) != int(e.raw) {
		return nil, m.errorf("frame %d at byte %d holds %d bytes, the seek table declares %d", k, e.offset, len(raw), e.raw)
	}
	if uint32(xxhash.Sum64(raw)) != e.sum {
		return nil, m.errorf("frame %d at byte %d: checksum differs from the seek table", k, e.offset)
	}
	return raw, nil
}

// A codec is a decoder with its buffers. The decoder writes no more than the capacity it is given, whatever a frame's
// header promises, and refuses windows above decoderWindow.
type codec struct {
	decoder             *zstd.Decoder
	in                  []byte
	tokens, lens, plane []byte
}

var codecs = sync.Pool{New: func() any {
	d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(decoderWindow),
		zstd.WithDecodeAllCapLimit(true))
	if err != nil {
		panic(err) // constant options
	}
	return &codec{decoder: d}
}}

// grow returns n bytes backed by the buffer, which is enlarged when needed.
func grow(buffer *[]byte, n int) []byte {
	if cap(*buffer) < n {
		*buffer = make([]byte, n)
	}
	return (*buffer)[:n]
}
