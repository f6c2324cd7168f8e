//go:build cuda

package kernels

import (
	"encoding/json"
	"math"
	"os"
	"testing"

	"palimpsest/cuda"
)

// selftestRecord is testdata/selftest.json; selftest.cu's head says what it means.
type selftestRecord struct {
	Kernel  string
	Threads int
	Shared  int
	Scratch int
	Rows    []struct {
		Name, Kind         string
		Absolute, Relative float64
	}
	In, Out []uint32
}

func readSelftest(t *testing.T) (r selftestRecord) {
	t.Helper()
	data, err := os.ReadFile("testdata/selftest.json")
	if err == nil {
		err = json.Unmarshal(data, &r)
	}
	if err != nil {
		t.Fatal(err)
	}
	if r.Threads <= 0 || len(r.Out) != r.Threads*len(r.Rows) {
		t.Fatalf("%d words for %d rows of %d threads", len(r.Out), len(r.Rows), r.Threads)
	}
	return r
}

// compare returns the rows of got that a device may not give, each with its first thread.
func (r selftestRecord) compare(got []uint32) (wrong []int) {
	for i, row := range r.Rows {
		for t := range r.Threads {
			g, w := got[i*r.Threads+t], r.Out[i*r.Threads+t]
			if g == w {
				continue
			}
			x, y := float64(math.Float32frombits(g)), float64(math.Float32frombits(w))
			if row.Kind == "float" && (math.IsNaN(x) && math.IsNaN(y) || math.Abs(x-y) <= row.Absolute+row.Relative*math.Abs(y)) {
				continue
			}
			wrong = append(wrong, i*r.Threads+t)
			break
		}
	}
	return wrong
}

// testSelftest runs selftest.ptx through package cuda alone and holds its results against the record.
func testSelftest(t *testing.T) {
	r := readSelftest(t)
	d, err := cuda.Open(0)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	info := d.Info()
	families, _ := CompiledFor(info.Major, info.Minor)
	for target, names := range families {
		for _, family := range names {
			if family != "selftest" {
				continue
			}
			code, err := compiled.ReadFile("ptx/" + target + "/selftest.ptx")
			if err != nil {
				t.Fatal(err)
			}
			got := r.run(t, d, string(code))
			for _, at := range r.compare(got) {
				row := r.Rows[at/r.Threads]
				t.Errorf("%s for %s: %s (row %d, %s), thread %d: %#08x (%g as a float), want %#08x (%g)", info.Name, target, row.Name, at/r.Threads,
					row.Kind, at%r.Threads, got[at], math.Float32frombits(got[at]), r.Out[at], math.Float32frombits(r.Out[at]))
			}
			return
		}
	}
	t.Fatalf("no selftest is compiled for %s", info.Capability())
}

func (r selftestRecord) run(t *testing.T, d *cuda.Device, code string) []uint32 {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	m, err := d.Load("selftest", code)
	must(err)
	f, err := m.Function(r.Kernel)
	must(err)
	got := make([]uint32, len(r.Out))
	for i := range got {
		got[i] = 0x7fc0dead // what is not written stays wrong
	}
	var out cuda.Address
	var args cuda.Args
	for i, words := range [][]uint32{got, r.In, make([]uint32, r.Scratch)} {
		at, err := d.Alloc(4 * len(words))
		must(err)
		d.CopyIn(at, bytesOfSlice(words))
		args.Ptr(at)
		if i == 0 {
			out = at
		}
	}
	d.Launch(f, cuda.Dim3{X: 1}, cuda.Dim3{X: uint32(r.Threads)}, r.Shared, &args)
	must(d.CopyOut(bytesOfSlice(got), out))
	return got
}

// The comparison sees one wrong bit of a word, and a float that is off by more than its row allows.
func TestSelftestComparison(t *testing.T) {
	r := readSelftest(t)
	if wrong := r.compare(r.Out); wrong != nil {
		t.Errorf("the record differs from itself at %v", wrong)
	}
	for i, row := range r.Rows {
		got := append([]uint32(nil), r.Out...)
		at := i*r.Threads + 5
		if row.Kind == "word" {
			got[at] ^= 1
		} else {
			got[at] = 0 // where the record is not finite
			if v := float64(math.Float32frombits(r.Out[at])); math.Abs(v) < 1e30 {
				got[at] = math.Float32bits(float32(v + max(1, math.Abs(v))))
			}
		}
		if wrong := r.compare(got); len(wrong) != 1 || wrong[0] != at {
			t.Errorf("%s: wrong at %d is found at %v", row.Name, at, wrong)
		}
	}
}

func TestSelftestDevice(t *testing.T) {
	if gpuAsked(t) {
		testSelftest(t)
	}
}
