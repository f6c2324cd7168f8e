//go:build cuda && emulated

package engine

import (
	"math"
	"path/filepath"
	"testing"

	"palimpsest/engine/fault"
)

// Masks with their weights and the authors' detection head on the GPU's kernels: at each step the loss is at most twice as far
// from float32's as that of the naive bfloat16 computation, and a resumed run has the same bits.
func TestMSLMEmulated(t *testing.T) {
	c := deviceConfig(taggedDataset(t, 60), 3)
	m := mslmConfig(c.Data.Train, 3)
	c.Objective, c.MSLM, c.Model.Classifiers, c.Train.Dropout = m.Objective, m.MSLM, m.Model.Classifiers, 0
	c.Eval.Tokens = 200
	_, single := trainedOn(t, c, "cpu")
	_, naive := trainedOn(t, c, "refbf16")
	straight, got := trainedOn(t, c, "cuda")
	floor := distance(naive, single)
	for i := range single {
		ours, theirs := math.Abs(got[i]-single[i]), max(math.Abs(naive[i]-single[i]), floor)
		if !(ours <= 2*theirs) {
			t.Errorf("step %d: loss %g is %g from float32's, the naive computation %g", i+1, got[i], ours, theirs)
		}
	}
	c.Train.Device, c.StopAfter = "cuda", 1
	parts := filepath.Join(t.TempDir(), "parts")
	if err := Train(Options{Config: c, Out: parts}); fault.Of(err) != fault.Preempted {
		t.Fatal(err)
	}
	c.StopAfter = 0
	mustTrain(t, Options{Config: c, Out: parts})
	if a, b := fingerprint(t, straight), fingerprint(t, parts); a != b {
		t.Errorf("straight:\n%s\nin parts:\n%s", a, b)
	}
}
