//go:build cgo

package kernels

/*
#include "alignment.h"
#cgo noescape emissions
#cgo nocallback emissions
#cgo noescape emissions_backward
#cgo nocallback emissions_backward
#cgo noescape align_dag
#cgo nocallback align_dag
#cgo noescape links_forward
#cgo nocallback links_forward
#cgo noescape links_backward
#cgo nocallback links_backward
*/
import "C"

// latticeRuns calls f for the rows of [lo,hi) that a lattice has, and for those that none has with its number -1.
func latticeRuns(owners []int32, lo, hi int, f func(lattice, lo, hi int)) {
	for lo < hi {
		end := lo + 1
		for end < hi && owners[end] == owners[lo] {
			end++
		}
		f(int(owners[lo]), lo, end)
		lo = end
	}
}

func emissionRows(l Lattice, mode AlignmentMode, blank int32, lo, hi int) C.emission_rows {
	return C.emission_rows{start: C.int(l.Start), lo: C.int(lo), hi: C.int(hi), S: C.int(l.states()), M: C.int(l.targets()),
		E: C.int(l.emitted(mode)), blank: C.int(blank)}
}

func (l leaves) emissions(a *Emissions, owners []int32, offsets []int, targets []int32, lo, hi int) {
	latticeRuns(owners, lo, hi, func(b, lo, hi int) {
		if b >= 0 {
			rows := emissionRows(a.Lattices[b], a.Mode, a.Blank, lo, hi)
			C.emissions(l.level, ptr(f32(a.Match)[offsets[b]:]), ptr(f32(a.LSE)), ptr(f32(a.Logits)), ptrInt(targets[a.Lattices[b].First:]),
				&rows, C.int(a.V))
		}
	})
}

func (l leaves) emissionsBackward(a *EmissionsBackward, owners []int32, offsets []int, targets []int32, lo, hi int) {
	latticeRuns(owners, lo, hi, func(b, lo, hi int) {
		if b < 0 {
			clear(f32(a.Logits)[lo*a.V : hi*a.V])
			return
		}
		rows := emissionRows(a.Lattices[b], a.Mode, a.Blank, lo, hi)
		C.emissions_backward(l.level, ptr(f32(a.Logits)), ptr(f32(a.DMatch)[offsets[b]:]), ptr(f32(a.LSE)),
			ptrInt(targets[a.Lattices[b].First:]), &rows, C.int(a.V))
	})
}

func (l leaves) alignWork(M, S int) int { return int(C.align_work(C.int(M), C.int(S))) }

func (l leaves) alignDAG(g *alignedSlices, work []float32) float64 {
	var Z C.double
	C.align_dag(l.level, &Z, ptr(g.dmatch), ptr(g.dlogE), ptr(g.match), ptr(g.logE), C.int(g.M), C.int(g.S), C.double(g.scale), flag(g.grad),
		ptr(work))
	return float64(Z)
}

func (l leaves) links(t *linksTile) {
	C.links_forward(l.level, ptr(t.logE), ptr(t.lse), ptr(t.scores), ptr(t.gate), ptrInt(t.groups), C.int(t.from), C.int(t.rows), C.int(t.S),
		C.int(t.H), C.float(t.scale))
}

func (l leaves) linksBackward(t *linksTile, head int) {
	C.links_backward(l.level, ptr(t.scores), ptr(t.dgate), ptr(t.dlogE), ptr(t.logE), ptr(t.lse), ptr(t.gate), C.int(t.from), C.int(t.rows),
		C.int(t.S), C.int(t.H), C.int(head), C.float(t.scale))
}
