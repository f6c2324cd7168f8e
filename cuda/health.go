//go:build cuda

package cuda

import (
	"errors"
	"fmt"
	"sync"

	"github.com/NVIDIA/go-nvml/pkg/nvml"
)

// Health is what NVIDIA's management library (NVML) says of a device at a moment: the conditions of a measurement.
type Health struct {
	ClockMHz       int      `json:"clock_mhz"` // of the multiprocessors, now
	MaxClockMHz    int      `json:"max_clock_mhz"`
	MemoryClockMHz int      `json:"memory_clock_mhz"`
	PowerW         float64  `json:"power_w"`
	PowerLimitW    float64  `json:"power_limit_w"`
	Temperature    int      `json:"temperature_c"`
	Utilisation    int      `json:"utilisation_percent"`
	Throttle       []string `json:"throttle"` // why clocks are below their maximum; empty: they are not
	Driver         string   `json:"driver"`   // the driver's own version, such as 570.86.10
}

// throttleReasons are nvmlClocksEventReasons.
var throttleReasons = []struct {
	bit  uint64
	name string
}{{1, "idle"}, {2, "application clocks"}, {4, "power cap"}, {8, "hardware slowdown"}, {16, "sync boost"}, {32, "thermal (software)"},
	{64, "thermal (hardware)"}, {128, "power brake"}, {256, "display clocks"}}

var nvmlOnce struct {
	sync.Once
	result nvml.Return
}

// Health asks NVML. A figure that the device does not report is 0; the error says when there is no NVML at all.
func (d *Device) Health() (Health, error) { return HealthOf(d.info.PCI) }

// HealthOf is Health of the device at a PCI address.
func HealthOf(pci string) (Health, error) {
	nvmlOnce.Do(func() { nvmlOnce.result = nvml.Init() })
	if r := nvmlOnce.result; r != nvml.SUCCESS {
		return Health{}, fmt.Errorf("NVML: %s", nvmlText(r))
	}
	if pci == "" {
		return Health{}, errors.New("NVML: the driver told no PCI address of the device")
	}
	dev, r := nvml.DeviceGetHandleByPciBusId(pci)
	if r != nvml.SUCCESS {
		return Health{}, fmt.Errorf("NVML: device %s: %s", pci, nvmlText(r))
	}
	var h Health
	number := func(to *int, v uint32, r nvml.Return) {
		if r == nvml.SUCCESS {
			*to = int(v)
		}
	}
	clock, r := dev.GetClockInfo(nvml.CLOCK_SM)
	number(&h.ClockMHz, clock, r)
	clock, r = dev.GetMaxClockInfo(nvml.CLOCK_SM)
	number(&h.MaxClockMHz, clock, r)
	clock, r = dev.GetClockInfo(nvml.CLOCK_MEM)
	number(&h.MemoryClockMHz, clock, r)
	celsius, r := dev.GetTemperature(nvml.TEMPERATURE_GPU)
	number(&h.Temperature, celsius, r)
	if mw, r := dev.GetPowerUsage(); r == nvml.SUCCESS {
		h.PowerW = float64(mw) / 1000
	}
	if mw, r := dev.GetEnforcedPowerLimit(); r == nvml.SUCCESS {
		h.PowerLimitW = float64(mw) / 1000
	}
	if u, r := dev.GetUtilizationRates(); r == nvml.SUCCESS {
		h.Utilisation = int(u.Gpu)
	}
	h.Throttle = []string{}
	if bits, r := dev.GetCurrentClocksThrottleReasons(); r == nvml.SUCCESS {
		for _, reason := range throttleReasons {
			if bits&reason.bit != 0 {
				h.Throttle = append(h.Throttle, reason.name)
			}
		}
	}
	if version, r := nvml.SystemGetDriverVersion(); r == nvml.SUCCESS {
		h.Driver = version
	}
	return h, nil
}

// nvmlText is the library's word on a result, which exists only where the library does.
func nvmlText(r nvml.Return) string {
	if r == nvml.ERROR_LIBRARY_NOT_FOUND {
		return "libnvidia-ml.so.1 was not found; it comes with the NVIDIA driver"
	}
	return nvml.ErrorString(r)
}
