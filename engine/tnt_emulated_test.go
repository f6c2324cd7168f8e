//go:build cuda && emulated

package engine

import (
	"path/filepath"
	"testing"

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
	asOnTheCPU(t, c, 2)
	c.Train.Device = "cuda"
	if p, err := DryRun(Options{Config: c}); err != nil || p.Memory.Device == nil || p.Memory.Device.Need <= p.Memory.Reference {
		t.Errorf("%v: %+v", err, p.Memory)
	}
}
