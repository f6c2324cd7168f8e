//go:build cuda && emulated

package engine

import (
	"testing"
)

// Masks with their weights and the authors' detection head on the GPU's kernels: at each step the loss is at most twice as far
// from float32's as that of the naive bfloat16 computation, and a resumed run has the same bits.
func TestMSLMEmulated(t *testing.T) {
	c := deviceConfig(taggedDataset(t, 60), 3)
	m := mslmConfig(c.Data.Train, 3)
	c.Objective, c.MSLM, c.Model.Classifiers, c.Train.Dropout = m.Objective, m.MSLM, m.Model.Classifiers, 0
	c.Eval.Tokens = 200
	asOnTheCPU(t, c, 1)
}
