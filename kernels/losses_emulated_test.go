//go:build cuda && emulated

package kernels

import "testing"

func TestRelativeBatchesEmulated(t *testing.T) { testRelativeBatches(t) }
