//go:build cuda

package kernels

import (
	"encoding/binary"

	"palimpsest/cuda"
)

// A linksGPU is what links.cu's struct Head holds.
type linksGPU struct {
	latticeTable
	qk, gate, groups Buf
	rows, H, D       int
}

func (l *linksGPU) add(a *cuda.Args) {
	var s [64]byte
	for i, v := range [5]cuda.Address{at(l.qk), at(l.gate), at(l.groups), l.owners, l.table} {
		binary.NativeEndian.PutUint64(s[8*i:], uint64(v))
	}
	for i, v := range [5]int{l.rows, l.H, l.D, l.widest, int(vector(l.D, l.qk))} {
		binary.NativeEndian.PutUint32(s[40+4*i:], uint32(v))
	}
	a.Bytes(s[:], 8)
}

// launch queues a kernel with a warp a row, of which a block has as many as fit what all GPUs of the least capability give a
// block without asking, at least one.
func (l *linksGPU) launch(g *gpu, name string, floats int) {
	warps := max(1, min(8, 48<<10/(4*floats)))
	g.launchShared(name, line(ceilDiv(l.rows, warps)), cuda.Dim3{X: 32, Y: uint32(warps), Z: 1}, 4*floats*warps)
}

func (g *gpu) Links(p Links) {
	p.check()
	g.mustHold("Links", p.QK, BF16)
	rows := lastRow(p.Lattices)
	if rows == 0 {
		return
	}
	l := linksGPU{g.lattices(p.Lattices, DAG, rows), p.QK, p.Gate, p.Groups, rows, p.H, p.D}
	a := g.arguments()
	pointers(a, p.LogE, p.LSE)
	l.add(a)
	l.launch(g, "links_forward", p.D+3*l.widest)
}

func (g *gpu) LinksBackward(p LinksBackward) {
	p.check()
	g.mustHold("LinksBackward", p.QK, BF16)
	rows := lastRow(p.Lattices)
	if rows == 0 {
		return
	}
	l := linksGPU{g.lattices(p.Lattices, DAG, rows), p.QK, p.Gate, p.Groups, rows, p.H, p.D}
	work := g.divide(4*rows*p.H, 4*rows*p.H)
	a := g.arguments()
	pointers(a, p.DQK, p.DGate)
	a.Ptr(work[0])
	a.Ptr(work[1])
	pointers(a, p.DLogE, p.LogE, p.LSE)
	l.add(a)
	l.launch(g, "links_queries", p.D+l.widest)

	a = g.arguments()
	pointers(a, p.DQK)
	a.Ptr(work[0])
	a.Ptr(work[1])
	pointers(a, p.DLogE, p.LogE, p.LSE)
	l.add(a)
	l.launch(g, "links_keys", p.D+l.widest)
}
