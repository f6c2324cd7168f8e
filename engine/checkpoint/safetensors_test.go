package checkpoint

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"palimpsest/engine/fault"
	"palimpsest/kernels/philox"
)

// st builds a file out of a header and data, as another program might.
func st(header, data string) []byte {
	b := binary.LittleEndian.AppendUint64(nil, uint64(len(header)))
	return append(append(b, header...), data...)
}

func openBytes(b []byte) (*Safetensors, error) {
	return NewSafetensors(bytes.NewReader(b), int64(len(b)), "test.safetensors")
}

func TestSafetensorsErrors(t *testing.T) {
	const a = `"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}`
	length := func(n uint64, rest string) []byte { return append(binary.LittleEndian.AppendUint64(nil, n), rest...) }
	for _, c := range []struct {
		name string
		file []byte
		want error
	}{
		{"empty", nil, ErrTooShort},
		{"seven bytes", make([]byte, 7), ErrTooShort},
		{"length 2^63", length(1<<63, "{}"), ErrHeaderTooLarge},
		{"length 2^64-1", length(math.MaxUint64, "{}"), ErrHeaderTooLarge},
		{"header over the limit", length(maxHeader+1, "{}"), ErrHeaderTooLarge},
		{"length beyond the file", length(maxHeader, "{}"), ErrHeaderLength},
		{"length one too many", length(3, "{}"), ErrHeaderLength},
		{"no header", length(0, ""), ErrHeaderStart},
		{"no brace", st(` {}`, ""), ErrHeaderStart},
		{"array", st(`[]`, ""), ErrHeaderStart},
		{"not UTF-8", st("{\"\xff\":1}", ""), ErrHeaderUTF8},
		{"cut JSON", st(`{"a":{"dtype":"F32"`, ""), ErrHeaderJSON},
		{"not JSON", st(`{"a":nope}`, ""), ErrHeaderJSON},
		{"trailing comma", st(`{`+a+`,}`, "1234"), ErrHeaderJSON},
		{"text after the header", st(`{`+a+`} x`, "1234"), ErrHeaderJSON},
		{"NUL padding", st("{"+a+"}\x00", "1234"), ErrHeaderJSON},
		{"second object", st(`{}{}`, ""), ErrHeaderJSON},
		{"tensor is a number", st(`{"a":1}`, ""), ErrHeaderJSON},
		{"dtype missing", st(`{"a":{"shape":[1],"data_offsets":[0,4]}}`, "1234"), ErrHeaderJSON},
		{"dtype is a number", st(`{"a":{"dtype":4,"shape":[1],"data_offsets":[0,4]}}`, "1234"), ErrHeaderJSON},
		{"unknown key", st(`{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4],"x":{}}}`, "1234"), ErrHeaderJSON},
		{"shape of strings", st(`{"a":{"dtype":"F32","shape":["1"],"data_offsets":[0,4]}}`, "1234"), ErrHeaderJSON},
		{"negative shape", st(`{"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}}`, "1234"), ErrHeaderJSON},
		{"fractional shape", st(`{"a":{"dtype":"F32","shape":[1.0],"data_offsets":[0,4]}}`, "1234"), ErrHeaderJSON},
		{"nested shape", st(`{"a":{"dtype":"F32","shape":[[1]],"data_offsets":[0,4]}}`, "1234"), ErrHeaderJSON},
		{"metadata of numbers", st(`{"__metadata__":{"n":1}}`, ""), ErrHeaderJSON},
		{"duplicate tensor", st(`{`+a+`,`+a+`}`, "1234"), ErrDuplicateKey},
		{"duplicate tensor, escaped", st(`{`+a+`,"\u0061":1}`, "1234"), ErrDuplicateKey},
		{"duplicate dtype", st(`{"a":{"dtype":"F32","dtype":"F32"}}`, ""), ErrDuplicateKey},
		{"duplicate metadata", st(`{"__metadata__":{"k":"1","k":"2"}}`, ""), ErrDuplicateKey},
		{"two metadata", st(`{"__metadata__":{},"__metadata__":{}}`, ""), ErrDuplicateKey},
		{"unknown dtype", st(`{"a":{"dtype":"F31","shape":[1],"data_offsets":[0,4]}}`, "1234"), ErrDType},
		{"lower case dtype", st(`{"a":{"dtype":"f32","shape":[1],"data_offsets":[0,4]}}`, "1234"), ErrDType},
		{"product overflows", st(`{"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,4]}}`, "1234"), ErrShapeOverflow},
		{"times dtype overflows", st(`{"a":{"dtype":"F64","shape":[2305843009213693952],"data_offsets":[0,4]}}`, "1234"), ErrShapeOverflow},
		{"overflow behind a zero", st(`{"a":{"dtype":"U8","shape":[0,4294967296,4294967296],"data_offsets":[0,0]}}`, ""), ErrShapeOverflow},
		{"length over 2^63", st(`{"a":{"dtype":"U8","shape":[9223372036854775808],"data_offsets":[0,0]}}`, ""), ErrShapeOverflow},
		{"one offset", st(`{"a":{"dtype":"F32","shape":[1],"data_offsets":[4]}}`, "1234"), ErrOffsets},
		{"offsets backwards", st(`{"a":{"dtype":"F32","shape":[1],"data_offsets":[4,0]}}`, "1234"), ErrOffsets},
		{"offset over 2^63", st(`{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,18446744073709551616]}}`, "1234"), ErrOffsets},
		{"size too small", st(`{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}}`, "1234"), ErrTensorSize},
		{"size too large", st(`{"a":{"dtype":"F32","shape":[],"data_offsets":[0,8]}}`, "12345678"), ErrTensorSize},
		{"hole at the start", st(`{"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}`, "12345678"), ErrHole},
		{"hole between", st(`{`+a+`,"b":{"dtype":"U8","shape":[1],"data_offsets":[5,6]}}`, "123456"), ErrHole},
		{"overlap", st(`{`+a+`,"b":{"dtype":"F32","shape":[1],"data_offsets":[2,6]}}`, "123456"), ErrOverlap},
		{"same bytes twice", st(`{`+a+`,"b":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}`, "1234"), ErrOverlap},
		{"data cut", st(`{`+a+`}`, "123"), ErrTruncated},
		{"offsets far beyond", st(`{"a":{"dtype":"U8","shape":[9223372036854775807],"data_offsets":[0,9223372036854775807]}}`, ""), ErrTruncated},
		{"trailing data", st(`{`+a+`}`, "12345"), ErrTrailing},
		{"data without tensors", st(`{}`, "1"), ErrTrailing},
	} {
		_, err := openBytes(c.file)
		if !errors.Is(err, c.want) || fault.Of(err) != fault.Data || !strings.Contains(err.Error(), "test.safetensors") {
			t.Errorf("%s: got %v, want %v", c.name, err, c.want)
		}
	}
}

func TestSafetensorsAccepts(t *testing.T) {
	s, err := openBytes(st(`{"b":{"shape":[],"data_offsets":[4,8],"dtype":"F32"},`+
		`"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"e":{"dtype":"I64","shape":[3,0],"data_offsets":[4,4]},`+
		`"__metadata__":{"k":"v"}}   `, "\x00\x00\x80\x3f\x00\x00\x00\xc0"))
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(s.Names(), []string{"a", "b", "e"}) || s.Metadata["k"] != "v" {
		t.Errorf("names %q, metadata %q", s.Names(), s.Metadata)
	}
	var v [1]float32
	for name, want := range map[string]float32{"a": 1, "b": -2} {
		if err := s.ReadFloat32(name, v[:]); err != nil || v[0] != want {
			t.Errorf("%s: %v, %v", name, v, err)
		}
	}
	if e, ok := s.Info("e"); !ok || !reflect.DeepEqual(e.Shape, []int{3, 0}) || e.Len() != 0 {
		t.Errorf("empty tensor: %+v", e)
	}
	if err := s.ReadInt64("e", nil); err != nil {
		t.Errorf("empty tensor: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if _, err := openBytes(st(`{}`, "")); err != nil {
		t.Errorf("file without tensors: %v", err)
	}
}

// TestSafetensorsBytes pins the written bytes: they are a public format and part of "equal input, equal file".
func TestSafetensorsBytes(t *testing.T) {
	var b bytes.Buffer
	err := WriteSafetensors(&b, []Tensor{
		{"u", U8, []int{3}, []byte{7, 8, 9}},
		{"b<1>", F32, nil, []float32{1}},
		{"a", F32, []int{1, 2}, []float32{-2, 0.5}},
	}, map[string]string{"step": "3"})
	if err != nil {
		t.Fatal(err)
	}
	header := `{"__metadata__":{"format":"pt","step":"3"},` +
		`"a":{"dtype":"F32","shape":[1,2],"data_offsets":[0,8]},` +
		`"b<1>":{"dtype":"F32","shape":[],"data_offsets":[8,12]},` +
		`"u":{"dtype":"U8","shape":[3],"data_offsets":[12,15]}}`
	header += strings.Repeat(" ", (8-len(header)%8)%8)
	want := st(header, "\x00\x00\x00\xc0\x00\x00\x00\x3f\x00\x00\x80\x3f\x07\x08\x09")
	if !bytes.Equal(b.Bytes(), want) {
		t.Errorf("wrote\n%q\nwant\n%q", b.Bytes(), want)
	}
}

// testTensors has every kind of data, lengths around the conversion buffer, and values that conversions could spoil.
func testTensors() []Tensor {
	draw := philox.New(1, philox.StreamTest, 1, 0)
	long := make([]float32, chunkBytes/4*2+3)
	for i := range long {
		long[i] = math.Float32frombits(draw.Uint32())
	}
	return []Tensor{
		{"long", F32, []int{len(long)}, long},
		{"special", F32, []int{2, 3}, []float32{0, float32(math.Copysign(0, -1)), float32(math.Inf(1)),
			float32(math.NaN()), math.SmallestNonzeroFloat32, math.MaxFloat32}},
		{"empty", F32, []int{0, 5}, []float32{}},
		{"double", F64, []int{2}, []float64{math.Pi, -0.1}},
		{"wide", F64, []int{1}, []float32{0.1}},
		{"brain", BF16, []int{2}, []float32{1, -3}},
		{"half", F16, []int{3}, []float32{1, 65504, 0x1p-24}},
		{"count", I64, []int{2}, []int64{math.MinInt64, 5}},
		{"small", I32, []int{1}, []int32{-7}},
		{"flags", Bool, []int{3}, []byte{1, 0, 1}},
		{"stream", U16, []int{2}, func(w io.Writer) error {
			_, err := w.Write([]byte{1, 2, 3, 4})
			return err
		}},
	}
}

func TestSafetensorsRoundTrip(t *testing.T) {
	tensors := testTensors()
	path := filepath.Join(t.TempDir(), "a.safetensors")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := WriteSafetensors(f, tensors, nil); err != nil {
		t.Fatal(err)
	}
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
	size, err := SafetensorsSize(tensors, nil)
	if err != nil || size != info.Size() {
		t.Errorf("size %d announced, %d written, %v", size, info.Size(), err)
	}
	s, err := OpenSafetensors(path)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if len(s.Names()) != len(tensors) || s.Metadata["format"] != "pt" {
		t.Errorf("names %q, metadata %q", s.Names(), s.Metadata)
	}
	for _, want := range tensors {
		info, ok := s.Info(want.Name)
		if !ok || info.DType != want.DType || !slices.Equal(info.Shape, want.Shape) {
			t.Errorf("%s: %+v", want.Name, info)
			continue
		}
		if info.offset%int64(info.DType.Size()) != 0 {
			t.Errorf("%s lies at %d", want.Name, info.offset)
		}
		switch data := want.Data.(type) {
		case []float32:
			got := make([]float32, len(data))
			if err := s.ReadAsFloat32(want.Name, got); err != nil {
				t.Error(err)
			}
			for i := range got {
				if math.Float32bits(got[i]) != math.Float32bits(data[i]) {
					t.Errorf("%s[%d]: %x, want %x", want.Name, i, math.Float32bits(got[i]), math.Float32bits(data[i]))
					break
				}
			}
			err := s.ReadFloat32(want.Name, got)
			if (want.DType == F32) != (err == nil) || err != nil && !errors.Is(err, ErrWrongDType) {
				t.Errorf("%s read as F32: %v", want.Name, err)
			}
		case []int64:
			got := make([]int64, len(data))
			if err := s.ReadInt64(want.Name, got); err != nil || !slices.Equal(got, data) {
				t.Errorf("%s: %v, %v", want.Name, got, err)
			}
		}
	}
	raw := make([]byte, 4)
	for name, want := range map[string][]byte{"stream": {1, 2, 3, 4}, "small": {0xf9, 0xff, 0xff, 0xff}} {
		if err := s.ReadBytes(name, raw); err != nil || !bytes.Equal(raw, want) {
			t.Errorf("%s: %v, %v", name, raw, err)
		}
	}
	var double [2]float32
	if err := s.ReadAsFloat32("double", double[:]); err != nil || double != [2]float32{math.Pi, -0.1} {
		t.Errorf("double: %v, %v", double, err)
	}
	for _, c := range []struct {
		err, want error
	}{
		{s.ReadFloat32("absent", nil), ErrNoTensor},
		{s.ReadFloat32("special", make([]float32, 5)), ErrWrongLength},
		{s.ReadBytes("small", make([]byte, 3)), ErrWrongLength},
		{s.ReadInt64("small", make([]int64, 1)), ErrWrongDType},
		{s.ReadAsFloat32("count", make([]float32, 2)), ErrWrongDType},
	} {
		if !errors.Is(c.err, c.want) || fault.Of(c.err) != fault.Data {
			t.Errorf("got %v, want %v", c.err, c.want)
		}
	}
	if err := os.Truncate(path, size-1); err != nil {
		t.Fatal(err)
	}
	last := make([]byte, 3)
	if err := s.ReadBytes("flags", last); !errors.Is(err, ErrTruncated) {
		t.Errorf("file cut while open: %v", err)
	}
}

func TestOpenSafetensorsErrors(t *testing.T) {
	dir := t.TempDir()
	if _, err := OpenSafetensors(filepath.Join(dir, "absent")); !errors.Is(err, os.ErrNotExist) || fault.Of(err) != fault.Data {
		t.Errorf("absent: %v", err)
	}
	if _, err := OpenSafetensors(dir); fault.Of(err) != fault.Data {
		t.Errorf("folder: %v", err)
	}
}

func TestWriteSafetensorsRefuses(t *testing.T) {
	short := func(w io.Writer) error { _, err := w.Write([]byte{1}); return err }
	broken := errors.New("broken")
	for name, tensors := range map[string][]Tensor{
		"same name":      {{"a", U8, []int{0}, []byte{}}, {"a", U8, []int{0}, []byte{}}},
		"reserved name":  {{"__metadata__", U8, []int{0}, []byte{}}},
		"dtype":          {{"a", "F31", nil, []byte{}}},
		"negative shape": {{"a", U8, []int{-1}, []byte{}}},
		"overflow":       {{"a", U8, []int{math.MaxInt, 2}, []byte{}}},
		"sum overflows":  {{"a", U8, []int{math.MaxInt}, short}, {"b", U8, []int{math.MaxInt}, short}},
		"wrong length":   {{"a", F32, []int{2}, []float32{1}}},
		"Go type":        {{"a", F32, []int{1}, "x"}},
		"floats as ints": {{"a", I32, []int{1}, []float32{1}}},
		"ints as floats": {{"a", F32, []int{1}, []int32{1}}},
		"longs as ints":  {{"a", I32, []int{2}, []int64{1}}},
		"double as F32":  {{"a", F32, []int{2}, []float64{1}}},
		"short writer":   {{"a", U8, []int{2}, short}},
		"failing writer": {{"a", U8, []int{2}, func(io.Writer) error { return broken }}},
	} {
		if err := WriteSafetensors(io.Discard, tensors, nil); err == nil {
			t.Errorf("%s: written", name)
		}
	}
	err := WriteSafetensors(io.Discard, []Tensor{{"a", U8, []int{2}, func(io.Writer) error { return broken }}}, nil)
	if !errors.Is(err, broken) || !strings.Contains(err.Error(), `"a"`) {
		t.Errorf("error of a writer: %v", err)
	}
}

// TestHalf compares both directions with the definition of binary16, for every half and around every rounding boundary.
func TestHalf(t *testing.T) {
	value := func(h uint16) float64 {
		sign := 1 - 2*float64(h>>15)
		exponent, fraction := int(h>>10&31), float64(h&0x3FF)
		if exponent == 0 {
			return sign * math.Ldexp(fraction, -24)
		}
		return sign * math.Ldexp(1024+fraction, exponent-25) // 2^16 stands for infinity at exponent 31, fraction 0
	}
	for i := range 1 << 16 {
		h := uint16(i)
		got := halfToFloat32(h)
		switch {
		case h&0x7FFF > 0x7C00:
			if got == got || float32ToHalf(got)&0x7FFF <= 0x7C00 {
				t.Fatalf("%04x is a NaN, got %g", h, got)
			}
			continue
		case h&0x7FFF == 0x7C00:
			if !math.IsInf(float64(got), 1-2*int(h>>15)) {
				t.Fatalf("%04x is an infinity, got %g", h, got)
			}
		case float64(got) != value(h) || math.Signbit(float64(got)) != (h>>15 == 1):
			t.Fatalf("%04x: got %g, want %g", h, got, value(h))
		}
		if back := float32ToHalf(got); back != h {
			t.Fatalf("%04x came back as %04x", h, back)
		}
		if h&0x7FFF == 0x7C00 {
			continue
		}
		// The middle between a half and the next one away from zero goes to the even one, its neighbours to theirs.
		middle := float32((value(h) + value(h+1)) / 2)
		even := h + h&1
		away := float32(math.Inf(1 - 2*int(h>>15)))
		for _, c := range []struct {
			v    float32
			want uint16
		}{{math.Nextafter32(middle, 0), h}, {middle, even}, {math.Nextafter32(middle, away), h + 1}} {
			if got := float32ToHalf(c.v); got != c.want {
				t.Fatalf("%g: got %04x, want %04x", c.v, got, c.want)
			}
		}
	}
}

func TestBrain(t *testing.T) {
	for bits, want := range map[uint32]uint16{
		0x3F800000: 0x3F80, 0x3F808000: 0x3F80, 0x3F808001: 0x3F81, 0x3F818000: 0x3F82, 0x3F817FFF: 0x3F81,
		0x7F7FFFFF: 0x7F80, 0xFF800000: 0xFF80, 0x7F800001: 0x7FC0, 0xFFFFFFFF: 0xFFFF, 0x80000001: 0x8000,
	} {
		if got := float32ToBrain(math.Float32frombits(bits)); got != want {
			t.Errorf("%08x: got %04x, want %04x", bits, got, want)
		}
	}
}

// FuzzSafetensors: no input may crash the reader, and what it accepts can be read whole and written again.
func FuzzSafetensors(f *testing.F) {
	var b bytes.Buffer
	if err := WriteSafetensors(&b, testTensors()[1:], map[string]string{"k": "v"}); err != nil {
		f.Fatal(err)
	}
	f.Add(b.Bytes())
	f.Add(st(`{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}`, "1234"))
	f.Add(st(`{"a":{"dtype":"U8","shape":[0,4294967296],"data_offsets":[0,0]},"__metadata__":{}}  `, ""))
	f.Add(st(`{"a":{"dtype":"BF16","shape":[9223372036854775807],"data_offsets":[0,9223372036854775807]}}`, ""))
	f.Fuzz(func(t *testing.T, file []byte) {
		s, err := openBytes(file)
		if err != nil {
			if fault.Of(err) != fault.Data {
				t.Fatalf("kind %d: %v", fault.Of(err), err)
			}
			return
		}
		var again []Tensor
		total := int64(0)
		for _, name := range s.Names() {
			info, _ := s.Info(name)
			data := make([]byte, info.Bytes) // bounded by the file, which the reader has promised
			if total += info.Bytes; total > int64(len(file)) {
				t.Fatalf("%d bytes of tensors in a file of %d", total, len(file))
			}
			if err := s.ReadBytes(name, data); err != nil {
				t.Fatal(err)
			}
			again = append(again, Tensor{name, info.DType, info.Shape, data})
		}
		var b bytes.Buffer
		if err := WriteSafetensors(&b, again, s.Metadata); err != nil {
			t.Fatal(err)
		}
		s2, err := openBytes(b.Bytes())
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range again {
			got := make([]byte, len(want.Data.([]byte)))
			if err := s2.ReadBytes(want.Name, got); err != nil || !bytes.Equal(got, want.Data.([]byte)) {
				t.Fatal(fmt.Errorf("%q differs after a round trip: %w", want.Name, err))
			}
		}
	})
}
