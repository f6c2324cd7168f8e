//go:build cuda && emulated

package engine

import (
	"math"
	"path/filepath"
	"testing"

	"palimpsest/engine/fault"
)

// Graphs of expanded states on the GPU's kernels: at each step the loss is at most twice as far from float32's as that of the naive
// bfloat16 computation, a resumed run has the same bits, a model is measured alike on both devices, and what a rehearsal predicts holds.
func TestEXLMEmulated(t *testing.T) {
	data := dataset(t, 60)
	for _, dag := range []string{"dense", "none"} {
		t.Run(dag, func(t *testing.T) {
			c := deviceConfig(data, 4)
			c.Objective, c.EXLM.DAG, c.EXLM.Blank, c.EXLM.K, c.Data.Length, c.Mask.P = "exlm", dag, "pad", 3, 24, 0.3
			c.Data.TokensPerStep, c.Eval.Tokens, c.Model.Width = 96, 100, 32
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
			evaluatesAlike(t, straight)
			if p, err := DryRun(Options{Config: c}); err != nil || p.Memory.Device == nil || p.Memory.Device.Need < p.Memory.Weights {
				t.Errorf("%v: %+v", err, p)
			}
		})
	}
}
