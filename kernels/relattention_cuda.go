//go:build cuda

package kernels

import (
	"encoding/binary"
	"math"

	"palimpsest/cuda"
)

const (
	relativeTile   = 64
	relativeShared = 4 * relativeTile * (relativeTile + 8) * 2 // bytes: two operands, twice
	relativeRange  = 128                                       // buckets of one block of relattention_sums
	relativeRun    = 512                                       // rows of a run in relattention_table
	relativePieces = 32                                        // partial gradients of the table
)

// relativeBytes is room for the matrices of a batch of segments. A segment that needs more is a batch of its own.
var relativeBytes = 256 << 20

// A relativeGPU is one relative attention on its way: what relattention.cu's struct Step holds.
type relativeGPU struct {
	qkv, table, index   Buf
	toKey, toQuery      cuda.Address
	segments, work      cuda.Address
	rows, H, K, D, P    int
	reach, total, items int
	aligned             int32
}

// add adds the struct to the parameters.
func (r *relativeGPU) add(a *cuda.Args) {
	var s [88]byte
	for i, v := range [7]cuda.Address{at(r.qkv), at(r.table), at(r.index), r.toKey, r.toQuery, r.segments, r.work} {
		binary.NativeEndian.PutUint64(s[8*i:], uint64(v))
	}
	for i, v := range [8]int{r.rows, r.H, r.K, r.D, r.P, r.reach, r.total, int(r.aligned)} {
		binary.NativeEndian.PutUint32(s[56+4*i:], uint32(v))
	}
	a.Bytes(s[:], 8)
}

// grid has a block for each tile of rows in x.
func (r *relativeGPU) grid(y, z int) cuda.Dim3 {
	return cuda.Dim3{X: uint32(r.items), Y: uint32(y), Z: uint32(z)}
}

// relativeTiles is how many tiles a side of a segment's matrices has; rows and keys count from a multiple of 8.
func relativeTiles(s Segment) int {
	if s.Start == s.End {
		return 0
	}
	return ceilDiv(int(s.End)-int(s.Start)&^7, relativeTile)
}

// relativeBatch returns how many of the segments are the next batch, whose matrices take up to relativeBytes, and the tiles
// of one head's. each is the bytes of a tile for all heads.
func relativeBatch(segments []Segment, each int) (n, tiles int) {
	for _, s := range segments {
		more := relativeTiles(s) * relativeTiles(s)
		if tiles > 0 && (tiles+more)*each > relativeBytes {
			break
		}
		n, tiles = n+1, tiles+more
	}
	return n, tiles
}

// relativeLargest returns the tiles of the largest batch.
func relativeLargest(segments []Segment, each int) (largest int) {
	for len(segments) > 0 {
		n, tiles := relativeBatch(segments, each)
		largest, segments = max(largest, tiles), segments[n:]
	}
	return largest
}

// batch uploads the segments of a batch and its tiles of rows, those from row from on.
func (r *relativeGPU) batch(g *gpu, segments []Segment, from int) {
	tiles := 0
	for _, s := range segments {
		tiles += relativeTiles(s)
	}
	list := stage[int32](g, 4*(len(segments)+tiles))[:0]
	for _, s := range segments {
		list = append(list, s.Start, s.End, int32(s.Mask), s.Window)
	}
	r.total, r.items = 0, 0
	for i, s := range segments {
		n := relativeTiles(s)
		for t := max(0, from-int(s.Start)&^7) / relativeTile; t < n && from < int(s.End); t++ {
			list = append(list, int32(i), int32(t), int32(r.total), int32(n))
			r.items++
		}
		r.total += n * n
	}
	r.segments = g.list(list)
	r.work = r.segments + cuda.Address(16*len(segments))
}

// positions queues the products with the table.
func (r *relativeGPU) positions(g *gpu) {
	a := g.arguments()
	r.add(a)
	a.Ptr(r.toKey)
	a.Ptr(r.toQuery)
	grid := cuda.Dim3{X: uint32(ceilDiv(r.rows, relativeTile)), Y: uint32(ceilDiv(r.P, relativeTile)), Z: uint32(2 * r.H)}
	g.launch("relattention_positions", grid, line(128), relativeShared)
}

func (g *gpu) RelativeAttention(p RelativeAttention) {
	p.check()
	g.mustHold("RelativeAttention", p.QKV, BF16)
	r := relativeGPU{qkv: p.QKV, table: p.Table, index: p.Index, rows: p.Rows, H: p.H, K: p.K, D: p.D, P: p.Buckets, reach: p.Span,
		aligned: vector(p.D, p.QKV, p.Table)}
	each := 2 * relativeTile * relativeTile * p.H
	largest := relativeLargest(p.Segments, each)
	if largest == 0 {
		return
	}
	positions := 4 * p.Rows * p.H * p.Buckets
	parts := g.divide(positions, positions, 4*p.Rows*p.H, each*largest)
	lse, weights := parts[2], parts[3]
	r.toKey, r.toQuery = parts[0], parts[1]
	r.positions(g)
	scale2 := float32(relativeScale(p.Scale, p.D) * math.Log2E)
	for rest := p.Segments; len(rest) > 0; {
		n, _ := relativeBatch(rest, each)
		r.batch(g, rest[:n], p.From)
		if rest = rest[n:]; r.items == 0 {
			continue
		}
		a := g.arguments()
		r.add(a)
		a.Ptr(lse)
		a.F32(scale2)
		g.launch("relattention_statistics", r.grid(p.H, 1), line(128), relativeShared)

		a = g.arguments()
		r.add(a)
		a.Ptr(weights)
		a.Ptr(lse)
		a.F32(scale2)
		addDrop(a, p.Drop)
		g.launch("relattention_weights", r.grid(p.H, 1), line(128), relativeShared)

		a = g.arguments()
		r.add(a)
		a.Ptr(at(p.Out))
		a.Ptr(weights)
		a.I32(int32(p.From))
		g.launch("relattention_output", r.grid(p.H, ceilDiv(p.D, relativeTile)), line(128), relativeShared)
	}
}

func (g *gpu) RelativeAttentionBackward(p RelativeAttentionBackward) {
	p.check()
	g.mustHold("RelativeAttentionBackward", p.QKV, BF16)
	r := relativeGPU{qkv: p.QKV, table: p.Table, index: p.Index, rows: p.Rows, H: p.H, K: p.K, D: p.D, P: p.Buckets, reach: p.Span,
		aligned: vector(p.D, p.QKV, p.Table, p.DOut)}
	size := p.Buckets * (p.H + p.K) * p.D
	each := 2 * 2 * relativeTile * relativeTile * p.H
	largest := relativeLargest(p.Segments, each)
	if largest == 0 {
		g.Zero(p.DTable.Slice(0, size))
		return
	}
	pieces := min(relativePieces, len(relativeRuns(g, p.Segments))/2)
	positions, row := 4*p.Rows*p.H*p.Buckets, 4*p.Rows*p.H
	sums := 2 * p.Rows * p.H * (p.Buckets + 7) &^ 7
	parts := g.divide(positions, positions, row, row, sums, sums, each*largest, 4*pieces*size)
	lse, delta, dToKey, dToQuery, weights, partial := parts[2], parts[3], parts[4], parts[5], parts[6], parts[7]
	ds := weights + cuda.Address(each*largest/2)
	r.toKey, r.toQuery = parts[0], parts[1]
	r.positions(g)
	scale, across := relativeScale(p.Scale, p.D), ceilDiv(p.D, relativeTile)
	for rest := p.Segments; len(rest) > 0; {
		n, _ := relativeBatch(rest, each)
		r.batch(g, rest[:n], 0)
		if rest = rest[n:]; r.items == 0 {
			continue
		}
		a := g.arguments()
		r.add(a)
		a.Ptr(lse)
		a.Ptr(delta)
		a.Ptr(at(p.DOut))
		a.F32(float32(scale * math.Log2E))
		addDrop(a, p.Drop)
		g.launch("relattention_statistics_backward", r.grid(p.H, 1), line(128), relativeShared)

		a = g.arguments()
		r.add(a)
		for _, address := range [5]cuda.Address{weights, ds, lse, delta, at(p.DOut)} {
			a.Ptr(address)
		}
		a.F32(float32(scale))
		a.F32(float32(scale * math.Log2E))
		addDrop(a, p.Drop)
		g.launch("relattention_weights_backward", r.grid(p.H, 1), line(128), relativeShared)

		a = g.arguments()
		r.add(a)
		for _, address := range [3]cuda.Address{dToKey, dToQuery, ds} {
			a.Ptr(address)
		}
		width := min(relativeRange, (p.Buckets+7)&^7)
		ranges := ceilDiv(p.Buckets, width)
		dims(a, width, ranges)
		grid := r.grid(p.H, 2*ranges)
		grid.X *= 2
		g.launch("relattention_sums", grid, line(32), 4*32*width)

		a = g.arguments()
		r.add(a)
		for _, address := range [3]cuda.Address{at(p.DQKV), ds, dToKey} {
			a.Ptr(address)
		}
		g.launch("relattention_queries", r.grid(p.H, across), line(128), relativeShared)

		a = g.arguments()
		r.add(a)
		for _, address := range [5]cuda.Address{at(p.DQKV), at(p.DOut), weights, ds, dToQuery} {
			a.Ptr(address)
		}
		g.launch("relattention_keys", r.grid(2*p.K, across), line(128), relativeShared)
	}

	runs := relativeRuns(g, p.Segments)
	list := g.list(runs)
	a := g.arguments()
	r.add(a)
	for _, address := range [4]cuda.Address{partial, dToKey, dToQuery, list} {
		a.Ptr(address)
	}
	dims(a, len(runs)/2, pieces)
	grid := cuda.Dim3{X: uint32(ceilDiv(p.Buckets, relativeTile)), Y: uint32(across), Z: uint32((p.H + p.K) * pieces)}
	g.launch("relattention_table", grid, line(128), relativeShared)

	a = g.arguments()
	a.Ptr(at(p.DTable))
	a.Ptr(partial)
	a.I64(int64(size))
	a.I32(int32(pieces))
	g.launch("relattention_table_sum", line(ceilDiv(size, 256)), line(256), 0)
}

// relativeRuns returns the first row and the end of runs of rows that together are those of all segments, until the next
// list is made.
func relativeRuns(g *gpu, segments []Segment) []int32 {
	rows := 0
	for _, s := range segments {
		rows += int(s.End - s.Start)
	}
	runs := stage[int32](g, 2*(rows/relativeRun+len(segments)))[:0]
	for _, s := range segments {
		for at := s.Start; at < s.End; {
			if n := len(runs); n > 0 && runs[n-1] == at && at-runs[n-2] < relativeRun {
				at = min(s.End, runs[n-2]+relativeRun)
				runs[n-1] = at
				continue
			}
			end := min(s.End, at+relativeRun)
			runs, at = append(runs, at, end), end
		}
	}
	return runs
}
