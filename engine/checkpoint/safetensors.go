package checkpoint

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math"
	"math/bits"
	"os"
	"slices"
	"strings"

	"palimpsest/engine/fault"
)

// maxHeader is the format's own limit (safetensors, tensor.rs: MAX_HEADER_SIZE).
const maxHeader = 100_000_000

// What can be wrong with a safetensors file. Every error of the reader is of kind fault.Data and wraps one of these, or
// the error of the read that failed.
var (
	ErrTooShort       = errors.New("shorter than the 8 bytes of its header length")
	ErrHeaderTooLarge = errors.New("header length beyond the format's limit")
	ErrHeaderLength   = errors.New("header length beyond the end of the file")
	ErrHeaderStart    = errors.New("header does not begin with {")
	ErrHeaderUTF8     = errors.New("header is not UTF-8")
	ErrHeaderJSON     = errors.New("header is not the JSON of this format")
	ErrDuplicateKey   = errors.New("key appears twice")
	ErrDType          = errors.New("unknown dtype")
	ErrShapeOverflow  = errors.New("shape overflows")
	ErrOffsets        = errors.New("data_offsets are no range of bytes")
	ErrTensorSize     = errors.New("data_offsets disagree with dtype and shape")
	ErrHole           = errors.New("bytes that belong to no tensor")
	ErrOverlap        = errors.New("bytes that belong to two tensors")
	ErrTruncated      = errors.New("file ends before its tensors do")
	ErrTrailing       = errors.New("file goes on after its tensors")

	ErrNoTensor    = errors.New("no such tensor")
	ErrWrongDType  = errors.New("dtype differs from the one asked for")
	ErrWrongLength = errors.New("number of elements differs from the one asked for")
)

// TensorInfo describes one tensor of a file. Its Bytes is DType.Size() times the product of Shape.
type TensorInfo struct {
	Name  string
	DType DType
	Shape []int
	Bytes int64

	offset int64 // in the file
}

// Len returns the number of elements.
func (t TensorInfo) Len() int64 { return t.Bytes / int64(t.DType.Size()) }

// Safetensors is an open file whose header has been checked. It may be used concurrently.
type Safetensors struct {
	Metadata map[string]string // of the header's __metadata__; nil without one

	name    string
	r       io.ReaderAt
	closer  io.Closer
	tensors map[string]TensorInfo
}

// OpenSafetensors opens a file and checks its header in full. The tensors stay in the file until they are asked for. The file is
// mapped into memory where the system can, which saves a copy and shares its pages among processes; the results are the same
// without.
func OpenSafetensors(path string) (*Safetensors, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fault.Data.Errorf("safetensors: %w", err)
	}
	return openSafetensors(f, path)
}

type statFile interface {
	io.ReaderAt
	io.Closer
	Stat() (fs.FileInfo, error)
}

// openSafetensors takes over f and closes it on an error.
func openSafetensors(f statFile, path string) (*Safetensors, error) {
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = errors.New("not a regular file")
	}
	if err != nil {
		f.Close()
		return nil, fault.Data.Errorf("safetensors: %s: %w", path, err)
	}
	var r io.ReaderAt = f
	var closer io.Closer = f
	if m := mapFile(f, info.Size()); m != nil {
		r, closer = m, m
	}
	s, err := NewSafetensors(r, info.Size(), path)
	if err != nil {
		closer.Close()
		return nil, err
	}
	s.closer = closer
	return s, nil
}

// NewSafetensors checks the header of a file of the given size; name is for error messages.
func NewSafetensors(r io.ReaderAt, size int64, name string) (*Safetensors, error) {
	s := &Safetensors{name: name, r: r}
	if err := s.readHeader(size); err != nil {
		return nil, fault.Data.Errorf("safetensors: %s: %w", name, err)
	}
	return s, nil
}

// Close closes the file of OpenSafetensors.
func (s *Safetensors) Close() error {
	if s.closer == nil {
		return nil
	}
	return s.closer.Close()
}

// Names returns the names of all tensors, sorted.
func (s *Safetensors) Names() []string { return slices.Sorted(maps.Keys(s.tensors)) }

// Info returns the description of a tensor and whether the file has it.
func (s *Safetensors) Info(name string) (TensorInfo, bool) {
	t, ok := s.tensors[name]
	t.Shape = slices.Clone(t.Shape)
	return t, ok
}

// ReadFloat32 fills dst with an F32 tensor of len(dst) elements, bit for bit.
func (s *Safetensors) ReadFloat32(name string, dst []float32) error {
	return s.readFloat32(name, dst, F32)
}

// ReadAsFloat32 fills dst with a tensor of len(dst) elements of F32, BF16 or F16, which is exact, or of F64, which rounds.
func (s *Safetensors) ReadAsFloat32(name string, dst []float32) error {
	return s.readFloat32(name, dst, F32, BF16, F16, F64)
}

func (s *Safetensors) readFloat32(name string, dst []float32, accepted ...DType) error {
	t, err := s.find(name, int64(len(dst)), accepted...)
	if err != nil {
		return err
	}
	return s.convert(t, t.offset, dst)
}

// convert reads elements of a tensor, whose type find has admitted, from an offset in the file on.
func (s *Safetensors) convert(t TensorInfo, offset int64, dst []float32) error {
	width := t.DType.Size()
	buf := make([]byte, min(chunkBytes, len(dst)*width))
	for len(dst) > 0 {
		n := min(len(dst), len(buf)/width)
		if err := s.readAt(t, buf[:n*width], offset); err != nil {
			return err
		}
		decodeFloat32(dst[:n], buf, t.DType)
		dst, offset = dst[n:], offset+int64(n*width)
	}
	return nil
}

// ReadRange fills dst with the elements of a tensor from an index on, converted as ReadAsFloat32 does.
func (s *Safetensors) ReadRange(name string, from int64, dst []float32) error {
	t, err := s.find(name, -1, F32, BF16, F16, F64)
	if err != nil {
		return err
	}
	if from < 0 || from > t.Len()-int64(len(dst)) {
		return fault.Data.Errorf("safetensors: %s: tensor %q has %d elements, not %d from %d on: %w",
			s.name, name, t.Len(), len(dst), from, ErrWrongLength)
	}
	return s.convert(t, t.offset+from*int64(t.DType.Size()), dst)
}

// ReadInt64 fills dst with an I64 tensor of len(dst) elements.
func (s *Safetensors) ReadInt64(name string, dst []int64) error {
	t, err := s.find(name, int64(len(dst)), I64)
	if err != nil {
		return err
	}
	buf := make([]byte, min(chunkBytes, t.Bytes))
	offset := t.offset
	for len(dst) > 0 {
		n := min(len(dst), len(buf)/8)
		if err := s.readAt(t, buf[:n*8], offset); err != nil {
			return err
		}
		for i := range n {
			dst[i] = int64(binary.LittleEndian.Uint64(buf[8*i:]))
		}
		dst, offset = dst[n:], offset+int64(n*8)
	}
	return nil
}

// ReadBytes fills dst with the little-endian bytes of a tensor of any type; len(dst) must be its Bytes.
func (s *Safetensors) ReadBytes(name string, dst []byte) error {
	t, err := s.find(name, -1)
	if err != nil {
		return err
	}
	if int64(len(dst)) != t.Bytes {
		return fault.Data.Errorf("safetensors: %s: tensor %q has %d bytes, %d were asked for: %w",
			s.name, name, t.Bytes, len(dst), ErrWrongLength)
	}
	return s.readAt(t, dst, t.offset)
}

// find looks a tensor up and checks its type, if any are given, and its length, unless that is negative.
func (s *Safetensors) find(name string, length int64, accepted ...DType) (TensorInfo, error) {
	t, ok := s.tensors[name]
	if !ok {
		return t, fault.Data.Errorf("safetensors: %s: %w: %q (hint: the file has %s)",
			s.name, ErrNoTensor, name, listSome(s.Names()))
	}
	if len(accepted) > 0 && !slices.Contains(accepted, t.DType) {
		return t, fault.Data.Errorf("safetensors: %s: tensor %q is %s, expected %v: %w",
			s.name, name, t.DType, accepted, ErrWrongDType)
	}
	if length >= 0 && length != t.Len() {
		return t, fault.Data.Errorf("safetensors: %s: tensor %q of shape %v has %d elements, expected %d: %w",
			s.name, name, t.Shape, t.Len(), length, ErrWrongLength)
	}
	return t, nil
}

func (s *Safetensors) readAt(t TensorInfo, p []byte, offset int64) error {
	n, err := s.r.ReadAt(p, offset)
	if n == len(p) {
		return nil // an io.EOF beside all bytes is no error
	}
	if err == io.EOF {
		err = ErrTruncated // the file shrank since it was opened
	}
	return fault.Data.Errorf("safetensors: %s: tensor %q: %w", s.name, t.Name, err)
}

func listSome(names []string) string {
	const most = 8
	if len(names) <= most {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
}

// byteSize returns the product of dims and width, and whether it fits a file's length. A zero length does not hide an
// overflow of the others: a shape whose product depends on the order of its factors is refused.
func byteSize(dims []uint64, width int) (int64, bool) {
	size, empty := uint64(width), false
	for _, d := range dims {
		if d == 0 {
			empty = true
			continue
		}
		hi, lo := bits.Mul64(size, d)
		if hi != 0 || lo > math.MaxInt64 {
			return 0, false
		}
		size = lo
	}
	if empty {
		return 0, true
	}
	return int64(size), true
}
