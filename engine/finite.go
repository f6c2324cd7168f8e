package engine

import (
	"math"

	"palimpsest/engine/fault"
)

// finite refuses a weight from a checkpoint that is NaN or infinite. The guard keeps such numbers out of a run, so they came
// from elsewhere, and every update and answer of the model would be lost to them.
func finite(tensor string, values []float32) error {
	for i, v := range values {
		if f := float64(v); math.IsNaN(f) || math.IsInf(f, 0) {
			return fault.Checkpoint.Errorf("tensor %s: element %d of %d is %v, not finite; hint: take an earlier checkpoint, or make this one again from its source", tensor, i, len(values), v)
		}
	}
	return nil
}
