//go:build cuda

package cuda

import (
	"encoding/binary"
	"errors"
	"math"
	"os"
	"strings"
	"sync"
	"testing"
	"unsafe"

	"palimpsest/engine/fault"
)

// Tests of a device: over the emulated driver as TestEmulated (`make test-emulated` names it in PALIMPSEST_LIBCUDA), and on a real
// one as TestDevice, where PALIMPSEST_GPU=1 asks for that. Those that a real device would not survive are for the emulated one only.
var deviceTests = []struct {
	name string
	test func(t *testing.T)
	only bool // emulated
}{
	{"Info", testInfo, false}, {"Launches", testLaunches, false}, {"LaunchesThatDoNotFit", testLaunchesThatDoNotFit, false},
	{"BadAddresses", testBadAddresses, true}, {"LostDevice", testLostDevice, true}, {"Copies", testCopies, false},
	{"Prefetch", testPrefetch, false}, {"Graph", testGraph, false}, {"GraphOfABadCopy", testGraphOfABadCopy, true},
	{"Memory", testMemory, false}, {"SeparateAllocations", testSeparateAllocations, true}, {"Events", testEvents, false},
	{"LoadErrors", testLoadErrors, false}, {"Goroutines", testGoroutines, false}, {"LaunchAllocatesNothing", testLaunchAllocatesNothing, false},
	{"Tensors", testTensors, false}, {"Replay", testReplay, false}, {"ReplayInParts", testReplayInParts, false},
	{"ReplayEviction", testReplayEviction, false}, {"ReplayDoesNotPay", testReplayDoesNotPay, false},
	{"ReplayAllocatesLittle", testReplayAllocatesLittle, false}, {"ReplayGoroutines", testReplayGoroutines, false},
	{"ReplayNamesWhatFails", testReplayNamesWhatFails, true}, {"ReplaySparesMemory", testReplaySparesMemory, false},
}

// onGPU reports whether a real device is asked for.
func onGPU() bool { return os.Getenv("PALIMPSEST_GPU") == "1" }

func TestDevice(t *testing.T) {
	if !onGPU() {
		t.Log("PALIMPSEST_GPU is not 1: no device is asked for")
		return
	}
	for _, x := range deviceTests {
		if !x.only {
			t.Run(x.name, x.test)
		}
	}
}

func TestReplayDevice(t *testing.T) {
	if onGPU() {
		testReplay(t)
		testReplayWithLibrary(t)
	}
}

func open(t *testing.T, opts Options) *Device {
	t.Helper()
	if os.Getenv("PALIMPSEST_LIBCUDA") == "" && !onGPU() {
		t.Fatal("PALIMPSEST_LIBCUDA names no library; hint: make test-emulated")
	}
	d, err := OpenWith(0, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil && !t.Failed() && !errors.Is(err, d.Err()) {
			t.Error("closing:", err)
		}
	})
	return d
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func alloc(t *testing.T, d *Device, bytes int) Address {
	t.Helper()
	at, err := d.Alloc(bytes)
	ok(t, err)
	return at
}

// adder is the kernel dst += src on n floats.
func adder(t *testing.T, d *Device) func(dst, src Address, n int) {
	t.Helper()
	f := probe(t, d)
	var a Args
	return func(dst, src Address, n int) {
		a.Reset()
		a.Ptr(dst)
		a.Ptr(src)
		a.I64(int64(n))
		a.I32(0)
		d.Launch(f, Dim3{X: uint32((n + 2047) / 2048)}, Dim3{X: 256}, 0, &a)
	}
}

func probe(t *testing.T, d *Device) *Function {
	t.Helper()
	text, err := os.ReadFile("../kernels/ptx/sm_80/reduce.ptx")
	ok(t, err)
	m, err := d.Load("reduce", string(text))
	ok(t, err)
	f, err := m.Function("reduce_add_single")
	ok(t, err)
	return f
}

func bytesOf[T any](v []T) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(v))), len(v)*int(unsafe.Sizeof(*new(T))))
}

func floats(t *testing.T, d *Device, at Address, n int) []float32 {
	t.Helper()
	v := make([]float32, n)
	ok(t, d.CopyOut(bytesOf(v), at))
	return v
}

func testInfo(t *testing.T) {
	n, err := Count()
	if n < 1 || err != nil {
		t.Fatal(n, err)
	}
	i := open(t, Options{}).Info()
	if i.Name == "" || i.Major < 8 || i.SMs < 1 || i.SharedOptin <= i.SharedBlock || i.SharedBlock < 48<<10 || i.L2 == 0 || i.Memory == 0 || i.Driver < 11080 {
		t.Errorf("%+v", i)
	}
	if _, err := Open(n); !errors.Is(err, ErrNoDevice) || fault.Of(err) != fault.Device {
		t.Errorf("device %d of %d: %v", n, n, err)
	}
}

// Many more launches than a batch holds, their arguments all different, from a list that is reused.
func testLaunches(t *testing.T) {
	d := open(t, Options{})
	add := adder(t, d)
	const n, launches = 16, 500
	dst, src := alloc(t, d, 4*n*launches), alloc(t, d, 4*n*launches)
	v := make([]float32, n*launches)
	for i := range v {
		v[i] = float32(i)
	}
	d.CopyIn(src, bytesOf(v))
	for round := range 3 {
		for i := range launches {
			add(dst+Address(4*n*i), src+Address(4*n*i), n-round) // the last elements fewer times
		}
	}
	for i, x := range floats(t, d, dst, n*launches) {
		if want := float32(i) * float32(min(3, n-i%n)); x != want {
			t.Fatalf("element %d: %g, want %g", i, x, want)
		}
	}
}

// A misfit is queued work that fails, with what the error says.
type misfit struct {
	want string
	do   func(d *Device, f *Function, at Address)
}

func testLaunchesThatDoNotFit(t *testing.T) {
	misfits(t, []misfit{
		{"3 parameters were given, the kernel takes 4", func(d *Device, f *Function, at Address) {
			var a Args
			a.Ptr(at)
			a.Ptr(at)
			a.I64(1)
			d.Launch(f, Dim3{}, Dim3{X: 256}, 0, &a)
		}},
		{"parameter 2 was given as 4 bytes at offset 16, the kernel takes 8 bytes at 16", func(d *Device, f *Function, at Address) {
			var a Args
			a.Ptr(at)
			a.Ptr(at)
			a.I32(1)
			a.I32(1)
			d.Launch(f, Dim3{}, Dim3{X: 256}, 0, &a)
		}},
		{"a block of 1024 threads, the kernel runs with 256 at most", func(d *Device, f *Function, at Address) {
			var a Args
			d.Launch(f, Dim3{}, Dim3{X: 1024}, 0, &a)
		}},
		{"AllowShared", func(d *Device, f *Function, at Address) {
			var a Args
			d.Launch(f, Dim3{}, Dim3{X: 32}, 60<<10, &a)
		}},
	})
}

func testBadAddresses(t *testing.T) {
	misfits(t, []misfit{
		{"copying 512 bytes on the device", func(d *Device, f *Function, at Address) { d.Copy(at, 0x40, 512) }},
		{"filling 4096 bytes", func(d *Device, f *Function, at Address) { d.Fill(1, 7, 4096) }},
	})
}

func misfits(t *testing.T, list []misfit) {
	for _, c := range list {
		d := open(t, Options{})
		f := probe(t, d)
		at := alloc(t, d, 256)
		c.do(d, f, at)
		d.Fill(at, 1, 256) // dropped
		err := d.Sync()
		if err == nil || !strings.Contains(err.Error(), c.want) || err != d.Sync() || err != d.Err() {
			t.Errorf("%v, want %q in it", err, c.want)
		}
		if err := d.CopyOut(make([]byte, 1), at); err == nil {
			t.Error("a failed device copied")
		}
		if err := d.Close(); err == nil {
			t.Error("closing a failed device said nothing")
		}
	}
}

func testLostDevice(t *testing.T) {
	d := open(t, Options{})
	add := adder(t, d)
	at := alloc(t, d, 1024)
	add(at+1<<44, at, 16)
	err := d.Sync()
	if !errors.Is(err, ErrLost) || fault.Of(err) != fault.Peer || !strings.Contains(err.Error(), "CUDA_LAUNCH_BLOCKING") {
		t.Errorf("a stray write: %v (exit code %d)", err, fault.Of(err))
	}
}

// Copies through a ring much smaller than they are, in order with kernels, both ways.
func testCopies(t *testing.T) {
	d := open(t, Options{Staging: 8 << 10})
	const n = 10_000
	at := alloc(t, d, 4*n)
	for _, x := range floats(t, d, at, n) {
		if x != 0 {
			t.Fatal("new memory is not zero")
		}
	}
	add := adder(t, d)
	one := alloc(t, d, 4*n)
	v := make([]float32, n)
	for i := range v {
		v[i] = 1
	}
	d.CopyIn(one, bytesOf(v))
	var events []*Event
	seen := make([][]float32, 20)
	for round := range seen {
		for i := range v {
			v[i] = float32(round*n + i)
		}
		d.CopyIn(at, bytesOf(v))
		add(at, one, n)
		seen[round] = make([]float32, n)
		events = append(events, d.CopyOutLater(bytesOf(seen[round]), at))
	}
	for round, e := range events {
		ok(t, e.Wait())
		if !e.Done() {
			t.Error("a waited event is not done")
		}
		for i, x := range seen[round] {
			if x != float32(round*n+i)+1 {
				t.Fatalf("round %d, element %d: %g", round, i, x)
			}
		}
	}
	big := make([]byte, 9<<20+5) // more than a piece of CopyOut
	for i := range big {
		big[i] = byte(i * 7)
	}
	at = alloc(t, d, 2*len(big))
	d.CopyIn(at, big)
	d.Copy(at+Address(alignUp(len(big), 256)), at, len(big))
	back := make([]byte, len(big))
	ok(t, d.CopyOut(back, at+Address(alignUp(len(big), 256))))
	if string(back) != string(big) {
		t.Error("bytes changed on the way")
	}
}

// Copies ahead on the second stream meet the kernels that use them, whatever order the streams run in.
func testPrefetch(t *testing.T) {
	d := open(t, Options{Staging: 4 << 10})
	add := adder(t, d)
	const n = 300
	sum := alloc(t, d, 4*n)
	var in [2]Address
	for i := range in {
		in[i] = alloc(t, d, 4*n)
	}
	ok(t, d.Sync())
	var used [2]*Event
	v := make([]float32, n)
	for step := range 40 {
		for i := range v {
			v[i] = float32(step + i)
		}
		e := d.Prefetch(in[step%2], bytesOf(v), used[step%2])
		d.After(e)
		add(sum, in[step%2], n)
		used[step%2] = d.Record()
	}
	for i, x := range floats(t, d, sum, n) {
		if want := float32(40*i + 40*39/2); x != want {
			t.Fatalf("element %d: %g, want %g", i, x, want)
		}
	}
}

func testGraph(t *testing.T) {
	d := open(t, Options{})
	add := adder(t, d)
	const n = 500
	x, y, z := alloc(t, d, 4*n), alloc(t, d, 4*n), alloc(t, d, 4*n)
	v := make([]float32, n)
	for i := range v {
		v[i] = float32(i)
	}
	d.CopyIn(x, bytesOf(v))
	g, err := d.Capture(func() {
		for range 40 { // more commands than a batch
			add(y, x, n)
			d.Fill(z, 0, 4*n)
			d.Copy(z, y, 4*n)
		}
	})
	ok(t, err)
	if g.Nodes() != 120 {
		t.Errorf("%d operations, want 120", g.Nodes())
	}
	if got := floats(t, d, y, n); got[n-1] != 0 {
		t.Error("capturing executed")
	}
	for range 5 {
		d.Replay(g)
	}
	if got := floats(t, d, z, n); got[n-1] != 200*(n-1) || got[1] != 200 {
		t.Errorf("after 5 replays %g, %g", got[1], got[n-1])
	}
	for name, f := range map[string]func(){
		"CopyIn": func() { d.CopyIn(x, bytesOf(v)) }, "CopyOutLater": func() { d.CopyOutLater(bytesOf(v), x) }, "Record": func() { d.Record() },
		"Sync": func() { d.Sync() }, "Replay": func() { d.Replay(g) }, "Alloc": func() { d.Alloc(1) }, "nothing was captured": func() {},
	} {
		if _, err := d.Capture(f); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("capturing %s: %v", name, err)
		}
	}
	add(y, x, n) // the device still works
	ok(t, d.Sync())
}

func testGraphOfABadCopy(t *testing.T) {
	d := open(t, Options{})
	x := alloc(t, d, 64)
	if _, err := d.Capture(func() { d.Copy(x, 0x40, 64) }); err == nil {
		t.Error("a bad copy was captured")
	}
	d.Copy(x, x+32, 32) // the device still works
	ok(t, d.Sync())
}

func testMemory(t *testing.T) {
	d := open(t, Options{Arena: 1 << 20})
	a := alloc(t, d, 1000)
	b := alloc(t, d, 1)
	if b != a+1024 {
		t.Errorf("0x%x after 0x%x", b, a)
	}
	d.Fill(a, 0xff, 1000)
	ok(t, d.Free(a))
	if c := alloc(t, d, 500); c != a || floats(t, d, c, 125)[124] != 0 {
		t.Error("freed memory is not used again, or not zero")
	}
	m, err := d.Memory()
	ok(t, err)
	if m.Used != 768 || m.Peak != 1280 || m.Arena != 2<<20 || m.Free <= 0 || m.Capacity < m.Free {
		t.Errorf("%+v", m)
	}
	if err := d.Free(a + 256); err == nil {
		t.Error("an address inside an allocation was freed")
	}
	d.Seal(true)
	if _, err := d.Alloc(4 << 20); !errors.Is(err, ErrMemory) || !strings.Contains(err.Error(), "inside a step") {
		t.Error("a sealed arena grew:", err)
	}
	d.Seal(false)
	_, err = d.Alloc(1 << 45)
	if !errors.Is(err, ErrMemory) || fault.Of(err) != fault.Device {
		t.Error("32 TiB:", err)
	}
	for _, part := range []string{"32768.00 GiB needed", "free of", "hint"} {
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("%v lacks %q", err, part)
		}
	}
	alloc(t, d, 4<<20) // nothing was half-done
	ok(t, d.Sync())
}

// With separate allocations the driver sees a copy past the end of one.
func testSeparateAllocations(t *testing.T) {
	d := open(t, Options{Separate: true})
	a := alloc(t, d, 256)
	alloc(t, d, 256)
	freed := alloc(t, d, 256)
	ok(t, d.Free(freed))
	ok(t, d.Sync())
	d.Fill(a, 1, 257)
	if err := d.Sync(); err == nil {
		t.Error("a fill past the end went unseen")
	}
}

func testEvents(t *testing.T) {
	d := open(t, Options{})
	add := adder(t, d)
	at := alloc(t, d, 1<<16)
	from := d.Record()
	add(at, at, 1<<14)
	to := d.Record()
	ms, err := Elapsed(from, to)
	ok(t, err)
	if ms <= 0 {
		t.Errorf("%g ms", ms)
	}
	for range 100 { // far fewer driver events than this
		ok(t, d.Record().Wait())
	}
}

func testLoadErrors(t *testing.T) {
	d := open(t, Options{})
	if _, err := d.Load("future", ".version 7.8\n.target sm_99\n"); err == nil || !strings.Contains(err.Error(), "compiled for sm_99") {
		t.Error(err)
	}
	if _, err := d.Load("broken", ".version 7.8\n.target sm_80\n.address_size 64\n.visible .entry broken("); err == nil || !strings.Contains(err.Error(), "broken") {
		t.Error(err)
	}
	f := probe(t, d)
	if _, err := f.module.Function("nothing"); err == nil || !strings.Contains(err.Error(), "kernel nothing of reduce") {
		t.Error(err)
	}
	if err := f.AllowShared(d.Info().SharedOptin + 1); err == nil || !strings.Contains(err.Error(), "reduce_add_single") {
		t.Error(err)
	}
	ok(t, f.AllowShared(d.Info().SharedOptin))
	ok(t, d.Sync())
}

// Several goroutines may use a device.
func testGoroutines(t *testing.T) {
	d := open(t, Options{})
	f := probe(t, d)
	var wg sync.WaitGroup
	for range 4 {
		src, dst := alloc(t, d, 64), alloc(t, d, 64)
		wg.Go(func() {
			var a Args
			one := make([]byte, 64)
			for i := 0; i < 64; i += 4 {
				binary.NativeEndian.PutUint32(one[i:], math.Float32bits(1))
			}
			d.CopyIn(src, one)
			for range 200 {
				a.Reset()
				a.Ptr(dst)
				a.Ptr(src)
				a.I64(16)
				a.I32(0)
				d.Launch(f, Dim3{}, Dim3{X: 32}, 0, &a)
			}
			got := make([]float32, 16)
			if err := d.CopyOut(bytesOf(got), dst); err != nil || got[15] != 200 {
				t.Errorf("%v, %v", got, err)
			}
		})
	}
	wg.Wait()
}

func testLaunchAllocatesNothing(t *testing.T) {
	d := open(t, Options{})
	add := adder(t, d)
	at := alloc(t, d, 64)
	add(at, at, 16)
	if n := testing.AllocsPerRun(200, func() { add(at, at, 16) }); n != 0 {
		t.Errorf("%g allocations a launch", n)
	}
	ok(t, d.Sync())
}
