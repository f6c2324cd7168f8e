//go:build cuda

package kernels

import "palimpsest/cuda"

// latticeInts is the length of an entry of latticeTable: lattice.cuh's struct Lattice.
const latticeInts = 9

// A latticeTable is the device's list of lattices and of the rows' owners.
type latticeTable struct {
	owners, table           cuda.Address
	targets, labels, widest int // of all lattices: targets, and numbers of a CTC program; states of the largest
	most                    int // emitted tokens of the lattice with most
}

// lattices uploads the list, for rows rows.
func (g *gpu) lattices(list []Lattice, mode AlignmentMode, rows int) (t latticeTable) {
	data := stage[int32](g, rows+latticeInts*len(list))[:rows]
	for r := range data {
		data[r] = -1
	}
	match, links := 0, 0
	for b, l := range list {
		for r := l.Start; r < l.End; r++ {
			data[r] = int32(b)
		}
		S, M, E := l.states(), l.targets(), l.emitted(mode)
		data = append(data, l.Start, int32(S), l.First, int32(M), int32(E), int32(match), int32(links), int32(t.targets), int32(t.labels))
		match, links, t.targets, t.labels = match+E*S, links+S*S, t.targets+M, t.labels+S*(2*M+1)
		t.widest, t.most = max(t.widest, S), max(t.most, E)
	}
	t.owners = g.list(data)
	t.table = t.owners + cuda.Address(4*rows)
	return t
}

// lastRow returns the rows up to the last lattice's end.
func lastRow(list []Lattice) int {
	if len(list) == 0 {
		return 0
	}
	return int(list[len(list)-1].End)
}

func (g *gpu) Emissions(e Emissions) {
	e.check()
	g.mustHold("Emissions", e.Logits, BF16)
	if e.R == 0 {
		return
	}
	t := g.lattices(e.Lattices, e.Mode, e.R)
	a := g.arguments()
	pointers(a, e.Match, e.LSE, e.Logits, e.Targets)
	a.Ptr(t.owners)
	a.Ptr(t.table)
	dims(a, e.V, int(e.Blank))
	g.launch("emissions", line(e.R), line(emissionThreads(e.V)), 256)
}

// emissionThreads is the size of a block that reads a row of V logits: four chunks a thread of a wide one.
func emissionThreads(V int) int { return min(256, 32*ceilDiv(ceilDiv(V, 8)+1, 32*4)) }

func (g *gpu) EmissionsBackward(e EmissionsBackward) {
	e.check()
	g.mustHold("EmissionsBackward", e.Logits, BF16)
	if e.R == 0 {
		return
	}
	t := g.lattices(e.Lattices, e.Mode, e.R)
	a := g.arguments()
	pointers(a, e.Logits, e.DMatch, e.LSE, e.Targets)
	a.Ptr(t.owners)
	a.Ptr(t.table)
	most := max(1, t.most)
	dims(a, e.V, int(e.Blank), most)
	g.launchShared("emissions_backward", line(e.R), line(emissionThreads(e.V)), 128+4*most)
}

func (g *gpu) Alignment(p Alignment) {
	p.check()
	g.mustHold("Alignment", p.Match, F32)
	n, rows := len(p.Lattices), lastRow(p.Lattices)
	if n == 0 {
		return
	}
	t := g.lattices(p.Lattices, p.Mode, rows)
	scale, dmatch := float32(-p.GradScale), p.DMatch
	if !p.Grad {
		dmatch = Buf{}
	}
	if p.Mode == CTC {
		work := g.divide(4*t.labels, 4*t.labels, 8*rows)
		a := g.arguments()
		pointers(a, p.LogP, p.Loss, p.Lost, dmatch)
		for _, address := range work[:3] {
			a.Ptr(address)
		}
		pointers(a, p.Match, p.Targets, p.Weights)
		a.Ptr(t.table)
		dims(a, n, int(p.Blank))
		a.F32(scale)
		g.launch("alignment_ctc", byRows(n), rowBlock, 0)
		return
	}
	size := 4 * MatchSize(p.Lattices, DAG)
	work := g.divide(size, size, 16*t.targets, 8*n)
	a := g.arguments()
	pointers(a, p.LogP, p.Loss, p.Lost)
	for _, address := range work[:4] {
		a.Ptr(address)
	}
	pointers(a, p.Match, p.LogE, p.Weights)
	a.Ptr(t.table)
	grad := int32(0)
	if p.Grad {
		grad = 1
	}
	a.I32(grad)
	g.launch("alignment_paths", line(n), line(min(256, 32*ceilDiv(max(1, t.widest), 32))), 128)
	if !p.Grad || rows == 0 {
		return
	}
	a = g.arguments()
	pointers(a, p.DMatch, p.DLogE)
	for _, address := range work[:4] {
		a.Ptr(address)
	}
	pointers(a, p.Match, p.LogE, p.Weights)
	a.Ptr(t.owners)
	a.Ptr(t.table)
	dims(a, rows)
	a.F32(scale)
	g.launch("alignment_gradients", byRows(rows), rowBlock, 0)
}
