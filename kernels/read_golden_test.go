package kernels

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"testing"
)

// goldenFolder holds independent float64 vectors; PALIMPSEST_GOLDEN names another one.
func goldenFolder() string {
	if dir := os.Getenv("PALIMPSEST_GOLDEN"); dir != "" {
		return dir
	}
	return filepath.Join("testdata", "golden")
}

// readGolden decodes the cases of NAME.json, each into a C.
func readGolden[C any](t *testing.T, name string) []C {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(goldenFolder(), name+".json"))
	if err != nil {
		t.Fatal(err)
	}
	var file struct{ Cases []C }
	if err := json.Unmarshal(raw, &file); err != nil {
		t.Fatalf("%s.json: %v", name, err)
	}
	if len(file.Cases) == 0 {
		t.Fatalf("%s.json holds no cases", name)
	}
	return file.Cases
}

// numbers is a nested list of numbers, flattened row by row; "-inf" and "inf" are strings there.
type numbers []float64

func (n *numbers) UnmarshalJSON(raw []byte) error {
	var v any
	if err := json.Unmarshal(raw, &v); err != nil {
		return err
	}
	*n = nil
	return n.flatten(v)
}

func (n *numbers) flatten(v any) error {
	switch v := v.(type) {
	case nil:
	case float64:
		*n = append(*n, v)
	case string:
		sign, ok := map[string]int{"-inf": -1, "inf": 1}[v]
		if !ok {
			return fmt.Errorf("number %q", v)
		}
		*n = append(*n, math.Inf(sign))
	case []any:
		for _, e := range v {
			if err := n.flatten(e); err != nil {
				return err
			}
		}
	default:
		return fmt.Errorf("a %T among numbers", v)
	}
	return nil
}

func (n numbers) largest() float64 {
	most := 0.0
	for _, v := range n {
		if a := math.Abs(v); !math.IsInf(a, 0) {
			most = max(most, a)
		}
	}
	return most
}

// goldenTolerance is that of the specifications. large says that logits reach 80 or values exceed 100. For bfloat16 it is a
// plain bound that a wrong formula would break: the inputs are not exact there, and the compliance suite judges precision.
func goldenTolerance(compute DType, large bool) (rel, abs float64) {
	switch {
	case compute == F64:
		return 1e-9, 1e-11
	case compute == F32 && large:
		return 2e-5, 1e-4
	case compute == F32:
		return 2e-5, 2e-6
	case compute == BF16 && large:
		return 1.0 / 32, 0.5
	case compute == BF16:
		return 1.0 / 32, 1.0 / 32
	}
	panic(fmt.Sprintf("no golden tolerance for %v", compute))
}

// A goldenCheck compares outputs of one case on one backend.
type goldenCheck struct {
	t        *testing.T
	b        Backend
	rel, abs float64
}

func newGoldenCheck(t *testing.T, b Backend, large bool) goldenCheck {
	rel, abs := goldenTolerance(b.Info().Compute, large)
	return goldenCheck{t, b, rel, abs}
}

// values compares within the tolerance, infinities exactly and, with zeros, wanted zeros exactly.
func (c goldenCheck) values(name string, got, want []float64, zeros bool) {
	c.t.Helper()
	if len(got) != len(want) {
		c.t.Fatalf("%s: %d values, want %d", name, len(got), len(want))
	}
	for i, w := range want {
		g := got[i]
		ok := math.Abs(g-w) <= c.abs+c.rel*math.Abs(w)
		if math.IsInf(w, 0) || zeros && w == 0 {
			ok = g == w
		}
		if !ok {
			c.t.Errorf("%s[%d] = %.12g, want %.12g", name, i, g, w)
			return
		}
	}
}

// zeros demands exact zeros where the specification does. Other zeros of a vector may be what rounding left of a small number.
func (c goldenCheck) zeros(name string, got []float64, at func(i int) bool) {
	c.t.Helper()
	for i, g := range got {
		if at(i) && g != 0 {
			c.t.Errorf("%s[%d] = %.12g, want exactly 0", name, i, g)
			return
		}
	}
}

// floats allocates a buffer of the backend's compute type with the given contents.
func floats(b Backend, values []float64) Buf {
	buf := b.Alloc(b.Info().Compute, len(values))
	b.Upload(buf, values)
	return buf
}

// masters is floats for the master type.
func masters(b Backend, values []float64) Buf {
	buf := b.Alloc(b.Info().Master, len(values))
	b.Upload(buf, values)
	return buf
}

func integers(b Backend, values []int32) Buf {
	buf := b.Alloc(I32, len(values))
	b.Upload(buf, values)
	return buf
}

func bytesOf(b Backend, values []uint8) Buf {
	buf := b.Alloc(U8, len(values))
	b.Upload(buf, values)
	return buf
}

// read downloads a floating buffer.
func read(b Backend, buf Buf) []float64 {
	values := make([]float64, buf.Len())
	b.Download(values, buf)
	return values
}

// filled returns n copies of v.
func filled(n int, v float64) []float64 {
	s := make([]float64, n)
	for i := range s {
		s[i] = v
	}
	return s
}
