package model

import (
	"fmt"
	"testing"

	"palimpsest/kernels"
)

// gradientsOf returns the loss and all gradients of two micro-batches of a fixture, whose blocks keep everything or their
// input only.
func gradientsOf(t *testing.T, b kernels.Backend, c Config, recompute bool) (loss float64, gradients []float64) {
	t.Helper()
	f := newFixture(t, b, c, 0.2, true)
	f.a = NewActivations(b, f.w.Config, Capacity{Tokens: 20, Rows: 20, Recompute: recompute}, true)
	for f.step.Micro = range uint32(2) {
		loss += f.forward(t, true)
		f.a.Backward(f.w)
	}
	gradients = make([]float64, f.w.Grad.Len())
	b.Download(gradients, f.w.Grad)
	if err := b.Sync(); err != nil {
		t.Fatal(err)
	}
	return loss, gradients
}

// sameRecomputed wants the same bits of blocks that are computed again, for every variant of the model.
func sameRecomputed(t *testing.T, open func() kernels.Backend) {
	for name, c := range variants() {
		c.Layers = 3
		b := open()
		t.Run(fmt.Sprintf("%s on %s", name, b.Info().Name), func(t *testing.T) {
			loss, gradients := gradientsOf(t, b, c, false)
			again, recomputed := gradientsOf(t, b, c, true)
			if again != loss || !(loss > 0) {
				t.Errorf("loss %v, kept %v", again, loss)
			}
			for i, v := range gradients {
				if recomputed[i] != v {
					t.Fatalf("gradient %d is %v, kept %v", i, recomputed[i], v)
				}
			}
		})
		b.Close()
	}
}

func TestRecomputedBlocksHaveTheSameBits(t *testing.T) {
	sameRecomputed(t, kernels.NewRef64)
	sameRecomputed(t, kernels.NewRefBF16)
	sameRecomputed(t, func() kernels.Backend {
		b, err := kernels.NewCPU(kernels.CPUOptions{Threads: 2})
		if err != nil {
			t.Fatal(err)
		}
		return b
	})
}

// A model of many layers needs one set of block buffers and an input a layer.
func TestRecomputeSavesMemory(t *testing.T) {
	for name, c := range variants() {
		c.Layers = 8
		c = resolved(t, c)
		capacity := Capacity{Tokens: 100, Rows: 30, Recompute: true}
		counting := &countingBackend{Backend: kernels.NewRef32()}
		NewActivations(counting, c, capacity, true)
		_, lean := MemoryBytes(c, capacity, kernels.F32, kernels.F32)
		_, full := MemoryBytes(c, Capacity{Tokens: 100, Rows: 30}, kernels.F32, kernels.F32)
		_, one := MemoryBytes(resolvedLayers(t, c, 1), capacity, kernels.F32, kernels.F32)
		streams := int64(1) // that a layer keeps
		if c.depthWeighted() {
			streams += 4
		}
		if counting.bytes != lean || lean != one+streams*int64(7*100*c.Width*4) || lean >= full {
			t.Errorf("%s: %d bytes allocated, %d predicted, %d of one layer, %d without", name, counting.bytes, lean, one, full)
		}
	}
}

func resolvedLayers(t *testing.T, c Config, layers int) Config {
	t.Helper()
	c.Layers = layers
	return resolved(t, c)
}
