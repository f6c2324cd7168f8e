//go:build !cuda

package bench

import "palimpsest/kernels"

// DeviceState is what is known of a GPU's state: nothing in a build without CUDA.
type DeviceState struct{}

func (s *DeviceState) String() string { return "not known" }

// deviceOf describes the GPU behind a backend; there is none in this build.
func deviceOf(kernels.Backend) (cache int, about any, state *DeviceState) { return 0, nil, nil }
