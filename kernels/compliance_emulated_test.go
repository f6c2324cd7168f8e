//go:build cuda && emulated

package kernels

import "testing"

// The compliance suite over the emulated driver, which runs the kernels' own source on the host: `make test-emulated`.

func TestComplianceEmulatedLayers(t *testing.T)    { gpuCompliance(t, memoryCases, layerCases) }
func TestComplianceEmulatedAttention(t *testing.T) { gpuCompliance(t, attentionCases) }
func TestComplianceEmulatedLosses(t *testing.T) {
	gpuCompliance(t, lossCases, reweighCases, referenceCases)
}
func TestComplianceEmulatedAlignment(t *testing.T) { gpuCompliance(t, alignmentCases, linksCases) }
func TestComplianceEmulatedUpdates(t *testing.T) {
	gpuCompliance(t, rowCases, updateCases, combineCases, weightedSumCases)
}
func TestComplianceEmulatedLarge(t *testing.T) { gpuCompliance(t, largeCases) }
func TestGoldenEmulated(t *testing.T)          { runGPUTests(t) }
