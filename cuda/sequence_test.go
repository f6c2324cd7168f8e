//go:build cuda

package cuda

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
)

// A step of launches, fills and copies whose arguments, grids and sizes differ each time.
func work(d *Device, add func(dst, src Address, n int), at []Address, step int) {
	n := 500 + 37*step
	d.Fill(at[2], byte(step), 4*(n-step))
	for i := range 5 {
		add(at[i%2], at[1-i%2], n-i*step)
	}
	d.Copy(at[2]+Address(4*step), at[0], 4*(n/2))
	add(at[1], at[3], 2100-step) // two blocks, then one
}

// memories are four buffers of n floats, with numbers in the last two.
func memories(t *testing.T, d *Device, n int) (at []Address) {
	t.Helper()
	v := make([]float32, n)
	for i := range v {
		v[i] = float32(i%7) / 8
	}
	for range 4 {
		at = append(at, alloc(t, d, 4*n))
		d.CopyIn(at[len(at)-1], bytesOf(v))
	}
	return at
}

func contents(t *testing.T, d *Device, at []Address, n int) (all []uint32) {
	t.Helper()
	for _, a := range at {
		for _, v := range floats(t, d, a, n) {
			all = append(all, math.Float32bits(v))
		}
	}
	return all
}

// The same steps one by one and together give the same bits; the second sighting is captured, all later ones are replayed.
func testReplay(t *testing.T) {
	const n, steps = 3000, 12
	var want []uint32
	for _, together := range []bool{false, true} {
		d := open(t, Options{})
		add, at := adder(t, d), memories(t, d, n)
		for step := range steps {
			f := func() { work(d, add, at, step) }
			if together {
				d.Together(f)
			} else {
				f()
			}
		}
		got := contents(t, d, at, n)
		if !together {
			want = got
			continue
		}
		if !slices.Equal(got, want) {
			t.Error("replayed work gives other bits")
		}
		r := d.Replays()
		if r.Sequences != steps || r.Commands != steps*8 || r.Captured != 1 || r.Replayed != steps-2 || r.Patched < 7*(steps-2) || r.Graphs != 1 || r.Off != "" || r.Refused != 0 {
			t.Errorf("%+v", r)
		}
	}
}

// What cannot be part of a graph divides a sequence and keeps its place.
func testReplayInParts(t *testing.T) {
	d := open(t, Options{Staging: 4 << 10})
	add := adder(t, d)
	const n, steps = 64, 20
	in, sum, twice := alloc(t, d, 4*n), alloc(t, d, 4*n), alloc(t, d, 4*n)
	v, seen := make([]float32, n), make([][]float32, steps)
	var events []*Event
	for step := range steps {
		seen[step] = make([]float32, n)
		d.Together(func() {
			for part := range 3 {
				for i := range v {
					v[i] = float32(i + part + step)
				}
				d.CopyIn(in, bytesOf(v))
				for range 4 {
					add(sum, in, n)
				}
				d.Fill(twice, 0, 4*n)
				add(twice, sum, n)
			}
			d.Together(func() { add(twice, sum, n) })
			events = append(events, d.CopyOutLater(bytesOf(seen[step]), twice))
			if a, err := d.Alloc(4 * n); err != nil || d.Free(a) != nil {
				t.Error("allocating between kept work:", err)
			}
			d.Flush()
		})
	}
	total := make([]float32, n)
	for step := range steps {
		ok(t, events[step].Wait())
		for i := range total {
			for part := range 3 {
				total[i] += 4 * float32(i+part+step)
			}
			if seen[step][i] != 2*total[i] {
				t.Fatalf("step %d, element %d: %g, want %g", step, i, seen[step][i], 2*total[i])
			}
		}
	}
	if r := d.Replays(); r.Captured == 0 || r.Replayed < 3*steps-2*int64(r.Graphs)-3 || r.Off != "" {
		t.Errorf("%+v", r)
	}
}

// bound sets the limits of graphs for a test.
func bound(t *testing.T, graphs, judged int) {
	a, b := maxGraphs, judgedEvery
	maxGraphs, judgedEvery = graphs, judged
	t.Cleanup(func() { maxGraphs, judgedEvery = a, b })
}

// More sequences than graphs: the one that was not used for longest goes, and comes back when it is seen again.
func testReplayEviction(t *testing.T) {
	bound(t, 2, 1000)
	d := open(t, Options{})
	add := adder(t, d)
	const n = 64
	sum, one := alloc(t, d, 4*n), alloc(t, d, 4*n)
	d.CopyIn(one, bytesOf(slices.Repeat([]float32{1}, n)))
	launches := 0
	run := func(length int) {
		launches += length
		d.Together(func() {
			for range length {
				add(sum, one, n)
			}
		})
	}
	for _, length := range []int{5, 5, 5, 6, 6, 5, 7, 7, 6, 5, 6, 6, 2, 2, 2} {
		run(length)
	}
	if got := floats(t, d, sum, n); got[n-1] != float32(launches) {
		t.Errorf("%g launches of %d", got[n-1], launches)
	}
	// 5 and 6 are captured; 7 takes the place of 6, which has to come twice again to take that of 7; 5, in between, is replayed.
	if r := d.Replays(); r.Graphs != 2 || r.Captured != 4 || r.Evicted != 2 || r.Sequences != 12 || r.Replayed != 4 || r.Bytes <= 0 && !onGPU() {
		t.Errorf("%+v", r)
	}
}

// Sequences of which too few come again are issued one by one, and that is said.
func testReplayDoesNotPay(t *testing.T) {
	bound(t, 4, 32)
	d := open(t, Options{})
	add := adder(t, d)
	const n = 16
	sum, one := alloc(t, d, 4*n), alloc(t, d, 4*n)
	d.CopyIn(one, bytesOf(slices.Repeat([]float32{1}, n)))
	launches := 0
	for length := range 40 {
		launches += 4 + length
		d.Together(func() {
			for range 4 + length {
				add(sum, one, n)
			}
		})
	}
	if got := floats(t, d, sum, n); got[n-1] != float32(launches) {
		t.Errorf("%g launches of %d", got[n-1], launches)
	}
	if r := d.Replays(); !strings.Contains(r.Off, "only 0 of the last 624 operations") || r.Graphs != 0 || r.Bytes != 0 {
		t.Errorf("%+v", r)
	}
}

// Graphs take no memory that a run may still need.
func testReplaySparesMemory(t *testing.T) {
	was := spareMemory
	spareMemory = func(total int64) int64 { return total + 1 }
	t.Cleanup(func() { spareMemory = was })
	d := open(t, Options{})
	add, at := adder(t, d), memories(t, d, 3000)
	for step := range 4 {
		d.Together(func() { work(d, add, at, step) })
	}
	ok(t, d.Sync())
	if r := d.Replays(); r.Captured != 0 || r.Replayed != 0 || !strings.Contains(r.Off, "of memory to spare") {
		t.Errorf("%+v", r)
	}
}

// A launch that the driver refuses has its name in the error, graph or not.
func testReplayNamesWhatFails(t *testing.T) {
	d := open(t, Options{})
	add, at := adder(t, d), memories(t, d, 3000)
	for step := range 4 {
		d.Together(func() {
			work(d, add, at, step)
			if step == 3 {
				d.Copy(at[0], 0x40, 512)
			} else {
				d.Copy(at[0], at[1], 512)
			}
		})
	}
	if err := d.Sync(); err == nil || !strings.Contains(err.Error(), "copying 512 bytes on the device from 0x40") {
		t.Error(err)
	}
}

// Kept commands allocate nothing once the sequences have their size.
func testReplayAllocatesLittle(t *testing.T) {
	d := open(t, Options{})
	add := adder(t, d)
	at := alloc(t, d, 64)
	step := func() {
		for range 200 {
			add(at, at, 16)
		}
	}
	for range 20 {
		d.Together(step)
	}
	ok(t, d.Sync())
	if n := testing.AllocsPerRun(20, func() { d.Together(step) }); n > 20 {
		t.Errorf("%g allocations for 200 launches", n)
	}
	ok(t, d.Sync())
}

// Several goroutines may use a device while one of them keeps work.
func testReplayGoroutines(t *testing.T) {
	d := open(t, Options{})
	add := adder(t, d)
	const n = 16
	kept, one := alloc(t, d, 4*n), alloc(t, d, 4*n)
	other := alloc(t, d, 4*n)
	d.CopyIn(one, bytesOf(slices.Repeat([]float32{1}, n)))
	done := make(chan error)
	go func() {
		v := make([]float32, n)
		for round := range 50 {
			for i := range v {
				v[i] = float32(round)
			}
			d.CopyIn(other, bytesOf(v))
			got := make([]float32, n)
			if err := d.CopyOut(bytesOf(got), other); err != nil || got[3] != float32(round) {
				done <- fmt.Errorf("%v, %w", got, err)
				return
			}
		}
		done <- nil
	}()
	for range 100 {
		d.Together(func() {
			for range 10 {
				add(kept, one, n)
			}
		})
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
	if got := floats(t, d, kept, n); got[0] != 1000 {
		t.Errorf("%g launches of 1000", got[0])
	}
}

// testReplayWithLibrary is testReplay with products of the cuBLASLt that there is between the launches: the same bits one by one and
// replayed.
func testReplayWithLibrary(t *testing.T) {
	const n, steps = 128, 8
	var want []uint32
	for _, together := range []bool{false, true} {
		d := open(t, Options{})
		p, err := OpenProducts(d)
		if err != nil {
			t.Log(err)
			return
		}
		add := adder(t, d)
		x, y, w := alloc(t, d, 2*n*n), alloc(t, d, 4*n*n), alloc(t, d, 2*n*n)
		v := make([]BF16, n*n)
		for i := range v {
			v[i] = BF16(0x3c00 + i%300) // about 0.01 to 0.05
		}
		d.CopyIn(x, bytesOf(v))
		d.CopyIn(w, bytesOf(v))
		for step := range steps {
			f := func() {
				d.Fill(y, 0, 4*n*(n-step))
				for range 2 {
					if err := p.Matmul(Matmul{M: n, N: n, K: n, TransB: true, A: x, B: w, D: y, Float: true, Add: true}); err != nil {
						t.Error(err)
					}
					add(y, y, n*n-step)
				}
			}
			if together {
				d.Together(f)
			} else {
				f()
			}
		}
		got := contents(t, d, []Address{y}, n*n)
		if r := d.Replays(); together && (!slices.Equal(got, want) || r.Replayed < steps-3 || r.Off != "") {
			t.Errorf("same bits: %v; %+v", slices.Equal(got, want), r)
		}
		want = got
		if err := p.Close(); !errors.Is(err, d.Err()) {
			t.Error("closing:", err)
		}
	}
}
