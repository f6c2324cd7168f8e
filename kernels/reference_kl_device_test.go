//go:build cuda

package kernels

// Rows that outgrow shared memory and warps, at places that differ by less than 16 bytes.
func init() {
	largeCases = append(largeCases, complianceCase{"ReferenceKLLarge", 12, func(r *trial) {
		R, V := 2, []int{30001, 51217, 26000, 33000}[r.k%4]
		a := ReferenceKL{R: R, V: V, Grad: true, GradScale: 0.5, Unwanted: Pull(1 + r.k%4), Kept: Pull(1 + r.k%3), Eps: 1e-3, EpsPerEntry: r.k == 9}
		z, ref, targets := r.normals(R*V), r.normals(R*V), r.indices(R, V)
		targets[r.k%2] = int32(r.k % 3 / 2 * (V - 1))
		a.Logits, a.Reference, a.Targets, a.Weights = r.variable(z), r.in(ref), integers(r.b, targets), r.inMaster([]float64{-2, 1.5})
		a.NLL, a.Loss, a.KL = r.freshMaster(R), r.freshMaster(R), r.freshMaster(R)
		r.b.ReferenceKL(a)
		r.out("nll", a.NLL, R, near, nil)
		r.out("loss", a.Loss, R, near, nil)
		r.out("kl", a.KL, R, near, nil)
		r.out("gradient", a.Logits, R*V, near, filled(R*V, 4))
	}})
	gpuTests = append(gpuTests, []gpuTest{{"ReferenceKL", TestGoldenReferenceKL}, {"ReferenceKLOfficial", TestGoldenReferenceKLOfficial},
		{"ForwardKLAtTheReference", TestForwardKLAtTheReferenceIsUnlikelihood}, {"ReferenceKLAtTheEdges", TestReferenceKLAtTheEdges}}...)
}
