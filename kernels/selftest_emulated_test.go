//go:build cuda && emulated

package kernels

import "testing"

func TestSelftestEmulated(t *testing.T) { testSelftest(t) }
