package kernels

// Sums and additions on the CPU, cut into spans whose results are combined in their order; the arithmetic and its costs are
// in reduce_cpu.c, the oracles in reduce_ref.go.

func (b *cpu) Add(dst, src Buf) {
	checkAdd(dst, src)
	n := min(dst.Len(), src.Len())
	d, s := f32(dst), f32(src)
	b.spans(n, grain, func(lo, hi int) { b.leaf.add(d[lo:hi], s[lo:hi]) })
}

func (b *cpu) Sum(dst Buf, at int, x Buf, n int, add bool) {
	checkSum("Sum", dst, at, x, n)
	store(&View[float64](dst)[at], b.sum(f32(x)[:n], nil), add)
}

func (b *cpu) SumSquares(dst Buf, at int, x Buf, n int, add bool) {
	checkSum("SumSquares", dst, at, x, n)
	store(&View[float64](dst)[at], b.sum(f32(x)[:n], f32(x)), add)
}

// sum adds up the products of x and y; y nil: x.
func (b *cpu) sum(x, y []float32) float64 {
	if len(x) <= grain {
		return b.leaf.sum(x, y)
	}
	parts := make([]float64, ceilDiv(len(x), grain))
	b.spans(len(x), grain, func(lo, hi int) { parts[lo/grain] = b.leaf.sum(x[lo:hi], within(y, lo, hi)) })
	return treeSum(parts)
}

// treeSum adds neighbours until one is left.
func treeSum(x []float64) float64 {
	if len(x) == 1 {
		return x[0]
	}
	half := (len(x) + 1) / 2
	return treeSum(x[:half]) + treeSum(x[half:])
}

// addColumnSums adds the column sums of x[n,columns] to dst: blocks of rows first, then their sums in order.
func (b *cpu) addColumnSums(dst, x []float32, n, columns int) {
	if n == 0 {
		return
	}
	size := max(32, ceilDiv(n, normParts))
	parts := ceilDiv(n, size)
	sums := b.scratch.get(parts * columns)
	defer b.scratch.put(sums)
	b.spans(n, size, func(lo, hi int) {
		b.leaf.columnSums(sums[lo/size*columns:][:columns], x[lo*columns:hi*columns], hi-lo, columns)
	})
	b.addParts(dst, sums, parts, columns)
}
