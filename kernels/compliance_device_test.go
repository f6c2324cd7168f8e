//go:build cuda

package kernels

import (
	"os"
	"testing"
)

// kept is a backend that many tests share.
type kept struct{ Backend }

func (kept) Close() {}

// onGPU runs f with the GPU as the only backend of forEachBackend.
func onGPU(t *testing.T, f func()) {
	t.Helper()
	b, err := openCUDA()
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	all := complianceBackends
	complianceBackends = []func() Backend{func() Backend { return kept{b} }}
	defer func() { complianceBackends = all }()
	f()
	if err := b.Sync(); err != nil {
		t.Error(err)
	}
}

// gpuCompliance runs every case of some lists.
func gpuCompliance(t *testing.T, lists ...[]complianceCase) {
	onGPU(t, func() {
		b := complianceBackends[0]()
		for _, list := range lists {
			for _, c := range list {
				t.Run(c.name, func(t *testing.T) { c.comply(t, b) })
			}
		}
	})
}

// gpuTests are the tests with forEachBackend that ask for nothing that only host backends can see, such as the contents of
// index buffers.
var gpuTests = []gpuTest{
	{"Attention", TestGoldenAttention}, {"AttentionUnfused", TestGoldenAttentionUnfused}, {"CrossEntropy", TestGoldenCrossEntropy},
	{"MaskedSoftmax", TestGoldenMaskedSoftmax}, {"Rope", TestGoldenRope}, {"Reweigh", TestGoldenReweigh},
	{"AttentionSegmentsAreIsolated", TestAttentionSegmentsAreIsolated}, {"AttentionFromEqualsWhole", TestAttentionFromEqualsWhole},
	{"RelativeAttentionWithoutTable", TestRelativeAttentionWithoutTableIsAttention}, {"SilentRows", TestSilentRowsSpreadNothing},
	{"AdamWByHand", TestAdamWByHand}, {"LAMBByHand", TestLAMBByHand},
}

type gpuTest struct {
	name string
	test func(t *testing.T)
}

func runGPUTests(t *testing.T) {
	onGPU(t, func() {
		for _, s := range gpuTests {
			t.Run(s.name, s.test)
		}
		t.Run("refuses", func(t *testing.T) { testRefusals(t, complianceBackends[0]()) })
	})
}

// The same on a real device: PALIMPSEST_GPU=1 asks for it, and then a device must be there.
const gpuVariable = "PALIMPSEST_GPU"

func gpuAsked(t *testing.T) bool {
	asked := os.Getenv(gpuVariable) == "1"
	if !asked {
		t.Logf("%s is not 1: no device is asked for", gpuVariable)
	}
	return asked
}

func TestComplianceDevice(t *testing.T) {
	if gpuAsked(t) {
		gpuCompliance(t, append(complianceCases(), largeCases)...)
	}
}

func TestGoldenDevice(t *testing.T) {
	if gpuAsked(t) {
		runGPUTests(t)
	}
}
