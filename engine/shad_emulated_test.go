//go:build cuda && emulated

package engine

import (
	"math"
	"path/filepath"
	"testing"

	"palimpsest/engine/fault"
	"palimpsest/engine/report"
)

// Reweighted fine-tuning on the GPU's kernels: at each step the loss is at most twice as far from float32's as that of the naive
// bfloat16 computation, figures by class are in the log, a resumed run has the same bits; and the losses of responses that SHAD
// compares.
func TestRFTEmulated(t *testing.T) {
	data := classed(t, 60)
	init := base(t, data, 4)
	for _, method := range []string{"rft", "rho1"} {
		c := deviceConfig(data, 4)
		c.Objective, c.SHAD.Method, c.Train.Init, c.Model = "rft", method, init, Default().Model
		_, single := trainedOn(t, c, "cpu")
		_, naive := trainedOn(t, c, "refbf16")
		straight, got := trainedOn(t, c, "cuda")
		floor := distance(naive, single)
		for i := range single {
			ours, theirs := math.Abs(got[i]-single[i]), max(math.Abs(naive[i]-single[i]), floor)
			if method == "rho1" { // which tokens are kept hangs on the last bits of their losses
				theirs = max(theirs, 0.01)
			}
			if !(ours <= 2*theirs) {
				t.Errorf("%s: step %d: loss %g is %g from float32's, the naive computation %g", method, i+1, got[i], ours, theirs)
			}
		}
		log, err := report.ReadLog(filepath.Join(straight, LogFile))
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range log.Steps {
			if m := s.Measures; !(m[measureEffective] > 1) || !(m[measureWeight] > 0 && m[measureWeight] < 1) {
				t.Errorf("%s: step %d: %v", method, s.Step, m)
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
	scoredAlike(t, data, init)
}

// scoredAlike compares the mean loss of responses on the device with that of the CPU.
func scoredAlike(t *testing.T, data, path string) {
	t.Helper()
	ds, _, err := openResponses(data)
	if err != nil {
		t.Fatal(err)
	}
	defer ds.Close()
	var means []float64
	for _, device := range []string{"cpu", "cuda"} {
		m, err := OpenModel(path, device, 2)
		if err != nil {
			t.Fatal(err)
		}
		s, err := newLossScorer(m, 0, 192)
		if err != nil {
			t.Fatal(err)
		}
		mean, err := s.meanLoss(ds, []int64{1, 2, 3})
		m.Close()
		if err != nil {
			t.Fatal(err)
		}
		means = append(means, mean)
	}
	if d := math.Abs(means[0] - means[1]); !(d <= 0.01) {
		t.Errorf("mean losses on cpu and cuda: %v", means)
	}
}
