package checkpoint

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"unicode/utf8"
)

// readHeader checks everything that the format promises: the lengths against the file before anything is allocated, the
// JSON key by key, and that the tensors tile the rest of the file without hole, overlap or remainder.
func (s *Safetensors) readHeader(size int64) error {
	var prefix [8]byte
	if size < int64(len(prefix)) {
		return fmt.Errorf("%d bytes: %w", size, ErrTooShort)
	}
	if n, err := s.r.ReadAt(prefix[:], 0); n < len(prefix) {
		return err
	}
	length := binary.LittleEndian.Uint64(prefix[:])
	if length > maxHeader {
		return fmt.Errorf("%w: %d bytes, at most %d", ErrHeaderTooLarge, length, maxHeader)
	}
	if length > uint64(size-8) {
		return fmt.Errorf("%w: %d bytes declared, %d are there", ErrHeaderLength, length, size-8)
	}
	header := make([]byte, length)
	if n, err := s.r.ReadAt(header, 8); n < len(header) {
		return err
	}
	if length == 0 || header[0] != '{' {
		return ErrHeaderStart
	}
	if !utf8.Valid(header) {
		return ErrHeaderUTF8
	}
	if err := s.parseHeader(header); err != nil {
		return err
	}
	return s.checkLayout(8+int64(length), size)
}

func (s *Safetensors) parseHeader(header []byte) error {
	p := headerParser{json.NewDecoder(bytes.NewReader(header))}
	p.dec.UseNumber()
	s.tensors = map[string]TensorInfo{}
	err := p.object("the header", func(key string) error {
		if key == "__metadata__" {
			var err error
			s.Metadata, err = p.metadata()
			return err
		}
		t, err := p.tensor(key)
		if err != nil {
			return fmt.Errorf("tensor %q: %w", key, err)
		}
		s.tensors[key] = t
		return nil
	})
	if err != nil {
		return err
	}
	if rest := header[p.dec.InputOffset():]; len(bytes.Trim(rest, " ")) > 0 {
		return fmt.Errorf("%w: only spaces may follow the last }", ErrHeaderJSON)
	}
	return nil
}

// checkLayout turns offsets into the data into offsets into the file and checks that they tile [start, size).
func (s *Safetensors) checkLayout(start, size int64) error {
	order := make([]TensorInfo, 0, len(s.tensors))
	for _, t := range s.tensors {
		order = append(order, t)
	}
	slices.SortFunc(order, func(a, b TensorInfo) int {
		return cmp.Or(cmp.Compare(a.offset, b.offset), cmp.Compare(a.Bytes, b.Bytes), cmp.Compare(a.Name, b.Name))
	})
	have, end := size-start, int64(0)
	for _, t := range order {
		switch {
		case t.offset > end:
			return fmt.Errorf("%w: %d of them before tensor %q", ErrHole, t.offset-end, t.Name)
		case t.offset < end:
			return fmt.Errorf("%w: tensor %q begins at %d, the one before ends at %d", ErrOverlap, t.Name, t.offset, end)
		}
		end += t.Bytes // cannot overflow: equals an offset that was read as an int64
		if end > have {
			return fmt.Errorf("%w: tensor %q ends at %d of %d bytes of data", ErrTruncated, t.Name, end, have)
		}
		t.offset += start
		s.tensors[t.Name] = t
	}
	if end < have {
		return fmt.Errorf("%w: the last one ends at %d of %d bytes of data", ErrTrailing, end, have)
	}
	return nil
}

// headerParser walks the JSON token by token, since decoding into maps would let duplicate keys pass.
type headerParser struct{ dec *json.Decoder }

func (p headerParser) token() (json.Token, error) {
	t, err := p.dec.Token()
	if err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return nil, fmt.Errorf("%w: at byte %d: %w", ErrHeaderJSON, p.dec.InputOffset(), err)
	}
	return t, nil
}

func (p headerParser) expect(want json.Delim, what string) error {
	t, err := p.token()
	if err == nil && t != want {
		err = fmt.Errorf("%w: %s: expected %s before byte %d", ErrHeaderJSON, what, want, p.dec.InputOffset())
	}
	return err
}

// object calls member for each key, which must consume the value.
func (p headerParser) object(what string, member func(key string) error) error {
	if err := p.expect('{', what); err != nil {
		return err
	}
	seen := map[string]bool{}
	for p.dec.More() {
		t, err := p.token()
		if err != nil {
			return err
		}
		key, ok := t.(string)
		if !ok {
			return fmt.Errorf("%w: %s: expected a key before byte %d", ErrHeaderJSON, what, p.dec.InputOffset())
		}
		if seen[key] {
			return fmt.Errorf("%w: %q in %s", ErrDuplicateKey, key, what)
		}
		seen[key] = true
		if err := member(key); err != nil {
			return err
		}
	}
	return p.expect('}', what)
}

func (p headerParser) string(what string) (string, error) {
	t, err := p.token()
	if err != nil {
		return "", err
	}
	v, ok := t.(string)
	if !ok {
		return "", fmt.Errorf("%w: %s must be a string", ErrHeaderJSON, what)
	}
	return v, nil
}

func (p headerParser) metadata() (map[string]string, error) {
	meta := map[string]string{}
	err := p.object("__metadata__", func(key string) (err error) {
		meta[key], err = p.string(fmt.Sprintf("__metadata__ %q", key))
		return err
	})
	return meta, err
}

// lengths reads an array of whole numbers in [0, 2^63); tooLarge is the error for one beyond.
func (p headerParser) lengths(what string, tooLarge error) ([]uint64, error) {
	if err := p.expect('[', what); err != nil {
		return nil, err
	}
	var out []uint64
	for p.dec.More() {
		t, err := p.token()
		if err != nil {
			return nil, err
		}
		number, ok := t.(json.Number)
		if !ok {
			return nil, fmt.Errorf("%w: %s must hold whole numbers", ErrHeaderJSON, what)
		}
		v, err := strconv.ParseUint(number.String(), 10, 63)
		if err != nil {
			kind := ErrHeaderJSON
			if errors.Is(err, strconv.ErrRange) {
				kind = tooLarge
			}
			return nil, fmt.Errorf("%w: %s holds %s, expected whole numbers from 0 to %d",
				kind, what, number, int64(math.MaxInt64))
		}
		out = append(out, v)
	}
	return out, p.expect(']', what)
}

func (p headerParser) tensor(name string) (TensorInfo, error) {
	info := TensorInfo{Name: name}
	var dims, offsets []uint64
	keys := 0
	err := p.object("its entry", func(key string) error {
		keys++
		switch key {
		case "dtype":
			v, err := p.string("dtype")
			info.DType = DType(v)
			return err
		case "shape":
			var err error
			dims, err = p.lengths("shape", ErrShapeOverflow)
			return err
		case "data_offsets":
			var err error
			offsets, err = p.lengths("data_offsets", ErrOffsets)
			return err
		}
		return fmt.Errorf("%w: unknown key %q", ErrHeaderJSON, key)
	})
	if err != nil {
		return info, err
	}
	if keys != 3 { // the keys are known and distinct, so fewer than three means that one is missing
		return info, fmt.Errorf("%w: needs dtype, shape and data_offsets", ErrHeaderJSON)
	}
	width := info.DType.Size()
	if width == 0 {
		return info, fmt.Errorf("%w %q", ErrDType, info.DType)
	}
	size, ok := byteSize(dims, width)
	if !ok {
		return info, fmt.Errorf("%w: %v of %s", ErrShapeOverflow, dims, info.DType)
	}
	info.Shape = make([]int, len(dims))
	for i, d := range dims {
		if d > math.MaxInt {
			return info, fmt.Errorf("%w: %v on this machine", ErrShapeOverflow, dims)
		}
		info.Shape[i] = int(d)
	}
	if len(offsets) != 2 || offsets[0] > offsets[1] {
		return info, fmt.Errorf("%w: %v", ErrOffsets, offsets)
	}
	if have := int64(offsets[1] - offsets[0]); have != size {
		return info, fmt.Errorf("%w: %v is %d bytes, %v of %s takes %d",
			ErrTensorSize, offsets, have, dims, info.DType, size)
	}
	info.offset, info.Bytes = int64(offsets[0]), size
	return info, nil
}
