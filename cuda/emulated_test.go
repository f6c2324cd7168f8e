//go:build cuda && emulated

package cuda

import (
	"os"
	"testing"
)

func TestEmulated(t *testing.T) {
	for _, x := range deviceTests {
		t.Run(x.name, x.test)
	}
}

func BenchmarkEmulatedLaunch(b *testing.B) {
	d, err := Open(0)
	if err != nil {
		b.Fatal(err)
	}
	defer d.Close()
	text, err := os.ReadFile("../kernels/ptx/sm_80/reduce.ptx")
	if err != nil {
		b.Fatal(err)
	}
	m, err := d.Load("reduce", string(text))
	if err != nil {
		b.Fatal(err)
	}
	f, err := m.Function("reduce_add_single")
	if err != nil {
		b.Fatal(err)
	}
	var a Args
	b.ReportAllocs()
	for b.Loop() {
		a.Reset()
		a.Ptr(256)
		a.Ptr(512)
		a.I64(0)
		a.I32(0)
		d.Launch(f, Dim3{X: 8}, Dim3{X: 256}, 0, &a)
	}
	if err := d.Sync(); err != nil {
		b.Fatal(err)
	}
}
