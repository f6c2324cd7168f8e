package cuda

import (
	"encoding/binary"
	"errors"
	"math"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"palimpsest/engine/fault"
)

func TestArgsAlignEveryValue(t *testing.T) {
	var a Args
	for range 2 { // the second time over what the first left
		a.Reset()
		a.F32(1.5)
		a.Ptr(0x1122334455667788)
		a.I32(-2)
		a.F64(-0.25)
		a.U32(7)
		a.Bytes([]byte{1, 2, 3}, 1)
		a.Bytes([]byte{9, 8}, 16)
		want := []place{{0, 4}, {8, 8}, {16, 4}, {24, 8}, {32, 4}, {36, 3}, {48, 2}}
		if !slices.Equal(a.places[:a.count], want) || a.size != 50 || a.tooMuch {
			t.Fatalf("places %v, size %d", a.places[:a.count], a.size)
		}
		e := binary.NativeEndian
		b := a.buffer[:]
		if e.Uint32(b) != math.Float32bits(1.5) || e.Uint64(b[8:]) != 0x1122334455667788 || int32(e.Uint32(b[16:])) != -2 ||
			e.Uint64(b[24:]) != math.Float64bits(-0.25) || b[38] != 3 || b[49] != 8 || e.Uint32(b[4:]) != 0 || b[40] != 0 {
			t.Fatalf("buffer % x", b[:a.size])
		}
		for range maxArgs {
			a.U64(math.MaxUint64) // leaves no zero behind, and too many
		}
		if !a.tooMuch || a.count != maxParameters {
			t.Fatalf("%d parameters, tooMuch %v", a.count, a.tooMuch)
		}
	}
	a.Reset()
	if a.Bytes(make([]byte, maxArgs+1), 1); !a.tooMuch {
		t.Error("a value above the driver's limit was taken")
	}
}

// Random allocation and freeing: no overlap, no loss, everything merges back.
func TestArena(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	var a arena
	a.add(0x10000, 1<<20, 0)
	a.add(0x10000+1<<20, 1<<20, 1) // touches the first, and must stay apart
	live := map[Address]int{}
	slabOf := func(at Address) int {
		if at >= 0x10000+1<<20 {
			return 1
		}
		return 0
	}
	sum := 0
	for range 4000 {
		if r.IntN(3) > 0 {
			n := r.IntN(60_000)
			at, ok := a.take(n)
			if !ok {
				if need := max(alignUp(n, alignment), alignment); a.largest() >= need {
					t.Fatalf("%d bytes refused with a gap of %d", need, a.largest())
				}
				continue
			}
			n = max(alignUp(n, alignment), alignment)
			if at%alignment != 0 || slabOf(at) != slabOf(at+Address(n)-1) || at < 0x10000 || at+Address(n) > 0x10000+2<<20 {
				t.Fatalf("0x%x of %d bytes", at, n)
			}
			for other, m := range live {
				if at < other+Address(m) && other < at+Address(n) {
					t.Fatalf("0x%x+%d overlaps 0x%x+%d", at, n, other, m)
				}
			}
			live[at] = n
			sum += n
		} else {
			for at, n := range live {
				if err := a.put(at, slabOf(at)); err != nil {
					t.Fatal(err)
				}
				delete(live, at)
				sum -= n
				break
			}
		}
		if a.busy != sum || a.peak < sum {
			t.Fatalf("busy %d peak %d, want %d", a.busy, a.peak, sum)
		}
	}
	for at := range live {
		if err := a.put(at, slabOf(at)); err != nil {
			t.Fatal(err)
		}
	}
	if len(a.free) != 2 || a.largest() != 1<<20 || a.busy != 0 {
		t.Errorf("after freeing all: %v", a.free)
	}
	if err := a.put(0x10000, 0); err == nil {
		t.Error("a double free was taken")
	}
	if a.remove(0x10000, 1<<20); len(a.free) != 1 || a.size != 1<<20 {
		t.Errorf("after removing a slab: %v, %d", a.free, a.size)
	}
}

// Pieces never cross a segment and never overlap what was placed since its segment was entered.
func TestRing(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	g := ring{segment: 1024, count: 4}
	end, laps := 0, 0
	for range 2000 {
		want := 1 + r.IntN(3000)
		for want > 0 {
			offset, n, next := g.place(want)
			if next {
				end, laps = g.at*g.segment, laps+1
			}
			if n <= 0 || n > want || offset < end || offset/1024 != (offset+n-1)/1024 || offset/1024 != g.at || offset%alignment != 0 {
				t.Fatalf("want %d: offset %d, %d bytes, segment %d, end %d", want, offset, n, g.at, end)
			}
			end = offset + n
			want -= n
		}
	}
	if laps < 1000 {
		t.Errorf("only %d segments were entered", laps)
	}
}

func TestTarget(t *testing.T) {
	both := []string{"sm_80", "sm_90a"}
	for _, c := range []struct {
		major, minor int
		targets      []string
		want         string
	}{{9, 0, both, "sm_90a"}, {8, 0, both, "sm_80"}, {8, 9, both, "sm_80"}, {10, 0, both, "sm_80"}, {12, 0, both, "sm_80"}, {7, 5, both, ""},
		{9, 0, []string{"sm_80", "sm_90"}, "sm_90"}, {9, 0, []string{"sm_90a", "sm_90"}, "sm_90a"}, {9, 0, nil, ""}, {9, 0, []string{"x"}, ""}} {
		if got := Target(c.major, c.minor, c.targets); got != c.want {
			t.Errorf("%d.%d of %v: %q, want %q", c.major, c.minor, c.targets, got, c.want)
		}
	}
}

func TestUnfit(t *testing.T) {
	ptx := "//\n.version 7.8\n.target sm_80\n.address_size 64\n"
	hopper := ".version 8.0\n.target sm_90a, debug\n"
	for _, c := range []struct {
		ptx                  string
		major, minor, driver int
		want                 string // "" for fit
	}{{ptx, 8, 0, 11080, ""}, {ptx, 9, 0, 13000, ""}, {ptx, 8, 6, 11040, "drivers for CUDA 11.8"}, {ptx, 7, 5, 12040, "capability 7.5"},
		{hopper, 9, 0, 12000, ""}, {hopper, 9, 0, 11080, "CUDA 12.0"}, {hopper, 10, 0, 13000, "sm_90a"}, {"no", 8, 0, 12000, "no PTX"}} {
		got := unfit(c.ptx, c.major, c.minor, c.driver)
		if (got == "") != (c.want == "") || !strings.Contains(got, c.want) {
			t.Errorf("%d.%d, driver %d: %q, want %q in it", c.major, c.minor, c.driver, got, c.want)
		}
	}
}

func TestErrorsCarryTheirExitCode(t *testing.T) {
	for _, c := range []struct {
		code int
		is   error
		kind fault.Kind
	}{{700, ErrLost, fault.Peer}, {719, ErrLost, fault.Peer}, {214, ErrLost, fault.Peer}, {2, ErrMemory, fault.Device}, {100, ErrNoDevice, fault.Device},
		{101, ErrNoDevice, fault.Device}, {1, nil, fault.Device}, {-13, nil, fault.Device}, {704, nil, fault.Device}} {
		err := fail(&Error{Op: "launching x", Code: c.code, Text: words(c.code, "", "some words"), Hint: "do this"})
		if fault.Of(err) != c.kind {
			t.Errorf("%d: exit code %d, want %d", c.code, fault.Of(err), c.kind)
		}
		for _, target := range []error{ErrLost, ErrMemory, ErrNoDevice} {
			if errors.Is(err, target) != (target == c.is) {
				t.Errorf("%d: is %v: %v", c.code, target, errors.Is(err, target))
			}
		}
		for _, part := range []string{"launching x: ", "some words", "; hint: do this"} {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("%q lacks %q", err, part)
			}
		}
	}
}

func TestBlasltPlaces(t *testing.T) {
	files := []string{"/usr/local/cuda-12.4/lib64/libcublasLt.so.12", "/py/nvidia/cublas/lib/libcublasLt.so.12", "/py/nvidia/cu13/lib/libcublasLt.so.13",
		"/mine/libcublasLt.so.11"}
	glob := func(pattern string) (found []string) {
		for _, f := range files {
			if ok, _ := filepath.Match(pattern, f); ok {
				found = append(found, f)
			}
		}
		return found
	}
	python := func() []string { return []string{"/py", "/py", "/none"} }
	environ := func(set bool, value string) func(string) (string, bool) {
		return func(name string) (string, bool) {
			if name != "PALIMPSEST_CUBLASLT" {
				t.Errorf("asked for %s", name)
			}
			return value, set
		}
	}
	for _, c := range []struct {
		set   bool
		value string
		want  []string
	}{
		{false, "", []string{"libcublasLt.so.13", "libcublasLt.so.12", files[0], "libcublasLt.so.11", files[2], files[1]}},
		{true, "", nil},
		{true, "/x/lib.so", []string{"/x/lib.so"}},
		{true, "/mine", []string{files[3]}},
	} {
		if got := blasltPlaces(environ(c.set, c.value), glob, python); !slices.Equal(got, c.want) {
			t.Errorf("%v %q: %q, want %q", c.set, c.value, got, c.want)
		}
	}
}

func TestWords(t *testing.T) {
	if got := words(100, "", ""); got != "CUDA_ERROR_NO_DEVICE (100)" {
		t.Error(got)
	}
	if got := words(7777, "", "odd"); got != "CUDA error (7777): odd" {
		t.Error(got)
	}
	if got := size(3 << 30); got != "3.00 GiB" {
		t.Error(got)
	}
}
