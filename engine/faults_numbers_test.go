package engine

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math"
	"path/filepath"
	"testing"

	"palimpsest/engine/fault"
	"palimpsest/engine/model"
	"palimpsest/engine/report"
	"palimpsest/kernels"
)

// spoiling makes one number of some updates not finite, where it would arise: the loss of a row, or an element of the
// gradient before its norm is taken. Counted are updates, from 1.
type spoiling struct {
	kernels.Backend
	update   int
	loss     map[int]float64
	gradient map[int]float64
}

func (s *spoiling) CrossEntropy(a kernels.CrossEntropy) {
	s.Backend.CrossEntropy(a)
	if value, ok := s.loss[s.update+1]; ok && a.Grad {
		s.Upload(a.Loss.Slice(0, 1), []float64{value})
	}
}

func (s *spoiling) SumSquares(dst kernels.Buf, at int, x kernels.Buf, n int, add bool) {
	guard := dst.Len() > 1 && at == 0 && !add
	if guard {
		s.update++
		if value, ok := s.gradient[s.update]; ok {
			s.Upload(x.Slice(n/2, n/2+1), []float64{value})
		}
	}
	s.Backend.SumSquares(dst, at, x, n, add)
}

// bits hashes weights and moments as they are on the device.
func bits(t *testing.T, tr *Trainer) string {
	t.Helper()
	h := sha256.New()
	for _, f := range tr.stored() {
		for _, s := range f.list {
			values := make([]float32, s.param.Len())
			tr.b.Download(values, s.buf)
			h.Write(littleEndian(nil, values))
		}
	}
	return fmt.Sprintf("%x", h.Sum(nil))
}

// watching notes bits and log line of every step.
type watching struct {
	notes
	see   func() string
	after []string
	lines []report.Step
}

func (w *watching) Step(line report.Step) {
	w.after, w.lines = append(w.after, w.see()), append(w.lines, line)
}

// A NaN loss with a finite gradient, and an infinite gradient with a finite loss: the update is dropped, weights and moments
// keep every bit, the line and the documents are logged, and the run goes on; so many in a row end it with exit code 7, and
// what was saved before is whole.
func TestNumbersThatAreNotFinite(t *testing.T) {
	c := tinyConfig(dataset(t, 200), 9)
	c.Train.MaxNonfinite, c.Eval.Every, c.Checkpoint.Every = 3, 0, 1
	nan, inf := math.NaN(), math.Inf(1)
	for _, x := range []struct {
		name  string
		spoil spoiling
		bad   []int // steps that must be dropped
		ends  int64 // step at which the run ends
	}{
		{"NaN loss", spoiling{loss: map[int]float64{3: nan}}, []int{3}, 9},
		{"infinite gradient", spoiling{gradient: map[int]float64{2: inf, 5: -inf}}, []int{2, 5}, 9},
		{"two in a row, twice", spoiling{gradient: map[int]float64{2: inf, 3: nan, 5: nan}, loss: map[int]float64{6: inf}}, []int{2, 3, 5, 6}, 9},
		{"three in a row", spoiling{gradient: map[int]float64{4: nan, 6: inf}, loss: map[int]float64{5: nan}}, []int{4, 5, 6}, 6},
	} {
		run, seen := filepath.Join(t.TempDir(), "run"), &watching{}
		tr, err := newTrainer(Options{Config: c, Out: run, Observe: seen})
		if err != nil {
			t.Fatal(err)
		}
		x.spoil.Backend = tr.b
		tr.b = &x.spoil
		*tr.acts = *model.NewActivations(tr.b, tr.job.config.Model, tr.job.capacity(), true)
		seen.see = func() string { return bits(t, tr) }
		seen.after = append(seen.after, seen.see())
		err = tr.run()
		if diverged := x.ends < 9; diverged {
			wantFault(t, x.name, err, fault.Diverged, "step 6: 3 updates in a row were not finite", "hint: ")
		} else if err != nil {
			t.Errorf("%s: %v", x.name, err)
		}
		step := tr.state.Step
		if err := tr.close(); err != nil {
			t.Error(err)
		}
		if step != x.ends || len(seen.lines) != int(x.ends) {
			t.Errorf("%s: ended at step %d with %d lines", x.name, step, len(seen.lines))
		}
		skipped, next := int64(0), 0
		for i, line := range seen.lines {
			bad := next < len(x.bad) && x.bad[next] == i+1
			if bad {
				next++
				skipped++
			}
			if same := seen.after[i+1] == seen.after[i]; same != bad || line.Skipped != skipped {
				t.Errorf("%s: step %d: not finite %t, weights unchanged %t, %d skipped", x.name, i+1, bad, same, line.Skipped)
			}
			if loss, norm := x.spoil.loss[i+1], x.spoil.gradient[i+1]; bad && !(math.IsNaN(loss) == math.IsNaN(line.Loss) && math.IsNaN(norm) == math.IsNaN(line.GradNorm)) {
				t.Errorf("%s: step %d: logged loss %g, norm %g", x.name, i+1, line.Loss, line.GradNorm)
			}
			if note := fmt.Sprintf("step %d was not finite", i+1); bad != seen.has(note) || !seen.has("documents ") {
				t.Errorf("%s: notes %q", x.name, seen.notes.lines)
			}
		}
		if x.ends < 9 { // the cause gone, the run can be finished from what it saved
			again := &notes{}
			mustTrain(t, Options{Config: c, Out: run, Observe: again})
			if !again.has("resuming from " + filepath.Join(run, "checkpoints", "step-0000005")) {
				t.Errorf("%s: notes %q", x.name, again.lines)
			}
		}
	}
}

// A weight that is not a number, all hashes right: the tensor is named wherever the checkpoint would be used.
func TestWeightThatIsNotFinite(t *testing.T) {
	data := dataset(t, 150)
	for _, value := range []float64{math.NaN(), math.Inf(-1)} {
		c := tinyConfig(data, 6)
		c.Eval.Every = 0
		run := filepath.Join(t.TempDir(), "run")
		halfway(t, c, run, 3)
		rewrite(t, run, 3, func(name string, data []byte) []byte {
			if name == modelFile {
				binary.LittleEndian.PutUint32(data[len(data)-4:], math.Float32bits(float32(value)))
			}
			return data
		})
		before := snapshot(t, filepath.Join(run, "checkpoints"))
		says := []string{"tensor ", "not finite", fmt.Sprint(value), "hint: "}
		wantFault(t, "resumed", Train(Options{Config: c, Out: run}), fault.Checkpoint, append(says, "step-0000003")...)
		_, err := OpenModel(run, "cpu", 1)
		wantFault(t, "opened", err, fault.Checkpoint, says...)
		c.Train.Init = run
		wantFault(t, "initial", Train(Options{Config: c, Out: filepath.Join(t.TempDir(), "other")}), fault.Checkpoint, append(says, "train.init", run)...)
		stillThere(t, "not finite", before)
	}
}
