//go:build cuda

package kernels

import (
	"encoding/binary"
	"math"
)

// flags of cross_entropy.cu.
const (
	lossGradient = 1 << iota
	lossDFT
)

// lossRoom is how many chunks of eight logits a block keeps in shared memory: two blocks of 100 KB fit a Hopper's.
const lossRoom = 6400

func (g *gpu) CrossEntropy(c CrossEntropy) {
	c.check()
	g.mustHold("CrossEntropy", c.Logits, BF16)
	if c.R == 0 {
		return
	}
	flags := uint32(0)
	if c.Grad {
		flags |= lossGradient
	}
	if c.DFT {
		flags |= lossDFT
	}
	a := g.arguments()
	pointers(a, c.Logits, c.Targets, c.Weights, c.NLL, c.Loss, c.Hit)
	a.I32(int32(c.V))
	room := max(1, min(c.V/8, lossRoom, (g.device.Info().SharedOptin-2048)/16))
	a.I32(int32(room))
	var options [20]byte
	for i, v := range [4]float64{c.Smoothing, c.ZLoss, c.Focal, c.GradScale} {
		binary.NativeEndian.PutUint32(options[4*i:], math.Float32bits(float32(v)))
	}
	binary.NativeEndian.PutUint32(options[16:], flags)
	a.Bytes(options[:], 4)
	// A thread has at least four chunks of a wide row, so that narrow ones leave room for other rows.
	threads := min(512, 32*ceilDiv(ceilDiv(c.V, 8)+1, 32*4))
	g.launchShared("cross_entropy", line(c.R), line(threads), 512+16*room)
}
