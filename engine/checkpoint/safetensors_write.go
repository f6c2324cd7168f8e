package checkpoint

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strings"
)

// chunkBytes is the size of the buffers that tensors are converted through.
const chunkBytes = 256 << 10

// A Tensor is one array to be written. Data holds the elements in row-major order as one of
//
//	[]float32                 for F32, or rounded to BF16 or F16, or widened to F64
//	[]float64, []int64, []int32   for F64, I64, I32
//	[]byte                    for any type: the elements as they lie in the file, little-endian
//	func(io.Writer) error     for any type: writes those bytes, exactly as many as the shape needs
type Tensor struct {
	Name  string
	DType DType
	Shape []int
	Data  any
}

// WriteSafetensors streams tensors in the safetensors format: header length (uint64, little-endian), JSON header padded
// with spaces to a multiple of 8 bytes, data without holes. Tensors lie in order of their names, wider element types
// first, so that every one stays aligned to its elements. The metadata always carries "format": "pt", which Hugging Face
// readers ask for. Equal arguments give equal bytes.
func WriteSafetensors(w io.Writer, tensors []Tensor, metadata map[string]string) error {
	header, tensors, _, err := safetensorsHeader(tensors, metadata)
	if err != nil {
		return err
	}
	if _, err := w.Write(header); err != nil {
		return err
	}
	buf := make([]byte, chunkBytes)
	for _, t := range tensors {
		if err := t.write(w, buf); err != nil {
			return fmt.Errorf("tensor %q: %w", t.Name, err)
		}
	}
	return nil
}

// SafetensorsSize returns the length in bytes of the file that WriteSafetensors would write.
func SafetensorsSize(tensors []Tensor, metadata map[string]string) (int64, error) {
	header, _, data, err := safetensorsHeader(tensors, metadata)
	if err != nil {
		return 0, err
	}
	if data > math.MaxInt64-int64(len(header)) {
		return 0, fmt.Errorf("safetensors: %d tensors overflow a file's length", len(tensors))
	}
	return int64(len(header)) + data, nil
}

// safetensorsHeader checks the tensors and returns the header with its length prefix, the tensors in file order and the
// bytes of data.
func safetensorsHeader(tensors []Tensor, metadata map[string]string) ([]byte, []Tensor, int64, error) {
	tensors = slices.Clone(tensors)
	slices.SortFunc(tensors, func(a, b Tensor) int {
		if d := b.DType.Size() - a.DType.Size(); d != 0 {
			return d
		}
		return strings.Compare(a.Name, b.Name)
	})
	meta := map[string]string{}
	maps.Copy(meta, metadata)
	meta["format"] = "pt"
	var b bytes.Buffer
	b.Write(make([]byte, 8))
	b.WriteString(`{"__metadata__":`)
	if err := appendJSON(&b, meta); err != nil { // map keys are sorted
		return nil, nil, 0, err
	}
	seen := make(map[string]bool, len(tensors))
	offset := int64(0)
	for _, t := range tensors {
		if t.Name == "__metadata__" || seen[t.Name] {
			return nil, nil, 0, fmt.Errorf("safetensors: tensor name %q is used twice or reserved", t.Name)
		}
		seen[t.Name] = true
		size, err := t.bytes()
		if err != nil {
			return nil, nil, 0, fmt.Errorf("safetensors: tensor %q: %w", t.Name, err)
		}
		if offset > math.MaxInt64-size {
			return nil, nil, 0, fmt.Errorf("safetensors: tensor %q: the offsets overflow", t.Name)
		}
		b.WriteByte(',')
		if err := appendJSON(&b, t.Name); err != nil {
			return nil, nil, 0, err
		}
		b.WriteByte(':')
		entry := struct {
			DType   DType    `json:"dtype"`
			Shape   []int    `json:"shape"`
			Offsets [2]int64 `json:"data_offsets"`
		}{t.DType, append([]int{}, t.Shape...), [2]int64{offset, offset + size}}
		if err := appendJSON(&b, entry); err != nil {
			return nil, nil, 0, err
		}
		offset += size
	}
	b.WriteByte('}')
	for b.Len()%8 != 0 {
		b.WriteByte(' ')
	}
	header := b.Bytes()
	if n := len(header) - 8; n > maxHeader {
		return nil, nil, 0, fmt.Errorf("safetensors: the header takes %d bytes, the format allows %d", n, maxHeader)
	}
	binary.LittleEndian.PutUint64(header, uint64(len(header)-8))
	return header, tensors, offset, nil
}

func appendJSON(b *bytes.Buffer, v any) error {
	e := json.NewEncoder(b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return err
	}
	b.Truncate(b.Len() - 1) // the newline of Encode
	return nil
}

// bytes returns the tensor's length in the file after checking its data against type and shape.
func (t Tensor) bytes() (int64, error) {
	width := t.DType.Size()
	if width == 0 {
		return 0, fmt.Errorf("unknown dtype %q", t.DType)
	}
	dims := make([]uint64, len(t.Shape))
	for i, d := range t.Shape {
		if d < 0 {
			return 0, fmt.Errorf("shape %v has a negative length", t.Shape)
		}
		dims[i] = uint64(d)
	}
	size, ok := byteSize(dims, width)
	if !ok {
		return 0, fmt.Errorf("shape %v of %s overflows", t.Shape, t.DType)
	}
	var have int
	switch data := t.Data.(type) {
	case []float32:
		if t.DType != F32 && t.DType != BF16 && t.DType != F16 && t.DType != F64 {
			return 0, fmt.Errorf("[]float32 cannot be written as %s", t.DType)
		}
		have = len(data) * width
	case []float64:
		have = len(data) * 8
		if t.DType != F64 {
			return 0, fmt.Errorf("[]float64 cannot be written as %s", t.DType)
		}
	case []int64:
		have = len(data) * 8
		if t.DType != I64 {
			return 0, fmt.Errorf("[]int64 cannot be written as %s", t.DType)
		}
	case []int32:
		have = len(data) * 4
		if t.DType != I32 {
			return 0, fmt.Errorf("[]int32 cannot be written as %s", t.DType)
		}
	case []byte:
		have = len(data)
	case func(io.Writer) error:
		return size, nil
	default:
		return 0, fmt.Errorf("data of Go type %T cannot be written", t.Data)
	}
	if int64(have) != size {
		return 0, fmt.Errorf("shape %v of %s takes %d bytes, the data are %d", t.Shape, t.DType, size, have)
	}
	return size, nil
}

func (t Tensor) write(w io.Writer, buf []byte) error {
	switch data := t.Data.(type) {
	case []float32:
		return writeChunks(w, buf, data, t.DType.Size(), func(dst []byte, src []float32) {
			encodeFloat32(dst, src, t.DType) // bytes has admitted the type
		})
	case []float64:
		return writeChunks(w, buf, data, 8, func(dst []byte, src []float64) {
			for i, v := range src {
				binary.LittleEndian.PutUint64(dst[8*i:], math.Float64bits(v))
			}
		})
	case []int64:
		return writeChunks(w, buf, data, 8, func(dst []byte, src []int64) {
			for i, v := range src {
				binary.LittleEndian.PutUint64(dst[8*i:], uint64(v))
			}
		})
	case []int32:
		return writeChunks(w, buf, data, 4, func(dst []byte, src []int32) {
			for i, v := range src {
				binary.LittleEndian.PutUint32(dst[4*i:], uint32(v))
			}
		})
	case []byte:
		_, err := w.Write(data)
		return err
	case func(io.Writer) error:
		want, err := t.bytes()
		if err != nil {
			return err
		}
		c := &countingWriter{w: w}
		if err := data(c); err != nil {
			return err
		}
		if c.n != want {
			return fmt.Errorf("shape %v of %s takes %d bytes, its writer gave %d", t.Shape, t.DType, want, c.n)
		}
	}
	return nil
}

func writeChunks[E any](w io.Writer, buf []byte, data []E, width int, encode func([]byte, []E)) error {
	for len(data) > 0 {
		n := min(len(data), len(buf)/width)
		encode(buf[:n*width], data[:n])
		if _, err := w.Write(buf[:n*width]); err != nil {
			return err
		}
		data = data[n:]
	}
	return nil
}

type countingWriter struct {
	w io.Writer
	n int64
}

func (c *countingWriter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}
