package kernels

// Embeddings, rotary positions and row lists on the CPU. Gathers are cut by rows, scatters by columns, so that no two
// pieces write one element; the arithmetic and its costs are in embedding_cpu.c, the oracles in embedding_ref.go,
// rope_ref.go and rows_ref.go.

func (b *cpu) Embed(out, ids, pos, tokens, positions, types Buf, n, C int) {
	checkEmbed(out, ids, pos, tokens, positions, types, n, C)
	checkIndices("Embed", "ids", View[int32](ids)[:n], tokens.Len()/C)
	if !positions.Absent() {
		checkPositions("Embed", View[int32](pos), n, 1, positions.Len()/C)
	}
	o, t, p, ty := f32(out), f32(tokens), f32(positions), f32(types)
	i, at := View[int32](ids), View[int32](pos)
	b.rows(n, C, func(lo, hi int) { b.leaf.embed(o, t, p, ty, i, at, lo, hi, C) })
}

func (b *cpu) EmbedBackward(dtokens, dpositions, dtypes, dout, ids, pos Buf, n, C int) {
	checkEmbedBackward(dtokens, dpositions, dtypes, dout, ids, pos, n, C)
	d := f32(dout)
	if !dtokens.Absent() {
		checkIndices("EmbedBackward", "ids", View[int32](ids)[:n], dtokens.Len()/C)
		b.scatter(f32(dtokens), d, View[int32](ids), 1, n, C)
	}
	if !dpositions.Absent() {
		checkPositions("EmbedBackward", View[int32](pos), n, 1, dpositions.Len()/C)
		b.scatter(f32(dpositions), d, View[int32](pos), 2, n, C)
	}
	if !dtypes.Absent() {
		b.addColumnSums(f32(dtypes), d, n, C)
	}
}

// scatterColumns is the width of the columns that one piece of a scatter serves: four cache lines.
const scatterColumns = 64

// scatter adds src[r] to dst[index[r*stride]] for n rows of width C, in the order of the rows.
func (b *cpu) scatter(dst, src []float32, index []int32, stride, n, C int) {
	if n == 0 {
		return
	}
	b.spans(C, scatterColumns, func(lo, hi int) { b.leaf.scatterColumns(dst, src, index, stride, n, C, lo, hi) })
}

func (b *cpu) GatherRows(out, x, rows Buf, R, C int) {
	checkGatherRows(out, x, rows, R, C)
	index := View[int32](rows)
	checkIndices("GatherRows", "rows", index[:R], x.Len()/C)
	o, in := f32(out), f32(x)
	b.rows(R, C, func(lo, hi int) {
		for r := lo; r < hi; r++ {
			copy(o[r*C:(r+1)*C], in[int(index[r])*C:])
		}
	})
}

func (b *cpu) ScatterAddRows(dst, src, rows Buf, R, C int) {
	checkScatterAddRows(dst, src, rows, R, C)
	index := View[int32](rows)
	checkIndices("ScatterAddRows", "rows", index[:R], dst.Len()/C)
	b.scatter(f32(dst), f32(src), index, 1, R, C)
}

func (b *cpu) Rope(a Rope) {
	a.check()
	checkPositions("Rope", View[int32](a.Pos), a.N, a.Axes, a.Table.Len()/(a.D/a.Axes))
	b.rows(a.N, a.Heads*a.D, func(lo, hi int) { b.leaf.rope(&a, lo, hi) })
}
