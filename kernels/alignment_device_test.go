//go:build cuda

package kernels

// Lattices of more states than a block has threads, and rows of logits wider than it reads at once.
func init() {
	wide := []Lattice{{3, 300, 0, 40}, {300, 580, 40, 41}, {580, 590, 41, 44}}
	largeCases = append(largeCases,
		complianceCase{"AlignmentLarge", 4, func(r *trial) { alignmentTrial(r, wide) }},
		complianceCase{"LinksLarge", 1, func(r *trial) { linksTrial(r, wide, 2, 16, false) }},
		complianceCase{"LinksBackwardLarge", 1, func(r *trial) { linksTrial(r, wide, 2, 16, true) }},
		complianceCase{"EmissionsLarge", 2, func(r *trial) {
			V := []int{50257, 33000}[r.k]
			a := Emissions{Lattices: []Lattice{{0, 2, 0, 3}}, R: 2, V: V, Mode: DAG, Logits: r.in(r.normals(2 * V)), Targets: integers(r.b, r.indices(3, V)),
				Match: r.freshMaster(6), LSE: r.freshMaster(2)}
			r.b.Emissions(a)
			r.out("match", a.Match, 6, near, nil)
			r.out("lse", a.LSE, 2, near, nil)
		}})
	gpuTests = append(gpuTests, []gpuTest{{"Alignment", TestGoldenAlignment}, {"AlignmentBatches", TestGoldenAlignmentBatches},
		{"AlignmentCTC", TestGoldenAlignmentCTC}, {"Links", TestGoldenLinks}, {"LinksAddUpToOne", TestLinksAddUpToOne},
		{"AlignmentRefusals", TestAlignmentRefusals}}...)
}
