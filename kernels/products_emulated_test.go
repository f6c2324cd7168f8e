//go:build cuda && emulated

package kernels

import (
	"strings"
	"testing"
)

// Launches of attention and of products cost no allocation once their lists and the workspace are there.
func TestAttentionAndProductsEmulatedAllocateNothing(t *testing.T) {
	onGPU(t, func() {
		const rows, H, K, D = 20, 2, 1, 8
		b := complianceBackends[0]()
		qkv, dqkv := b.Alloc(BF16, rows*(H+2*K)*D), b.Alloc(BF16, rows*(H+2*K)*D)
		out, dout, lse := b.Alloc(BF16, rows*H*D), b.Alloc(BF16, rows*H*D), b.Alloc(F32, rows*H)
		w, dw := b.Alloc(BF16, 16*16), b.Alloc(F32, 16*16)
		segments := []Segment{{End: 9, Mask: Causal}, {Start: 9, End: rows}}
		op := func() {
			b.Attention(Attention{Out: out, LSE: lse, QKV: qkv, Segments: segments, Rows: rows, H: H, K: K, D: D, Drop: Drop{P: 0.5}})
			b.AttentionBackward(AttentionBackward{DQKV: dqkv, DOut: dout, Out: out, LSE: lse, QKV: qkv, Segments: segments, Rows: rows,
				H: H, K: K, D: D, Drop: Drop{P: 0.5}})
			b.Linear(dout, out, w, Buf{}, Buf{}, rows, 16, 16, None)
			b.LinearBackwardInput(dout, out, w, Buf{}, rows, 16, 16, None, true)
			b.LinearBackwardWeight(dw, Buf{}, out, dout, rows, 16, 16)
		}
		op()
		if err := b.Sync(); err != nil {
			t.Fatal(err)
		}
		if n := testing.AllocsPerRun(10, op); n != 0 {
			t.Errorf("five ops allocate %g times", n)
		}
	})
}

// Heads wider than the kernels do are refused by name, and Sync says so.
func TestAttentionEmulatedRefusesWideHeads(t *testing.T) {
	b, err := openCUDA()
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	const D = 136
	x, y := b.Alloc(BF16, 3*D), b.Alloc(BF16, D)
	b.Attention(Attention{Out: y, QKV: x, Segments: []Segment{{End: 1}}, Rows: 1, H: 1, K: 1, D: D})
	if err := b.Sync(); err == nil || !strings.Contains(err.Error(), "heads of 136 columns") || !strings.Contains(err.Error(), "hint:") {
		t.Errorf("error %v, want one that names the width and the way out", err)
	}
}
