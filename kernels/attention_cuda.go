//go:build cuda

package kernels

import (
	"math"

	"palimpsest/cuda"
	"palimpsest/engine/fault"
)

const (
	attentionQueryTile  = 128 // queries of a forward block
	attentionKeyTile    = 64  // keys of a backward block
	attentionMaxWidth   = 128
	attentionAlignedIn  = 1 // flags
	attentionAlignedOut = 2
	attentionDropKeys   = 8 // keys of a dropout block, where tiles of keys start
)

// An attentionTiling is what depends on the head width alone: the keys (forward, dQ) or queries (dK, dV) of a streamed tile,
// the queries of a backward block, the bytes of a padded row, and the kernels without and with dropout.
type attentionTiling struct {
	stream, queryTile, row int
	forward, keys, queries [2]string
}

var (
	attention64 = attentionTiling{64, 128, 2 * (64 + 8),
		[2]string{"attention_forward_64", "attention_forward_drop_64"},
		[2]string{"attention_keys_64", "attention_keys_drop_64"},
		[2]string{"attention_queries_64", "attention_queries_drop_64"}}
	attention128 = attentionTiling{32, 64, 2 * (128 + 8),
		[2]string{"attention_forward_128", "attention_forward_drop_128"},
		[2]string{"attention_keys_128", "attention_keys_drop_128"},
		[2]string{"attention_queries_128", "attention_queries_drop_128"}}
)

func attentionTilingOf(D int) *attentionTiling {
	if D <= 64 {
		return &attention64
	}
	return &attention128
}

// attentionWidth reports whether the kernels can do heads of that width, and fails the device if not.
func (g *gpu) attentionWidth(op string, D int) bool {
	if D > attentionMaxWidth {
		g.fail(fault.Device.Errorf("%s: heads of %d columns, the GPU's kernels do at most %d (hint: more and narrower heads, or --device cpu)", op, D, attentionMaxWidth))
	}
	return D <= attentionMaxWidth
}

// attentionWork cuts the segments into tiles of the given length and uploads segments and tiles. Tiles of queries start at
// a segment's first row that is not before from, tiles of keys (when keys is set) where a dropout block does. The heavier
// tiles of a causal segment come first. blocks is the length of the list of tiles, 0 if there is nothing to do; entries
// beyond the tiles are inert, so that the number depends on rows alone unless segments are many.
func (g *gpu) attentionWork(segments []Segment, rows, from, tile int, keys bool) (segmentsAt, tilesAt cuda.Address, blocks int) {
	first := func(s Segment) int {
		if keys {
			return int(s.Start) &^ (attentionDropKeys - 1)
		}
		return max(int(s.Start), from)
	}
	tiles := 0
	for _, s := range segments {
		if s.Start < s.End {
			tiles += max(0, ceilDiv(int(s.End)-first(s), tile))
		}
	}
	if tiles == 0 {
		return 0, 0, 0
	}
	for blocks = rows/tile + rows/128 + 16; blocks < tiles; {
		blocks *= 2
	}
	list := stage[int32](g, 4*len(segments)+2*blocks)[:0]
	for _, s := range segments {
		list = append(list, s.Start, s.End, int32(s.Mask), s.Window)
	}
	for i, s := range segments {
		if s.Start >= s.End {
			continue
		}
		start, n := first(s), max(0, ceilDiv(int(s.End)-first(s), tile))
		for t := range n {
			if !keys && s.Mask == Causal {
				t = n - 1 - t
			}
			list = append(list, int32(i), int32(start+t*tile))
		}
	}
	for len(list) < 4*len(segments)+2*blocks {
		list = append(list, -1, 0)
	}
	at := g.list(list)
	return at, at + cuda.Address(16*len(segments)), blocks
}

// launchShared is launch for kernels that may need more shared memory than every device gives without asking.
func (g *gpu) launchShared(name string, grid, block cuda.Dim3, shared int) {
	if f := g.functions[name]; f != nil && g.failure == nil {
		if err := f.AllowShared(shared); err != nil {
			g.fail(err)
		}
	}
	g.launch(name, grid, block, shared)
}

// dims adds sizes to the parameters.
func dims(a *cuda.Args, n ...int) {
	for _, v := range n {
		a.I32(int32(v))
	}
}

// addVariant adds dropout where it is on, and returns the kernel of the two that takes what was added.
func addVariant(a *cuda.Args, names *[2]string, d Drop) string {
	if d.threshold() == 0 {
		return names[0]
	}
	addDrop(a, d)
	return names[1]
}

func (g *gpu) Attention(p Attention) {
	p.check()
	if !g.attentionWidth("Attention", p.D) {
		return
	}
	segments, tiles, blocks := g.attentionWork(p.Segments, p.Rows, p.From, attentionQueryTile, false)
	if blocks == 0 {
		return
	}
	shape := attentionTilingOf(p.D)
	a := g.arguments()
	pointers(a, p.Out, p.LSE, p.QKV)
	a.Ptr(segments)
	a.Ptr(tiles)
	dims(a, p.Rows, p.H, p.K, p.D)
	a.F32(float32(attentionScale(p.Scale, p.D) * math.Log2E))
	a.I32(vector(p.D, p.QKV)*attentionAlignedIn | vector(p.D, p.Out)*attentionAlignedOut)
	name := addVariant(a, &shape.forward, p.Drop)
	shared := (attentionQueryTile + 4*shape.stream) * shape.row
	g.launchShared(name, cuda.Dim3{X: uint32(blocks), Y: uint32(p.H), Z: 1}, line(128), shared)
}

func (g *gpu) AttentionBackward(p AttentionBackward) {
	p.check()
	if !g.attentionWidth("AttentionBackward", p.D) || p.Rows == 0 {
		return
	}
	shape := attentionTilingOf(p.D)
	delta := g.divide(4 * p.H * p.Rows)[0]
	a := g.arguments()
	a.Ptr(delta)
	pointers(a, p.DOut, p.Out)
	dims(a, p.Rows, p.H, p.D)
	a.I32(vector(p.D, p.DOut, p.Out))
	g.launch("attention_delta", line(ceilDiv(p.Rows*p.H, 32)), line(256), 0)

	statistics := 4 * 4 * shape.stream // of two tiles: log-sum-exp and delta
	g.attentionGradient(p, &shape.keys, true, delta, p.K, attentionKeyTile, statistics)
	g.attentionGradient(p, &shape.queries, false, delta, p.H, shape.queryTile, 0)
}

// attentionGradient launches the kernel whose blocks own keys or the one whose blocks own queries, tile of them; extra is its
// shared memory beside tiles of rows.
func (g *gpu) attentionGradient(p AttentionBackward, names *[2]string, keys bool, delta cuda.Address, heads, tile, extra int) {
	shape := attentionTilingOf(p.D)
	segments, tiles, blocks := g.attentionWork(p.Segments, p.Rows, 0, tile, keys)
	if blocks == 0 {
		return
	}
	a := g.arguments()
	pointers(a, p.DQKV, p.DOut, p.LSE)
	a.Ptr(delta)
	a.Ptr(at(p.QKV))
	a.Ptr(segments)
	a.Ptr(tiles)
	dims(a, p.Rows, p.H, p.K, p.D)
	scale := attentionScale(p.Scale, p.D)
	a.F32(float32(scale))
	a.F32(float32(scale * math.Log2E))
	a.I32(vector(p.D, p.QKV, p.DOut)*attentionAlignedIn | vector(p.D, p.DQKV)*attentionAlignedOut)
	name := addVariant(a, names, p.Drop)
	shared := (2*tile+4*shape.stream)*shape.row + extra
	g.launchShared(name, cuda.Dim3{X: uint32(blocks), Y: uint32(heads), Z: 1}, line(128), shared)
}
