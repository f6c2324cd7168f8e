//go:build cuda && emulated

package engine

import (
	"math"
	"path/filepath"
	"slices"
	"testing"

	"palimpsest/engine/fault"
	"palimpsest/engine/model"
)

// Adapters on the GPU's kernels: the losses are as near to float32's as those of the naive bfloat16 computation, frozen weights
// keep every bit, and a run that goes on, with blocks that are recomputed too, gives the same bits.
func TestAdapterEmulated(t *testing.T) {
	c := deviceConfig(dataset(t, 60), 8)
	c.Objective = "clm"
	base, _ := trainedOn(t, c, "cpu")
	c.Model, c.Train.Init = Default().Model, base
	c.Adapter.Rank, c.Adapter.Targets, c.Adapter.Dropout = 4, model.Config{}.AdapterTargets(), 0.1
	_, single := trainedOn(t, c, "cpu")
	_, naive := trainedOn(t, c, "refbf16")
	run, got := trainedOn(t, c, "cuda")
	floor := distance(naive, single)
	for i := range single {
		if ours, theirs := math.Abs(got[i]-single[i]), max(math.Abs(naive[i]-single[i]), floor); !(ours <= 2*theirs) {
			t.Errorf("step %d: loss %g is %g from float32's, the naive computation %g", i+1, got[i], ours, theirs)
		}
	}
	t.Logf("loss %.4f to %.4f; distance %.1e, naive %.1e", got[0], got[7], distance(got, single), floor)
	evaluatesAlike(t, run)
	was, is := newestTensors(t, base, modelFile), newestTensors(t, run, modelFile)
	for _, name := range was.Names() {
		if !slices.Equal(tensorOf(t, was, name), tensorOf(t, is, name)) {
			t.Errorf("%s is frozen and changed", name)
		}
	}
	parts := filepath.Join(t.TempDir(), "parts")
	c.Train.Device, c.StopAfter, c.Train.Recompute = "cuda", 5, "layer"
	if err := Train(Options{Config: c, Out: parts}); fault.Of(err) != fault.Preempted {
		t.Fatal(err)
	}
	c.StopAfter, c.Train.Recompute = 0, "none"
	mustTrain(t, Options{Config: c, Out: parts})
	if a, b := fingerprint(t, run), fingerprint(t, parts); a != b {
		t.Errorf("straight\n%s\nresumed\n%s", a, b)
	}
}
