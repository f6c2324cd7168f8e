//go:build cuda && emulated

package cuda

import (
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"palimpsest/engine/fault"
)

// Products of cuBLASLt are captured in their place. Others than before are another sequence, also where a prepared product took
// the place of an older one in memory.
func TestEmulatedReplayOfProducts(t *testing.T) {
	b := products(t)
	x, w, y := b.random(64*8, false), b.random(64, false), b.random(64*8, false)
	bias := b.random(8, false)
	step := func(rows int, scale float32) {
		b.d.Together(func() {
			b.d.Fill(y.at, 0, 2*64*8)
			ok(t, b.p.Matmul(Matmul{M: rows, N: 8, K: 8, TransB: true, A: x.at, B: w.at, D: y.at, Scale: scale, Epilogue: Bias, Bias: bias.at}))
			b.d.Copy(x.at, y.at, 2*8*rows)
			b.d.Copy(y.at, x.at, 2*rows)
			ok(t, b.p.Matmul(Matmul{M: rows, N: 8, K: 8, A: x.at, B: w.at, D: y.at}))
		})
	}
	run := func() []BF16 {
		b.d.CopyIn(x.at, bytesOf(slices.Repeat([]BF16{toBF16(0.5)}, 64*8)))
		for _, rows := range []int{64, 64, 64, 40, 64, 40, 40, 64} {
			step(rows, 0.5)
		}
		got := make([]BF16, 64*8)
		ok(t, b.d.CopyOut(bytesOf(got), y.at))
		return got
	}
	first := run() // preparing a product divides the first sequence of its shape
	r := b.d.Replays()
	if r.Captured != 2 || r.Replayed != 2 || r.Patched != 0 || r.Off != "" {
		t.Errorf("%+v", r)
	}
	b.p.mu.Lock()
	ok(t, b.d.queue.do(func() error { b.p.forget(); return nil }))
	b.p.mu.Unlock()
	if got := run(); !slices.Equal(got, first) {
		t.Error("other bits the second time")
	}
	if again := b.d.Replays(); again.Captured != 4 {
		t.Errorf("products that were prepared again are taken for the old ones: %+v", again)
	}
}

// A driver that captures, instantiates, changes or launches no graph: the work is done one by one, and Replays has the reason.
// Each case needs a process, as the driver's settings are its own.
func TestEmulatedReplayFaults(t *testing.T) {
	for _, c := range []struct{ fail, off string }{
		{"cuStreamBeginCapture_v2:1:801", "NOT_SUPPORTED"}, {"cuStreamGetCaptureInfo_v2:3:1", "capturing launching reduce_add_single, grid "},
		{"cuGraphInstantiateWithFlags:1:2", "making a graph of 8 operations, from filling 2144 bytes"}, {"cuGraphLaunch:1:801", "NOT_SUPPORTED"},
		{"cuGraphLaunch:4:801", ""}, {"cuGraphExecKernelNodeSetParams:3:1", ""}, {"cuGraphExecMemsetNodeSetParams:1:1", ""},
		{"cuGraphExecMemcpyNodeSetParams:2:910", ""}, {"cuGraphExecMemsetNodeSetParams:0:1", "changing a graph: filling "}, {"cuGraphLaunch:3:700", "lost"}, {"cuGraphExecKernelNodeSetParams:2:719", "lost"},
	} {
		t.Run(strings.ReplaceAll(c.fail, ":", "-"), func(t *testing.T) {
			if os.Getenv("PALIMPSEST_TEST_CHILD") == "" {
				child := exec.Command(os.Args[0], "-test.run", "^TestEmulatedReplayFaults$/^"+strings.ReplaceAll(c.fail, ":", "-")+"$")
				child.Env = append(os.Environ(), "PALIMPSEST_TEST_CHILD=1", "PALIMPSEST_EMU_FAIL="+c.fail)
				if out, err := child.CombinedOutput(); err != nil {
					t.Errorf("%v\n%s", err, out)
				}
				return
			}
			d := open(t, Options{})
			add := adder(t, d)
			const n, steps = 3000, 8
			at := memories(t, d, n)
			for step := range steps {
				d.Together(func() { work(d, add, at, step) })
			}
			err := d.Sync()
			r := d.Replays()
			if c.off == "lost" {
				if !isLost(err) || fault.Of(err) != fault.Peer || !strings.Contains(err.Error(), "reduce_add_single") && !strings.Contains(err.Error(), "a graph of 8 operations") {
					t.Errorf("%v", err)
				}
				return
			}
			ok(t, err)
			if c.off == "" && (r.Refused != 1 || r.Captured != 2 || r.Replayed != steps-3) || !strings.Contains(r.Off, c.off) || (r.Off == "") != (c.off == "") {
				t.Errorf("%+v", r)
			}
			got := contents(t, d, at, n)
			other := open(t, Options{})
			add, at = adder(t, other), memories(t, other, n)
			for step := range steps {
				work(other, add, at, step)
			}
			if !slices.Equal(got, contents(t, other, at, n)) {
				t.Error("other bits")
			}
		})
	}
}

func TestEmulatedReplayWithLibrary(t *testing.T) {
	blaslt(t)
	testReplayWithLibrary(t)
}
