//go:build cuda

package kernels

// flags of reduce.cu.
const (
	reduceVector = 1 << iota
	reduceSingle
	reduceSquares
)

// reduceParts bounds the partial sums of a total.
const reduceParts = 1024

func (g *gpu) Sum(dst Buf, at int, x Buf, n int, add bool) {
	checkSum("Sum", dst, at, x, n)
	g.total(dst, at, x, n, add, 0)
}

func (g *gpu) SumSquares(dst Buf, at int, x Buf, n int, add bool) {
	checkSum("SumSquares", dst, at, x, n)
	g.total(dst, at, x, n, add, reduceSquares)
}

func (g *gpu) total(dst Buf, place int, x Buf, n int, add bool, flags int32) {
	if x.t != F32 {
		g.mustHold("Sum", x, BF16)
	}
	blocks := min(reduceParts, max(1, ceilDiv(n, 4*8*256)))
	parts := g.divide(8 * blocks)[0]
	a := g.arguments()
	a.Ptr(parts)
	a.Ptr(at(x))
	a.I64(int64(n))
	a.I32(flags | vector(8, x) | single(x, reduceSingle))
	g.launch("reduce_sum", line(blocks), line(256), 256)
	a = g.arguments()
	a.Ptr(at(dst.Slice(place, place+1)))
	a.Ptr(parts)
	a.I32(int32(blocks))
	a.I32(asInt(add))
	g.launch("reduce_total", line(1), line(256), 256)
}

func asInt(b bool) int32 {
	if b {
		return 1
	}
	return 0
}

func (g *gpu) Add(dst, src Buf) {
	checkAdd(dst, src)
	n := min(dst.n, src.n)
	if n == 0 {
		return
	}
	name := "reduce_add_single"
	if dst.t != F32 {
		g.mustHold("Add", dst, BF16)
		name = "reduce_add"
	}
	a := g.arguments()
	pointers(a, dst, src)
	a.I64(int64(n))
	a.I32(vector(8, dst, src))
	g.launch(name, byEights(n), line(256), 0)
}
