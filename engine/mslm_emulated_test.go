//go:build cuda && emulated

package engine

import (
	"math"
	"path/filepath"
	"testing"

	"palimpsest/engine/fault"
	"palimpsest/objectives"
)

// MSLM with its detector head, which reads the original tokens, on the GPU's kernels: at each step the loss is at most twice as far
// from float32's as that of the naive bfloat16 computation, and a resumed run has the same bits.
func TestMSLMEmulated(t *testing.T) {
	c := deviceConfig(taggedDataset(t, 60), 5)
	c.Objective, c.Model.Layers, c.Model.Width, c.Data.TokensPerStep, c.Eval.Tokens = "mslm", 1, 32, 96, 100
	c.Model.Classifiers = []objectives.Head{{Name: "entities", Kind: "detector", Classes: 5}, {Name: "types", Kind: "token", Classes: 2}}
	c.MSLM.ClassWeight, c.MSLM.Static, c.MSLM.LabelWeights = 0.5, false, "balanced"
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
	c.Train.Device, c.StopAfter = "cuda", 2
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
