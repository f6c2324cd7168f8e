//go:build cuda

package kernels

import (
	"encoding/binary"
	"math"
)

// flags of reweigh.cu.
const (
	reweighSum = 1 << iota
	reweighThrough
)

func (g *gpu) Reweigh(w Reweigh) {
	w.check()
	g.mustHold("Reweigh", w.Losses, F32)
	if w.G == 0 {
		return
	}
	flags := uint32(0)
	if w.Sum {
		flags |= reweighSum
	}
	if w.Through {
		flags |= reweighThrough
	}
	a := g.arguments()
	pointers(a, w.Weights, w.Shares, w.Losses, w.Reference, w.Classes, w.Offsets)
	var options [48]byte
	for i, v := range [5]float64{w.Tau, w.Alpha, w.Share, w.Slope, w.Scale} {
		binary.NativeEndian.PutUint64(options[8*i:], math.Float64bits(v))
	}
	binary.NativeEndian.PutUint32(options[40:], uint32(w.Rule))
	binary.NativeEndian.PutUint32(options[44:], flags)
	a.Bytes(options[:], 8)
	name := "reweigh_groups"
	switch w.Rule {
	case TopShare:
		name = "reweigh_top"
	case ByClass, FixedClass:
		name = "reweigh_classes"
	}
	g.launch(name, line(w.G), line(256), 256)
}

func (g *gpu) ScaleRows(x, scales Buf, R, C int) {
	checkScaleRows(x, scales, R, C)
	if R == 0 {
		return
	}
	if x.t != F32 {
		g.mustHold("ScaleRows", x, BF16)
	}
	a := g.arguments()
	pointers(a, x, scales)
	dims(a, R, C)
	a.I32(single(x, 1))
	a.I32(vector(C, x))
	g.launch("reweigh_scale", byRows(R), rowBlock, 0)
}
