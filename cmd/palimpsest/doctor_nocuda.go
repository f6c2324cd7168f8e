//go:build !cuda

package main

const builtWithCUDA = false

// diagnoseGPU says how to get a build that can use a GPU.
func diagnoseGPU() gpuDiagnosis {
	return gpuDiagnosis{Devices: []gpuDevice{}, Reason: "this build has no CUDA support: `make build` makes one that has, where there is a C compiler"}
}
