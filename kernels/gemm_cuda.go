//go:build cuda

package kernels

import "palimpsest/cuda"

// Products of linear layers by gemm.cu, for machines without cuBLASLt.

// Flags of gemm.cu.
const (
	gemmAlignedA = 1 << iota
	gemmAlignedB
	gemmAlignedOut
	gemmBias32
	gemmAdd
)

const (
	gemmInner, gemmStages = 32, 4
	gemmBlocks            = 264 // blocks that a large device runs at a time: what shapes are cut for, on every device
	gemmPieceRows         = 256 // least rows of a partial sum of gemm_weight
	gemmPieceBytes        = 256 << 20
)

// gemmTile returns the side of the tiles for a result of M x N, and the number of tiles: the large ones reuse operands
// twice as well, the small ones are enough of them for small results.
func gemmTile(M, N int) (side, tiles int) {
	for _, side = range []int{128, 64} {
		tiles = ceilDiv(M, side) * ceilDiv(N, side)
		if tiles >= gemmBlocks/2 {
			break
		}
	}
	return side, tiles
}

// gemmShared returns the bytes of the ring of stages, or of the gathered tile where that is larger.
func gemmShared(side int, turnedA, turnedB bool) int {
	operand := func(turned bool) int {
		if turned {
			return gemmInner * (side + 8)
		}
		return side * (gemmInner + 8)
	}
	return 2 * max(gemmStages*(operand(turnedA)+operand(turnedB)), 2*side*(side+8))
}

// gemmVariant chooses between the names of the kernels for large and for small tiles.
func gemmVariant(side int, large, small string) string {
	if side == 128 {
		return large
	}
	return small
}

// narrowed returns weight in bfloat16: itself, or rounded into the workspace.
func (g *gpu) narrowed(weight Buf, n int) Buf {
	if weight.t != F32 {
		return weight
	}
	to := Buf{addr: uintptr(g.divide(2 * n)[0]), n: n, t: BF16}
	a := g.arguments()
	pointers(a, to, weight)
	a.I64(int64(n))
	g.launch("gemm_narrow", line(ceilDiv(n, 256)), line(256), 0)
	return to
}

// gemmForward is Linear.
func (g *gpu) gemmForward(y, x, weight, bias, pre Buf, n, in, out int, act Activation) {
	weight = g.narrowed(weight, out*in)
	side, tiles := gemmTile(n, out)
	a := g.arguments()
	pointers(a, y, pre, x, weight, bias)
	dims(a, n, in, out, int(act))
	a.I32(vector(in, x)*gemmAlignedA | vector(in, weight)*gemmAlignedB | vector(out, y, pre)*gemmAlignedOut | single(bias, gemmBias32))
	g.launchShared(gemmVariant(side, "gemm_forward_128", "gemm_forward_64"), line(tiles), line(128), gemmShared(side, false, false))
}

// gemmInput is LinearBackwardInput.
func (g *gpu) gemmInput(dx, dy, weight, pre Buf, n, in, out int, act Activation, add bool) {
	weight = g.narrowed(weight, out*in)
	flags := vector(out, dy)*gemmAlignedA | vector(in, weight)*gemmAlignedB | vector(in, dx, pre)*gemmAlignedOut
	if add {
		flags |= gemmAdd
	}
	side, tiles := gemmTile(n, in)
	a := g.arguments()
	pointers(a, dx, dy, weight, pre)
	dims(a, n, in, out, int(act))
	a.I32(flags)
	g.launchShared(gemmVariant(side, "gemm_input_128", "gemm_input_64"), line(tiles), line(128), gemmShared(side, false, true))
}

// gemmPieces returns into how many partial sums of how many rows a product of so many tiles over n rows is cut: the number
// with the least time in waves of blocks, where a partial sum costs a twenty-fifth of the whole product.
func gemmPieces(tiles, n, bytes int) (pieces, rows int) {
	most := max(1, min(16, n/gemmPieceRows, gemmPieceBytes/bytes))
	best := 0.0
	for p := 1; p <= most; p++ {
		cost := float64(ceilDiv(tiles*p, gemmBlocks))/float64(p) + 0.04*float64(p-1)
		if p == 1 || cost < best {
			pieces, best = p, cost
		}
	}
	rows = ceilDiv(ceilDiv(n, pieces), gemmInner) * gemmInner
	return ceilDiv(n, rows), rows
}

// gemmWeight is LinearBackwardWeight.
func (g *gpu) gemmWeight(dweight, dbias, dy, x Buf, n, in, out int) {
	side, tiles := gemmTile(out, in)
	pieces, rows := gemmPieces(tiles, n, 4*out*(in+1))
	flags := vector(out, dy)*gemmAlignedA | vector(in, x)*gemmAlignedB
	var parts, biasParts cuda.Address
	if pieces > 1 {
		parts = g.divide(4 * pieces * out * (in + 1))[0]
		biasParts = parts + cuda.Address(4*pieces*out*in)
		flags |= vector(in) * gemmAlignedOut
	} else {
		flags |= vector(in, dweight) * gemmAlignedOut
	}
	a := g.arguments()
	pointers(a, dweight, dbias)
	a.Ptr(parts)
	pointers(a, dy, x)
	dims(a, n, in, out, rows)
	a.I32(flags)
	g.launchShared(gemmVariant(side, "gemm_weight_128", "gemm_weight_64"), cuda.Dim3{X: uint32(tiles), Y: uint32(pieces), Z: 1}, line(128), gemmShared(side, true, true))
	if pieces > 1 {
		g.gemmReduce(dweight, parts, out*in, pieces)
		if !dbias.Absent() {
			g.gemmReduce(dbias, biasParts, out, pieces)
		}
	}
}

// gemmReduce adds partial sums of n elements each to sum.
func (g *gpu) gemmReduce(sum Buf, parts cuda.Address, n, pieces int) {
	a := g.arguments()
	a.Ptr(at(sum))
	a.Ptr(parts)
	a.I64(int64(n))
	dims(a, pieces)
	aligned := int32(0)
	if n%4 == 0 && parts%16 == 0 {
		aligned = vector(8, sum)
	}
	a.I32(aligned)
	g.launch("gemm_reduce", line(ceilDiv(n, 4*256)), line(256), 0)
}
