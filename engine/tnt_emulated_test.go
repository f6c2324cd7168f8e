//go:build cuda && emulated

package engine

import (
	"math"
	"path/filepath"
	"testing"

	"palimpsest/engine/fault"
	"palimpsest/objectives"
)

// Targeted training on the GPU's kernels, with the frozen reference beside it: at each step the loss is at most twice as far from
// float32's as that of the naive bfloat16 computation, a resumed run has the same bits, and
// what a rehearsal predicts holds.
func TestTNTEmulated(t *testing.T) {
	data := signedDataset(t, 60)
	base := deviceConfig(data, 12)
	base.Objective, base.Train.Device = "clm", "cpu"
	init := filepath.Join(t.TempDir(), "init")
	mustTrain(t, Options{Config: base, Out: init})
	c := deviceConfig(data, 5)
	c.Objective, c.Train.Init, c.Model, c.TNT.Variant, c.Train.Dropout = "tnt", init, Default().Model, "TNRF", 0
	c.TNT.Alpha = objectives.AutoFactor{Value: 2, Given: true}
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
	if p, err := DryRun(Options{Config: c}); err != nil || p.Memory.Device == nil || p.Memory.Device.Need <= p.Memory.Reference {
		t.Errorf("%v: %+v", err, p.Memory)
	}
}
