//go:build !cuda

package kernels

import "errors"

// openCUDA says why there is no GPU in this build.
func openCUDA() (Backend, error) {
	return nil, errors.New("this build has no CUDA support")
}
