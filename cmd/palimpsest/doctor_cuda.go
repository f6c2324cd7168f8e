//go:build cuda

package main

import (
	"maps"
	"slices"

	"palimpsest/cuda"
	"palimpsest/kernels"
)

const builtWithCUDA = true

// diagnoseGPU asks the driver what there is, without taking hold of a device.
func diagnoseGPU() gpuDiagnosis {
	g := gpuDiagnosis{Devices: []gpuDevice{}}
	n, err := cuda.Count()
	g.Library, _ = cuda.Library()
	if err != nil {
		g.Reason = err.Error()
	}
	for i := range n {
		g.Devices = append(g.Devices, diagnoseDevice(i))
		g.Driver = g.Devices[i].Driver
	}
	if path, version, err := cuda.FindProducts(); err != nil {
		g.CuBLASLtReason = err.Error()
	} else {
		g.CuBLASLt, g.CuBLASLtVersion = path, cuda.BlasltVersion(version)
	}
	return g
}

func diagnoseDevice(ordinal int) gpuDevice {
	info, err := cuda.Describe(ordinal)
	if err != nil {
		return gpuDevice{Ordinal: ordinal, Reason: err.Error(), Kernels: []gpuKernels{}, Throttle: []string{}}
	}
	d := gpuDevice{Ordinal: ordinal, Name: info.Name, Capability: info.Capability(), SMs: info.SMs, Memory: uint64(info.Memory), L2: uint64(info.L2),
		Shared: uint64(info.SharedOptin), PCI: info.PCI, Driver: info.DriverText(), Kernels: []gpuKernels{}, Throttle: []string{}}
	families, unserved := kernels.CompiledFor(info.Major, info.Minor)
	for _, target := range slices.Sorted(maps.Keys(families)) {
		d.Kernels = append(d.Kernels, gpuKernels{target, families[target]})
	}
	if len(unserved) > 0 {
		d.Reason = "its architecture is too old for the kernels of this build"
	}
	if h, err := cuda.HealthOf(info.PCI); err != nil {
		d.NVML = err.Error()
	} else {
		d.DriverRelease, d.ClockMHz, d.PowerW, d.PowerLimitW, d.Temperature, d.Throttle = h.Driver, h.ClockMHz, h.PowerW, h.PowerLimitW, h.Temperature, h.Throttle
	}
	return d
}
