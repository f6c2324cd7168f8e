//go:build cuda

package kernels

import (
	"errors"

	"palimpsest/cuda"
)

// Products of linear layers: by cuBLASLt where it was found and has an algorithm, else by gemm.cu. What is fused: bias and
// GELU's tanh form by either; the other activations by gemm.cu only, beside cuBLASLt they run as kernels of their own.

// blasltAlign is what widths must be a multiple of for cuBLASLt's tensor-core algorithms: 16 bytes of bfloat16.
const blasltAlign = 8

// multiply queues a product by cuBLASLt. It returns false where that cannot do it, and then nothing was queued.
func (g *gpu) multiply(m cuda.Matmul) bool {
	if g.blaslt == nil || m.N%blasltAlign != 0 || m.K%blasltAlign != 0 && !m.TransA || m.TransA && m.M%blasltAlign != 0 {
		return false
	}
	if g.rehearsal != nil {
		return true
	}
	err := g.blaslt.Matmul(m)
	if err != nil && !errors.Is(err, cuda.ErrUnsupported) {
		g.fail(err)
	}
	return err == nil || g.failure != nil
}

func (g *gpu) Linear(y, x, weight, bias, pre Buf, n, in, out int, act Activation) {
	checkLinear(y, x, weight, bias, pre, n, in, out, act)
	if n == 0 {
		return
	}
	m := cuda.Matmul{M: n, N: out, K: in, TransB: true, A: at(x), B: at(weight), D: at(y), Bias: at(bias), BiasFloat: bias.t == F32}
	if !bias.Absent() {
		m.Epilogue = cuda.Bias
	}
	if weight.t != BF16 || g.blaslt == nil {
		g.gemmForward(y, x, weight, bias, pre, n, in, out, act)
		return
	}
	if act == GELUTanh {
		fused := m
		fused.Epilogue, fused.Aux = cuda.GELU, at(pre)
		if !pre.Absent() {
			fused.Epilogue = cuda.GELUAux
		}
		if !bias.Absent() {
			fused.Epilogue += cuda.Bias
		}
		if g.multiply(fused) {
			return
		}
	}
	if !pre.Absent() {
		m.D = at(pre)
	}
	if !g.multiply(m) {
		g.gemmForward(y, x, weight, bias, pre, n, in, out, act)
		return
	}
	switch {
	case act != None && !pre.Absent():
		g.ActivationForward(y, pre, n*out, act)
	case act != None:
		g.ActivationForward(y, y, n*out, act)
	}
}

func (g *gpu) LinearBackwardInput(dx, dy, weight, pre Buf, n, in, out int, act Activation, add bool) {
	checkLinearBackwardInput(dx, dy, weight, pre, n, in, out, act, add)
	if n == 0 {
		return
	}
	m := cuda.Matmul{M: n, N: in, K: out, A: at(dy), B: at(weight), D: at(dx), Add: add}
	if weight.t != BF16 || g.blaslt == nil {
		g.gemmInput(dx, dy, weight, pre, n, in, out, act, add)
		return
	}
	if act == GELUTanh {
		fused := m
		fused.Epilogue, fused.Aux = cuda.DGELU, at(pre)
		if g.multiply(fused) {
			return
		}
	}
	if !g.multiply(m) {
		g.gemmInput(dx, dy, weight, pre, n, in, out, act, add)
		return
	}
	if act != None {
		g.ActivationBackward(dx, dx, pre, n*in, act)
	}
}

func (g *gpu) LinearBackwardWeight(dweight, dbias, dy, x Buf, n, in, out int) {
	checkLinearBackwardWeight(dweight, dbias, dy, x, n, in, out)
	if n == 0 {
		return
	}
	if !g.multiply(cuda.Matmul{M: out, N: in, K: n, TransA: true, A: at(dy), B: at(x), D: at(dweight), Float: true, Add: true}) {
		g.gemmWeight(dweight, dbias, dy, x, n, in, out)
		return
	}
	if !dbias.Absent() { // cuBLASLt's fused sum writes and does not add
		g.sumRowsTo(dbias, dy, n, out)
	}
}
