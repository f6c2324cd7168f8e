//go:build cuda

package cuda

import "testing"

// A Dense over device memory is a handle: it slices and reshapes, and keeps the host out.
func testTensors(t *testing.T) {
	d := open(t, Options{})
	x, err := d.NewDense(Float32, 4, 6)
	ok(t, err)
	v := make([]float32, 24)
	for i := range v {
		v[i] = float32(i)
	}
	d.CopyIn(AddressOf(x), bytesOf(v))
	part, err := x.Slice(rows{1, 3})
	ok(t, err)
	at := Address(part.Uintptr())
	if got := floats(t, d, at, 12); got[0] != 6 || got[11] != 17 {
		t.Errorf("rows 1 and 2: %v", got)
	}
	ok(t, x.Reshape(2, 12))
	if x.Shape()[1] != 12 || AddressOf(x) == 0 {
		t.Error(x.Shape())
	}
	if _, err := x.At(0, 0); err == nil {
		t.Error("the host read device memory")
	}
	same, err := d.DenseAt(AddressOf(x), BFloat16, 8, 6)
	ok(t, err)
	if same.MemSize() != 96 || AddressOf(same) != AddressOf(x) || same.Dtype() != BFloat16 {
		t.Error(same.Shape(), same.MemSize())
	}
	e := d.Engine()
	m, err := e.Alloc(96)
	ok(t, err)
	ok(t, e.Memset(m, uint8(1)))
	ok(t, e.Memcpy(m, piece{uintptr(AddressOf(x)), 96}))
	if got := floats(t, d, Address(m.Uintptr()), 24); got[23] != 23 {
		t.Error(got)
	}
	e.Memclr(m)
	if got := floats(t, d, Address(m.Uintptr()), 24); got[23] != 0 {
		t.Error(got)
	}
	ok(t, e.Free(m, 96))
	if _, err := d.DenseAt(0, Float32, 2); err == nil {
		t.Error("a tensor at no address")
	}
	if _, err := e.Accessible(m); err == nil || e.Memcpy(piece{1, 4}, piece{1, 8}) == nil || e.Memset(m, 1.5) == nil {
		t.Error("the engine took what it must refuse")
	}
}

// rows is a tensor.Slice.
type rows struct{ from, to int }

func (r rows) Start() int { return r.from }
func (r rows) End() int   { return r.to }
func (r rows) Step() int  { return 1 }
