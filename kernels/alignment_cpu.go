package kernels

// Alignment on the CPU: emissions cut by rows, the dynamic programs by lattices. The arithmetic and its costs are in
// alignment_cpu.c, the oracle in alignment_ref.go. CTC runs the oracle: its lattices are a few states beside the logits of
// thousands that their emissions come from.

// checkLatticeTargets panics unless what the lattices emit are tokens.
func checkLatticeTargets(op string, targets []int32, lattices []Lattice, V int) {
	for _, l := range lattices {
		checkIndices(op, "Targets", targets[l.First:l.Last], V)
	}
}

func (b *cpu) Emissions(a Emissions) {
	a.check()
	targets := View[int32](a.Targets)
	checkLatticeTargets("Emissions", targets, a.Lattices, a.V)
	owners := rowOwners(a.Lattices, a.R)
	offsets, _ := matrixOffsets(a.Lattices, a.Mode)
	b.rows(a.R, a.V, func(lo, hi int) { b.leaf.emissions(&a, owners, offsets, targets, lo, hi) })
}

func (b *cpu) EmissionsBackward(a EmissionsBackward) {
	a.check()
	targets := View[int32](a.Targets)
	checkLatticeTargets("EmissionsBackward", targets, a.Lattices, a.V)
	owners := rowOwners(a.Lattices, a.R)
	offsets, _ := matrixOffsets(a.Lattices, a.Mode)
	b.rows(a.R, a.V, func(lo, hi int) { b.leaf.emissionsBackward(&a, owners, offsets, targets, lo, hi) })
}

func (b *cpu) Alignment(a Alignment) {
	a.check()
	match, links := matrixOffsets(a.Lattices, a.Mode)
	b.run(len(a.Lattices), func(i int) {
		if a.Mode == CTC || a.Lattices[i].targets() == 0 {
			alignmentRef(f32(a.LogP), f32(a.Loss), f32(a.Lost), f32(a.DMatch), f32(a.DLogE), f32(a.Match), f32(a.LogE), f32(a.Weights),
				View[int32](a.Targets), &a, i, i+1)
			return
		}
		b.alignDAG(&a, i, match[i], links[i])
	})
}

// alignDAG does one lattice, whose matrices begin at match and links.
func (b *cpu) alignDAG(a *Alignment, i, match, links int) {
	l := a.Lattices[i]
	S, M, w := l.states(), l.targets(), 1.0
	if !a.Weights.Absent() {
		w = float64(f32(a.Weights)[i])
	}
	g := alignedSlices{S: S, M: M, match: f32(a.Match)[match:][:M*S], logE: f32(a.LogE)[links:][:S*S], scale: -a.GradScale * w, grad: a.Grad}
	if a.Grad {
		g.dmatch, g.dlogE = f32(a.DMatch)[match:][:M*S], f32(a.DLogE)[links:][:S*S]
	}
	work := b.scratch.get(b.leaf.alignWork(M, S))
	defer b.scratch.put(work)
	settle(f32(a.LogP), f32(a.Loss), f32(a.Lost), i, b.leaf.alignDAG(&g, work), w)
}

// alignedSlices is one lattice of DAG; the gradients of scale*logP are written when grad is set.
type alignedSlices struct {
	S, M                       int
	match, logE, dmatch, dlogE []float32
	scale                      float64
	grad                       bool
}
