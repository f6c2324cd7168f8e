//go:build cuda && emulated

package kernels

import "testing"

// The compliance suite over the emulated driver, which runs the kernels' own source on the host: `make test-emulated`.
// It takes what a GPU would take microseconds for, so there are fewer trials than on other backends.

func TestComplianceEmulatedLayers(t *testing.T)    { gpuCompliance(t, 24, memoryCases, layerCases) }
func TestComplianceEmulatedAttention(t *testing.T) { gpuCompliance(t, 12, attentionCases) }
func TestComplianceEmulatedLosses(t *testing.T)    { gpuCompliance(t, 24, lossCases, reweighCases) }
func TestComplianceEmulatedUpdates(t *testing.T) {
	gpuCompliance(t, 12, rowCases, updateCases, combineCases)
}
func TestComplianceEmulatedLarge(t *testing.T) { gpuCompliance(t, 10, largeCases) }
func TestGoldenEmulated(t *testing.T)          { runGPUTests(t) }
