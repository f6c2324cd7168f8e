//go:build cuda && emulated

package engine

import (
	"testing"
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
			straight := asOnTheCPU(t, c, 2)
			c.Train.Device = "cuda"
			evaluatesAlike(t, straight)
			if p, err := DryRun(Options{Config: c}); err != nil || p.Memory.Device == nil || p.Memory.Device.Need < p.Memory.Weights {
				t.Errorf("%v: %+v", err, p)
			}
		})
	}
}
