package kernels

import "math"

// Links on the CPU: products of tiles of a lattice's rows with the keys from the tile on, and the mixture over them. The
// backward pass goes by lattice and head, whose queries' and keys' gradients are its own, and computes the products again.
// With S states a head costs S^2*D multiply-adds forward (half of the square) and three times that backward. The arithmetic
// beside products is in links_cpu.c, the oracle in links_ref.go.

// linksRows is how many rows of a lattice a tile has.
const linksRows = 64

// A linksTile is rows [from,from+rows) of a lattice of S states. Slices begin at the tile's first row, groups at the lattice's.
type linksTile struct {
	from, rows, S, H              int
	scale                         float32
	scores                        []float32 // forward [H,rows,S-from], backward [rows,S-from]
	logE, lse, gate, dlogE, dgate []float32
	groups                        []int32
}

func (b *cpu) Links(a Links) {
	a.check()
	_, offsets := matrixOffsets(a.Lattices, DAG)
	var tiles [][2]int // lattice, first row
	for i, l := range a.Lattices {
		for at := 0; at < l.states(); at += linksRows {
			tiles = append(tiles, [2]int{i, at})
		}
	}
	H, D, ld := a.H, a.D, 2*a.H*a.D
	b.run(len(tiles), func(piece int) {
		i, from := tiles[piece][0], tiles[piece][1]
		l := a.Lattices[i]
		S, row := l.states(), int(l.Start)+from
		n, width := min(linksRows, S-from), S-from
		work := b.scratch.get(H * n * width)
		defer b.scratch.put(work)
		t := linksTile{from: from, rows: n, S: S, H: H, scale: float32(1 / math.Sqrt(float64(D))), scores: work,
			logE: f32(a.LogE)[offsets[i]+from*S:], gate: f32(a.Gate)[row*H:]}
		if !a.LSE.Absent() {
			t.lse = f32(a.LSE)[row*H:]
		}
		if !a.Groups.Absent() {
			t.groups = View[int32](a.Groups)[l.Start:]
		}
		qk := f32(a.QK)[row*ld:]
		for c := range H {
			b.blas.multiply(b, product{m: n, n: width, k: D, a: qk[c*D:], lda: ld, b: qk[(H+c)*D:], ldb: ld, transB: true,
				c: work[c*n*width:], ldc: width})
		}
		b.leaf.links(&t)
	})
}

func (b *cpu) LinksBackward(a LinksBackward) {
	a.check()
	_, offsets := matrixOffsets(a.Lattices, DAG)
	H, D, ld := a.H, a.D, 2*a.H*a.D
	b.run(len(a.Lattices)*H, func(piece int) {
		i, c := piece/H, piece%H
		l := a.Lattices[i]
		S := l.states()
		work := b.scratch.get(linksRows * S)
		defer b.scratch.put(work)
		for from := 0; from < S; from += linksRows {
			row, n, width := int(l.Start)+from, min(linksRows, S-from), S-from
			qk, dqk := f32(a.QK)[row*ld:], f32(a.DQK)[row*ld:]
			at := offsets[i] + from*S
			t := linksTile{from: from, rows: n, S: S, H: H, scale: float32(1 / math.Sqrt(float64(D))), scores: work, logE: f32(a.LogE)[at:],
				dlogE: f32(a.DLogE)[at:], lse: f32(a.LSE)[row*H:], gate: f32(a.Gate)[row*H:], dgate: f32(a.DGate)[row*H:]}
			b.blas.multiply(b, product{m: n, n: width, k: D, a: qk[c*D:], lda: ld, b: qk[(H+c)*D:], ldb: ld, transB: true, c: work, ldc: width})
			b.leaf.linksBackward(&t, c)
			b.blas.multiply(b, product{m: n, n: D, k: width, a: work, lda: width, b: qk[(H+c)*D:], ldb: ld, c: dqk[c*D:], ldc: ld})
			b.blas.multiply(b, product{m: width, n: D, k: n, a: work, lda: width, transA: true, b: qk[c*D:], ldb: ld, c: dqk[(H+c)*D:], ldc: ld,
				add: from > 0})
		}
	})
	b.run(len(a.Lattices), func(i int) { // dgate holds the heads' shares: the gate's softmax is left
		for r := int(a.Lattices[i].Start); r < int(a.Lattices[i].End); r++ {
			gate, dgate, sum := logSoftmax(f32(a.Gate)[r*H:][:H]), f32(a.DGate)[r*H:][:H], 0.0
			for _, d := range dgate {
				sum += float64(d)
			}
			for c := range dgate {
				dgate[c] = float32(float64(dgate[c]) - math.Exp(gate[c])*sum)
			}
		}
	})
}
