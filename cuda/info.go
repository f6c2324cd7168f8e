//go:build cuda

package cuda

/*
#include "queue.h"
*/
import "C"

import (
	"fmt"
	"strings"

	"gorgonia.org/cu"
)

// Info describes a device.
type Info struct {
	Ordinal       int    `json:"ordinal"`
	Name          string `json:"name"`
	Major         int    `json:"major"` // compute capability
	Minor         int    `json:"minor"`
	SMs           int    `json:"sms"`
	SharedBlock   int    `json:"shared_block"` // bytes of shared memory of a block without opting in
	SharedOptin   int    `json:"shared_optin"` // and with
	SharedSM      int    `json:"shared_sm"`
	RegistersSM   int    `json:"registers_sm"`
	ThreadsSM     int    `json:"threads_sm"`
	L2            int    `json:"l2_bytes"`
	Memory        int    `json:"memory_bytes"`
	ClockMHz      int    `json:"clock_mhz"`
	MemoryMHz     int    `json:"memory_mhz"`
	MemoryBusBits int    `json:"memory_bus_bits"`
	Driver        int    `json:"driver"` // CUDA version that the driver serves, as major*1000 + minor*10
	Library       string `json:"library"`
	PCI           string `json:"pci"`
}

// DriverText is the driver's CUDA version as "12.4".
func (i Info) DriverText() string { return cudaVersion(i.Driver) }

// Capability is the architecture in the compiler's terms, "sm_90".
func (i Info) Capability() string { return fmt.Sprintf("sm_%d%d", i.Major, i.Minor) }

// Describe returns what a device is without taking hold of it.
func Describe(ordinal int) (Info, error) {
	n, err := Count()
	if err != nil {
		return Info{}, err
	}
	if ordinal < 0 || ordinal >= n {
		return Info{}, fail(&Error{Op: fmt.Sprintf("CUDA device %d", ordinal), Code: codeInvalidDevice,
			Text: fmt.Sprintf("there are %d, numbered from 0", n), Hint: "palimpsest doctor lists them"})
	}
	dev, err := cu.GetDevice(ordinal)
	if err != nil {
		return Info{}, cuError(fmt.Sprintf("CUDA device %d", ordinal), err)
	}
	info := Info{Ordinal: ordinal, Driver: driverVersion()}
	info.Library, _ = Library()
	if info.Name, err = dev.Name(); err != nil {
		return Info{}, cuError("name of the device", err)
	}
	info.Name = strings.TrimRight(info.Name, "\x00")
	total, err := dev.TotalMem()
	if err != nil {
		return Info{}, cuError("memory of the device", err)
	}
	info.Memory = int(total)
	for _, a := range []struct {
		to    *int
		which int
		scale int
	}{
		{&info.Major, C.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, 1}, {&info.Minor, C.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR, 1},
		{&info.SMs, C.CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT, 1}, {&info.L2, C.CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE, 1},
		{&info.SharedBlock, C.CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK, 1},
		{&info.SharedOptin, C.CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN, 1},
		{&info.SharedSM, C.CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_MULTIPROCESSOR, 1},
		{&info.RegistersSM, C.CU_DEVICE_ATTRIBUTE_MAX_REGISTERS_PER_MULTIPROCESSOR, 1},
		{&info.ThreadsSM, C.CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_MULTIPROCESSOR, 1},
		{&info.ClockMHz, C.CU_DEVICE_ATTRIBUTE_CLOCK_RATE, 1000}, {&info.MemoryMHz, C.CU_DEVICE_ATTRIBUTE_MEMORY_CLOCK_RATE, 1000},
		{&info.MemoryBusBits, C.CU_DEVICE_ATTRIBUTE_GLOBAL_MEMORY_BUS_WIDTH, 1},
	} {
		v, err := dev.Attribute(cu.DeviceAttribute(a.which))
		if err != nil {
			return Info{}, cuError(fmt.Sprintf("attribute %d of the device", a.which), err)
		}
		*a.to = v / a.scale
	}
	var bus [32]C.char
	if r := C.cuDeviceGetPCIBusId(&bus[0], C.int(len(bus)), C.CUdevice(dev)); r == 0 {
		info.PCI = C.GoString(&bus[0])
	}
	return info, nil
}
