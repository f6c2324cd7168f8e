//go:build cuda

package kernels

import (
	"encoding/binary"
	"math"
)

// flags of reference_kl.cu.
const (
	pullGradient = 1 << iota
	pullClip
	pullFloorKept
)

// pullRoom is how many chunks of eight logits of either row a block keeps in shared memory: two blocks of 100 KB fit a
// Hopper's.
const pullRoom = 3200

func (g *gpu) ReferenceKL(p ReferenceKL) {
	p.check()
	g.mustHold("ReferenceKL", p.Logits, BF16)
	if p.R == 0 {
		return
	}
	flags := uint32(0)
	if p.Grad {
		flags |= pullGradient
	}
	if p.ClipUnlikelihood {
		flags |= pullClip
	}
	if p.FloorKept {
		flags |= pullFloorKept
	}
	a := g.arguments()
	pointers(a, p.Logits, p.Reference, p.Targets, p.Weights, p.NLL, p.Loss, p.KL)
	room := max(1, min(p.V/8, pullRoom, (g.device.Info().SharedOptin-2048)/32))
	dims(a, p.V, room)
	var options [24]byte
	for i, v := range [3]float64{p.Eps, p.leastLog(), p.GradScale} {
		binary.NativeEndian.PutUint32(options[4*i:], math.Float32bits(float32(v)))
	}
	for i, v := range [3]uint32{uint32(p.Unwanted), uint32(p.Kept), flags} {
		binary.NativeEndian.PutUint32(options[12+4*i:], v)
	}
	a.Bytes(options[:], 4)
	name := "reference_kl"
	if p.perEntry() {
		name = "reference_kl_smoothed"
	}
	threads := min(512, 32*ceilDiv(ceilDiv(p.V, 8)+1, 32*2)) // at least two chunks of a wide row each
	g.launchShared(name, line(p.R), line(threads), 768+32*room)
}
