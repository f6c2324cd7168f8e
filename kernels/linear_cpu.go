package kernels

// Linear layers on the CPU: products over blocks of the result, each block's epilogue at once while it is in cache.
//
// Shapes and FLOPs: y[n,out] = x[n,in] W[out,in]^T, dx = dy W, dW += dy^T x: 2*n*in*out each. Blocks depend on the shape
// alone, every product runs on one thread of the library, so results do not depend on the number of workers.
// Oracle: linear_ref.go.

func (b *cpu) Linear(y, x, weight, bias, pre Buf, n, in, out int, act Activation) {
	checkLinear(y, x, weight, bias, pre, n, in, out, act)
	yf, bf, pf := f32(y), f32(bias), f32(pre)
	p := product{m: n, n: out, k: in, a: f32(x), lda: in, b: f32(weight), ldb: in, transB: true, c: yf, ldc: out}
	if bf == nil && act == None {
		b.multiply(p, nil)
		return
	}
	b.multiply(p, func(t block) {
		at := t.i*out + t.j
		var bias, pre []float32
		if bf != nil {
			bias = bf[t.j : t.j+t.n]
		}
		if pf != nil {
			pre = pf[at:]
		}
		b.leaf.biasActivation(yf[at:], pre, bias, out, t.m, t.n, act)
	})
}

func (b *cpu) LinearBackwardInput(dx, dy, weight, pre Buf, n, in, out int, act Activation, add bool) {
	checkLinearBackwardInput(dx, dy, weight, pre, n, in, out, act, add)
	dxf, pf := f32(dx), f32(pre)
	p := product{m: n, n: in, k: out, a: f32(dy), lda: out, b: f32(weight), ldb: in, c: dxf, ldc: in, add: add}
	if act == None {
		b.multiply(p, nil)
		return
	}
	b.multiply(p, func(t block) {
		for i := range t.m {
			at := (t.i+i)*in + t.j
			row := dxf[at:][:t.n]
			b.leaf.activationBackward(row, row, pf[at:][:t.n], act)
		}
	})
}

func (b *cpu) LinearBackwardWeight(dweight, dbias, dy, x Buf, n, in, out int) {
	checkLinearBackwardWeight(dweight, dbias, dy, x, n, in, out)
	if n == 0 {
		return
	}
	p := product{m: out, n: in, k: n, a: f32(dy), lda: out, transA: true, b: f32(x), ldb: in, c: f32(dweight), ldc: in, add: true}
	b.multiply(p, nil)
	if !dbias.Absent() {
		b.addColumnSums(f32(dbias), f32(dy), n, out)
	}
}

// A block is a rectangle of a product's result.
type block struct{ i, j, m, n int }

// multiply cuts a product into blocks of its result, and the sum of each into parts where blocks are too few; done, which
// may be nil, is called on every block when it is complete. C must be contiguous.
func (b *cpu) multiply(p product, done func(block)) {
	if p.m == 0 || p.n == 0 {
		return
	}
	m, n, k := blockSize(p.m, p.n, p.k)
	across, down, deep := ceilDiv(p.n, n), ceilDiv(p.m, m), max(1, ceilDiv(p.k, k))
	if deep == 1 {
		b.run(down*across, func(i int) {
			t := block{i / across * m, i % across * n, 0, 0}
			t.m, t.n = min(m, p.m-t.i), min(n, p.n-t.j)
			b.blas.multiply(b, p.cut(t, 0, p.k))
			if done != nil {
				done(t)
			}
		})
		return
	}
	parts := b.scratch.get(deep * p.m * p.n)
	defer b.scratch.put(parts)
	b.run(down*across*deep, func(i int) {
		part, i := i%deep, i/deep
		t := block{i / across * m, i % across * n, 0, 0}
		t.m, t.n = min(m, p.m-t.i), min(n, p.n-t.j)
		q := p
		q.c, q.add = parts[part*p.m*p.n:], false
		b.blas.multiply(b, q.cut(t, part*k, min(p.k, (part+1)*k)))
	})
	b.rows(p.m, p.n, func(lo, hi int) {
		c := p.c[lo*p.n : hi*p.n]
		if !p.add {
			clear(c)
		}
		b.leaf.addRows(c, parts[lo*p.n:], deep, p.m*p.n)
		if done != nil {
			done(block{lo, 0, hi - lo, p.n})
		}
	})
}

// cut returns the product for one block of the result over [from,to) of the sum.
func (p product) cut(t block, from, to int) product {
	at := func(trans bool, ld, row, column int) int {
		if trans {
			row, column = column, row
		}
		return row*ld + column
	}
	p.a = p.a[at(p.transA, p.lda, t.i, from):]
	p.b = p.b[at(p.transB, p.ldb, from, t.j):]
	p.c = p.c[t.i*p.ldc+t.j:]
	p.m, p.n, p.k = t.m, t.n, to-from
	return p
}

// blockSize chooses the block of a result [M,N] and the part of the sum over K of one piece: eight or more pieces where
// each is still worth handing out, small enough that an epilogue finds a block in cache, large enough that packing the
// operands is paid for, at multiples of 64. Long sums over small results are cut first in the sum.
func blockSize(M, N, K int) (m, n, k int) {
	const (
		pieces   = 8
		smallest = 2 << 20   // multiply-adds that are worth handing out
		cached   = 256 << 10 // elements of a block
		small    = 128 << 10 // elements of a block that should not be cut further while the sum can be
		packed   = 256       // rows or columns that pay for packing
		long     = 512       // least part of a sum
	)
	m, n, k = M, N, K
	halve := func(when func() bool) {
		for (m > 64 || n > 64) && when() {
			if m >= n {
				m = roundUp(m/2, 64)
			} else {
				n = roundUp(n/2, 64)
			}
		}
	}
	blocks := func() int { return ceilDiv(M, m) * ceilDiv(N, n) }
	halve(func() bool {
		few := blocks() < pieces && m*n > small && m*n*K > smallest
		large := m*n > cached && max(m, n) > packed
		return few || large
	})
	if parts := min(ceilDiv(pieces, blocks()), K/long, m*n*K/smallest); blocks() < pieces && parts > 1 {
		k = roundUp(ceilDiv(K, parts), 64)
	}
	halve(func() bool { return blocks()*max(1, ceilDiv(K, k)) < pieces && m*n*k > smallest })
	return m, n, k
}

func roundUp(n, multiple int) int { return ceilDiv(n, multiple) * multiple }
