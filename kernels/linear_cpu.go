package kernels

// Linear layers on the CPU: products over blocks of the result, each block's epilogue at once while it is in cache.
//
// Shapes and FLOPs: y[n,out] = x[n,in] W[out,in]^T, dx = dy W, dW += dy^T x: 2*n*in*out each. Blocks depend on the shape
// alone, every product runs on one thread of the library, so results do not depend on the number of workers.
// Oracle: linear_ref.go.

func (b *cpu) Linear(y, x, weight, bias, pre Buf, n, in, out int, act Activation) {
	checkLinear(y, x, weight, bias, pre, n, in, out, act)
	yf, xf, wf, bf, pf := f32(y), f32(x), f32(weight), f32(bias), f32(pre)
	b.blocks(n, out, in, func(t block) {
		at := t.i*out + t.j
		b.multiply(product{m: t.m, n: t.n, k: in, a: xf[t.i*in:], lda: in, b: wf[t.j*in:], ldb: in, transB: true, c: yf[at:], ldc: out})
		if bf == nil && act == None {
			return
		}
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
	dxf, dyf, wf, pf := f32(dx), f32(dy), f32(weight), f32(pre)
	b.blocks(n, in, out, func(t block) {
		at := t.i*in + t.j
		b.multiply(product{m: t.m, n: t.n, k: out, a: dyf[t.i*out:], lda: out, b: wf[t.j:], ldb: in, c: dxf[at:], ldc: in, add: add})
		if act == None {
			return
		}
		for i := range t.m {
			row := dxf[at+i*in:][:t.n]
			b.leaf.activationBackward(row, row, pf[at+i*in:][:t.n], act)
		}
	})
}

func (b *cpu) LinearBackwardWeight(dweight, dbias, dy, x Buf, n, in, out int) {
	checkLinearBackwardWeight(dweight, dbias, dy, x, n, in, out)
	if n == 0 {
		return
	}
	dw, dyf, xf := f32(dweight), f32(dy), f32(x)
	b.blocks(out, in, n, func(t block) {
		b.multiply(product{m: t.m, n: t.n, k: n, a: dyf[t.i:], lda: out, transA: true, b: xf[t.j:], ldb: in, c: dw[t.i*in+t.j:], ldc: in, add: true})
	})
	if !dbias.Absent() {
		b.addColumnSums(f32(dbias), dyf, n, out)
	}
}

func (b *cpu) multiply(p product) { b.blas.multiply(b, p) }

// A block is a rectangle of a product's result.
type block struct{ i, j, m, n int }

// blocks cuts the result [M,N] of a product over K and calls f on each block. Blocks are as large as leaves eight of
// them, so that packing an operand is paid for, and end at multiples of 64.
func (b *cpu) blocks(M, N, K int, f func(block)) {
	m, n := blockSize(M, N, K)
	across := ceilDiv(N, n)
	b.run(ceilDiv(M, m)*across, func(p int) {
		i, j := p/across*m, p%across*n
		f(block{i, j, min(m, M-i), min(n, N-j)})
	})
}

// blockSize chooses the block of a result [M,N] over K.
func blockSize(M, N, K int) (m, n int) {
	const pieces, smallest = 8, 1 << 20 // multiply-adds below which a piece is not worth handing out
	m, n = max(M, 1), max(N, 1)
	for ceilDiv(M, m)*ceilDiv(N, n) < pieces && m*n*K > 2*smallest && (m > 64 || n > 64) {
		if m >= n {
			m = (m/2 + 63) / 64 * 64
		} else {
			n = (n/2 + 63) / 64 * 64
		}
	}
	return m, n
}
