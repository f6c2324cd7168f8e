//go:build cgo

package kernels

/*
#cgo CFLAGS: -O3 -std=gnu11 -fopenmp-simd -Wall
#cgo LDFLAGS: -lm
#cgo linux LDFLAGS: -ldl
#include "leaf.h"
#cgo noescape act_forward
#cgo nocallback act_forward
#cgo noescape act_backward
#cgo nocallback act_backward
#cgo noescape bias_act
#cgo nocallback bias_act
#cgo noescape gated_forward
#cgo nocallback gated_forward
#cgo noescape gated_backward
#cgo nocallback gated_backward
#cgo noescape add_norm
#cgo nocallback add_norm
#cgo noescape norm_backward
#cgo nocallback norm_backward
#cgo noescape embed_rows
#cgo nocallback embed_rows
#cgo noescape scatter_columns
#cgo nocallback scatter_columns
#cgo noescape rope_rows
#cgo nocallback rope_rows
#cgo noescape masked_softmax
#cgo nocallback masked_softmax
#cgo noescape masked_softmax_backward
#cgo nocallback masked_softmax_backward
#cgo noescape cross_entropy
#cgo nocallback cross_entropy
#cgo noescape dropout_rows
#cgo nocallback dropout_rows
#cgo noescape add_to
#cgo nocallback add_to
#cgo noescape sum_f64
#cgo nocallback sum_f64
#cgo noescape column_sums
#cgo nocallback column_sums
#cgo noescape add_rows
#cgo nocallback add_rows
#cgo noescape adamw_update
#cgo nocallback adamw_update
#cgo noescape attention_forward
#cgo nocallback attention_forward
#cgo noescape attention_delta
#cgo nocallback attention_delta
#cgo noescape attention_backward
#cgo nocallback attention_backward
#cgo noescape attention_combine
#cgo nocallback attention_combine
#cgo noescape gemm
#cgo nocallback gemm
*/
import "C"

import (
	"unsafe"

	"palimpsest/kernels/philox"
)

// leaves are the C kernels at one instruction set level; see levels.h. With cgo they are what the oracles of *_ref.go are
// without it (leaf_go.go): the loops under the pieces that the ops cut.
type leaves struct{ level C.int }

var levelNames = []string{"baseline", "AVX2", "AVX-512"}

// newLeaves takes the highest level of the machine that is below limit; 0 is no limit.
func newLeaves(limit int) leaves {
	level := C.kernel_level()
	if limit > 0 {
		level = min(level, C.int(limit-1))
	}
	return leaves{level}
}

func (l leaves) name() string    { return "C, " + levelNames[l.level] }
func (l leaves) notes() []string { return nil }

func ptr(s []float32) *C.float     { return (*C.float)(unsafe.Pointer(unsafe.SliceData(s))) }
func ptrInt(s []int32) *C.int32_t  { return (*C.int32_t)(unsafe.Pointer(unsafe.SliceData(s))) }
func ptrByte(s []uint8) *C.uint8_t { return (*C.uint8_t)(unsafe.Pointer(unsafe.SliceData(s))) }
func size(n int) C.size_t          { return C.size_t(n) }

// dropoutOf prepares a Drop for C.
func dropoutOf(d Drop) C.dropout {
	key := philox.Key(d.Seed)
	return C.dropout{threshold: C.uint32_t(d.threshold()), key0: C.uint32_t(key[0]), key1: C.uint32_t(key[1]),
		step: C.uint32_t(d.Step), site: C.uint32_t(dropWord(d.Site)), scale: C.float(d.keepScale())}
}

func (l leaves) activation(y, x []float32, act Activation) {
	C.act_forward(l.level, ptr(y), ptr(x), size(len(y)), C.int(act))
}

func (l leaves) activationBackward(dx, dy, x []float32, act Activation) {
	C.act_backward(l.level, ptr(dx), ptr(dy), ptr(x), size(len(dx)), C.int(act))
}

// biasActivation adds bias to rows of y, ld apart, keeps the result in pre and applies act; bias and pre may be nil.
func (l leaves) biasActivation(y, pre, bias []float32, ld, rows, columns int, act Activation) {
	C.bias_act(l.level, ptr(y), ptr(pre), ptr(bias), size(ld), C.int(rows), C.int(columns), C.int(act))
}

func (l leaves) gated(y, gate, up []float32, rows, F, ld int, act Activation) {
	C.gated_forward(l.level, ptr(y), ptr(gate), ptr(up), size(ld), C.int(rows), C.int(F), C.int(act))
}

func (l leaves) gatedBackward(dgate, dup, dy, gate, up []float32, rows, F, ld int, act Activation) {
	C.gated_backward(l.level, ptr(dgate), ptr(dup), ptr(dy), ptr(gate), ptr(up), size(ld), C.int(rows), C.int(F), C.int(act))
}

func (l leaves) addNorm(a *AddNorm, lo, hi int) {
	d := dropoutOf(a.Drop)
	C.add_norm(l.level, ptr(f32(a.Y)), ptr(f32(a.Sum)), ptr(f32(a.X)), ptr(f32(a.Delta)), ptr(f32(a.Gain)), ptr(f32(a.Bias)),
		ptr(f32(a.Mean)), ptr(f32(a.Rstd)), C.int(lo), C.int(hi), C.int(a.C), C.int(a.Kind), C.float(a.Eps), &d)
}

// normBackward adds the gradients of gain and bias of rows [lo,hi) to dgain and dbias, which may be nil.
func (l leaves) normBackward(a *NormBackward, dgain, dbias []float32, lo, hi int) {
	C.norm_backward(l.level, ptr(f32(a.DSum)), ptr(dgain), ptr(dbias), ptr(f32(a.DY)), ptr(f32(a.Sum)), ptr(f32(a.Gain)),
		ptr(f32(a.Mean)), ptr(f32(a.Rstd)), C.int(lo), C.int(hi), C.int(a.C), C.int(a.Kind), flag(a.Add))
}

func flag(b bool) C.int {
	if b {
		return 1
	}
	return 0
}

func (l leaves) embed(out, tokens, positions, types []float32, ids, pos []int32, lo, hi, width int) {
	C.embed_rows(l.level, ptr(out), ptr(tokens), ptr(positions), ptr(types), ptrInt(ids), ptrInt(pos), C.int(lo), C.int(hi),
		C.int(width))
}

// scatterColumns adds columns [from,to) of src[r] to dst[index[r*stride]].
func (l leaves) scatterColumns(dst, src []float32, index []int32, stride, rows, width, from, to int) {
	C.scatter_columns(l.level, ptr(dst), ptr(src), ptrInt(index), C.int(stride), C.int(rows), C.int(width),
		C.int(from), C.int(to))
}

func (l leaves) rope(a *Rope, lo, hi int) {
	C.rope_rows(l.level, ptr(f32(a.X)), ptrInt(View[int32](a.Pos)), ptr(f32(a.Table)), C.int(lo), C.int(hi), size(a.LD),
		C.int(a.Heads), C.int(a.D), C.int(a.Axes), flag(a.Inverse))
}

func (l leaves) maskedSoftmax(p, lse, scores []float32, mask []uint8, lo, hi, width int) {
	C.masked_softmax(l.level, ptr(p), ptr(lse), ptr(scores), ptrByte(mask), C.int(lo), C.int(hi), C.int(width))
}

func (l leaves) maskedSoftmaxBackward(dscores, dp, p []float32, lo, hi, width int) {
	C.masked_softmax_backward(l.level, ptr(dscores), ptr(dp), ptr(p), C.int(lo), C.int(hi), C.int(width))
}

func (l leaves) crossEntropy(a *CrossEntropy, lo, hi int) {
	o := C.loss_options{scale: C.double(a.GradScale), smoothing: C.double(a.Smoothing), zloss: C.double(a.ZLoss),
		focal: C.double(a.Focal), dft: flag(a.DFT), grad: flag(a.Grad)}
	C.cross_entropy(l.level, ptr(f32(a.Logits)), ptrInt(View[int32](a.Targets)), ptr(f32(a.Weights)), ptr(f32(a.NLL)),
		ptr(f32(a.Loss)), ptr(f32(a.Hit)), C.int(lo), C.int(hi), C.int(a.V), &o)
}

func (l leaves) dropout(y, x []float32, lo, hi, width int, d Drop) {
	o := dropoutOf(d)
	C.dropout_rows(l.level, ptr(y), ptr(x), C.int(lo), C.int(hi), C.int(width), &o)
}

func (l leaves) add(dst, src []float32) { C.add_to(l.level, ptr(dst), ptr(src), size(len(dst))) }

// sum adds up the products of x and y; y nil: x.
func (l leaves) sum(x, y []float32) float64 {
	var sum C.double
	C.sum_f64(l.level, &sum, ptr(x), ptr(y), size(len(x)))
	return float64(sum)
}

// columnSums writes the column sums of x[rows,columns] to out.
func (l leaves) columnSums(out, x []float32, rows, columns int) {
	C.column_sums(l.level, ptr(out), ptr(x), size(columns), C.int(rows), C.int(columns))
}

// addRows adds the sum of n rows, ld apart, to dst.
func (l leaves) addRows(dst, parts []float32, n, ld int) {
	C.add_rows(l.level, ptr(dst), ptr(parts), C.int(n), size(ld), C.int(len(dst)))
}

func (l leaves) adamW(p, g, m, v, copied []float32, scale float64, a *AdamW) {
	o := C.adamw_step{scale: C.float(scale), b1: C.float(a.B1), one_minus_b1: C.float(1 - a.B1), b2: C.float(a.B2),
		one_minus_b2: C.float(1 - a.B2), correction1: C.float(1 / a.Correction1), correction2: C.float(1 / a.Correction2),
		lr: C.float(a.LR), eps: C.float(a.Eps), decay: C.float(a.Decay)}
	C.adamw_update(l.level, ptr(p), ptr(g), ptr(m), ptr(v), ptr(copied), size(len(p)), &o)
}

// attentionWork returns the scratch elements that an item of a segment of this length needs.
func (l leaves) attentionWork(length, H, K, D int) int {
	return int(C.attention_work(C.int(length), C.int(H), C.int(K), C.int(D)))
}

func attentionShape(rows, H, K, D int, scale float32, d Drop) C.attention_shape {
	return C.attention_shape{rows: C.int32_t(rows), H: C.int32_t(H), K: C.int32_t(K), D: C.int32_t(D),
		scale: C.float(attentionScale(scale, D)), drop: dropoutOf(d)}
}

func ptrItem(items []attentionItem) (*C.attention_item, C.int) {
	return (*C.attention_item)(unsafe.Pointer(unsafe.SliceData(items))), C.int(len(items))
}

func (l leaves) attention(a *Attention, items []attentionItem, work []float32) {
	s := attentionShape(a.Rows, a.H, a.K, a.D, a.Scale, a.Drop)
	first, n := ptrItem(items)
	C.attention_forward(l.level, ptr(f32(a.Out)), ptr(f32(a.LSE)), ptr(f32(a.QKV)), first, n, &s, ptr(work))
}

func (l leaves) attentionDelta(delta []float32, a *AttentionBackward, lo, hi int) {
	s := attentionShape(a.Rows, a.H, a.K, a.D, a.Scale, a.Drop)
	C.attention_delta(l.level, ptr(delta), ptr(f32(a.DOut)), ptr(f32(a.Out)), C.int(lo), C.int(hi), &s)
}

func (l leaves) attentionBackward(a *AttentionBackward, parts, delta []float32, items []attentionItem, work []float32) {
	s := attentionShape(a.Rows, a.H, a.K, a.D, a.Scale, a.Drop)
	first, n := ptrItem(items)
	C.attention_backward(l.level, ptr(f32(a.DQKV)), ptr(parts), ptr(f32(a.DOut)), ptr(f32(a.LSE)), ptr(delta), ptr(f32(a.QKV)),
		first, n, &s, ptr(work))
}

// attentionCombine adds the partial sums of dQ of items, which share a segment and a key/value head.
func (l leaves) attentionCombine(a *AttentionBackward, parts []float32, items []attentionItem) {
	s := attentionShape(a.Rows, a.H, a.K, a.D, a.Scale, a.Drop)
	first, n := ptrItem(items)
	C.attention_combine(l.level, ptr(f32(a.DQKV)), ptr(parts), first, n, &s)
}

// builtinProducts is the C product of gemm_cpu.c.
func builtinProducts(l leaves, why string) products {
	return cProducts{l, "built-in " + levelNames[l.level] + " (" + why + ")"}
}

type cProducts struct {
	leaves
	label string
}

func (p cProducts) name() string { return p.label }

func (p cProducts) multiply(b *cpu, x product) {
	work := b.scratch.get(int(C.gemm_work()))
	defer b.scratch.put(work)
	C.gemm(p.level, flag(x.transA), flag(x.transB), C.int(x.m), C.int(x.n), C.int(x.k), ptr(x.a), size(x.lda), ptr(x.b),
		size(x.ldb), flag(x.add), ptr(x.c), size(x.ldc), ptr(work))
}
