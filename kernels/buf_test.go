package kernels

import "testing"

func TestSlicesOfBuffers(t *testing.T) {
	b := HostBuf([]float32{1, 2, 3, 4})
	if s := b.Slice(1, 3); s.Len() != 2 || View[float32](s)[0] != 2 || s.Type() != F32 {
		t.Errorf("%+v", s)
	}
	for at := range 5 { // the race detector's pointer checks look on: none may point past the end
		if s := b.Slice(at, at); s.Len() != 0 || s.Absent() || len(View[float32](s)) != 0 {
			t.Errorf("empty slice at %d: %+v", at, s)
		}
	}
	for _, r := range [][2]int{{-1, 2}, {3, 2}, {0, 5}} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("slice %v did not panic", r)
				}
			}()
			b.Slice(r[0], r[1])
		}()
	}
	defer func() {
		if recover() == nil {
			t.Error("a view of another type")
		}
	}()
	View[int32](b)
}
