package kernels

import "testing"

// cpuVariants are the CPU backend over OpenBLAS, where it can be opened, and over built-in products at every instruction
// set level of this machine.
func cpuVariants() []func() Backend {
	var all []func() Backend
	if haveOpenBLAS() {
		all = append(all, openVariant("cpu OpenBLAS", CPUOptions{Threads: 2, BLAS: "openblas"}))
	}
	for limit := 1; ; limit++ {
		name := "cpu " + newLeaves(limit).name()
		all = append(all, openVariant(name, CPUOptions{Threads: 2, BLAS: "builtin", maxLevel: limit}))
		if newLeaves(limit) == newLeaves(0) {
			return all
		}
	}
}

func haveOpenBLAS() bool {
	b, err := NewCPU(CPUOptions{BLAS: "openblas"})
	if err == nil {
		b.Close()
	}
	return err == nil
}

func openVariant(name string, o CPUOptions) func() Backend {
	return func() Backend {
		b, err := NewCPU(o)
		if err != nil {
			panic(err)
		}
		b.(*cpu).info.Name = name
		return b
	}
}

func init() { complianceBackends = append(complianceBackends, cpuVariants()...) }

// newCPU opens a backend for a test or benchmark.
func newCPU(t testing.TB, o CPUOptions) *cpu {
	t.Helper()
	b, err := NewCPU(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	return b.(*cpu)
}
