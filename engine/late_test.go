package engine

import (
	"math"
	"path/filepath"
	"reflect"
	"testing"

	"palimpsest/engine/model"
	"palimpsest/engine/vfs"
	"palimpsest/kernels"
)

// late keeps results from the host until they are waited for, as a device may, and counts what waits for a device.
type late struct {
	kernels.Backend
	waits int // Sync and Download
	later int // DownloadLater that were waited for
}

func (l *late) Sync() error                       { l.waits++; return l.Backend.Sync() }
func (l *late) Download(dst any, src kernels.Buf) { l.waits++; l.Backend.Download(dst, src) }
func (l *late) DownloadLater(dst []float64, src kernels.Buf) func() error {
	values := make([]float64, len(dst))
	wait := l.Backend.DownloadLater(values, src)
	return func() error {
		l.later++
		copy(dst, values)
		return wait()
	}
}

// begin opens a run whose backend is wrapped.
func begin(t *testing.T, c Config, wrap func(kernels.Backend) kernels.Backend) *Trainer {
	t.Helper()
	tr, err := newTrainer(Options{Config: c, Out: filepath.Join(t.TempDir(), "run"), Observe: &notes{}})
	if err != nil {
		t.Fatal(err)
	}
	tr.b = wrap(tr.b)
	*tr.acts = *model.NewActivations(tr.b, tr.job.config.Model, tr.job.capacity(), true)
	return tr
}

// Results that come during the next update, dropped updates among them, leave the same weights, moments and counts as
// results that every step waits for.
func TestLateResultsChangeNothing(t *testing.T) {
	c := tinyConfig(dataset(t, 200), 10)
	c.Eval.Every, c.Train.MaxNonfinite = 0, 3
	var want state
	var wantBits string
	for _, every := range []int64{1, 4, 10} {
		c.Log.Every = every
		tr := begin(t, c, func(b kernels.Backend) kernels.Backend {
			return &spoiling{Backend: &late{Backend: b}, gradient: map[int]float64{2: math.NaN(), 3: math.Inf(1), 10: math.NaN()}, loss: map[int]float64{6: math.NaN()}}
		})
		if err := tr.run(); err != nil {
			t.Fatal(err)
		}
		got, gotBits := tr.state, bits(t, tr)
		got.Seconds = 0
		if err := tr.close(); err != nil {
			t.Fatal(err)
		}
		if every == 1 {
			want, wantBits = got, gotBits
		}
		if !reflect.DeepEqual(got, want) || gotBits != wantBits || got.Updates != 6 || got.Skipped != 4 {
			t.Errorf("log.every %d:\n%+v\nwant\n%+v\nthe same weights and moments: %t", every, got, want, gotBits == wantBits)
		}
	}
}

// atUpdates is the real file system that does something after every update.
type atUpdates struct {
	vfs.OS
	do func()
}

func (f *atUpdates) Tick(name string) {
	if name == "update" {
		f.do()
	}
}

// Between lines of the log, evaluations and checkpoints no step waits for the device.
func TestStepsDoNotWait(t *testing.T) {
	c := tinyConfig(dataset(t, 200), 9)
	c.Eval.Every, c.Log.Every = 0, 100
	var l *late
	tr := begin(t, c, func(b kernels.Backend) kernels.Backend {
		l = &late{Backend: b}
		return l
	})
	defer tr.close()
	seen := 0
	tr.fs = &atUpdates{do: func() {
		seen++
		if before := int(tr.state.Step) - 1; l.waits > 0 || l.later != 2*before { // results and noise
			t.Errorf("update %d: %d waits for the device, %d results", tr.state.Step, l.waits, l.later)
		}
	}}
	if err := tr.run(); err != nil || seen != 9 {
		t.Errorf("%d updates: %v", seen, err)
	}
}
