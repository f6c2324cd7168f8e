//go:build cuda

package kernels

import "palimpsest/cuda"

// embeddingTile and embeddingPiece are those of embedding.cu.
const (
	embeddingTile  = 2048
	embeddingPiece = 32
)

func (g *gpu) Embed(out, ids, pos, tokens, positions, types Buf, n, C int) {
	checkEmbed(out, ids, pos, tokens, positions, types, n, C)
	if n == 0 {
		return
	}
	a := g.arguments()
	pointers(a, out, ids, pos, tokens, positions, types)
	a.I32(int32(n))
	a.I32(int32(C))
	a.I32(vector(C, out, tokens, positions, types) | single(tokens, 2) | single(positions, 4) | single(types, 8))
	g.launch("embedding_forward", byRows(n), rowBlock, 0)
}

func (g *gpu) EmbedBackward(dtokens, dpositions, dtypes, dout, ids, pos Buf, n, C int) {
	checkEmbedBackward(dtokens, dpositions, dtypes, dout, ids, pos, n, C)
	if n == 0 {
		return
	}
	if !dtokens.Absent() {
		g.addRowsTo(dtokens, dout, ids, 1, n, C)
	}
	if !dpositions.Absent() {
		g.addRowsTo(dpositions, dout, pos, 2, n, C)
	}
	if !dtypes.Absent() {
		g.sumRowsTo(dtypes, dout, n, C)
	}
}

func (g *gpu) ScatterAddRows(dst, src, rows Buf, R, C int) {
	checkScatterAddRows(dst, src, rows, R, C)
	g.mustHold("ScatterAddRows", dst, BF16)
	if R > 0 {
		g.addRowsTo(dst, src, rows, 1, R, C)
	}
}

// addRowsTo adds src[i] to table[keys[i*stride]] for n rows of C, in the order of i.
func (g *gpu) addRowsTo(table, src, keys Buf, stride, n, C int) {
	tiles, pieces, count := ceilDiv(n, embeddingTile), ceilDiv(n, embeddingPiece), ceilDiv(C, 8)
	edge := 4 * 8 * pieces * count
	w := g.divide(4*tiles*n, 4*n, 4*n, edge, edge)
	ranks, order, sorted, head, tail := w[0], w[1], w[2], w[3], w[4]

	a := g.arguments()
	a.Ptr(ranks)
	a.Ptr(at(keys))
	a.I32(int32(stride))
	a.I32(int32(n))
	g.launch("embedding_rank", cuda.Dim3{X: uint32(ceilDiv(n, 256)), Y: uint32(tiles), Z: 1}, line(256), 4*embeddingTile)

	a = g.arguments()
	a.Ptr(order)
	a.Ptr(sorted)
	a.Ptr(ranks)
	a.Ptr(at(keys))
	a.I32(int32(stride))
	a.I32(int32(n))
	a.I32(int32(tiles))
	g.launch("embedding_place", line(ceilDiv(n, 256)), line(256), 0)

	first, second := "embedding_pieces", "embedding_join"
	if table.t == BF16 {
		first, second = "embedding_pieces_brain", "embedding_join_brain"
	}
	block := line(min(256, 32*ceilDiv(count, 32)))
	a = g.arguments()
	a.Ptr(at(table))
	a.Ptr(head)
	a.Ptr(tail)
	a.Ptr(at(src))
	a.Ptr(order)
	a.Ptr(sorted)
	a.I32(int32(n))
	a.I32(int32(C))
	a.I32(vector(C, table, src))
	g.launch(first, line(pieces), block, 0)

	a = g.arguments()
	a.Ptr(at(table))
	a.Ptr(head)
	a.Ptr(tail)
	a.Ptr(sorted)
	a.I32(int32(n))
	a.I32(int32(C))
	a.I32(vector(C, table))
	g.launch(second, line(pieces), block, 0)
}

// sumRowsTo adds the column sums of x[n,C] to dst[C].
func (g *gpu) sumRowsTo(dst, x Buf, n, C int) {
	count := ceilDiv(C, 8)
	height := max(32, ceilDiv(n, 256))
	blocks := ceilDiv(n, height)
	parts := g.divide(4 * 8 * blocks * count)[0]
	a := g.arguments()
	a.Ptr(parts)
	a.Ptr(at(x))
	a.I32(int32(n))
	a.I32(int32(C))
	a.I32(int32(height))
	a.I32(vector(C, x))
	g.launch("reduce_rows", cuda.Dim3{X: uint32(ceilDiv(count, 64)), Y: uint32(blocks), Z: 1}, line(64), 0)
	g.addColumns(dst, parts, blocks, 8*count, C)
}

func (g *gpu) GatherRows(out, x, rows Buf, R, C int) {
	checkGatherRows(out, x, rows, R, C)
	g.mustHold("GatherRows", x, BF16)
	if R == 0 {
		return
	}
	a := g.arguments()
	pointers(a, out, x, rows)
	a.I32(int32(R))
	a.I32(int32(C))
	a.I32(vector(C, out, x))
	g.launch("rows_gather", byRows(R), rowBlock, 0)
}
