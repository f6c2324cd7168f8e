//go:build cuda

package bench

import (
	"cmp"
	"fmt"
	"strings"

	"palimpsest/cuda"
	"palimpsest/kernels"
)

// DeviceState is what the driver and its management library say of a GPU at a moment.
type DeviceState struct {
	cuda.Health
	Unknown string `json:"unknown,omitempty"` // why clocks and power are not known
}

// deviceOf describes the GPU behind a backend: its last-level cache in bytes, what it is, and its state; 0 and nil for a
// backend of the host.
func deviceOf(b kernels.Backend) (cache int, about any, state *DeviceState) {
	if b.Info().Name != "cuda" {
		return 0, nil, nil
	}
	info, err := cuda.Describe(0)
	if err != nil {
		return 0, nil, &DeviceState{Unknown: err.Error()}
	}
	state = new(DeviceState)
	if state.Health, err = cuda.HealthOf(info.PCI); err != nil {
		state.Unknown = err.Error()
	}
	return info.L2, info, state
}

func (s *DeviceState) String() string {
	if s.Unknown != "" {
		return "clocks and power are not known: " + s.Unknown
	}
	return fmt.Sprintf("driver %s; %d of %d MHz, memory %d MHz; %.0f of %.0f W; %d degrees C; slowed by: %s", s.Driver, s.ClockMHz, s.MaxClockMHz,
		s.MemoryClockMHz, s.PowerW, s.PowerLimitW, s.Temperature, cmp.Or(strings.Join(s.Throttle, ", "), "nothing"))
}
